//! Shards that are owned and don't get on.
//!
//! Owns when each shard of this worker last got on: a reply of the stream, a commit, a publish. Asked by the coordinator,
//! which lives beside the runners: one that hangs can't tell it of itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A shard that got on with nothing for so long raises the alarm: a minute is twelve of the longest intervals between
/// two reads, and twice the silence after which a subscription is renewed.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);

/// When shards last got on.
#[derive(Debug, Default)]
pub struct Progress {
    shards: Mutex<BTreeMap<String, Instant>>,
}

impl Progress {
    /// A shard gets on, or begins.
    pub fn note(&self, shard: &str) {
        let now = Instant::now();
        let mut shards = self.lock();
        match shards.get_mut(shard) {
            Some(at) => *at = now,
            None => {
                shards.insert(shard.to_owned(), now);
            }
        }
    }

    /// A shard is no longer this worker's.
    pub fn forget(&self, shard: &str) {
        self.lock().remove(shard);
    }

    /// The process stood still: nobody could get on.
    pub fn excuse(&self) {
        let now = Instant::now();
        for at in self.lock().values_mut() {
            *at = now;
        }
    }

    /// Shards that have stood still for [`STALLED_AFTER`], and for how long.
    pub fn stalled(&self) -> Vec<(String, Duration)> {
        let now = Instant::now();
        let shards = self.lock();
        let waited = shards
            .iter()
            .map(|(shard, at)| (shard.clone(), now.saturating_duration_since(*at)));
        waited
            .filter(|(_, waited)| *waited >= STALLED_AFTER)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_stands_still_for_a_minute_is_stalled_until_it_gets_on() {
        let progress = Progress::default();
        progress.note("a");
        progress.note("b");
        tokio::time::advance(STALLED_AFTER / 2).await;
        progress.note("b");
        assert!(progress.stalled().is_empty());
        tokio::time::advance(STALLED_AFTER / 2).await;
        assert_eq!(progress.stalled(), [("a".to_owned(), STALLED_AFTER)]);
        progress.note("a");
        assert!(progress.stalled().is_empty());
        tokio::time::advance(STALLED_AFTER).await;
        progress.forget("a");
        assert_eq!(progress.stalled().len(), 1);
        progress.excuse();
        assert!(progress.stalled().is_empty());
    }
}
