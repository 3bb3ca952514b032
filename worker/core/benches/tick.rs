//! `make bench-tick`: what a tick costs the core, parsed and counted. Figures, not assertions.

use std::sync::Arc;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::hash::HashRange;
use stockstream_core::plan::{MaxAhead, Plan};
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::state::{RecordMeta, ShardState};
use stockstream_core::tick::TickParser;
use stockstream_core::time::{Micros, Monotonic};

fn main() {
    divan::main();
}

const TICKS: usize = 10_000;
const TICKERS: usize = 500;

/// A minute's ticks of 500 tickers, about 150 bytes each. With `odd`, every record has a layout of its own, so that only
/// the strict parser reads it.
fn ticks(odd: bool) -> Vec<Bytes> {
    let tick = |number: usize| {
        let (ticker, cents) = (number * 7_919 % TICKERS, 10_000 + number * 31 % 10_000);
        let (second, micros) = (number * 60 / TICKS, number * 6_000 % 1_000_000);
        let close = format!("{}.{:02}", cents / 100, cents % 100);
        let key = match odd {
            true => format!("\"odd{number}\":1,"),
            false => String::new(),
        };
        Bytes::from(format!(
            "{{{key}\"ticker\":\"T{ticker:03}\",\"date\":\"2024-01-02\",\"timestamp\":\"2024-01-02T14:30:{second:02}.{micros:06}Z\",\
             \"open\":{close},\"high\":{close},\"low\":{close},\"close\":{close},\"volume\":{}}}",
            100 + number % 900
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
    let checkpoint = Checkpoint::before_first(
        "bench",
        "k1",
        "shard",
        HashRange::ALL,
        Position::TrimHorizon,
    );
    let state = || ShardState::restore(plan.clone(), &checkpoint, Monotonic(0)).ok();
    bencher
        .counter(ItemsCount::new(TICKS))
        .with_inputs(state)
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
