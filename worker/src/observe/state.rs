//! The plain data of one worker's view of its pipeline, as `/api/state` serves it.
//!
//! Owns the JSON shape (camelCase; times are microseconds since 1970 UTC here and ISO-8601 in JSON).
//! Must never hold the core's types, a lock or a clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::iso8601;

/// Most distinct dead-letter reasons that are counted by name; further ones are counted as [`OTHER_REASON`].
pub const MAX_REASONS: usize = 32;
/// Longest dead-letter reason, in bytes.
pub const MAX_REASON_BYTES: usize = 48;
/// The label of dead letters whose reason is not a proper label or is one too many.
pub const OTHER_REASON: &str = "other";

/// Everything one worker knows about its pipeline at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineReport {
    /// Which pipeline this is.
    pub pipeline: PipelineName,
    /// Kinesis stream name, or a short description of the files read.
    pub stream: String,
    /// One life of the stream: its creation time, or the hash of the file list. Unknown until first read.
    pub incarnation: Option<String>,
    /// The random id in `pipeline.json`. Unknown until the state path was read.
    pub state_id: Option<String>,
    /// The worker that reports.
    pub worker: WorkerReport,
    /// Where rows are written.
    pub output_path: String,
    /// Where late ticks and dead letters are written.
    pub rejects_path: String,
    /// Where checkpoints are written.
    pub state_path: String,
    /// Names of the aggregates in the order of the spec: the order in which to show `values`.
    pub aggregates: Vec<String>,
    /// What the pipeline as a whole is doing.
    pub phase: PipelinePhase,
    /// Why the pipeline is in this phase, for people; set when it failed.
    pub reason: Option<String>,
    /// Shards this worker knows, in the order of their names.
    pub shards: Vec<ShardReport>,
    /// Tickers of this worker's shards, in the order of their names. At most [`super::observer::MAX_TICKERS`].
    pub tickers: Vec<TickerReport>,
    /// Tickers left out of `tickers` because there are too many.
    pub tickers_omitted: u64,
    /// Sums over all shards.
    pub totals: Counters,
    /// All workers of the pipeline that this one knows, itself included, in the order of their ids.
    #[serde(default)]
    pub members: Vec<MemberReport>,
    /// Conditions, in the order of their types.
    pub conditions: Vec<Condition>,
    /// The newest events, oldest first. At most [`super::observer::MAX_EVENTS`].
    pub events: Vec<EventReport>,
}

/// The Kubernetes name of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineName {
    /// Namespace (`default` outside a cluster).
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The process that reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerReport {
    /// Worker's name and random process id.
    pub member_id: String,
    /// Version of the binary.
    pub version: String,
    /// When the process started.
    #[serde(with = "iso8601")]
    pub started_at: i64,
    /// Kinesis endpoint URL when it isn't AWS's own.
    pub endpoint: Option<String>,
    /// Where this worker serves `/api/state` and `/metrics`, as a URL.
    pub listen: Option<String>,
}

/// A worker of the pipeline, as its own `info` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberReport {
    /// Worker's name and random process id.
    pub member_id: String,
    /// Worker's name.
    pub name: String,
    /// Where its HTTP server is reached, as `host:port`.
    pub address: Option<String>,
    /// Version of its binary.
    pub version: String,
    /// When its process started, by its own clock.
    #[serde(with = "iso8601")]
    pub since: i64,
    /// False when it counts as dead: its shards are being taken.
    pub live: bool,
    /// True when it is giving its shards away.
    pub draining: bool,
    /// The shards that it holds, in the order of their names.
    pub shards: Vec<MemberShard>,
}

/// A shard in a worker's hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberShard {
    /// The shard.
    pub shard: String,
    /// Fencing number of the take.
    pub epoch: u64,
    /// When it was taken, by the worker's own clock.
    #[serde(with = "iso8601")]
    pub since: i64,
    /// True once the shard was read to its end.
    pub ended: bool,
    /// Why it can't go on, when it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What a pipeline is doing, as one worker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PipelinePhase {
    /// Checking the store, the stream and the state.
    Starting,
    /// Reading and publishing.
    Running,
    /// Told to stop: sealing and publishing what is open.
    Stopping,
    /// Nothing is left to read and everything is published.
    Finished,
    /// Stopped by an error.
    Failed,
}

impl PipelinePhase {
    /// All phases, for metrics.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Finished,
        Self::Failed,
    ];

    /// The name in snake_case, for labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// What a worker does with a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ShardPhase {
    /// Known, but not this worker's turn: parents not ended, or another owner.
    Waiting,
    /// Creating the version that fences the previous owner.
    Taking,
    /// Publishing the outbox found in the chain.
    Recovering,
    /// Reading ticks.
    Reading,
    /// Not reading until unpublished bytes are out.
    BackPressure,
    /// Another owner took it.
    Fenced,
    /// Read to its end and all published.
    Ended,
    /// Stopped by an error.
    Failed,
}

impl ShardPhase {
    /// All phases, for metrics.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Taking,
        Self::Recovering,
        Self::Reading,
        Self::BackPressure,
        Self::Fenced,
        Self::Ended,
        Self::Failed,
    ];

    /// The name in snake_case, for labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Taking => "taking",
            Self::Recovering => "recovering",
            Self::Reading => "reading",
            Self::BackPressure => "back_pressure",
            Self::Fenced => "fenced",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardReport {
    /// Shard id, such as `shardId-000000000000`.
    pub shard: String,
    /// Member id of the owner that the chain names.
    pub owner: Option<String>,
    /// Fencing number of the owner.
    pub epoch: u64,
    /// Newest version of the chain that this worker knows.
    pub checkpoint_version: u64,
    /// When that version was committed.
    #[serde(with = "iso8601::option")]
    pub committed_at: Option<i64>,
    /// What is being done with the shard.
    pub phase: ShardPhase,
    /// Why, for people; set for `Failed`, `Fenced`, `BackPressure` and `Waiting`.
    pub reason: Option<String>,
    /// Last applied sequence number, a start rule, `SHARD_END` or `STREAM_GONE`.
    pub position: Option<String>,
    /// `MillisBehindLatest` of the newest reply.
    pub millis_behind_latest: Option<u64>,
    /// Event time below which windows are closed.
    #[serde(with = "iso8601::option")]
    pub watermark: Option<i64>,
    /// Arrival time up to which the shard has been read.
    #[serde(with = "iso8601::option")]
    pub read_through: Option<i64>,
    /// End of the newest window that this worker has published.
    #[serde(default, with = "iso8601::option")]
    pub published_through: Option<i64>,
    /// Windows open now, over all tickers.
    pub open_windows: u64,
    /// Bytes of closed rows and rejects that are not yet published.
    pub unpublished_bytes: u64,
    /// Bytes read and not yet applied.
    #[serde(default)]
    pub read_ahead_bytes: u64,
    /// Sealed batches that are not yet published.
    pub outbox_batches: u64,
    /// Partitions that wait for registration in Glue.
    pub unregistered_partitions: u64,
    /// Counts since the chain began, or since this process started where the chain doesn't keep them.
    pub counters: Counters,
}

impl ShardReport {
    /// A shard of which nothing is known but its name.
    #[must_use]
    pub fn new(shard: impl Into<String>) -> Self {
        Self {
            shard: shard.into(),
            owner: None,
            epoch: 0,
            checkpoint_version: 0,
            committed_at: None,
            phase: ShardPhase::Waiting,
            reason: None,
            position: None,
            millis_behind_latest: None,
            watermark: None,
            read_through: None,
            published_through: None,
            open_windows: 0,
            unpublished_bytes: 0,
            read_ahead_bytes: 0,
            outbox_batches: 0,
            unregistered_partitions: 0,
            counters: Counters::default(),
        }
    }
}

/// Monotonic counts of one shard, or their sums over shards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Records applied, whatever became of them.
    pub ticks: u64,
    /// Ticks whose window was closed.
    pub late: u64,
    /// Ticks that can't be used, by reason. Add with [`Counters::add_dead_letters`], which keeps the reasons bounded.
    pub dead_letters: BTreeMap<String, u64>,
    /// Ticks dropped because their record id was seen before in an open window.
    pub duplicates: u64,
    /// Sub-records of aggregated records that belong to another shard.
    pub misrouted: u64,
    /// Rows of closed windows.
    pub rows_closed: u64,
    /// Rows whose file exists.
    pub rows_published: u64,
    /// Files of rows that exist.
    pub files_published: u64,
    /// Bytes of those files.
    pub bytes_published: u64,
    /// Checkpoint versions created.
    pub commits: u64,
    /// Batches sealed.
    pub batches_sealed: u64,
    /// Times a shard was taken.
    pub takes: u64,
    /// Times this worker was fenced.
    pub fenced: u64,
    /// Times the watermark moved without a tick.
    pub idle_advances: u64,
    /// Seconds of data lost to retention.
    pub lost_seconds: u64,
    /// GetRecords replies.
    pub reads: u64,
    /// GetRecords calls refused for their rate.
    pub throttled_reads: u64,
    /// Milliseconds that reads waited for what was read before to be applied.
    pub read_wait_millis: u64,
    /// Requests to the object store or the stream that were sent again.
    pub retries: u64,
}

impl Counters {
    /// Counts `count` more dead letters. `reason` is a snake_case label of at most [`MAX_REASON_BYTES`];
    /// anything else, and every reason after the first [`MAX_REASONS`], counts as [`OTHER_REASON`].
    pub fn add_dead_letters(&mut self, reason: &str, count: u64) {
        let known = self.dead_letters.contains_key(reason);
        let proper = is_label(reason) && self.dead_letters.len() < MAX_REASONS;
        let label = if known || proper {
            reason
        } else {
            OTHER_REASON
        };
        let counted = self.dead_letters.entry(label.to_owned()).or_default();
        *counted = counted.saturating_add(count);
    }

    /// Dead letters of all reasons.
    #[must_use]
    pub fn dead_letters_total(&self) -> u64 {
        self.dead_letters
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds another shard's counts.
    pub fn add(&mut self, other: &Self) {
        for (reason, count) in &other.dead_letters {
            self.add_dead_letters(reason, *count);
        }
        let Self {
            ticks,
            late,
            dead_letters: _,
            duplicates,
            misrouted,
            rows_closed,
            rows_published,
            files_published,
            bytes_published,
            commits,
            batches_sealed,
            takes,
            fenced,
            idle_advances,
            lost_seconds,
            reads,
            throttled_reads,
            read_wait_millis,
            retries,
        } = self;
        for (mine, theirs) in [
            (ticks, other.ticks),
            (late, other.late),
            (duplicates, other.duplicates),
            (misrouted, other.misrouted),
            (rows_closed, other.rows_closed),
            (rows_published, other.rows_published),
            (files_published, other.files_published),
            (bytes_published, other.bytes_published),
            (commits, other.commits),
            (batches_sealed, other.batches_sealed),
            (takes, other.takes),
            (fenced, other.fenced),
            (idle_advances, other.idle_advances),
            (lost_seconds, other.lost_seconds),
            (reads, other.reads),
            (throttled_reads, other.throttled_reads),
            (read_wait_millis, other.read_wait_millis),
            (retries, other.retries),
        ] {
            *mine = mine.saturating_add(theirs);
        }
    }
}

fn is_label(reason: &str) -> bool {
    !reason.is_empty()
        && reason.len() <= MAX_REASON_BYTES
        && reason
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// One ticker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TickerReport {
    /// Ticker as the ticks spell it: untrusted text.
    pub ticker: String,
    /// The shard it lives in.
    pub shard: String,
    /// Close of the newest tick, in the shard's order.
    pub latest_close: Option<f64>,
    /// Event time of that tick.
    #[serde(with = "iso8601::option")]
    pub latest_event_time: Option<i64>,
    /// The newest open window.
    pub open: Option<WindowFigures>,
    /// The newest closed window.
    pub closed: Option<WindowFigures>,
    /// Whether the closed window's row is in a file.
    pub published: bool,
    /// End of the newest window whose row is in a file.
    #[serde(with = "iso8601::option")]
    pub published_through: Option<i64>,
    /// Ticks that counted.
    pub ticks: u64,
    /// Ticks whose window was closed.
    pub late: u64,
}

/// The figures of one window of one ticker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowFigures {
    /// Start, inclusive.
    #[serde(with = "iso8601")]
    pub window_start: i64,
    /// End, exclusive.
    #[serde(with = "iso8601")]
    pub window_end: i64,
    /// Trade date `YYYY-MM-DD`.
    pub trade_date: String,
    /// Ticks in the window.
    pub ticks: u64,
    /// Aggregate's name to value; null when it has none (or isn't finite).
    pub values: BTreeMap<String, Option<f64>>,
    /// True while the window is open: the figures may change. False once it is closed: they are final.
    pub provisional: bool,
}

/// One condition, after Kubernetes' convention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type, such as `KeyedByTicker`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Stable CamelCase reason.
    pub reason: String,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// When `status` last changed.
    #[serde(with = "iso8601")]
    pub last_transition: i64,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It doesn't hold.
    False,
    /// Not known.
    Unknown,
}

/// An event that mattered, for the terminal and the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventReport {
    /// When it happened.
    #[serde(with = "iso8601")]
    pub at: i64,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// Stable snake_case name, as in the log's `event` field.
    pub event: String,
    /// The shard it is about.
    pub shard: Option<String>,
    /// For people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::observe::fixtures::busy_observer;

    #[test]
    fn a_report_survives_json_and_its_times_are_iso_8601() {
        let report = busy_observer(1).report();
        let json = serde_json::to_value(report.as_ref()).unwrap();
        assert_eq!(json["worker"]["startedAt"], "2024-01-02T13:58:48Z");
        assert_eq!(
            json["tickers"][0]["open"]["windowStart"],
            "2024-01-02T14:01:00Z"
        );
        assert_eq!(json["tickers"][0]["open"]["provisional"], true);
        assert_eq!(json["shards"][0]["phase"], "Reading");
        assert_eq!(
            json["shards"][0]["counters"]["deadLetters"]["malformed_json"],
            2
        );
        assert_eq!(json["shards"][1]["watermark"], serde_json::Value::Null);
        assert_eq!(json["conditions"][0]["type"], "KeyedByTicker");
        assert_eq!(json["worker"]["endpoint"], "http://127.0.0.1:4567");
        assert!(!json.to_string().contains("secret"));
        assert_eq!(
            &serde_json::from_value::<PipelineReport>(json).unwrap(),
            report.as_ref()
        );
    }

    #[test]
    fn a_value_that_is_no_number_is_null() {
        let figures = WindowFigures {
            window_start: 1,
            window_end: 60_000_000,
            trade_date: "1970-01-01".into(),
            ticks: 1,
            values: BTreeMap::from([
                ("nan".to_owned(), Some(f64::NAN)),
                ("infinite".to_owned(), Some(f64::INFINITY)),
                ("none".to_owned(), None),
                ("one".to_owned(), Some(1.0)),
            ]),
            provisional: false,
        };
        let json = serde_json::to_value(&figures).unwrap();
        assert_eq!(
            json["values"],
            serde_json::json!({"nan": null, "infinite": null, "none": null, "one": 1.0})
        );
        assert_eq!(json["windowStart"], "1970-01-01T00:00:00.000001Z");
    }

    #[test]
    fn times_out_of_range_are_clamped() {
        assert!(iso8601::format(i64::MAX).starts_with("9999-12-"));
        assert!(iso8601::format(i64::MIN).starts_with("-009999-01-"));
        assert_eq!(iso8601::format(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn dead_letter_reasons_are_bounded_and_no_letter_is_lost() {
        let mut counters = Counters::default();
        for n in 0..MAX_REASONS + 5 {
            counters.add_dead_letters(&format!("reason_{n}"), 1);
        }
        counters.add_dead_letters("Not A Label\n", 2);
        counters.add_dead_letters("reason_3", u64::MAX);
        counters.add_dead_letters(&"x".repeat(MAX_REASON_BYTES + 1), 1);
        assert_eq!(counters.dead_letters.len(), MAX_REASONS + 1);
        assert_eq!(counters.dead_letters[OTHER_REASON], 5 + 2 + 1);
        assert_eq!(
            counters.dead_letters["reason_3"],
            u64::MAX,
            "counts saturate"
        );
    }

    #[test]
    fn counters_of_an_older_worker_read_as_zero() {
        let counters: Counters = serde_json::from_str(r#"{"ticks": 5}"#).unwrap();
        assert_eq!(
            counters,
            Counters {
                ticks: 5,
                ..Counters::default()
            }
        );
    }
}
