//! Summaries of what happens per tick, so that a flood of bad ticks is a few log lines.
//!
//! Owns the sums not yet told. Must never lose a count it accepted, nor grow with the input.

use std::collections::HashMap;
use std::time::Duration;

use super::event::Event;

/// Turns counts that come with every tick into one event per interval, shard and reason.
///
/// The first count of a kind is told at once; what follows is summed until the interval has passed.
#[derive(Debug)]
pub struct Summaries {
    interval_micros: i64,
    pending: HashMap<Kind, Pending>,
}

/// What a summary is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Late { shard: String },
    DeadLetter { shard: String, reason: String },
}

#[derive(Debug)]
struct Pending {
    told_at: i64,
    count: u64,
}

/// Most kinds that are summed apart; further ones are told only by the counters.
const MAX_KINDS: usize = 4_096;

impl Summaries {
    /// Summaries told at most once per `interval` and kind.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        let interval_micros = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        Self {
            interval_micros,
            pending: HashMap::new(),
        }
    }

    /// Counts late ticks. `now` in microseconds since 1970 UTC; an event when one is due.
    #[must_use]
    pub fn late(&mut self, shard: &str, count: u64, now: i64) -> Option<Event> {
        self.count(
            Kind::Late {
                shard: shard.to_owned(),
            },
            count,
            now,
        )
    }

    /// Counts dead letters of one reason. `now` in microseconds since 1970 UTC; an event when one is due.
    #[must_use]
    pub fn dead_letters(
        &mut self,
        shard: &str,
        reason: &str,
        count: u64,
        now: i64,
    ) -> Option<Event> {
        self.count(
            Kind::DeadLetter {
                shard: shard.to_owned(),
                reason: reason.to_owned(),
            },
            count,
            now,
        )
    }

    /// What is due at `now`. Call it every few seconds, so that the last counts of a burst are told too.
    #[must_use]
    pub fn due(&mut self, now: i64) -> Vec<Event> {
        let interval = self.interval_micros;
        let mut events = Vec::new();
        self.pending.retain(|kind, pending| {
            if now.saturating_sub(pending.told_at) < interval {
                return true;
            }
            if pending.count == 0 {
                return false;
            }
            events.push(kind.event(std::mem::take(&mut pending.count)));
            pending.told_at = now;
            true
        });
        events.sort_by_key(Event::message);
        events
    }

    /// Everything not yet told; for the end of a run.
    #[must_use]
    pub fn flush(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = self
            .pending
            .drain()
            .filter(|(_, pending)| pending.count > 0)
            .map(|(kind, pending)| kind.event(pending.count))
            .collect();
        events.sort_by_key(Event::message);
        events
    }

    fn count(&mut self, kind: Kind, count: u64, now: i64) -> Option<Event> {
        if count == 0 {
            return None;
        }
        if let Some(pending) = self.pending.get_mut(&kind) {
            pending.count = pending.count.saturating_add(count);
            if now.saturating_sub(pending.told_at) < self.interval_micros {
                return None;
            }
            pending.told_at = now;
            return Some(kind.event(std::mem::take(&mut pending.count)));
        }
        if self.pending.len() >= MAX_KINDS {
            return None;
        }
        let event = kind.event(count);
        self.pending.insert(
            kind,
            Pending {
                told_at: now,
                count: 0,
            },
        );
        Some(event)
    }
}

impl Kind {
    fn event(&self, count: u64) -> Event {
        match self {
            Self::Late { shard } => Event::LateTicks {
                shard: shard.clone(),
                count,
            },
            Self::DeadLetter { shard, reason } => Event::DeadLetters {
                shard: shard.clone(),
                reason: reason.clone(),
                count,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn counts(events: &[Event]) -> Vec<(Option<&str>, u64)> {
        events
            .iter()
            .map(|event| match event {
                Event::LateTicks { count, .. } => (None, *count),
                Event::DeadLetters { reason, count, .. } => (Some(reason.as_str()), *count),
                other => panic!("not a summary: {other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_burst_is_told_at_once_and_then_once_per_interval_and_no_count_is_lost() {
        let mut summaries = Summaries::new(Duration::from_secs(10));
        let mut told = Vec::new();
        for tick in 0..1_000 {
            told.extend(summaries.late("s", 1, tick * SECOND / 40)); // 25 s in all
        }
        told.extend(summaries.flush());
        let counted = counts(&told);
        assert_eq!(counted.first(), Some(&(None, 1)));
        assert_eq!(
            counted.len(),
            4,
            "at 0, 10, 20 s and at the end: {counted:?}"
        );
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 1_000);
    }

    #[test]
    fn reasons_are_summed_apart_and_the_end_of_a_burst_falls_due() {
        let mut summaries = Summaries::new(Duration::from_secs(10));
        assert!(
            summaries
                .dead_letters("s", "malformed_json", 2, 0)
                .is_some()
        );
        assert!(summaries.dead_letters("s", "missing_field", 1, 0).is_some());
        assert!(
            summaries
                .dead_letters("s", "malformed_json", 5, SECOND)
                .is_none()
        );
        assert!(summaries.due(9 * SECOND).is_empty());
        assert_eq!(
            counts(&summaries.due(10 * SECOND)),
            [(Some("malformed_json"), 5)]
        );
        assert!(summaries.due(30 * SECOND).is_empty());
        assert!(summaries.pending.is_empty(), "quiet kinds are forgotten");
    }

    #[test]
    fn the_kinds_that_are_remembered_are_bounded() {
        let mut summaries = Summaries::new(Duration::from_secs(10));
        for n in 0..MAX_KINDS + 10 {
            let _ = summaries.late(&format!("shard {n}"), 1, 0);
        }
        assert_eq!(summaries.pending.len(), MAX_KINDS);
    }
}
