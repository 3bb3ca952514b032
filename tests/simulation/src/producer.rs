//! Who puts ticks into the stream.
//!
//! Owns what ticks there are: in order and out of it, late, ahead of time, malformed, put twice, in bursts and with quiet
//! times. Makes no tick whose fate depends on what was idle when; see the oracle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use stockstream_local::Kinesis;
use stockstream_local::api::{Blob, PutRecordRequest};
use tokio::time::{Instant, sleep};

use crate::clock::World;
use crate::network::lock;
use crate::note;
use crate::oracle::{Oracle, Rules};
use crate::random::Random;
use crate::store::Objects;
use crate::stream::STREAM;
use crate::trace::Trace;

/// A tick's event time keeps this far away from where its fate turns, in milliseconds.
const MARGIN: i64 = 50;

/// Puts ticks.
#[derive(Debug)]
pub struct Producer {
    /// Where to.
    pub log: Arc<Kinesis>,
    /// The true time.
    pub world: World,
    /// The rules' numbers.
    pub rules: Rules,
    /// Tickers.
    pub tickers: Vec<String>,
    /// Says which windows are closed for sure.
    pub oracle: Arc<Mutex<Oracle>>,
    /// Where the oracle finds the roots.
    pub objects: Arc<Mutex<Objects>>,
    /// What happened.
    pub trace: Trace,
    /// Its own randomness, and how many ticks it has made.
    pub state: Mutex<(Random, u64)>,
    /// It shall end.
    pub stop: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OnTime,
    Ahead,
    Late,
    TooFarAhead,
    WrongKey,
    Malformed,
    NoTicker,
    NoNumber,
}

impl Producer {
    /// Puts ticks until it shall end.
    pub async fn run(&self) {
        let mut quiet: Vec<Option<Instant>> = vec![None; self.tickers.len()];
        while !self.stop.load(Ordering::SeqCst) {
            let (pause, ticks) = self.draw(|random| match random.bits() % 100 {
                0 => (random.millis(3_000, 9_000), 0),
                1..=4 => (random.millis(5, 20), random.between(5, 60)),
                _ => (random.millis(20, 250), random.between(1, 4)),
            });
            sleep(pause).await;
            for _ in 0..ticks {
                let index =
                    self.draw(|random| random.between(0, i64::try_from(quiet.len()).unwrap_or(1)));
                let index = usize::try_from(index).unwrap_or(0);
                if quiet
                    .get(index)
                    .copied()
                    .flatten()
                    .is_some_and(|until| Instant::now() < until)
                {
                    continue;
                }
                if self.draw(|random| random.chance(15)) {
                    let time = self.draw(|random| random.millis(2_000, 10_000));
                    if let Some(quiet) = quiet.get_mut(index) {
                        *quiet = Some(Instant::now() + time);
                    }
                }
                self.tick(index, None);
            }
        }
    }

    /// Puts a late tick for every ticker, as far as there are windows closed for sure.
    pub fn late_round(&self) {
        for index in 0..self.tickers.len() {
            self.tick(index, Some(Kind::Late));
        }
    }

    /// Puts many ticks at once.
    pub fn burst(&self) {
        let ticks = self.draw(|random| random.between(50, 200));
        for _ in 0..ticks {
            let index = self
                .draw(|random| random.between(0, i64::try_from(self.tickers.len()).unwrap_or(1)));
            self.tick(usize::try_from(index).unwrap_or(0), None);
        }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut lock(&self.state).0)
    }

    fn tick(&self, index: usize, kind: Option<Kind>) {
        let Some(ticker) = self.tickers.get(index) else {
            return;
        };
        let kind = kind.unwrap_or_else(|| {
            self.draw(|random| match random.bits() % 100 {
                0..=4 => Kind::Late,
                5..=8 => Kind::Ahead,
                9 => Kind::TooFarAhead,
                10 => Kind::WrongKey,
                11 => Kind::Malformed,
                12 if random.chance(500) => Kind::NoTicker,
                12 => Kind::NoNumber,
                _ => Kind::OnTime,
            })
        });
        let Some(at) = self.event_time(ticker, kind) else {
            return;
        };
        let data = self.data(ticker, kind, at);
        let key = match kind {
            Kind::WrongKey => self.draw(|random| format!("key {}", random.between(0, 20))),
            _ => ticker.clone(),
        };
        self.put(&key, &data);
        // A reply was lost, and the producer has put it again: two records are two ticks.
        if self.draw(|random| random.chance(8)) {
            self.put(&key, &data);
        }
    }

    /// When the tick says that it happened, in milliseconds since the epoch.
    fn event_time(&self, ticker: &str, kind: Kind) -> Option<i64> {
        let now = self.world.millis();
        let (delay, ahead, window) = (
            self.rules.delay / 1_000,
            self.rules.max_ahead / 1_000,
            self.rules.window / 1_000,
        );
        Some(match kind {
            Kind::Ahead => self.draw(|random| now + random.between(1, ahead - MARGIN)),
            Kind::TooFarAhead => self.draw(|random| now + ahead + random.between(MARGIN, 60_000)),
            Kind::Late => {
                let bound = {
                    let mut oracle = lock(&self.oracle);
                    if !oracle.catch_up(&self.objects) {
                        return None;
                    }
                    oracle.closed_through(ticker)? / 1_000
                };
                let end = bound - bound.rem_euclid(window);
                // Most often the window that was closed last, to which a tick may do the most harm.
                let windows = self.draw(|random| random.between(0, 4).min(random.between(0, 4)));
                self.draw(|random| end - windows * window - 1 - random.between(0, window))
            }
            _ => self.draw(|random| {
                let oldest = delay - MARGIN;
                now - random.between(0, oldest).min(random.between(0, oldest))
            }),
        })
    }

    fn data(&self, ticker: &str, kind: Kind, at: i64) -> String {
        let number = {
            let mut state = lock(&self.state);
            state.1 += 1;
            state.1
        };
        let close = self.draw(|random| random.between(1, 1_000));
        let other_date = self.draw(|random| random.chance(50));
        let time = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
        let date = if other_date {
            "2023-12-29"
        } else {
            "2024-01-02"
        };
        let rest = format!("\"date\":\"{date}\",\"timestamp\":\"{time:.3}\",\"volume\":{number}");
        match kind {
            Kind::Malformed => format!("{{\"ticker\":\"{ticker}\",{rest}"),
            Kind::NoTicker => format!("{{\"close\":{close},{rest}}}"),
            Kind::NoNumber => format!("{{\"ticker\":\"{ticker}\",\"close\":\"much\",{rest}}}"),
            _ => format!("{{\"ticker\":\"{ticker}\",\"close\":{close},{rest}}}"),
        }
    }

    fn put(&self, key: &str, data: &str) {
        let request = PutRecordRequest {
            stream_name: Some(STREAM.to_owned()),
            data: Some(Blob(data.as_bytes().to_vec())),
            partition_key: Some(key.to_owned()),
            ..PutRecordRequest::default()
        };
        match self.log.put_record(&request) {
            Ok(put) => note!(
                self.trace,
                "put {} {} {key} {data}",
                put.shard_id,
                put.sequence_number
            ),
            Err(error) => note!(self.trace, "put {key} refused: {error}"),
        }
    }
}
