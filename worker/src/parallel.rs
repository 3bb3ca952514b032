//! Work that keeps every core busy for a moment.
//!
//! Owns how a list is shared out among threads. Blocks: only for threads that the runtime doesn't need.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Threads at most.
const MOST_THREADS: usize = 4;

/// How many threads keep every core busy.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS))
}

/// What `work` makes of each item, in the items' order. Panics when `work` does.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = threads();
    let next = AtomicUsize::new(0);
    let own = || {
        let mut made = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            match items.get(index) {
                Some(item) => made.push((index, work(item))),
                None => return made,
            }
        }
    };
    let mut made = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len()))
            .map(|_| scope.spawn(own))
            .collect();
        let mut made = own();
        for other in others {
            match other.join() {
                Ok(more) => made.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        made
    });
    made.sort_unstable_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..1_000).collect();
        let doubled = in_parallel(&items, |item| item * 2);
        assert!(doubled.iter().copied().eq((0..1_000).map(|item| item * 2)));
        assert!(in_parallel(&[], |item: &usize| *item).is_empty());
    }
}
