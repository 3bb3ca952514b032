//! How far a replay is: a line on a terminal, a log line every few seconds elsewhere.
//! Watches only: nothing here changes what is sent.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

/// How often [`ConsoleObserver`] logs when there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// What a run is about to do, known once all rows are read.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The stream.
    pub stream: String,
    /// Rows read.
    pub rows: usize,
    /// Bytes of memory that the rows take.
    pub row_bytes: usize,
    /// Different tickers.
    pub tickers: usize,
    /// Records that will be sent; `None` when it goes on until it is stopped.
    pub records: Option<u64>,
    /// How long that should take.
    pub expected: Option<Duration>,
    /// The first event time.
    pub first_event_time: Timestamp,
}

/// The figures of a running replay.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Time since the first record was due.
    pub elapsed: Duration,
    /// Records that will be sent; `None` when it goes on until it is stopped.
    pub total: Option<u64>,
    /// Records in the stream.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records per second lately (over the last second or so).
    pub rate: f64,
    /// Attempts beyond each record's first.
    pub retried: u64,
    /// Attempts that failed for want of throughput.
    pub throttled: u64,
    /// Attempts that failed otherwise, unanswered ones included.
    pub errors: u64,
    /// Records due and not yet delivered.
    pub pending: usize,
    /// The newest event time delivered.
    pub event_time: Option<Timestamp>,
}

/// Watches a run. Called a few times a second, on the run's own task: it must return at once.
pub trait Observer: Send {
    /// The rows are read and the first record is about to be sent.
    fn started(&mut self, plan: &Plan);
    /// The latest figures.
    fn progress(&mut self, progress: &Progress);
    /// The run ended, well or not; always the last call.
    fn ended(&mut self, progress: &Progress);
}

/// Watches nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn started(&mut self, _: &Plan) {}
    fn progress(&mut self, _: &Progress) {}
    fn ended(&mut self, _: &Progress) {}
}

/// A progress line when standard error is a terminal, otherwise a log line every five seconds.
#[derive(Debug)]
pub struct ConsoleObserver {
    bar: ProgressBar,
    logged: Option<Duration>,
}

impl ConsoleObserver {
    /// Picks the line or the log by what standard error is.
    pub fn new() -> Self {
        Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            logged: None,
        }
    }

    fn log(&mut self, progress: &Progress) {
        self.logged = Some(progress.elapsed);
        tracing::info!(
            records = progress.records,
            total = progress.total,
            bytes = progress.bytes,
            rate = (progress.rate * 10.0).round() / 10.0,
            retried = progress.retried,
            throttled = progress.throttled,
            errors = progress.errors,
            pending = progress.pending,
            event_time = progress.event_time.map(tracing::field::display),
            "replay progress"
        );
    }
}

impl Default for ConsoleObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for ConsoleObserver {
    fn started(&mut self, plan: &Plan) {
        let template = if plan.records.is_some() {
            "{bar:24} {pos}/{len} {elapsed_precise} {msg}"
        } else {
            "{spinner} {pos} {elapsed_precise} {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        if let Some(records) = plan.records {
            self.bar.set_length(records);
        }
        tracing::info!(
            stream = plan.stream,
            rows = plan.rows,
            row_bytes = plan.row_bytes,
            tickers = plan.tickers,
            records = plan.records,
            expected_seconds = plan.expected.map(|expected| expected.as_secs_f64()),
            first_event_time = %plan.first_event_time,
            "replay starts"
        );
    }

    fn progress(&mut self, progress: &Progress) {
        if self.bar.is_hidden() {
            if progress.elapsed >= self.logged.unwrap_or_default() + LOG_INTERVAL {
                self.log(progress);
            }
            return;
        }
        self.bar.set_position(progress.records);
        self.bar.set_message(format!(
            "{:.1} records/s, retried {}, throttled {}, errors {}",
            progress.rate, progress.retried, progress.throttled, progress.errors
        ));
    }

    fn ended(&mut self, progress: &Progress) {
        if self.bar.is_hidden() {
            self.log(progress);
        } else {
            self.progress(progress);
            self.bar.abandon();
        }
    }
}
