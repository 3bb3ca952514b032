//! Shards that this worker leaves alone for a while.
//!
//! Owns until when, and the one thing that ends a pause early: a newer epoch. A pause is there so that another worker may
//! have the shard; once one has had it, and died, nobody gains by waiting.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Why a shard waits matters only to who says so.
#[derive(Clone, Copy, Debug)]
struct Wait {
    until: Instant,
    /// The newest epoch when it began.
    epoch: u64,
    /// How often in a row this worker was fenced.
    fenced: u32,
}

/// The pauses.
#[derive(Debug, Default)]
pub(super) struct Waits {
    by_shard: BTreeMap<String, Wait>,
}

impl Waits {
    /// A shard whose newest epoch is `epoch` is left alone until then.
    pub(super) fn pause(&mut self, shard: &str, epoch: u64, until: Instant) {
        let wait = Wait {
            until,
            epoch,
            fenced: 0,
        };
        self.by_shard.insert(shard.to_owned(), wait);
    }

    /// Another worker fenced this one with `epoch`; `until` is told how often that has happened before, in a row.
    pub(super) fn fenced(&mut self, shard: &str, epoch: u64, until: impl FnOnce(u32) -> Instant) {
        let times = self.by_shard.get(shard).map_or(0, |wait| wait.fenced);
        let wait = Wait {
            until: until(times),
            epoch,
            fenced: times + 1,
        };
        self.by_shard.insert(shard.to_owned(), wait);
    }

    /// This worker has the shard: whatever was before is over.
    pub(super) fn forget(&mut self, shard: &str) {
        self.by_shard.remove(shard);
    }

    /// True while a shard whose newest epoch is `epoch` is left alone.
    pub(super) fn holds_back(&self, shard: &str, epoch: u64) -> bool {
        let wait = self.by_shard.get(shard);
        wait.is_some_and(|wait| Instant::now() < wait.until && epoch <= wait.epoch)
    }

    /// When the pauses end.
    pub(super) fn ends(&self) -> impl Iterator<Item = Instant> {
        self.by_shard.values().map(|wait| wait.until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(6);

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_with_time_or_with_a_newer_epoch() {
        let mut waits = Waits::default();
        waits.pause("a", 2, Instant::now() + PAUSE);
        assert!(waits.holds_back("a", 2));
        assert!(!waits.holds_back("b", 2));
        // Another worker took it. Should that one die, the shard is free.
        assert!(!waits.holds_back("a", 3));
        tokio::time::advance(PAUSE).await;
        assert!(!waits.holds_back("a", 2));
    }

    #[tokio::test(start_paused = true)]
    async fn being_fenced_again_and_again_is_counted_until_the_shard_is_held() {
        let mut waits = Waits::default();
        let mut told = Vec::new();
        for epoch in [3, 5] {
            waits.fenced("a", epoch, |times| {
                told.push(times);
                Instant::now() + PAUSE
            });
            assert!(waits.holds_back("a", epoch));
        }
        waits.forget("a");
        assert!(!waits.holds_back("a", 5));
        waits.fenced("a", 7, |times| {
            told.push(times);
            Instant::now()
        });
        assert_eq!(told, [0, 1, 0]);
    }
}
