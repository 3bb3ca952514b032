//! What a shard's runner tells the observer.
//!
//! Owns turning the chain's state into reports and events. Must never influence the chain.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use stockstream_core::chain::{Action, Created, ShardChain};
use stockstream_core::plan::Aggregate;
use stockstream_core::row::{DeadReason, Row};
use stockstream_core::state::Applied;
use stockstream_core::time::{Micros, Monotonic};
use tokio::time::Instant;

use super::actions::Outcome;
use super::context::Context;
use super::error::PipelineError;
use super::shard::Ended;
use super::small_files::Filing;
use crate::observe::{
    ConditionStatus, Counters, Event, ShardPhase, ShardReport, Summaries, TickerReport,
    WindowFigures,
};
use crate::source::kinesis::{ShardBytes, StreamError};

/// Between two reports of a shard with few tickers, and with many.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOK_EVERY_WITH_MANY: Duration = Duration::from_secs(2);
const MANY_TICKERS: usize = 1_000;

/// At most one summary of late ticks or of one kind of dead letter in this time.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);

/// Throttled for so long without a reply, reading is in trouble.
const THROTTLED_ALARM: Duration = Duration::from_secs(60);

/// The condition about partition keys.
const KEYED_BY_TICKER: &str = "KeyedByTicker";
/// The condition about a shard's bounds.
const WITHIN_LIMITS: &str = "WithinLimits";
/// The condition about the store.
const STORE_READY: &str = "StoreReady";
/// The condition about enhanced fan-out.
const FAN_OUT: &str = "EnhancedFanOut";
/// The condition about many small files.
const FILE_COUNT: &str = "FileCount";
/// The condition about the stream.
const STREAM_READY: &str = "StreamReady";

/// Watches one shard.
pub struct ShardWatch {
    context: Arc<Context>,
    shard: String,
    bytes: Arc<ShardBytes>,
    next_look: Instant,
    millis_behind_latest: Option<i64>,
    committed_at: Option<Micros>,
    local: Counters,
    published_through: HashMap<Arc<str>, Micros>,
    summaries: Summaries,
    dead_seen: u64,
    began: Option<(u64, Monotonic)>,
    /// Actions that failed since one succeeded.
    failures: u32,
    pressed: bool,
    many_files: bool,
    store_troubled: bool,
    stream_troubled: bool,
    /// Calls that failed since one succeeded.
    stream_failures: u32,
    /// The first call that was throttled since one succeeded.
    throttled_since: Option<Instant>,
    reason: Option<String>,
}

impl ShardWatch {
    /// Begins to watch.
    pub fn new(context: Arc<Context>, shard: &str) -> Self {
        ShardWatch {
            bytes: context.read_budget.shard(shard),
            context,
            shard: shard.to_owned(),
            next_look: Instant::now(),
            millis_behind_latest: None,
            committed_at: None,
            local: Counters::default(),
            published_through: HashMap::new(),
            summaries: Summaries::new(SUMMARY_EVERY),
            dead_seen: 0,
            began: None,
            failures: 0,
            pressed: false,
            many_files: false,
            store_troubled: false,
            stream_troubled: false,
            stream_failures: 0,
            throttled_since: None,
            reason: None,
        }
    }

    /// When the next report is due.
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Reports the shard, if a report is due.
    pub fn look(&mut self, chain: &ShardChain) {
        let now = Instant::now();
        if now < self.next_look {
            return;
        }
        let pressed = chain.is_under_back_pressure();
        if pressed && !self.pressed {
            self.emit(&Event::BackPressure {
                shard: self.shard.clone(),
                unpublished_bytes: chain.unpublished_bytes() as u64,
            });
        }
        self.pressed = pressed;
        let many = chain.state().tickers().len() > MANY_TICKERS;
        self.next_look = now
            + if many {
                LOOK_EVERY_WITH_MANY
            } else {
                LOOK_EVERY
            };
        self.report(chain, phase(chain));
        let wall = self.wall();
        for event in self.summaries.due(wall) {
            self.context.observer.emit(&event, wall);
        }
    }

    /// An action was carried out; `chain` doesn't know the outcome yet.
    pub fn action_done(&mut self, chain: &ShardChain, action: Option<&Action>, outcome: &Outcome) {
        self.context.progress.note(&self.shard);
        self.failures = 0;
        if std::mem::take(&mut self.store_troubled) {
            self.condition(
                STORE_READY,
                ConditionStatus::True,
                "Working",
                "the store answers again",
            );
            self.reason = None;
        }
        let shard = self.shard.clone();
        match (action, outcome) {
            (Some(Action::Create { version, bytes }), Outcome::Created(Created::Ours)) => {
                self.local.commits += 1;
                self.committed_at = Some(self.context.clock.wall());
                self.emit(&Event::Committed {
                    shard,
                    version: *version,
                    bytes: bytes.len() as u64,
                });
            }
            (Some(Action::ListAfter { version }), Outcome::Listed(None)) if !chain.is_taken() => {
                self.local.takes += 1;
                self.emit(&Event::ShardTaken {
                    shard,
                    epoch: chain.epoch(),
                    version: *version,
                    previous_owner: chain.previous_owner().map(str::to_owned),
                });
            }
            (Some(Action::Publish { batch }), Outcome::Published { files, bytes, .. }) => {
                for row in batch.rows.iter() {
                    let through = self
                        .published_through
                        .entry(row.ticker().clone())
                        .or_insert(row.window_end());
                    *through = (*through).max(row.window_end());
                }
                self.count_files(*files);
                self.local.bytes_published += bytes;
                self.local.batches_sealed += 1;
                let began = self.began.take().map(|(_, began)| began);
                let millis = began.map_or(0, |began| {
                    self.context.clock.monotonic().since(began).unsigned_abs() / 1_000
                });
                self.emit(&Event::Published {
                    shard,
                    batch: batch.version,
                    files: *files,
                    rows: batch.rows.len() as u64,
                    bytes: *bytes,
                    millis,
                });
            }
            _ => {}
        }
        self.next_look = Instant::now();
    }

    /// Files that are too many and too small are told, as long as they are.
    fn count_files(&mut self, files: u64) {
        let settings = &self.context.settings;
        if !settings.plan.keyed_by_ticker {
            return; // files as a source are read once
        }
        let (files, shards) = self.context.files.published(&self.shard, files);
        let every = settings
            .pace
            .publish_interval
            .max(settings.plan.window_size);
        let filing = Filing {
            partition_by: &settings.partition_by,
            every: Duration::from_micros(every.unsigned_abs()),
            shards,
        };
        let advice = filing.advice(files);
        let many = advice.is_some();
        match advice {
            Some(advice) => self.condition(
                FILE_COUNT,
                ConditionStatus::False,
                "ManySmallFiles",
                &advice,
            ),
            None if self.many_files => {
                let message = "a round of publishing makes no more than 1,000 files";
                self.condition(FILE_COUNT, ConditionStatus::True, "Reasonable", message);
            }
            None => {}
        }
        self.many_files = many;
    }

    /// A batch begins to be published.
    pub fn action_started(&mut self, action: &Action) {
        if let Action::Publish { batch } = action {
            let fresh = self
                .began
                .is_none_or(|(version, _)| version != batch.version);
            if fresh {
                self.began = Some((batch.version, self.context.clock.monotonic()));
                self.emit(&Event::Sealed {
                    shard: self.shard.clone(),
                    batch: batch.version,
                    rows: batch.rows.len() as u64,
                    rejects: (batch.late.len() + batch.dead.len()) as u64,
                });
            }
        }
    }

    /// An action failed and is tried again.
    pub fn trouble(&mut self, error: &PipelineError) {
        self.local.retries += 1;
        self.failures += 1;
        self.reason = Some(error.to_string());
        self.emit(&Event::Retrying {
            operation: "commit or publish".to_owned(),
            target: self.shard.clone(),
            attempt: self.failures,
            cause: error.to_string(),
        });
        if !self.store_troubled || !error.is_transient() {
            self.store_troubled = true;
            self.condition(
                STORE_READY,
                ConditionStatus::False,
                error.reason(),
                &error.to_string(),
            );
        }
    }

    /// A call to the stream failed and is tried again.
    pub fn stream_trouble(&mut self, error: &StreamError) {
        self.local.retries += 1;
        self.stream_failures += 1;
        if matches!(error, StreamError::Throttled { .. }) {
            self.local.throttled_reads += 1;
            // Other readers share the shard's limits: it's the interval that adapts. An alarm only if nothing comes.
            let since = *self.throttled_since.get_or_insert_with(Instant::now);
            if since.elapsed() < THROTTLED_ALARM {
                return;
            }
        }
        self.emit(&Event::Retrying {
            operation: "read".to_owned(),
            target: self.shard.clone(),
            attempt: self.stream_failures,
            cause: error.to_string(),
        });
        self.stream_troubled = true;
        self.condition(
            STREAM_READY,
            ConditionStatus::False,
            error.reason(),
            &error.to_string(),
        );
    }

    /// A subscription was accepted, or refused in a way that somebody has to change.
    pub fn fan_out(&mut self, outcome: Result<(), StreamError>) {
        let Err(error) = outcome else {
            let message = "shards are read by enhanced fan-out";
            return self.condition(FAN_OUT, ConditionStatus::True, "Subscribed", message);
        };
        let message = format!("shards are polled instead: {error}");
        tracing::warn!(event = "fan_out_refused", shard = %self.shard, cause = %error, "polling instead");
        self.condition(FAN_OUT, ConditionStatus::False, error.reason(), &message);
    }

    /// A subscription was taken over: the chain tells whether the shard was.
    pub fn evicted(&self) {
        tracing::info!(event = "subscription_taken_over", shard = %self.shard, "listing the chain before it is renewed");
    }

    /// A reply came; `behind` in milliseconds, `None` for files.
    pub fn read(&mut self, behind: Option<i64>) {
        self.local.reads += 1;
        self.context.progress.note(&self.shard);
        self.stream_failures = 0;
        self.throttled_since = None;
        self.millis_behind_latest = behind;
        if std::mem::take(&mut self.stream_troubled) {
            self.condition(
                STREAM_READY,
                ConditionStatus::True,
                "Reading",
                "the stream answers again",
            );
        }
    }

    /// An empty reply may have moved the watermark; `before` is how many windows had been closed.
    pub fn idle(&mut self, chain: &ShardChain, before: u64) {
        let state = chain.state();
        let windows_closed = state.counters().rows_closed - before;
        if windows_closed > 0 {
            self.local.idle_advances += 1;
            self.emit(&Event::IdleAdvance {
                shard: self.shard.clone(),
                watermark: state.watermark().map_or(0, |watermark| watermark.0),
                windows_closed,
            });
        }
    }

    /// Records were trimmed before they were read, and the spec says to go on.
    pub fn lost(&self, seconds: u64) {
        self.emit(&Event::DataLost {
            shard: self.shard.clone(),
            seconds,
            action: "Continue".to_owned(),
        });
    }

    /// What keeps the shard from going on, for people.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("no reason is known")
    }

    /// What a record held was late, dead or another shard's.
    pub fn rejected(&mut self, applied: &Applied) {
        match applied {
            Applied::Late => self.late(1),
            Applied::Dead(reason) => self.dead(*reason, 1),
            Applied::Aggregated(fates) => {
                self.late(fates.late);
                for (reason, count) in &fates.dead {
                    self.dead(*reason, *count);
                }
            }
            Applied::Counted | Applied::Duplicate => {}
        }
    }

    fn late(&mut self, count: u64) {
        let now = self.wall();
        if let Some(event) = self.summaries.late(&self.shard, count, now) {
            self.context.observer.emit(&event, now);
        }
    }

    fn dead(&mut self, reason: DeadReason, count: u64) {
        let now = self.wall();
        self.condition_of(reason, count);
        let event = self
            .summaries
            .dead_letters(&self.shard, reason.label(), count, now);
        if let Some(event) = event {
            self.context.observer.emit(&event, now);
        }
    }

    fn condition_of(&mut self, reason: DeadReason, count: u64) {
        use DeadReason as Reason;
        self.dead_seen += count;
        match reason {
            Reason::WrongShard => self.condition(
                KEYED_BY_TICKER,
                ConditionStatus::False,
                "WrongPartitionKey",
                "ticks came on a shard that doesn't hold their ticker's key: the producer's PartitionKey must be the \
                 ticker. They went to the dead letters",
            ),
            Reason::TooManyTickers | Reason::TooManyWindows | Reason::TooManyIds => self.condition(
                WITHIN_LIMITS,
                ConditionStatus::False,
                "ShardLimit",
                &format!(
                    "a shard reached a limit ({reason}): ticks went to the dead letters. Raise spec.window.limits or add shards"
                ),
            ),
            _ => {}
        }
    }

    /// A round of collection ended.
    pub fn collected(&self, result: Result<usize, PipelineError>) {
        match result {
            Ok(0) => {}
            Ok(versions) => tracing::debug!(
                event = "collected",
                shard = %self.shard,
                versions,
                "old checkpoint versions deleted"
            ),
            Err(error) => tracing::warn!(
                event = "collection_failed",
                shard = %self.shard,
                cause = %error,
                "old checkpoint versions stay for now"
            ),
        }
    }

    /// The runner ended.
    pub fn ended(&mut self, chain: &ShardChain, ended: &Ended) {
        for event in self.summaries.flush() {
            self.emit(&event);
        }
        let shard = self.shard.clone();
        let phase = match ended {
            Ended::Finished => {
                self.emit(&Event::ShardEnded {
                    shard,
                    children: chain.children().to_vec(),
                });
                ShardPhase::Ended
            }
            Ended::Released => ShardPhase::Waiting,
            Ended::Fenced { version } => {
                self.local.fenced += 1;
                self.reason = Some(match version {
                    Some(version) => format!("version {version} was written by another owner"),
                    None => "another worker has taken it".to_owned(),
                });
                self.emit(&Event::Fenced {
                    shard,
                    epoch: chain.epoch(),
                    by: None,
                });
                ShardPhase::Fenced
            }
            Ended::Abandoned => ShardPhase::Taking,
            Ended::Failed(error) => {
                self.reason = Some(error.to_string());
                ShardPhase::Failed
            }
        };
        self.report(chain, phase);
    }

    fn report(&self, chain: &ShardChain, phase: ShardPhase) {
        let state = chain.state();
        let mut report = ShardReport::new(self.shard.clone());
        report.owner = Some(chain.identity().owner.clone());
        report.epoch = chain.epoch();
        report.checkpoint_version = chain.version();
        report.committed_at = self.committed_at.map(|at| at.0);
        report.phase = phase;
        report.reason.clone_from(&self.reason);
        report.position = Some(state.position().to_string());
        report.millis_behind_latest = self
            .millis_behind_latest
            .and_then(|millis| u64::try_from(millis).ok());
        report.watermark = state.watermark().map(|watermark| watermark.0);
        report.read_through = state.read_through().map(|through| through.0);
        report.published_through = self.published_through.values().max().map(|end| end.0);
        report.open_windows = state.open_windows() as u64;
        report.unpublished_bytes = chain.unpublished_bytes() as u64;
        report.read_ahead_bytes = self.bytes.held();
        report.outbox_batches = chain.outbox_batches() as u64;
        report.unregistered_partitions = chain.unregistered().count() as u64;
        report.counters = self.counters(chain);
        self.context
            .observer
            .update_shard(report, self.tickers(chain));
    }

    fn counters(&self, chain: &ShardChain) -> Counters {
        let durable = chain.state().counters();
        let mut counters = self.local.clone();
        counters.ticks = durable.ticks;
        counters.late = durable.late;
        counters.duplicates = durable.duplicates;
        counters.misrouted = durable.misrouted;
        counters.rows_closed = durable.rows_closed;
        counters.rows_published = durable.rows_published;
        counters.files_published = durable.files_published;
        counters.lost_seconds = durable.lost_seconds;
        counters.read_wait_millis = self.bytes.waited_millis();
        for (reason, count) in &durable.dead {
            counters.add_dead_letters(reason.label(), *count);
        }
        counters
    }

    fn tickers(&self, chain: &ShardChain) -> Vec<TickerReport> {
        let state = chain.state();
        let aggregates = state.aggregates();
        let open = state.provisional();
        let mut tickers: Vec<TickerReport> = state
            .tickers()
            .map(|ticker| {
                let through = self.published_through.get(ticker.name).copied();
                let published = match (&ticker.closed, through) {
                    (Some(closed), Some(through)) => closed.window_end <= through,
                    _ => false,
                };
                TickerReport {
                    ticker: ticker.name.to_string(),
                    shard: self.shard.clone(),
                    latest_close: ticker.close,
                    latest_event_time: ticker.newest.map(|newest| newest.0),
                    open: open
                        .get(ticker.name)
                        .map(|row| figures(row, aggregates, true)),
                    closed: ticker.closed.map(|row| figures(&row, aggregates, false)),
                    published,
                    published_through: through.map(|through| through.0),
                    ticks: ticker.ticks,
                    late: ticker.late,
                }
            })
            .collect();
        tickers.sort_unstable_by(|a, b| a.ticker.cmp(&b.ticker));
        tickers
    }

    fn condition(&self, kind: &str, status: ConditionStatus, reason: &str, message: &str) {
        let now = self.wall();
        self.context
            .observer
            .set_condition(kind, status, reason, message, now);
    }

    fn emit(&self, event: &Event) {
        self.context.observer.emit(event, self.wall());
    }

    fn wall(&self) -> i64 {
        self.context.clock.wall().0
    }
}

/// What a chain is doing, for people.
pub fn phase(chain: &ShardChain) -> ShardPhase {
    if chain.fenced_by().is_some() {
        ShardPhase::Fenced
    } else if !chain.is_taken() {
        ShardPhase::Taking
    } else if chain.is_recovering() {
        ShardPhase::Recovering
    } else if chain.is_under_back_pressure() {
        ShardPhase::BackPressure
    } else if chain.is_done() && chain.state().position().is_final() {
        ShardPhase::Ended
    } else {
        ShardPhase::Reading
    }
}

fn figures(row: &Row, aggregates: &[Aggregate], provisional: bool) -> WindowFigures {
    let values: BTreeMap<String, Option<f64>> = aggregates
        .iter()
        .enumerate()
        .map(|(index, aggregate)| (aggregate.name.clone(), row.value(index).as_f64()))
        .collect();
    WindowFigures {
        window_start: row.window_start.0,
        window_end: row.window_end.0,
        trade_date: row.trade_date.to_string(),
        ticks: row.ticks,
        values,
        provisional,
    }
}
