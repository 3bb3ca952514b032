//! The run: reads the rows, then sends each when it is due and follows up every answer until the last.
//! Owns the clock, the randomness and the calls; what goes into which call is decided in [`super::lanes`].

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::event_time::{EventTimes, expected_duration};
use super::lanes::{BYTES_PER_CALL, Lanes, Pending};
use super::options::ReplayOptions;
use super::progress::{Observer, Plan, Progress};
use super::put::{Answer, ensure_stream, put_records};
use super::rows::{self, BYTES_PER_ROW, ReadOptions, Table};
use super::summary::ReplaySummary;
use super::{ReplayError, tick};

/// Calls in flight at the same time, each with other tickers.
const CALLS_IN_FLIGHT: usize = 4;

/// How often the observer hears of the run.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(200);

/// Replays `options.input` into the stream until all records are delivered or `stop` is ready.
///
/// All rows are read first, so an error about the input means that nothing was sent. Once `stop` is ready no
/// further call begins; the calls in flight are waited for (10 s at most) and counted.
///
/// # Errors
/// See [`ReplayError`].
pub async fn run(
    client: &Client,
    options: ReplayOptions,
    observer: &mut dyn Observer,
    stop: impl Future<Output = ()> + Send,
) -> Result<ReplaySummary, ReplayError> {
    run_with_clock(client, options, observer, stop, &Timestamp::now).await
}

/// As [`run`], with event times from another clock than the system's.
///
/// # Errors
/// See [`ReplayError`].
pub async fn run_with_clock(
    client: &Client,
    options: ReplayOptions,
    observer: &mut dyn Observer,
    stop: impl Future<Output = ()> + Send,
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> Result<ReplaySummary, ReplayError> {
    let mut stop = pin!(stop);
    let prepared = tokio::select! {
        biased;
        () = &mut stop => None,
        prepared = prepare(client, &options) => Some(prepared?),
    };
    let Some(table) = prepared else {
        return Ok(Sent::default().summary(&options.stream, Duration::ZERO, true, &[]));
    };
    let records = options.records(table.rows.len() as u64);
    let expected = expected_duration(records, options.rate);
    let times = EventTimes::plan(clock(), options.speed, options.start_time, expected)?;
    observer.started(&Plan {
        stream: options.stream.clone(),
        rows: table.rows.len(),
        row_bytes: table.rows.len() * BYTES_PER_ROW,
        tickers: table.tickers.len(),
        records,
        expected,
        first_event_time: times.start(),
    });
    let mut replay = Replay {
        client,
        clock,
        records,
        times,
        seed: random_seed()?,
        begin: Instant::now(),
        lanes: Lanes::default(),
        admitted: 0,
        sent: Sent {
            per_ticker: vec![0; table.tickers.len()],
            ..Sent::default()
        },
        rate: RateMeter::default(),
        options: &options,
        table: &table,
    };
    let outcome = replay.drive(observer, stop.as_mut()).await;
    observer.ended(&replay.progress());
    let stopped = outcome?;
    Ok(replay.sent.summary(
        &options.stream,
        replay.begin.elapsed(),
        stopped,
        &table.tickers,
    ))
}

async fn prepare(client: &Client, options: &ReplayOptions) -> Result<Table, ReplayError> {
    let read = ReadOptions {
        format: options.format,
        columns: options.columns.clone(),
        tickers: options.tickers.clone(),
        max_rows: options.max_rows,
    };
    let table = rows::read(&options.input, &read).await?;
    if let Some(shards) = options.create_shards {
        ensure_stream(client, &options.stream, shards).await?;
    }
    Ok(table)
}

fn random_seed() -> Result<u64, ReplayError> {
    getrandom::u64().map_err(|error| ReplayError::NoRandomness(error.to_string()))
}

/// A record in a call.
struct Outgoing {
    record: Pending,
    key: String,
    bytes: Bytes,
    time: Timestamp,
}

struct Replay<'a> {
    client: &'a Client,
    options: &'a ReplayOptions,
    table: &'a Table,
    clock: &'a (dyn Fn() -> Timestamp + Sync),
    records: Option<u64>,
    times: EventTimes,
    seed: u64,
    begin: Instant,
    lanes: Lanes,
    /// Records handed to the lanes so far.
    admitted: u64,
    sent: Sent,
    rate: RateMeter,
}

impl Replay<'_> {
    /// Runs to the end (`false`) or until stopped (`true`).
    async fn drive(
        &mut self,
        observer: &mut dyn Observer,
        mut stop: std::pin::Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<bool, ReplayError> {
        let mut calls = FuturesUnordered::new();
        let mut observe_at = Instant::now();
        let mut stopped = false;
        loop {
            if !stopped {
                self.admit();
                while calls.len() < CALLS_IN_FLIGHT {
                    let call = self.next_call();
                    if call.is_empty() {
                        break;
                    }
                    calls.push(send(self.client, &self.options.stream, call));
                }
            }
            if calls.is_empty() && (stopped || self.is_finished()) {
                return Ok(stopped && !self.is_finished());
            }
            if Instant::now() >= observe_at {
                observe_at = Instant::now() + OBSERVE_INTERVAL;
                observer.progress(&self.progress());
            }
            // Without a free call, or stopped, only an answer gives something to do.
            let idle = stopped || calls.len() >= CALLS_IN_FLIGHT;
            let due = if idle { None } else { self.next_due() };
            let wake = due.map_or(observe_at, |due| due.min(observe_at));
            tokio::select! {
                biased;
                () = &mut stop, if !stopped => stopped = true,
                Some((call, answers)) = calls.next() => self.settle(call, answers?)?,
                () = sleep_until(wake) => {}
            }
        }
    }

    fn all_admitted(&self) -> bool {
        self.records.is_some_and(|records| self.admitted >= records)
    }

    fn is_finished(&self) -> bool {
        self.all_admitted() && self.lanes.is_empty()
    }

    /// Hands every record that is due to the lanes, as far as there is room.
    fn admit(&mut self) {
        let now = self.begin.elapsed();
        for _ in 0..self.lanes.room() {
            if self.all_admitted() || self.options.rate.due(self.admitted) > now {
                return;
            }
            // The table has at least one row, and at most `rows::MAX_ROWS`.
            let row = (self.admitted % self.table.rows.len() as u64) as usize;
            if let Some(found) = self.table.rows.get(row) {
                self.lanes.push(found.ticker, row);
            }
            self.admitted += 1;
        }
    }

    /// When something is to be done without an answer coming in: a record due, or a retry.
    fn next_due(&self) -> Option<Instant> {
        let due = (!self.all_admitted() && self.lanes.room() > 0)
            .then(|| self.options.rate.due(self.admitted));
        due.into_iter()
            .chain(self.lanes.next_retry())
            .min()
            .and_then(|at| self.begin.checked_add(at))
    }

    /// Takes the next call's records and stamps them, now that they are sent.
    fn next_call(&mut self) -> Vec<Outgoing> {
        let elapsed = self.begin.elapsed();
        let table = self.table;
        let mut call = Vec::new();
        let mut size = 0;
        for record in self.lanes.take(elapsed) {
            let ticker = table.tickers.get(record.ticker as usize);
            let Some((ticker, row)) = ticker.zip(table.rows.get(record.row)) else {
                continue;
            };
            let (bytes, time) = match record.frozen.clone() {
                Some(frozen) => frozen,
                None => {
                    let time = self.times.at(elapsed, (self.clock)());
                    (tick::encode(ticker, row, time), time)
                }
            };
            size += bytes.len() + ticker.len();
            if size > BYTES_PER_CALL && !call.is_empty() {
                self.lanes.put_back(record);
            } else {
                call.push(Outgoing {
                    record,
                    key: ticker.to_owned(),
                    bytes,
                    time,
                });
            }
        }
        call
    }

    fn ticker(&self, record: &Pending) -> Option<&str> {
        self.table
            .tickers
            .get(record.ticker as usize)
            .map(String::as_str)
    }

    /// Follows up each answer: delivered, or to be sent again after a wait.
    fn settle(&mut self, call: Vec<Outgoing>, answers: Vec<Answer>) -> Result<(), ReplayError> {
        for (
            Outgoing {
                record,
                bytes,
                time,
                ..
            },
            answer,
        ) in call.into_iter().zip(answers)
        {
            let (message, frozen) = match answer {
                Answer::Delivered => {
                    self.lanes.delivered(&record);
                    self.sent.delivered(&record, bytes.len(), time);
                    continue;
                }
                Answer::Throttled(message) => {
                    self.sent.throttled += 1;
                    (message, None)
                }
                Answer::Failed(message) => {
                    self.sent.failed += 1;
                    (message, None)
                }
                // Sent again as it is, so that a reader can tell the second one for a copy of the first.
                Answer::Unanswered(message) => {
                    self.sent.unanswered += 1;
                    (message, Some((bytes, time)))
                }
            };
            self.retry(record, frozen, message)?;
        }
        Ok(())
    }

    fn retry(
        &mut self,
        mut record: Pending,
        frozen: Option<(Bytes, Timestamp)>,
        message: String,
    ) -> Result<(), ReplayError> {
        record.attempts += 1;
        // Once a call was not answered, later attempts carry the same bytes whatever they are answered.
        record.frozen = frozen.or(record.frozen);
        let seed = self.seed ^ record.sequence;
        let delays = record
            .delays
            .get_or_insert_with(|| self.options.retry.delays(seed));
        let Some(delay) = delays.next() else {
            return Err(ReplayError::GaveUp {
                ticker: self.ticker(&record).unwrap_or_default().to_owned(),
                attempts: record.attempts,
                delivered: self.sent.records,
                message,
            });
        };
        self.sent.retried += 1;
        self.lanes.retry_at(record, self.begin.elapsed() + delay);
        Ok(())
    }

    fn progress(&mut self) -> Progress {
        let elapsed = self.begin.elapsed();
        Progress {
            elapsed,
            total: self.records,
            records: self.sent.records,
            bytes: self.sent.bytes,
            rate: self.rate.measure(elapsed, self.sent.records),
            retried: self.sent.retried,
            throttled: self.sent.throttled,
            errors: self.sent.failed + self.sent.unanswered,
            pending: self.lanes.pending(),
            event_time: self.sent.last,
        }
    }
}

async fn send(
    client: &Client,
    stream: &str,
    call: Vec<Outgoing>,
) -> (Vec<Outgoing>, Result<Vec<Answer>, ReplayError>) {
    let entries = call
        .iter()
        .map(|outgoing| (outgoing.key.clone(), outgoing.bytes.clone()))
        .collect();
    let answers = put_records(client, stream, entries).await;
    (call, answers)
}

/// What was delivered, and what it took.
#[derive(Debug, Default)]
struct Sent {
    records: u64,
    bytes: u64,
    retried: u64,
    throttled: u64,
    failed: u64,
    unanswered: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    per_ticker: Vec<u64>,
}

impl Sent {
    fn delivered(&mut self, record: &Pending, bytes: usize, time: Timestamp) {
        self.records += 1;
        self.bytes += bytes as u64;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = self.last.max(Some(time));
        if let Some(count) = self.per_ticker.get_mut(record.ticker as usize) {
            *count += 1;
        }
    }

    fn summary(
        &self,
        stream: &str,
        elapsed: Duration,
        stopped: bool,
        tickers: &[String],
    ) -> ReplaySummary {
        let per_ticker: BTreeMap<_, _> = tickers
            .iter()
            .zip(&self.per_ticker)
            .filter(|(_, records)| **records > 0)
            .map(|(ticker, records)| (ticker.clone(), *records))
            .collect();
        ReplaySummary {
            stream: stream.to_owned(),
            records: self.records,
            bytes: self.bytes,
            seconds: elapsed.as_secs_f64(),
            retried: self.retried,
            throttled: self.throttled,
            unanswered: self.unanswered,
            first_event_time: self.first,
            last_event_time: self.last,
            stopped,
            per_ticker,
        }
    }
}

/// Records per second since about a second ago.
#[derive(Debug, Default)]
struct RateMeter {
    from: (Duration, u64),
    rate: f64,
}

impl RateMeter {
    fn measure(&mut self, elapsed: Duration, records: u64) -> f64 {
        let span = elapsed.saturating_sub(self.from.0);
        if span >= Duration::from_secs(1) || self.from.0.is_zero() && !span.is_zero() {
            self.rate = records.saturating_sub(self.from.1) as f64 / span.as_secs_f64();
        }
        if span >= Duration::from_secs(1) {
            self.from = (elapsed, records);
        }
        self.rate
    }
}
