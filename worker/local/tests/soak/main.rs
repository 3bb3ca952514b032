//! What is promised, under load: 16 writers and 8 tailing readers while shards split and merge, the
//! wall clock jumps and old records are trimmed; and writers while the server is killed. Nothing may
//! be lost, doubled or reordered.
//!
//! A few seconds each in `make test`; `make soak-kinesis` runs a minute each and prints what was done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

mod check;
mod door;
mod kill;
mod load;

use std::time::Duration;

/// How long a run writes: `STOCKSTREAM_SOAK_SECONDS`, or `short`.
fn duration(short: u64) -> Duration {
    let seconds = std::env::var("STOCKSTREAM_SOAK_SECONDS").ok();
    let seconds = seconds.map(|seconds| seconds.parse().expect("a whole number of seconds"));
    Duration::from_secs(seconds.unwrap_or(short))
}

/// Numbers that follow from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        check::mix(self.0) % bound
    }
}
