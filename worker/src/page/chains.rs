//! The newest version of every chain below a state path, for those who only look.
//!
//! Owns reading and translating them. Must never write, nor take a chain.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec;
use stockstream_core::layout::{SHARDS, version_of};
use stockstream_core::plan::Plan;
use stockstream_core::rows::{RowView, Rows};
use stockstream_core::time::Micros;
use stockstream_core::window::WindowTable;

use super::merge::ChainReport;
use crate::observe::state::{ShardPhase, ShardReport, TickerReport, WindowFigures};
use crate::storage::{Store, StoreError};

/// Objects that are read at the same time.
const AT_ONCE: usize = 16;

/// What the checkpoints of all shards say.
pub(super) type ChainReports = Vec<ChainReport>;

/// The newest version of a chain.
#[derive(Debug)]
pub struct NewestVersion {
    /// The stream's life.
    pub incarnation: String,
    /// The shard.
    pub shard: String,
    /// The version.
    pub version: u64,
    /// When it was committed, by the store's stamp.
    pub committed: Micros,
    /// What it holds, or why it can't be read.
    pub checkpoint: Result<Box<Checkpoint>, String>,
}

/// All chains, by incarnation and shard; none when no pipeline has begun there.
///
/// # Errors
/// The store's fault.
pub async fn newest_versions(store: &Store) -> Result<Vec<NewestVersion>, StoreError> {
    let mut newest: BTreeMap<(String, String), (u64, Micros, String)> = BTreeMap::new();
    for object in store.list(SHARDS).await? {
        let parts: Vec<&str> = object.key.split('/').collect();
        if let [_, incarnation, shard, name] = parts[..]
            && let Some(version) = version_of(name)
        {
            let found = (version, object.last_modified, object.key.clone());
            let entry = newest.entry((incarnation.to_owned(), shard.to_owned()));
            let entry = entry.or_insert_with(|| found.clone());
            if version > entry.0 {
                *entry = found;
            }
        }
    }
    let reads = newest.into_iter().map(|((incarnation, shard), found)| {
        let (version, committed, key) = found;
        async move {
            let bytes = store.get(&key).await?;
            let checkpoint = codec::decode(&bytes.unwrap_or_default());
            Ok::<_, StoreError>(NewestVersion {
                incarnation,
                shard,
                version,
                committed,
                checkpoint: checkpoint.map(Box::new).map_err(|error| error.to_string()),
            })
        }
    });
    futures::stream::iter(reads)
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// A checkpoint as a worker would report it. `aggregates`: names in the spec's order.
pub(super) fn chain_report(newest: &NewestVersion, aggregates: &[String]) -> ChainReport {
    let mut shard = ShardReport::new(newest.shard.clone());
    shard.checkpoint_version = newest.version;
    shard.committed_at = Some(newest.committed.0);
    let checkpoint = match &newest.checkpoint {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            shard.phase = ShardPhase::Failed;
            shard.reason = Some(format!("its newest version can't be read: {error}"));
            return ChainReport {
                shard,
                since: None,
                tickers: Vec::new(),
            };
        }
    };
    shard.owner = Some(checkpoint.owner.clone()).filter(|owner| !owner.is_empty());
    shard.epoch = checkpoint.epoch;
    shard.position = Some(checkpoint.position.to_string());
    shard.phase = match checkpoint.position.is_final() {
        true => ShardPhase::Ended,
        false => ShardPhase::Waiting,
    };
    shard.reason = (!checkpoint.position.is_final()).then(|| "no worker has it".to_owned());
    shard.watermark = checkpoint.watermark.map(|at| at.0);
    shard.read_through = checkpoint.read_through.map(|at| at.0);
    shard.open_windows = checkpoint.windows.len() as u64;
    shard.outbox_batches = checkpoint.outbox.len() as u64;
    let counted = &checkpoint.counters;
    shard.counters.ticks = counted.ticks;
    shard.counters.late = counted.late;
    shard.counters.duplicates = counted.duplicates;
    shard.counters.misrouted = counted.misrouted;
    shard.counters.rows_closed = counted.rows_closed;
    shard.counters.rows_published = counted.rows_published;
    shard.counters.files_published = counted.files_published;
    for (reason, count) in &counted.dead {
        shard.counters.add_dead_letters(reason.label(), *count);
    }
    let mut closed: BTreeMap<&str, RowView<'_>> = BTreeMap::new();
    for row in unpublished(checkpoint) {
        let newest = closed.entry(row.ticker()).or_insert(row);
        if newest.window_end() < row.window_end() {
            *newest = row;
        }
    }
    let tickers = checkpoint.latest.iter().map(|latest| TickerReport {
        ticker: latest.ticker.to_string(),
        shard: newest.shard.clone(),
        latest_close: latest.close,
        latest_event_time: Some(latest.event_time.0),
        open: None,
        closed: closed
            .get(&*latest.ticker)
            .map(|row| figures(*row, aggregates)),
        published: false,
        published_through: None,
        ticks: 0,
        late: 0,
    });
    ChainReport {
        tickers: tickers.collect(),
        since: checkpoint.handover.as_ref().map(|handover| handover.at.0),
        shard,
    }
}

/// Rows of closed windows that the checkpoint doesn't know to be published.
pub(super) fn unpublished(checkpoint: &Checkpoint) -> impl Iterator<Item = RowView<'_>> {
    let sealed = checkpoint.outbox.iter().flat_map(|batch| batch.rows.iter());
    sealed.chain(checkpoint.unsealed.rows.iter())
}

/// Open windows as the rows that they would be if they closed now, of one ticker or of all.
pub(super) fn open_rows(checkpoint: &Checkpoint, plan: &Arc<Plan>, ticker: Option<&str>) -> Rows {
    // Without what waits to be published, which may be large and isn't open.
    let mut part = Checkpoint::before_first(
        &checkpoint.state_id,
        &checkpoint.incarnation,
        &checkpoint.shard,
        checkpoint.range,
        checkpoint.position.clone(),
    );
    let wanted = |own: &str| ticker.is_none_or(|ticker| own == ticker);
    let windows = checkpoint.windows.iter();
    part.windows = windows
        .filter(|window| wanted(&window.ticker))
        .cloned()
        .collect();
    part.generations.clone_from(&checkpoint.generations);
    let latest = checkpoint.latest.iter();
    part.latest = latest
        .filter(|latest| wanted(&latest.ticker))
        .cloned()
        .collect();
    let generations = part.generations.clone();
    let mut rows = Rows::default();
    WindowTable::restore(plan.clone(), generations, &part)
        .close_through(Micros(i64::MAX), &mut rows);
    rows
}

/// A row for people. `aggregates`: names in the spec's order, which is the order of the row's figures.
pub(super) fn figures(row: RowView<'_>, aggregates: &[String]) -> WindowFigures {
    let named = aggregates.iter().enumerate();
    WindowFigures {
        window_start: row.window_start().0,
        window_end: row.window_end().0,
        trade_date: row.trade_date().to_string(),
        ticks: row.ticks(),
        values: named
            .map(|(index, name)| (name.clone(), row.value(index).as_f64()))
            .collect(),
        provisional: false,
    }
}
