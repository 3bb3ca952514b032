//! Who waits for a shard to change: wakers, as tasks of any runtime have them. Must never decide what
//! a change means; who is woken looks for himself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::Shard;

/// The wakers of one shard. Costs an append one load when nobody waits.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Whether `wakers` may hold any.
    any: AtomicBool,
    next_id: AtomicU64,
    wakers: Mutex<HashMap<u64, Waker>>,
}

impl Waiters {
    fn wakers(&self) -> MutexGuard<'_, HashMap<u64, Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all who wait; each has to ask to be woken again.
    ///
    /// To be called after the change can be seen. Together with [`Waiter::wake_me`] before looking,
    /// nobody sleeps through a change: all four accesses to flag and state are ordered.
    pub fn wake(&self) {
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let woken = {
            let mut wakers = self.wakers();
            self.any.store(false, Ordering::SeqCst);
            std::mem::take(&mut *wakers)
        };
        woken.into_values().for_each(Waker::wake);
    }
}

/// A place among those who wait for a shard; given up when dropped.
#[derive(Debug)]
pub struct Waiter {
    shard: Arc<Shard>,
    id: u64,
}

impl Waiter {
    /// A place for one task.
    #[must_use]
    pub fn new(shard: Arc<Shard>) -> Self {
        let id = shard.waiters.next_id.fetch_add(1, Ordering::Relaxed);
        Self { shard, id }
    }

    /// The shard waited for.
    #[must_use]
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Has `waker` woken at the next change; to be called before looking for one.
    ///
    /// The waker is called while the stream is held: it may schedule a task, but not run it.
    pub fn wake_me(&self, waker: &Waker) {
        let mut wakers = self.shard.waiters.wakers();
        wakers
            .entry(self.id)
            .and_modify(|known| known.clone_from(waker))
            .or_insert_with(|| waker.clone());
        self.shard.waiters.any.store(true, Ordering::SeqCst);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shard.waiters.wakers().remove(&self.id);
    }
}
