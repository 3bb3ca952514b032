//! `make bench-commit`: what a commit costs a shard of many tickers: bytes, and processor time to make them. Figures, not
//! assertions.
//!
//! A commit writes the whole state: the open windows (three a ticker here, as with two minutes' delay), the latest close of
//! every ticker, and whatever waits. Its bytes should grow as the tickers do, and no faster.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "that is its purpose"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec::{DEFAULT_FORMAT, decode, encode_as};
use stockstream_core::hash::HashRange;
use stockstream_core::plan::{MaxAhead, Plan};
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::state::{RecordMeta, ShardState};
use stockstream_core::time::{Micros, Monotonic};

const START: i64 = 1_704_206_400_000_000;
const TICKERS: [u64; 3] = [500, 10_000, 100_000];
const ROUNDS: usize = 7;

fn main() {
    println!(
        "| tickers | open windows | bytes | bytes a window | snapshot, ms | encoded, ms | decoded, ms |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for tickers in TICKERS {
        match figures(tickers) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("{tickers} tickers: {error}"),
        }
    }
}

fn figures(tickers: u64) -> Result<String, Box<dyn std::error::Error>> {
    let first = Checkpoint::before_first(
        "bench",
        "k1",
        "shard",
        HashRange::ALL,
        Position::TrimHorizon,
    );
    let state = filled(tickers, &first)?;
    let mut checkpoint = first;
    let snapshot = median(|| state.write_to(&mut checkpoint));
    let mut bytes = Vec::new();
    let encoded = median(|| bytes = encode_as(&checkpoint, DEFAULT_FORMAT).unwrap_or_default());
    let mut read = None;
    let decoded = median(|| read = decode(&bytes).ok());
    if read.as_ref() != Some(&checkpoint) {
        return Err("the checkpoint doesn't survive its bytes".into());
    }
    let windows = checkpoint.windows.len();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(format!(
        "| {tickers} | {windows} | {} | {} | {:.2} | {:.2} | {:.2} |",
        bytes.len(),
        bytes.len() / windows.max(1),
        millis(snapshot),
        millis(encoded),
        millis(decoded)
    ))
}

/// A shard in which every ticker has ticks in three minutes, with sequence numbers as Kinesis gives them.
fn filled(tickers: u64, first: &Checkpoint) -> Result<ShardState, Box<dyn std::error::Error>> {
    let plan = Arc::new(Plan {
        keyed_by_ticker: false,
        max_ahead: MaxAhead::Unbounded,
        watermark_delay: 600_000_000,
        ..Plan::default()
    });
    let mut state = ShardState::restore(plan, first, Monotonic(0))?;
    for number in 0..tickers * 3 {
        let at = Micros(START + i64::try_from(number / tickers)? * 60_000_000);
        let cents = 10_000 + number * 7_919 % 90_000;
        let text = format!(
            "{{\"ticker\":\"T{:05}\",\"timestamp\":\"{at}\",\"close\":{}.{:02}}}",
            number % tickers,
            cents / 100,
            cents % 100
        );
        let meta = RecordMeta {
            sequence: SequenceNumber::parse(&format!("4964{:052}", number * 1_009))?,
            arrival: at,
        };
        state.apply(&meta, &Bytes::from(text), Monotonic(0));
    }
    Ok(state)
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}
