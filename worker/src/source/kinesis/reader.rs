//! Polling one shard.
//!
//! Owns the iterator, the pace (5 calls and 2 MiB a second for each shard) and back-off. Must never skip or repeat a
//! record: after any trouble it goes on after the last record that it handed out.
//!
//! All readers of a shard share its 5 calls and 2 MiB a second, other applications' too: throttled, the calls become
//! rarer at once and more frequent slowly, so that readers that know nothing of each other find their shares.

use std::sync::Arc;
use std::time::Duration;

use stockstream_core::mutants::{Mutant, broken};
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::time::{Micros, Monotonic};
use tokio::time::Instant;

use super::{StreamClient, StreamError, StreamRecord};
use crate::ambient::jitter;
use crate::clock::Clock;

/// How a shard is polled.
#[derive(Clone, Copy, Debug)]
pub struct ReaderSettings {
    /// At least this long between two calls. AWS allows 5 calls a second and shard, for all readers together.
    pub interval: Duration,
    /// At least this long between two calls at the tip of a quiet shard.
    pub idle_interval: Duration,
    /// Bytes a second; AWS allows 2 MiB for each shard.
    pub bytes_per_second: u64,
    /// Records of one call; AWS allows 10,000.
    pub limit: i32,
}

impl Default for ReaderSettings {
    fn default() -> Self {
        ReaderSettings {
            interval: Duration::from_millis(205),
            idle_interval: Duration::from_millis(400),
            bytes_per_second: 2 * 1024 * 1024,
            limit: 10_000,
        }
    }
}

/// The first and the longest pause after a throttled or failed call.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The longest interval that being throttled leads to.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);

/// How far apart calls are: as the settings say, and further for a while after being throttled.
#[derive(Clone, Copy, Debug)]
struct Interval {
    shortest: Duration,
    current: Duration,
}

impl Interval {
    fn new(shortest: Duration) -> Self {
        Interval {
            shortest,
            current: shortest,
        }
    }

    fn throttled(&mut self) {
        self.current = (self.current * 2).min(LONGEST_INTERVAL.max(self.shortest));
    }

    /// A call went well: a twentieth shorter.
    fn went_well(&mut self) {
        self.current = (self.current - self.current / 20).max(self.shortest);
    }
}

/// What one call brought.
#[derive(Debug)]
pub enum Reading {
    /// Records, in order.
    Records {
        /// The records; at least one.
        records: Vec<StreamRecord>,
        /// How far behind the tip they are, in milliseconds.
        millis_behind_latest: i64,
    },
    /// Nothing, and nothing is waiting.
    EmptyAtTip {
        /// When the request was sent.
        sent: Monotonic,
        /// The same, by the clock.
        wall: Micros,
    },
    /// Nothing here, but there may be more further on.
    Empty {
        /// How far behind the tip, in milliseconds.
        millis_behind_latest: i64,
    },
    /// The shard was closed, and everything in it has been handed out.
    Closed {
        /// The shards that follow.
        children: Vec<String>,
    },
}

/// Reads one shard.
#[derive(Debug)]
pub struct ShardReader {
    client: Arc<dyn StreamClient>,
    clock: Clock,
    shard: String,
    settings: ReaderSettings,
    /// After the last record handed out.
    position: Position,
    iterator: Option<String>,
    /// Of the same position, for looks at the tip while a subscription brings the records.
    tip_iterator: Option<String>,
    not_before: Instant,
    pause: Duration,
    interval: Interval,
}

impl ShardReader {
    /// A reader that begins at `position`.
    pub fn new(
        client: Arc<dyn StreamClient>,
        clock: Clock,
        shard: impl Into<String>,
        settings: ReaderSettings,
        position: Position,
    ) -> Self {
        ShardReader {
            client,
            clock,
            shard: shard.into(),
            settings,
            position,
            iterator: None,
            tip_iterator: None,
            not_before: Instant::now(),
            pause: FIRST_PAUSE,
            interval: Interval::new(settings.interval),
        }
    }

    /// True when the next call needs an iterator first: the stream may have been made anew meanwhile.
    pub fn needs_iterator(&self) -> bool {
        self.iterator.is_none()
    }

    /// Gets an iterator from the position, if there is none, once the pace allows it.
    ///
    /// # Errors
    /// The stream's fault. The pause after it is in the pace already.
    pub async fn ensure_iterator(&mut self) -> Result<(), StreamError> {
        if self.iterator.is_none() {
            tokio::time::sleep_until(self.not_before).await;
            let position = match &self.position {
                Position::AtTimestamp(_) if broken(Mutant::LatestNotPinned) => {
                    Position::AtTimestamp(self.clock.wall().millis())
                }
                position => position.clone(),
            };
            let iterator = self.client.iterator(&self.shard, &position).await;
            let iterator = iterator.inspect_err(|_| self.back_off())?;
            self.iterator = Some(iterator);
        }
        Ok(())
    }

    /// Gives the iterator up, because it couldn't be made sure whose it is, and pauses before the next one.
    pub fn forget_iterator(&mut self) {
        self.iterator = None;
        self.back_off();
    }

    /// Waits until the pace allows the next call.
    pub async fn wait_for_pace(&self) {
        tokio::time::sleep_until(self.not_before).await;
    }

    /// Where reading goes on.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Records up to this one were handed out by a subscription.
    pub fn go_on_after(&mut self, sequence: SequenceNumber) {
        self.position = Position::After(sequence);
        self.iterator = None;
        self.tip_iterator = None;
    }

    /// What follows the position was trimmed: goes on with the oldest record that is left. Those before the position that
    /// the stream may still have are handed out again.
    pub fn go_to_horizon(&mut self) {
        self.position = Position::TrimHorizon;
        self.iterator = None;
        self.tip_iterator = None;
    }

    /// Looks once, without taking anything, whether there is anything after the position: `Some` with the sending time
    /// when the reply was empty and at the tip.
    ///
    /// # Errors
    /// The stream's fault.
    pub async fn look_at_tip(&mut self) -> Result<Option<(Monotonic, Micros)>, StreamError> {
        tokio::time::sleep_until(self.not_before).await;
        let iterator = match self.tip_iterator.take() {
            Some(iterator) => iterator,
            None => self.client.iterator(&self.shard, &self.position).await?,
        };
        let (sent, wall) = (self.clock.monotonic(), self.clock.wall());
        let reply = self.client.get_records(&iterator, 1).await?;
        self.not_before = Instant::now() + self.settings.interval;
        let empty = reply.records.is_empty() && reply.millis_behind_latest == 0;
        self.tip_iterator = reply.next.filter(|_| reply.records.is_empty());
        Ok((empty && self.tip_iterator.is_some()).then_some((sent, wall)))
    }

    /// Waits until the pace allows it, and reads once. After an error the pause is in the pace already: call again.
    ///
    /// # Errors
    /// The stream's fault. An expired iterator is none: it is renewed.
    pub async fn read(&mut self) -> Result<Reading, StreamError> {
        self.ensure_iterator().await?;
        tokio::time::sleep_until(self.not_before).await;
        let Some(iterator) = self.iterator.clone() else {
            return Ok(Reading::Empty {
                millis_behind_latest: i64::MAX,
            });
        };
        let asked = Instant::now();
        let (sent, wall) = (self.clock.monotonic(), self.clock.wall());
        #[cfg(feature = "mutants")]
        let sent = match broken(Mutant::TrustWallClock) {
            true => self.clock.by_calendar(),
            false => sent,
        };
        let reply = match self
            .client
            .get_records(&iterator, self.settings.limit)
            .await
        {
            Ok(reply) => reply,
            Err(error) => {
                if matches!(error, StreamError::Throttled { .. }) {
                    // The iterator is as good as before.
                    self.interval.throttled();
                } else {
                    // A new one is right after every other kind of error.
                    self.iterator = None;
                }
                self.back_off();
                return Err(error);
            }
        };
        self.pause = FIRST_PAUSE;
        self.interval.went_well();
        self.iterator.clone_from(&reply.next);
        self.keep_pace(asked, &reply.records);
        if let Some(last) = reply.records.last() {
            self.position = Position::After(last.sequence.clone());
            self.tip_iterator = None;
            // The end is told by the next, empty reply, so that no record can be lost with it.
            if reply.next.is_none() {
                self.iterator = None;
            }
            return Ok(Reading::Records {
                records: reply.records,
                millis_behind_latest: reply.millis_behind_latest,
            });
        }
        Ok(match (reply.next, reply.millis_behind_latest) {
            (None, _) => Reading::Closed {
                children: reply.children,
            },
            (Some(_), 0) => Reading::EmptyAtTip { sent, wall },
            (Some(_), millis_behind_latest) => Reading::Empty {
                millis_behind_latest,
            },
        })
    }

    /// Counted from when the call was sent: a slow reply is no reason to wait longer than the stream asks for.
    fn keep_pace(&mut self, asked: Instant, records: &[StreamRecord]) {
        let bytes: usize = records.iter().map(|record| record.data.len()).sum();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let for_bytes = Duration::from_micros(
            bytes.saturating_mul(1_000_000) / self.settings.bytes_per_second.max(1),
        );
        let interval = match records.is_empty() {
            true => self.settings.idle_interval.max(self.interval.current),
            false => self.interval.current,
        };
        self.not_before = asked + interval.max(for_bytes) + jitter(interval / 10);
    }

    fn back_off(&mut self) {
        self.not_before = Instant::now() + self.pause + jitter(self.pause / 2);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_makes_calls_rarer_at_once_and_success_more_frequent_slowly() {
        let shortest = Duration::from_millis(200);
        let mut interval = Interval::new(shortest);
        interval.throttled();
        interval.throttled();
        assert_eq!(interval.current, shortest * 4);
        interval.went_well();
        assert_eq!(interval.current, Duration::from_millis(760));
        for _ in 0..100 {
            interval.went_well();
        }
        assert_eq!(interval.current, shortest);
        for _ in 0..100 {
            interval.throttled();
        }
        assert_eq!(interval.current, LONGEST_INTERVAL);
    }
}
