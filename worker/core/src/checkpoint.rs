//! What one version of a shard's chain holds.
//!
//! Owns the durable state of a shard. Must never hold what can be different after a restart: clocks, addresses, caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hash::HashRange;
use crate::plan::Aggregate;
use crate::row::{Batch, DeadLetter, DeadReason, LateTick, Partition};
use crate::rows::Rows;
use crate::sequence::{Position, SequenceNumber};
use crate::time::{Date, Micros};

/// One version of a shard's chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The pipeline's random id.
    pub state_id: String,
    /// The stream's life.
    pub incarnation: String,
    /// The shard.
    pub shard: String,
    /// This version; the first is 1.
    pub version: u64,
    /// Fencing number of the owner; grows with every take.
    pub epoch: u64,
    /// The owner's member id.
    pub owner: String,
    /// The release that wrote it.
    pub writer: String,
    /// From whom and when the owner took it. From format 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
    /// The shard's hash keys.
    pub range: HashRange,
    /// The shards it was split or merged from.
    pub parents: Vec<String>,
    /// The shards it was split or merged into, once it has ended.
    pub children: Vec<String>,
    /// Where reading goes on.
    pub position: Position,
    /// Every record that arrived before this has been read. `None` before the first reading.
    pub read_through: Option<Micros>,
    /// No window that ends at or before this is open. `None` before the first tick.
    pub watermark: Option<Micros>,
    /// Watermarks inherited with parts of the key space.
    pub floors: Vec<Floor>,
    /// The figures that windows compute, oldest first.
    pub generations: Vec<Generation>,
    /// Open windows, by (start, ticker).
    #[serde(with = "crate::window_columns")]
    pub windows: Vec<OpenWindow>,
    /// Every ticker known to the shard, with its latest close, by ticker.
    pub latest: Vec<Latest>,
    /// Closed windows and rejects not yet sealed.
    pub unsealed: Pending,
    /// Sealed batches not yet known to be published, by version.
    #[serde(with = "shared_batches")]
    pub outbox: Vec<Arc<Batch>>,
    /// Partitions not yet registered in the catalog.
    pub unregistered: Vec<Partition>,
    /// Totals since the chain began.
    pub counters: Counters,
    /// File sources: where each file of the list goes on (bytes, or rows where a file can't be entered in the middle).
    pub file_marks: Vec<u64>,
}

impl Checkpoint {
    /// What a shard without a chain is taken from: version and epoch 0, nothing in it. Never stored.
    pub fn before_first(
        state_id: &str,
        incarnation: &str,
        shard: &str,
        range: HashRange,
        position: Position,
    ) -> Self {
        Checkpoint {
            state_id: state_id.to_owned(),
            incarnation: incarnation.to_owned(),
            shard: shard.to_owned(),
            version: 0,
            epoch: 0,
            owner: String::new(),
            writer: String::new(),
            handover: None,
            range,
            parents: Vec::new(),
            children: Vec::new(),
            position,
            read_through: None,
            watermark: None,
            floors: Vec::new(),
            generations: Vec::new(),
            windows: Vec::new(),
            latest: Vec::new(),
            unsealed: Pending::default(),
            outbox: Vec::new(),
            unregistered: Vec::new(),
            counters: Counters::default(),
            file_marks: Vec::new(),
        }
    }
}

/// How a shard came into its owner's hands. For people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The owner before; empty when there was none.
    pub from: String,
    /// When the present owner began to take it, by that worker's wall clock.
    pub at: Micros,
}

/// A watermark that a range of keys had before the shard was born.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The keys.
    pub range: HashRange,
    /// Windows of these keys that end at or before this are closed.
    pub watermark: Micros,
}

/// A list of aggregates and the first window start that uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Windows that start at or after this use the list (until the next generation's).
    pub from: Micros,
    /// The figures. Each generation's list begins with the one before.
    pub aggregates: Vec<Aggregate>,
}

/// A window that may still get ticks.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenWindow {
    /// The ticker.
    pub ticker: Arc<str>,
    /// First instant of the window.
    pub start: Micros,
    /// The first trade date that a tick carried, else the first tick's UTC date.
    pub trade_date: Date,
    /// True when a tick carried the date.
    pub dated: bool,
    /// Ticks so far.
    pub ticks: u64,
    /// The aggregates' slots.
    pub slots: Vec<f64>,
    /// The first tick.
    pub first_sequence: SequenceNumber,
    /// The last tick.
    pub last_sequence: SequenceNumber,
    /// Ids of its ticks, when `record.id` is set; in order.
    pub ids: Vec<Arc<str>>,
}

/// What is served live of a ticker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latest {
    /// The ticker.
    #[serde(with = "crate::shared_text")]
    pub ticker: Arc<str>,
    /// Of the ticks that had a close, that of the highest event time (the later one of equals); `None` when none had.
    pub close: Option<f64>,
    /// That tick's event time; the highest one while no tick had a close.
    pub event_time: Micros,
}

/// What waits to be sealed into a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Closed windows.
    pub rows: Rows,
    /// Late ticks.
    pub late: Vec<LateTick>,
    /// Dead letters.
    pub dead: Vec<DeadLetter>,
}

impl Pending {
    /// True when there is nothing to seal.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.late.is_empty() && self.dead.is_empty()
    }
}

/// Totals of a chain. They count each tick once, whatever happened to the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Ticks in windows.
    pub ticks: u64,
    /// Late ticks.
    pub late: u64,
    /// Ticks dropped because their id had been seen.
    pub duplicates: u64,
    /// Sub-records of aggregated records that belong to another shard.
    pub misrouted: u64,
    /// Dead letters by reason.
    pub dead: BTreeMap<DeadReason, u64>,
    /// Windows closed.
    pub rows_closed: u64,
    /// Rows in files.
    pub rows_published: u64,
    /// Files of rows.
    pub files_published: u64,
    /// Times that records were lost before they could be read (`onDataLoss: Continue`).
    pub losses: u64,
    /// Seconds of the stream lost that way.
    pub lost_seconds: u64,
}

impl Counters {
    /// Dead letters of all reasons.
    pub fn dead_letters(&self) -> u64 {
        self.dead.values().sum()
    }
}

/// Batches that the chain, its checkpoints and whoever publishes share, as plain batches.
mod shared_batches {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::row::Batch;

    pub(super) fn serialize<S: Serializer>(
        batches: &[Arc<Batch>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(batches.iter().map(AsRef::as_ref))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Arc<Batch>>, D::Error> {
        let batches = Vec::<Batch>::deserialize(deserializer)?;
        Ok(batches.into_iter().map(Arc::new).collect())
    }
}

/// A rough size in bytes of a late tick, for the bound on unpublished bytes.
pub fn late_bytes(late: &LateTick) -> usize {
    120 + late.ticker.len() + late.data.len()
}

/// A rough size in bytes of a dead letter, for the bound on unpublished bytes.
pub fn dead_bytes(dead: &DeadLetter) -> usize {
    120 + dead.detail.len() + dead.data.len()
}

/// A rough size in bytes of what waits to be sealed.
pub fn pending_bytes(pending: &Pending) -> usize {
    pending.rows.bytes()
        + pending.late.iter().map(late_bytes).sum::<usize>()
        + pending.dead.iter().map(dead_bytes).sum::<usize>()
}

/// A rough size in bytes of a batch.
pub fn batch_bytes(batch: &Batch) -> usize {
    batch.rows.bytes()
        + batch.late.iter().map(late_bytes).sum::<usize>()
        + batch.dead.iter().map(dead_bytes).sum::<usize>()
}
