//! Records that the stream dropped before they were read, and shards or streams that are gone.
//!
//! Owns when that is so, and what is told then. Must never skip a record silently, nor tell a loss that isn't known.

use std::time::Duration;

use stockstream_core::sequence::Position;
use stockstream_core::time::Micros;
use stockstream_crds::spec::OnDataLoss;
use tokio::time::Instant;

use super::{Input, Poll};
use crate::clock::micros;
use crate::pipeline::error::PipelineError;
use crate::source::kinesis::{Listing, Reading, StreamError};

/// A pause in reading after which records may have been trimmed unseen.
const LONG_PAUSE: i64 = 60_000_000;

/// A shard that the stream doesn't have is looked for again after this long, before it counts as gone.
const MISSING_FOR: Duration = Duration::from_secs(5);

impl Poll {
    /// What the horizon brings once more is left out: streams may drop records later than they said.
    pub(super) fn without_handed_over(&mut self, reading: Reading) -> Reading {
        let Some(last) = &self.handed_over else {
            return reading;
        };
        let Reading::Records {
            mut records,
            millis_behind_latest,
        } = reading
        else {
            return reading;
        };
        records.retain(|record| record.sequence > *last);
        if records.is_empty() {
            // More follows, whatever the distance says.
            return Reading::Empty {
                millis_behind_latest: millis_behind_latest.max(1),
            };
        }
        self.handed_over = None;
        Reading::Records {
            records,
            millis_behind_latest,
        }
    }

    /// Before the first read, and after a pause of over a minute (a suspended machine, a store that was away): what
    /// was trimmed meanwhile?
    pub(super) async fn lost_by_pausing(&mut self) -> Option<Input> {
        let now = self.clock.wall();
        let paused = self.read_at.is_none_or(|at| now.0 - at.0 > LONG_PAUSE);
        let through = self.start.read_through.filter(|_| paused)?;
        self.start.retention = match self.read_at {
            // The iterator that was just obtained had the stream described.
            None => self.guard.retention().await.unwrap_or(self.start.retention),
            Some(_) => match self.guard.describe().await {
                Ok(found) => found.retention(),
                // Nothing is read until it is known.
                Err(error) => return Some(Input::Trouble(error)),
            },
        };
        self.read_at = Some(now);
        let (unread, kept) = (now.0 - through.0, micros(self.start.retention));
        (kept > 0 && unread > kept).then(|| self.lost(unread / 1_000_000, kept / 1_000_000))
    }

    /// An empty reply as far behind as records are kept: the reader stands at the trim horizon. It has lost something
    /// when it has read up to a moment before that: a new pipeline's first reply can look the same.
    pub(super) async fn lost_by_distance(
        &mut self,
        asked: Micros,
        reading: &Reading,
    ) -> Option<Input> {
        let Reading::Empty {
            millis_behind_latest,
        } = reading
        else {
            return None;
        };
        let unread = asked.0 - self.start.read_through?.0;
        let is_past = |retention: Duration| {
            let kept = micros(retention);
            kept > 0 && *millis_behind_latest >= kept / 1_000 && unread > kept
        };
        if !is_past(self.start.retention) {
            return None;
        }
        // Whoever sees a loss coming makes the stream keep records for longer.
        self.start.retention = self.guard.describe().await.ok()?.retention();
        let kept = micros(self.start.retention);
        is_past(self.start.retention).then(|| self.lost(unread / 1_000_000, kept / 1_000_000))
    }

    fn lost(&mut self, unread: i64, retention: i64) -> Input {
        // Told once: from here on nothing but the horizon is known.
        self.start.read_through = None;
        if let Position::After(sequence) = self.reader.position() {
            self.handed_over = Some(sequence.clone());
        }
        self.reader.go_to_horizon();
        if let Some(subscriber) = &mut self.subscriber {
            subscriber.drop_subscription();
        }
        match self.start.on_data_loss {
            OnDataLoss::Fail => Input::Failed(PipelineError::DataLost {
                shard: self.start.shard.clone(),
                paused: unread,
                retention,
            }),
            OnDataLoss::Continue => Input::Lost {
                seconds: u64::try_from(unread - retention).unwrap_or(0),
            },
        }
    }

    /// What a fault means: another life of the stream explains some of them, records or a whole shard that went when
    /// the stream had kept them long enough, others.
    pub(super) async fn judge(&mut self, error: StreamError) -> Input {
        let is_unknown = matches!(error, StreamError::NotFound { .. });
        if !is_unknown && !matches!(error, StreamError::Invalid { .. }) {
            return Input::Trouble(error);
        }
        match self.guard.confirm(self.clock.monotonic()).await {
            Ok(false) => self.changed().await,
            Ok(true) if is_unknown && self.left_the_listing().await => self.unlisted().await,
            Ok(true) if !is_unknown => self
                .lost_by_pausing()
                .await
                .unwrap_or(Input::Trouble(error)),
            Ok(true) | Err(_) => Input::Trouble(error),
        }
    }

    /// A closed shard leaves the listing once its last record is older than the retention. It isn't believed at once, nor
    /// of a stream that is being deleted: what follows can't be undone.
    async fn left_the_listing(&mut self) -> bool {
        let active = self
            .guard
            .describe()
            .await
            .is_ok_and(|found| found.is_active);
        let listed = self.guard.client().list_shards(Listing::All).await;
        let is_missing = listed.is_ok_and(|listed| {
            let others = listed.iter().any(|shard| !shard.closed);
            others && !listed.iter().any(|shard| shard.id == self.start.shard)
        });
        if !(active && is_missing) {
            self.missing_since = None;
            return false;
        }
        let since = *self.missing_since.get_or_insert_with(Instant::now);
        since.elapsed() >= MISSING_FOR
    }

    /// Nobody can read any more what was left of the shard.
    async fn unlisted(&mut self) -> Input {
        self.is_unlisted = true;
        let retention = self.guard.retention().await;
        let kept = micros(retention.unwrap_or(self.start.retention));
        let now = self.clock.wall();
        let unread = self.start.read_through.map_or(0, |at| now.0 - at.0);
        self.lost(unread / 1_000_000, kept / 1_000_000)
    }

    pub(super) async fn changed(&self) -> Input {
        let found = match self.guard.describe().await {
            Ok(found) => format!("k{}", found.created_millis),
            Err(error) => format!("unknown ({error})"),
        };
        Input::Failed(self.guard.changed(found))
    }
}
