//! The engine of a run: sends each record of a load when it is due and follows up every answer until the last.
//! Owns the calls and the randomness; what goes into which call is decided in [`super::lanes`], what a record is by the
//! load.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::ReplayError;
use super::lanes::{BYTES_PER_CALL, Lanes, Pending, TickerId};
use super::options::RetryPolicy;
use super::pace::Rate;
use super::progress::{Observer, Progress};
use super::put::{Answer, put_records};
use super::summary::ReplaySummary;

/// Calls in flight at the same time, each with other tickers.
const CALLS_IN_FLIGHT: usize = 4;

/// How often the observer hears of the run.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(200);

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

/// What a run sends: records by place, each in the lane of its partition key.
pub(super) trait Load: Send {
    /// Places; at least one.
    fn places(&self) -> usize;
    /// The partition keys, by lane.
    fn keys(&self) -> &[String];
    /// The lane of a place.
    fn lane(&self, place: usize) -> TickerId;
    /// A place's bytes and event time, now that it is sent, `elapsed` after the run's start.
    fn record(&mut self, place: usize, elapsed: Duration) -> (Bytes, Timestamp);
    /// The stream has it.
    fn delivered(&mut self, place: usize);
}

/// Where to, how fast, and how much.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) stream: String,
    pub(super) rate: Rate,
    pub(super) retry: RetryPolicy,
    /// Records in all; `None` for no end. Above the number of places it begins again.
    pub(super) records: Option<u64>,
}

/// Sends a load until all records are delivered or `stop` is ready.
///
/// # Errors
/// See [`ReplayError`].
pub(super) async fn drive(
    client: &Client,
    manner: &Manner,
    load: &mut dyn Load,
    observer: &mut dyn Observer,
    stop: std::pin::Pin<&mut (impl Future<Output = ()> + Send)>,
) -> Result<ReplaySummary, ReplayError> {
    let lanes = load.keys().len();
    let mut replay = Replay {
        client,
        manner,
        load,
        seed: random_seed()?,
        begin: Instant::now(),
        lanes: Lanes::default(),
        admitted: 0,
        sent: Sent {
            per_ticker: vec![0; lanes],
            ..Sent::default()
        },
        rate: RateMeter::default(),
    };
    let outcome = replay.drive(observer, stop).await;
    observer.ended(&replay.progress());
    let stopped = outcome?;
    let elapsed = replay.begin.elapsed();
    Ok(replay
        .sent
        .summary(&manner.stream, elapsed, stopped, replay.load.keys()))
}

/// What a run that sent nothing says.
pub(super) fn nothing_sent(stream: &str, stopped: bool) -> ReplaySummary {
    Sent::default().summary(stream, Duration::ZERO, stopped, &[])
}

struct Replay<'a> {
    client: &'a Client,
    manner: &'a Manner,
    load: &'a mut dyn Load,
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
                    calls.push(send(self.client, &self.manner.stream, call));
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
        self.manner
            .records
            .is_some_and(|records| self.admitted >= records)
    }

    fn is_finished(&self) -> bool {
        self.all_admitted() && self.lanes.is_empty()
    }

    /// Hands every record that is due to the lanes, as far as there is room.
    fn admit(&mut self) {
        let now = self.begin.elapsed();
        for _ in 0..self.lanes.room() {
            if self.all_admitted() || self.manner.rate.due(self.admitted) > now {
                return;
            }
            // There is at least one place, and at most what fits in memory.
            let place = (self.admitted % self.load.places().max(1) as u64) as usize;
            self.lanes.push(self.load.lane(place), place);
            self.admitted += 1;
        }
    }

    /// When something is to be done without an answer coming in: a record due, or a retry.
    fn next_due(&self) -> Option<Instant> {
        let due = (!self.all_admitted() && self.lanes.room() > 0)
            .then(|| self.manner.rate.due(self.admitted));
        due.into_iter()
            .chain(self.lanes.next_retry())
            .min()
            .and_then(|at| self.begin.checked_add(at))
    }

    /// Takes the next call's records and stamps them, now that they are sent.
    fn next_call(&mut self) -> Vec<Outgoing> {
        let elapsed = self.begin.elapsed();
        let mut call = Vec::new();
        let mut size = 0;
        for record in self.lanes.take(elapsed) {
            let Some(key) = self.load.keys().get(record.ticker as usize).cloned() else {
                continue;
            };
            let (bytes, time) = match record.frozen.clone() {
                Some(frozen) => frozen,
                None => self.load.record(record.row, elapsed),
            };
            size += bytes.len() + key.len();
            if size > BYTES_PER_CALL && !call.is_empty() {
                self.lanes.put_back(record);
            } else {
                call.push(Outgoing {
                    record,
                    key,
                    bytes,
                    time,
                });
            }
        }
        call
    }

    fn ticker(&self, record: &Pending) -> Option<&str> {
        let keys = self.load.keys();
        keys.get(record.ticker as usize).map(String::as_str)
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
                    self.load.delivered(record.row);
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
            .get_or_insert_with(|| self.manner.retry.delays(seed));
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
            total: self.manner.records,
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
