//! `make bench-tick`: what a tick costs the core, parsed and counted. Figures, not assertions.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::hash::HashRange;
use stockstream_core::plan::{Aggregate, Function, MaxAhead, Plan};
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::state::{ParsedRecords, RecordMeta, ShardState};
use stockstream_core::tick::{TickBlock, TickParser};
use stockstream_core::time::{Micros, Monotonic};

fn main() {
    divan::main();
}

const TICKS: usize = 10_000;
const TICKERS: usize = 500;

/// A minute's ticks of 500 tickers, about 150 bytes each, of one layout whose numbers are as long as they are. With `odd`, every
/// record has a layout of its own, so that only the strict parser reads it.
fn ticks(odd: bool) -> Vec<Bytes> {
    let tick = |number: usize| {
        let (ticker, cents) = (number * 7_919 % TICKERS, 10_000 + number * 31 % 10_000);
        let (second, micros) = (number * 60 / TICKS, number * 6_000 % 1_000_000);
        // As JSON writers print doubles: without zeros at the end.
        let close = format!("{}", f64::from(u32::try_from(cents).unwrap_or(0)) / 100.0);
        let key = match odd {
            true => format!("\"odd{number}\":1,"),
            false => String::new(),
        };
        Bytes::from(format!(
            "{{{key}\"ticker\":\"T{ticker:03}\",\"date\":\"2024-01-02\",\"timestamp\":\"2024-01-02T14:30:{second:02}.{micros:06}Z\",\
             \"open\":{close},\"high\":{close},\"low\":{close},\"close\":{close},\"volume\":{}}}",
            50 + number % 3_000
        ))
    };
    (0..TICKS).map(tick).collect()
}

/// Records of one layout, and each of its own.
#[divan::bench(args = [false, true])]
fn parse(bencher: Bencher<'_, '_>, odd: bool) {
    let ticks = ticks(odd);
    let keys = ["close".to_owned()];
    let mut parser = TickParser::new(&Plan::default().record, &keys);
    bencher.counter(ItemsCount::new(TICKS)).bench_local(|| {
        ticks
            .iter()
            .filter(|tick| parser.parse(tick).is_ok())
            .count()
    });
}

#[divan::bench(args = [false, true])]
fn parse_and_count(bencher: Bencher<'_, '_>, odd: bool) {
    let ticks = ticks(odd);
    let plan = Arc::new(Plan {
        keyed_by_ticker: false,
        max_ahead: MaxAhead::Unbounded,
        idle_timeout: None,
        ..Plan::default()
    });
    bencher
        .counter(ItemsCount::new(TICKS))
        .with_inputs(|| state(&plan))
        .bench_local_values(|state| {
            let mut state = state?;
            for (number, tick) in (1u64..).zip(&ticks) {
                let meta = RecordMeta {
                    sequence: SequenceNumber::from(number),
                    arrival: Micros(1_704_205_800_000_000),
                };
                state.apply(&meta, tick, Monotonic(0));
            }
            Some(state)
        });
}

/// Six figures of one minute, over four of a record's numbers, as `make bench` asks for them.
fn six() -> Arc<Plan> {
    let aggregate = |name: &str, function, field: &str| Aggregate {
        name: name.into(),
        function,
        field: field.into(),
    };
    Arc::new(Plan {
        aggregates: vec![
            aggregate("avg_close", Function::Avg, "close"),
            aggregate("last_close", Function::Last, "close"),
            aggregate("ticks", Function::Count, "close"),
            aggregate("volume", Function::Sum, "volume"),
            aggregate("low", Function::Min, "low"),
            aggregate("high", Function::Max, "high"),
        ],
        keyed_by_ticker: false,
        max_ahead: MaxAhead::Unbounded,
        idle_timeout: None,
        ..Plan::default()
    })
}

fn state(plan: &Arc<Plan>) -> Option<ShardState> {
    let checkpoint = Checkpoint::before_first(
        "bench",
        "k1",
        "shard",
        HashRange::ALL,
        Position::TrimHorizon,
    );
    ShardState::restore(plan.clone(), &checkpoint, Monotonic(0)).ok()
}

/// The ticks as one text of lines. Their numbers are as long as they are, or of one form: then each record has the length of
/// the others.
fn text(form: Form) -> Bytes {
    let lines = ticks(false).into_iter().filter(|tick| match form {
        Form::Any => true,
        Form::One => tick.len() == 149,
    });
    let mut text = Vec::new();
    for tick in lines.cycle().take(TICKS) {
        text.extend_from_slice(&tick);
        text.push(b'\n');
    }
    Bytes::from(text)
}

#[derive(Clone, Copy, Debug)]
enum Form {
    One,
    Any,
}

/// Where the line at `at` stands.
fn line_at(text: &[u8], at: usize) -> (Range<usize>, usize) {
    let length = text[at..].iter().position(|byte| *byte == b'\n');
    let end = length.map_or(text.len(), |length| at + length);
    (at..end, end + 1)
}

/// A piece of a file, parsed ahead of its turn.
#[divan::bench(args = [Form::One, Form::Any])]
fn parse_ahead(bencher: Bencher<'_, '_>, form: Form) {
    let text = text(form);
    let Some(mut parser) = state(&six()).map(|state| state.parser()) else {
        return;
    };
    bencher
        .counter(ItemsCount::new(TICKS))
        .bench_local(|| TickBlock::parse(&mut parser, text.clone(), line_at));
}

/// The same piece, counted into windows that are open already.
#[divan::bench]
fn count_ahead(bencher: Bencher<'_, '_>) {
    let (text, plan) = (text(Form::Any), six());
    let arrival = Micros(1_704_205_800_000_000);
    let records = || {
        let mut state = state(&plan)?;
        let mut parser = state.parser();
        let mut block = |first| {
            let block = TickBlock::parse(&mut parser, text.clone(), line_at);
            ParsedRecords::new(block, first, arrival, 0)
        };
        let (mut before, records) = (block(1), block(1 + TICKS as u64));
        while !before.is_done() {
            state.apply_parsed(&mut before, TICKS, Monotonic(0));
        }
        Some((state, records))
    };
    bencher
        .counter(ItemsCount::new(TICKS))
        .with_inputs(records)
        .bench_local_values(|input| {
            let (mut state, mut records) = input?;
            while !records.is_done() {
                state.apply_parsed(&mut records, TICKS, Monotonic(0));
            }
            Some((state, records))
        });
}
