//! The windows against a plain reference, written the slow obvious way, which shares no code with the core: ticks are kept
//! as they came, and every answer is worked out anew from all of them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec::{decode, encode};
use stockstream_core::hash::HashRange;
use stockstream_core::lineage::{
    Author, ShardInfo, StartRule, choose_roots, first_version_of_root,
};
use stockstream_core::plan::{Aggregate, Function, MaxAhead, Plan, RecordMapping};
use stockstream_core::row::Value;
use stockstream_core::state::{ParsedRecords, RecordMeta, ShardState};
use stockstream_core::tick::TickBlock;
use stockstream_core::time::{Micros, Monotonic};

// ---- The reference ----

/// 2024-01-02T15:00:00Z, in microseconds.
const START: i64 = 1_704_207_600_000_000;
const SECOND: i64 = 1_000_000;
const SIZE: i64 = 60 * SECOND;
const DELAY: i64 = 120 * SECOND;
const AHEAD: i64 = 90 * SECOND;
const IDLE: i64 = 30 * SECOND;
/// Days from 1970-01-01 to 2024-01-02.
const FIRST_DAY: i32 = 19_724;

/// What is done to a shard.
#[derive(Clone, Debug)]
enum Event {
    Tick(Raw),
    /// An empty reply at the tip, this many microseconds after the last event.
    Empty(i64),
    /// Written, read and taken again.
    Restart,
    /// Closed rows are taken away, as by a seal.
    Seal,
}

/// What a producer sent. `None`: the field is left out; `Some(None)`: it is null.
#[derive(Clone, Debug)]
struct Raw {
    ticker: Option<Option<&'static str>>,
    /// Microseconds after the start.
    at: i64,
    /// Event time minus arrival.
    ahead: i64,
    day: Option<i32>,
    close: Option<Option<f64>>,
    open: Option<f64>,
    volume: Option<Option<u32>>,
    id: Option<u8>,
    /// Instead of all that.
    garbage: Option<&'static str>,
}

impl Raw {
    fn json(&self) -> String {
        if let Some(garbage) = self.garbage {
            return garbage.to_owned();
        }
        let mut fields = vec![format!("\"timestamp\":\"{}\"", iso(START + self.at))];
        if let Some(ticker) = self.ticker {
            fields.push(ticker.map_or("\"ticker\":null".to_owned(), |name| {
                format!("\"ticker\":\"{name}\"")
            }));
        }
        if let Some(day) = self.day {
            fields.push(format!("\"date\":\"2024-01-{:02}\"", 2 + day));
        }
        if let Some(close) = self.close {
            fields.push(close.map_or("\"close\":null".to_owned(), |price| {
                format!("\"close\":{price:?}")
            }));
        }
        if let Some(open) = self.open {
            fields.push(format!("\"open\":{open:?}"));
        }
        if let Some(volume) = self.volume {
            fields.push(volume.map_or("\"volume\":null".to_owned(), |count| {
                format!("\"volume\":{count}.0")
            }));
        }
        if let Some(id) = self.id {
            fields.push(format!("\"id\":\"t{id}\""));
        }
        format!("{{ {} }}", fields.join(" , "))
    }
}

/// Within the first days of 2024.
fn iso(micros: i64) -> String {
    let since = micros - (START - 15 * 3_600 * SECOND);
    let (day, rest) = (
        since.div_euclid(86_400 * SECOND),
        since.rem_euclid(86_400 * SECOND),
    );
    let seconds = rest / SECOND;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!(
        "2024-01-{:02}T{hour:02}:{minute:02}:{second:02}.{:06}",
        2 + day,
        rest % SECOND
    )
}

/// A tick that was counted, with its number.
#[derive(Clone, Debug)]
struct Counted {
    number: u64,
    ticker: &'static str,
    at: i64,
    raw: Raw,
    /// Its window's row has been given out.
    closed: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct ReferenceRow {
    ticker: String,
    start: i64,
    day: i32,
    ticks: u64,
    first: String,
    last: String,
    figures: Vec<Option<f64>>,
}

#[derive(Debug, Default)]
struct Reference {
    /// (event time, arrival) of the ticks that move the watermark, and where idle time put it.
    seen: Vec<(i64, i64)>,
    idle: Vec<i64>,
    /// (watermark, monotonic time) from which idle time counts.
    base: Option<(i64, i64)>,
    ticks: Vec<Counted>,
    rows: Vec<ReferenceRow>,
    late: Vec<(u64, i64)>,
    dead: Vec<(u64, &'static str)>,
    duplicates: u64,
}

impl Reference {
    fn watermark(&self) -> Option<i64> {
        let moved = self
            .seen
            .iter()
            .map(|(event, arrival)| event.min(arrival) - DELAY);
        moved.chain(self.idle.iter().copied()).max()
    }

    fn tick(&mut self, number: u64, raw: &Raw, now: i64) {
        let at = START + raw.at;
        let Some(ticker) = self.usable(number, raw) else {
            return;
        };
        let end = at - at.rem_euclid(SIZE) + SIZE;
        if self.watermark().is_some_and(|watermark| end <= watermark) {
            self.late.push((number, self.watermark().unwrap()));
        } else if self.open(ticker).any(|own| own.raw.id == raw.id) {
            self.duplicates += 1;
        } else {
            self.ticks.push(Counted {
                number,
                ticker,
                at,
                raw: raw.clone(),
                closed: false,
            });
            self.seen.push((at, at - raw.ahead));
            self.close();
        }
        self.base = self.watermark().map(|watermark| (watermark, now));
    }

    /// The ticker of a tick that can be used; else notes why it can't.
    fn usable(&mut self, number: u64, raw: &Raw) -> Option<&'static str> {
        let reason = match raw {
            Raw {
                garbage: Some(_), ..
            } => "malformed",
            Raw { id: None, .. }
            | Raw {
                ticker: None | Some(None),
                ..
            } => "missing_field",
            // Every figure is one of the close or of the open.
            Raw {
                close: None | Some(None),
                open: None,
                ..
            } => "missing_field",
            Raw { ahead, .. } if *ahead > AHEAD => "ahead_of_time",
            Raw { ticker, .. } => return ticker.flatten(),
        };
        self.dead.push((number, reason));
        None
    }

    fn open(&self, ticker: &'static str) -> impl Iterator<Item = &Counted> {
        self.ticks
            .iter()
            .filter(move |own| own.ticker == ticker && !own.closed)
    }

    fn empty(&mut self, now: i64) {
        if let Some((watermark, since)) = self.base
            && now - since >= IDLE
        {
            self.idle.push(watermark + (now - since));
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(watermark) = self.watermark() else {
            return;
        };
        let mut windows: BTreeMap<(i64, &str), Vec<Counted>> = BTreeMap::new();
        for tick in &mut self.ticks {
            let start = tick.at.div_euclid(SIZE) * SIZE;
            if !tick.closed && start + SIZE <= watermark {
                tick.closed = true;
                windows
                    .entry((start, tick.ticker))
                    .or_default()
                    .push(tick.clone());
            }
        }
        for ((start, ticker), ticks) in windows {
            let dated = ticks.iter().find_map(|tick| tick.raw.day);
            let day = match dated {
                Some(day) => FIRST_DAY + day,
                None => i32::try_from(ticks[0].at.div_euclid(86_400 * SECOND)).unwrap(),
            };
            self.rows.push(ReferenceRow {
                ticker: ticker.to_owned(),
                start,
                day,
                ticks: ticks.len() as u64,
                first: ticks[0].number.to_string(),
                last: ticks[ticks.len() - 1].number.to_string(),
                figures: figures(&ticks),
            });
        }
    }

    /// Ticker, close, event time: of the ticks with a close, the one with the highest event time, the later one of
    /// equals; of all ticks when none has one.
    fn latest(&self) -> Vec<(String, Option<f64>, i64)> {
        let mut by_ticker: BTreeMap<&str, Vec<&Counted>> = BTreeMap::new();
        for tick in &self.ticks {
            by_ticker.entry(tick.ticker).or_default().push(tick);
        }
        by_ticker
            .into_iter()
            .filter_map(|(ticker, ticks)| {
                let close = |tick: &&&Counted| tick.raw.close.flatten().is_some();
                let with_close = ticks.iter().filter(close).max_by_key(|tick| tick.at);
                let best = with_close.or(ticks.iter().max_by_key(|tick| tick.at))?;
                Some((ticker.to_owned(), best.raw.close.flatten(), best.at))
            })
            .collect()
    }
}

/// In the order of [`FUNCTIONS`], then the highest open; the deviation by two passes.
fn figures(ticks: &[Counted]) -> Vec<Option<f64>> {
    let closes: Vec<f64> = ticks
        .iter()
        .filter_map(|tick| tick.raw.close.flatten())
        .collect();
    let count = closes.len() as f64;
    let sum: f64 = closes.iter().sum();
    let mean = (!closes.is_empty()).then(|| sum / count);
    let squares: f64 = closes
        .iter()
        .map(|close| (close - mean.unwrap()).powi(2))
        .sum();
    let weighed: Vec<(f64, f64)> = ticks
        .iter()
        .filter_map(|tick| {
            Some((
                tick.raw.close.flatten()?,
                f64::from(tick.raw.volume.flatten()?),
            ))
        })
        .collect();
    let volume: f64 = weighed.iter().map(|(_, volume)| volume).sum();
    let turnover: f64 = weighed.iter().map(|(close, volume)| close * volume).sum();
    vec![
        mean,
        mean.map(|_| sum),
        closes.iter().copied().reduce(f64::min),
        closes.iter().copied().reduce(f64::max),
        closes.first().copied(),
        closes.last().copied(),
        Some(count),
        (closes.len() > 1).then(|| (squares / (count - 1.0)).sqrt()),
        (volume != 0.0).then(|| turnover / volume),
        ticks
            .iter()
            .filter_map(|tick| tick.raw.open)
            .reduce(f64::max),
    ]
}

// ---- The core, driven ----

const FUNCTIONS: [Function; 9] = [
    Function::Avg,
    Function::Sum,
    Function::Min,
    Function::Max,
    Function::First,
    Function::Last,
    Function::Count,
    Function::Stddev,
    Function::Vwap,
];

fn plan() -> Arc<Plan> {
    Arc::new(Plan {
        record: RecordMapping {
            id: Some("id".into()),
            ..RecordMapping::default()
        },
        aggregates: FUNCTIONS
            .iter()
            .map(|function| (*function, "close"))
            .chain([(Function::Max, "open")])
            .map(|(function, field)| Aggregate {
                name: format!("{function:?} {field}"),
                function,
                field: field.into(),
            })
            .collect(),
        window_size: SIZE,
        watermark_delay: DELAY,
        idle_timeout: Some(IDLE),
        max_ahead: MaxAhead::Micros(AHEAD),
        ..Plan::default()
    })
}

fn first_version() -> Checkpoint {
    let listing = [ShardInfo {
        id: "s".into(),
        range: HashRange::ALL,
        parents: vec![],
        closed: false,
    }];
    let roots = choose_roots(StartRule::TrimHorizon, &listing, &[], 0).unwrap();
    let author = Author {
        state_id: "5f2c".into(),
        incarnation: "k1".into(),
        owner: "test".into(),
        writer: "0.0.0".into(),
        window_size: SIZE,
    };
    first_version_of_root(&author, &roots, "s").unwrap()
}

fn number_of(value: Value) -> Option<f64> {
    match value {
        Value::Null => None,
        Value::Double(value) => Some(value),
        Value::Long(value) => Some(value as f64),
    }
}

fn same(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0),
        (a, b) => a == b,
    }
}

fn opt<T: Clone + std::fmt::Debug + 'static>(
    present: u32,
    strategy: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Option<Option<T>>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(None)),
        present => strategy.prop_map(|value| Some(Some(value))),
    ]
}

fn raws() -> impl Strategy<Value = Raw> {
    let tickers = proptest::sample::select(vec!["AAPL", "MSFT", "é", "A/B"]);
    let garbage = proptest::sample::select(vec![
        "",
        "{",
        "[]",
        "7",
        "{\"ticker\":\"A\"",
        "\u{0}",
        "{} x",
    ]);
    let ahead = prop_oneof![4 => Just(0i64), 2 => -200..200i64, 1 => 89..92i64]
        .prop_map(|seconds| seconds * SECOND);
    // Half of them on the edges of windows, where lateness turns.
    let event_times = prop_oneof![
        -150_000_000i64..150_000_000,
        (-5i64..5).prop_map(|half_minutes| half_minutes * 30 * SECOND),
    ];
    // Prices whose sums are exact, so that only the deviation is compared with a tolerance in earnest.
    let price = (-4_000i32..40_000).prop_map(|price| f64::from(price) / 64.0);
    (
        opt(30, tickers),
        (event_times, ahead),
        proptest::option::of(0i32..3),
        (opt(6, price.clone()), proptest::option::of(price)),
        opt(6, 0u32..50),
        prop_oneof![1 => Just(None), 40 => any::<u8>().prop_map(Some)],
        prop_oneof![30 => Just(None), 1 => garbage.prop_map(Some)],
    )
        .prop_map(
            |(ticker, (at, ahead), day, (close, open), volume, id, garbage)| Raw {
                ticker,
                at,
                ahead,
                day,
                close,
                open,
                volume,
                id,
                garbage,
            },
        )
}

/// Ticks whose event times drift on, from well out of order to in order; with restarts, seals and silences in between.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        30 => raws().prop_map(Event::Tick),
        2 => (0i64..80_000_000).prop_map(Event::Empty),
        2 => Just(Event::Restart),
        2 => Just(Event::Seal),
    ];
    (
        proptest::collection::vec(event, 0..150),
        prop_oneof![0i64..20, Just(30)],
    )
        .prop_map(|(mut events, step)| {
            for (index, event) in (0i64..).zip(&mut events) {
                if let Event::Tick(raw) = event {
                    raw.at += index * step * SECOND;
                }
            }
            events
        })
}

struct Driven {
    state: ShardState,
    rows: Vec<stockstream_core::row::Row>,
    late: Vec<(u64, i64)>,
    dead: Vec<(u64, &'static str)>,
}

impl Driven {
    fn seal(&mut self) {
        let pending = self.state.take_unsealed();
        self.rows.extend(pending.rows.to_vec());
        let number = |sequence: &stockstream_core::sequence::SequenceNumber| {
            sequence.to_string().parse().unwrap()
        };
        self.late.extend(
            pending
                .late
                .iter()
                .map(|late| (number(&late.sequence), late.watermark.0)),
        );
        self.dead.extend(
            pending
                .dead
                .iter()
                .map(|dead| (number(&dead.sequence), dead.reason.label())),
        );
    }

    fn restart(&mut self, now: i64) {
        let mut checkpoint = first_version();
        self.state.write_to(&mut checkpoint);
        let read = decode(&encode(&checkpoint).unwrap()).unwrap();
        assert_eq!(read, checkpoint);
        self.state = ShardState::restore(plan(), &read, Monotonic(now)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rows_and_rejects_are_those_of_the_reference_whatever_the_cuts(events in events()) {
        let mut reference = Reference::default();
        let mut driven = Driven {
            state: ShardState::restore(plan(), &first_version(), Monotonic(0)).unwrap(),
            rows: vec![],
            late: vec![],
            dead: vec![],
        };
        let mut now = 0;
        for (number, event) in (1u64..).zip(&events) {
            now += 1_000;
            match event {
                Event::Tick(raw) => {
                    let arrival = Micros(START + raw.at - raw.ahead);
                    let meta = RecordMeta { sequence: number.into(), arrival };
                    let data = Bytes::from(raw.json());
                    // Parsed ahead or in its turn: it makes no difference.
                    // An empty record is none in a file.
                    if number % 3 == 0 && !data.is_empty() {
                        let block = TickBlock::parse(&mut driven.state.parser(), data, |text, at| (at..text.len(), text.len()));
                        let mut records = ParsedRecords::new(block, number, arrival, 0);
                        driven.state.apply_parsed(&mut records, 1, Monotonic(now));
                    } else {
                        driven.state.apply(&meta, &data, Monotonic(now));
                    }
                    reference.tick(number, raw, now);
                }
                Event::Empty(passed) => {
                    now += passed;
                    driven.state.observe_empty_tip(Monotonic(now), Micros(START));
                    reference.empty(now);
                }
                Event::Restart => {
                    driven.restart(now);
                    // Idle time counts from the take.
                    reference.base = reference.watermark().map(|watermark| (watermark, now));
                }
                Event::Seal => driven.seal(),
            }
            prop_assert_eq!(driven.state.watermark().map(|watermark| watermark.0), reference.watermark());
        }
        driven.seal();
        let latest: Vec<_> = driven.state.latest().iter().map(|own| (own.ticker.to_string(), own.close, own.event_time.0)).collect();
        prop_assert_eq!(latest, reference.latest());
        driven.state.close_all_windows();
        driven.seal();
        reference.idle.push(i64::MAX);
        reference.close();

        prop_assert_eq!(driven.rows.len(), reference.rows.len());
        // Rows come in the order of closing, and within one closing by (window, ticker): the reference's order, too.
        for (row, expected) in driven.rows.iter().zip(&reference.rows) {
            let figures: Vec<_> = row.values.iter().map(|value| number_of(*value)).collect();
            let found = ReferenceRow {
                ticker: row.ticker.to_string(),
                start: row.window_start.0,
                day: row.trade_date.days(),
                ticks: row.ticks,
                first: row.first_sequence.to_string(),
                last: row.last_sequence.to_string(),
                figures: expected.figures.clone(),
            };
            prop_assert_eq!(&found, expected);
            prop_assert_eq!(row.window_end.0, row.window_start.0 + SIZE);
            prop_assert_eq!(figures.len(), FUNCTIONS.len() + 1);
            for ((figure, expected), function) in figures.iter().zip(&expected.figures).zip(plan().aggregates.iter()) {
                prop_assert!(same(*figure, *expected), "{}: {:?} for {:?}", function.name, figure, expected);
            }
        }
        prop_assert_eq!(driven.late, reference.late.clone());
        prop_assert_eq!(driven.dead, reference.dead.clone());
        let counters = driven.state.counters();
        prop_assert_eq!(counters.ticks, reference.ticks.len() as u64);
        prop_assert_eq!(counters.late, reference.late.len() as u64);
        prop_assert_eq!(counters.duplicates, reference.duplicates);
        prop_assert_eq!(counters.dead_letters(), reference.dead.len() as u64);
        prop_assert_eq!(counters.rows_closed, reference.rows.len() as u64);
    }
}
