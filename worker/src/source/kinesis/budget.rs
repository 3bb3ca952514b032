//! How many bytes may be read and not yet applied, over all shards of a worker.
//!
//! Owns that bound and its figures. A read waits for its share before it is sent, so that a slow sink or a hot shard
//! holds up reads instead of filling memory. Must never know what is read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The largest reply of GetRecords (Kinesis API reference).
pub const LARGEST_REPLY: u64 = 10 * 1024 * 1024;

/// What a reply at the tip is taken to hold: a shard takes 1 MiB a second, and is asked more often.
pub const REPLY_AT_TIP: u64 = 1024 * 1024;

/// Permits are counted in this many bytes.
const UNIT: u64 = 1024;

/// The bound, shared by all shards.
#[derive(Clone, Debug)]
pub struct ReadBudget {
    units: Arc<Semaphore>,
    all: u32,
    shards: Arc<Mutex<BTreeMap<String, Arc<ShardBytes>>>>,
}

/// One shard's figures.
#[derive(Debug, Default)]
pub struct ShardBytes {
    held: AtomicU64,
    waited_micros: AtomicU64,
}

impl ShardBytes {
    /// Bytes read and not yet applied.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Milliseconds that reads have waited for what was read before.
    pub fn waited_millis(&self) -> u64 {
        self.waited_micros.load(Ordering::Relaxed) / 1_000
    }

    /// Notes a wait.
    pub fn add_wait(&self, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Bytes that count until it is dropped.
#[derive(Debug)]
pub struct Held {
    permit: OwnedSemaphorePermit,
    units: Arc<Semaphore>,
    shard: Arc<ShardBytes>,
    bytes: u64,
}

impl ReadBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        let all = u32::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .max(1);
        // A semaphore of tokio's takes more than any u32 on 64 bits.
        let permits = usize::try_from(all).unwrap_or(Semaphore::MAX_PERMITS);
        ReadBudget {
            units: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            all,
            shards: Arc::default(),
        }
    }

    /// A shard's figures.
    pub fn shard(&self, shard: &str) -> Arc<ShardBytes> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.entry(shard.to_owned()).or_default().clone()
    }

    /// Waits until so many bytes may be read, in the order of asking. More than the whole budget counts as all of it.
    pub async fn reserve(&self, shard: &Arc<ShardBytes>, bytes: u64) -> Option<Held> {
        let units = self.units_of(bytes);
        let asked = Instant::now();
        // Never closed.
        let permit = self.units.clone().acquire_many_owned(units).await.ok()?;
        shard.add_wait(asked.elapsed());
        Some(Held {
            permit,
            units: self.units.clone(),
            shard: shard.clone(),
            bytes: 0,
        })
    }

    fn units_of(&self, bytes: u64) -> u32 {
        let units = bytes.div_ceil(UNIT).max(1);
        u32::try_from(units).unwrap_or(u32::MAX).min(self.all)
    }

    /// Bytes that may be read now.
    #[cfg(test)]
    pub fn free(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT
    }
}

impl Held {
    /// Counts what was really read. More than was reserved is taken as far as it is free: no read is given back.
    pub fn settle(&mut self, bytes: u64) {
        self.shard.held.fetch_add(bytes, Ordering::Relaxed);
        self.shard.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
        let units = usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX);
        let reserved = self.permit.num_permits();
        if units < reserved {
            drop(self.permit.split(reserved - units));
        } else if let Ok(more) = u32::try_from(units - reserved)
            && let Ok(permit) = self.units.clone().try_acquire_many_owned(more)
        {
            self.permit.merge(permit);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shard.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KIB: u64 = 1024;

    #[tokio::test]
    async fn what_is_reserved_is_given_back_down_to_what_was_read_and_then_whole() {
        let budget = ReadBudget::new(100 * KIB);
        let shard = budget.shard("a");
        let mut held = budget.reserve(&shard, 60 * KIB).await.unwrap();
        assert_eq!((budget.free(), shard.held()), (40 * KIB, 0));
        held.settle(10 * KIB);
        assert_eq!((budget.free(), shard.held()), (90 * KIB, 10 * KIB));
        held.settle(95 * KIB);
        assert_eq!((budget.free(), shard.held()), (5 * KIB, 95 * KIB));
        drop(held);
        assert_eq!((budget.free(), shard.held()), (100 * KIB, 0));
    }

    #[tokio::test]
    async fn a_read_waits_for_its_share_and_more_than_the_budget_is_all_of_it() {
        let budget = ReadBudget::new(10 * KIB);
        let shard = budget.shard("a");
        let held = budget.reserve(&shard, 99 * KIB).await.unwrap();
        let mut waiting = Box::pin(budget.reserve(&shard, KIB));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(held);
        assert!(waiting.await.is_some());
    }
}
