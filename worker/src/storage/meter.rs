//! How many requests a process sends to its stores.
//!
//! Owns the counts. Each attempt counts, whatever came of it, and each page of a listing: that is what S3 bills.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::Operation;

/// The most objects in a page of ListObjectsV2 (S3 API reference).
pub const PAGE: usize = 1_000;

/// Counts of requests; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    shared: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    put: AtomicU64,
    list: AtomicU64,
    get: AtomicU64,
    head: AtomicU64,
    delete: AtomicU64,
}

/// Requests sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// PutObject.
    pub put: u64,
    /// ListObjectsV2, each page.
    pub list: u64,
    /// GetObject.
    pub get: u64,
    /// HeadObject.
    pub head: u64,
    /// DeleteObject.
    pub delete: u64,
}

impl Requests {
    /// Operation and count.
    pub fn by_operation(&self) -> [(&'static str, u64); 5] {
        [
            ("put", self.put),
            ("list", self.list),
            ("get", self.get),
            ("head", self.head),
            ("delete", self.delete),
        ]
    }
}

impl Meter {
    /// An attempt was sent.
    pub(super) fn sent(&self, operation: Operation) {
        let count = match operation {
            Operation::Create | Operation::Put => &self.shared.put,
            Operation::List => &self.shared.list,
            Operation::Get => &self.shared.get,
            Operation::Head => &self.shared.head,
            Operation::Delete => &self.shared.delete,
            Operation::Open => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A listing had so many objects: each page after the first was a request of its own.
    pub(super) fn listed(&self, objects: usize) {
        let more = objects.saturating_sub(1) / PAGE;
        self.shared.list.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// What was sent so far.
    pub fn requests(&self) -> Requests {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Requests {
            put: read(&self.shared.put),
            list: read(&self.shared.list),
            get: read(&self.shared.get),
            head: read(&self.shared.head),
            delete: read(&self.shared.delete),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_after_the_first_count_too() {
        let meter = Meter::default();
        for objects in [0, 1, PAGE, PAGE + 1, 3 * PAGE] {
            meter.sent(Operation::List);
            meter.listed(objects);
        }
        assert_eq!(meter.requests().list, 5 + 1 + 2);
        meter.sent(Operation::Create);
        meter.sent(Operation::Put);
        assert_eq!(meter.clone().requests().put, 2);
    }
}
