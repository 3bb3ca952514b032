//! What a replay is asked to do, checked once; behind it nothing can be out of range.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::event_time::Speed;
use super::pace::Rate;
use super::rows::{ColumnNames, Format, MAX_ROWS};

/// How often and how fast a failed record is sent again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The wait before the second attempt; it doubles from there, with jitter on top.
    pub first_delay: Duration,
    /// The longest wait, without its jitter.
    pub longest_delay: Duration,
    /// How often one record is sent at most, the first time included.
    pub attempts: u32,
}

impl Default for RetryPolicy {
    /// Ten attempts from 100 ms up to 5 s: about half a minute in all.
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(5),
            attempts: 10,
        }
    }
}

impl RetryPolicy {
    /// The waits of one record, in order. `seed` makes the jitter differ between records and processes.
    pub(super) fn delays(&self, seed: u64) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.first_delay)
            .with_max_delay(self.longest_delay)
            .with_max_times(self.attempts.saturating_sub(1) as usize)
            .with_jitter()
            .with_jitter_seed(seed)
            .build()
    }
}

/// What to replay, where to, and how fast.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// A path, `file://` or `s3://` URL of a file or a directory.
    pub input: String,
    /// The stream's name.
    pub stream: String,
    /// The format of files whose names don't tell.
    pub format: Option<Format>,
    /// Column names other than the usual ones.
    pub columns: ColumnNames,
    /// The tickers to keep; all when empty.
    pub tickers: BTreeSet<String>,
    /// Records per second.
    pub rate: Rate,
    /// How much faster than the clock event time runs.
    pub speed: Speed,
    /// The first event time; worked out from `speed` when absent.
    pub start_time: Option<jiff::Timestamp>,
    /// Begin again after the last row, until stopped or at `limit`.
    pub repeat: bool,
    /// The largest number of records to send.
    pub limit: Option<u64>,
    /// Create the stream with this many shards if it is not there.
    pub create_shards: Option<u16>,
    /// How failed records are sent again.
    pub retry: RetryPolicy,
    /// The largest number of rows held in memory.
    pub max_rows: usize,
}

impl ReplayOptions {
    /// A replay of `input` into `stream` with every default: one record each 1.5 s, once, in real time.
    pub fn new(input: impl Into<String>, stream: impl Into<String>) -> Self {
        Self {
            input: input.into(),
            stream: stream.into(),
            format: None,
            columns: ColumnNames::default(),
            tickers: BTreeSet::new(),
            rate: Rate::default(),
            speed: Speed::default(),
            start_time: None,
            repeat: false,
            limit: None,
            create_shards: None,
            retry: RetryPolicy::default(),
            max_rows: MAX_ROWS,
        }
    }

    /// How many records the run sends when nothing stops it; `None` for ever.
    pub fn records(&self, rows: u64) -> Option<u64> {
        match (self.repeat, self.limit) {
            (true, limit) => limit,
            (false, limit) => Some(limit.map_or(rows, |limit| limit.min(rows))),
        }
    }
}
