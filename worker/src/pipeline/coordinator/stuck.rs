//! Shards of this worker's that can't go on.
//!
//! Owns why, and when each is tried again. They stay this worker's meanwhile: another one would fare no better, and the
//! reason is shown beside the shard.

use std::collections::BTreeMap;
use std::time::Duration;

use stockstream_core::member::Holding;
use stockstream_core::time::Micros;
use tokio::time::Instant;

/// Between two attempts at a shard that can't go on: doubling.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// One that waits for its next attempt.
#[derive(Debug)]
struct Trouble {
    epoch: u64,
    since: Micros,
    reason: String,
    retry_at: Instant,
}

/// How often in a row a shard has failed.
#[derive(Clone, Copy, Debug)]
struct Failures {
    times: u32,
    /// When the attempt after the last one was due.
    retry_at: Instant,
}

/// The shards.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    by_shard: BTreeMap<String, Trouble>,
    /// Outlives an attempt: a shard that can be taken but not read fails after every take.
    failures: BTreeMap<String, Failures>,
}

impl Stuck {
    /// A shard of this epoch failed. It is tried again after a pause that doubles until it has gone well for as long as
    /// the longest.
    pub(super) fn failed(&mut self, shard: String, epoch: u64, since: Micros, reason: String) {
        let now = Instant::now();
        let times = self.recent(&shard).map_or(0, |before| before.times);
        let pause = FIRST_RETRY
            .saturating_mul(1 << times.min(5))
            .min(LONGEST_RETRY);
        let retry_at = now + pause;
        let failures = Failures {
            times: times + 1,
            retry_at,
        };
        self.failures.insert(shard.clone(), failures);
        let trouble = Trouble {
            epoch,
            since,
            reason,
            retry_at,
        };
        self.by_shard.insert(shard, trouble);
    }

    /// This worker has it again.
    pub(super) fn taken(&mut self, shard: &str) {
        self.by_shard.remove(shard);
    }

    /// Somebody has it with this epoch: with a newer one, another worker goes on with it.
    pub(super) fn seen(&mut self, shard: &str, epoch: u64) {
        let passed = self
            .by_shard
            .get(shard)
            .is_some_and(|trouble| trouble.epoch < epoch);
        if passed {
            self.by_shard.remove(shard);
        }
    }

    /// True when this worker couldn't go on with it lately: another one shan't give it here.
    pub(super) fn has_failed(&self, shard: &str) -> bool {
        self.recent(shard).is_some()
    }

    fn recent(&self, shard: &str) -> Option<&Failures> {
        let failures = self.failures.get(shard)?;
        let since = Instant::now().saturating_duration_since(failures.retry_at);
        (since <= LONGEST_RETRY).then_some(failures)
    }

    /// Nothing is tried again.
    pub(super) fn give_up(&mut self) {
        self.by_shard.clear();
    }

    pub(super) fn contains(&self, shard: &str) -> bool {
        self.by_shard.contains_key(shard)
    }

    /// When shards are due.
    pub(super) fn retries(&self) -> impl Iterator<Item = Instant> {
        self.by_shard.values().map(|trouble| trouble.retry_at)
    }

    /// Shards that are to be tried again now.
    pub(super) fn due(&self) -> Vec<String> {
        let now = Instant::now();
        self.by_shard
            .iter()
            .filter(|(_, trouble)| trouble.retry_at <= now)
            .map(|(shard, _)| shard.clone())
            .collect()
    }

    /// What the other members are told of them.
    pub(super) fn holdings(&self) -> impl Iterator<Item = (String, Holding)> {
        self.by_shard.iter().map(|(shard, trouble)| {
            let holding = Holding {
                epoch: trouble.epoch,
                since: trouble.since,
                ended: false,
                trouble: Some(trouble.reason.chars().take(500).collect()),
            };
            (shard.clone(), holding)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(stuck: &mut Stuck, epoch: u64) -> Duration {
        stuck.failed("a".to_owned(), epoch, Micros(0), "DataLost".to_owned());
        let at = stuck.retries().next().unwrap_or_else(Instant::now);
        at - Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_though_every_attempt_begins_well() {
        let mut stuck = Stuck::default();
        let mut pauses = Vec::new();
        for epoch in 1..=7 {
            let pause = fail(&mut stuck, epoch);
            pauses.push(pause.as_secs());
            assert!(stuck.due().is_empty());
            tokio::time::advance(pause).await;
            assert_eq!(stuck.due(), ["a"]);
            // It can be taken again, and read for a moment.
            stuck.seen("a", epoch);
            stuck.taken("a");
            assert!(!stuck.contains("a"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        tokio::time::advance(LONGEST_RETRY).await;
        assert_eq!(fail(&mut stuck, 8), FIRST_RETRY, "it had gone well");
    }

    #[tokio::test(start_paused = true)]
    async fn another_workers_epoch_ends_it() {
        let mut stuck = Stuck::default();
        fail(&mut stuck, 3);
        stuck.seen("a", 3);
        assert!(stuck.contains("a"));
        assert_eq!(stuck.holdings().count(), 1);
        stuck.seen("a", 4);
        assert!(!stuck.contains("a"));
        assert!(stuck.has_failed("a"), "nobody shall give it back at once");
        tokio::time::advance(FIRST_RETRY + LONGEST_RETRY + FIRST_RETRY).await;
        assert!(!stuck.has_failed("a"));
        assert_eq!(fail(&mut stuck, 6), FIRST_RETRY);
    }
}
