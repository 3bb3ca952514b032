//! What the kill-and-restart suites share: ticks, a stream that outlives the worker, workers, and a reader that never
//! looks away.
//!
//! Owns the oracle's form ([`Outcome`]): what a pipeline has put out, read back from its files alone. The expected one
//! comes from an uninterrupted run over the same records, so nothing here knows how a figure is computed.

mod lake;
mod market;
mod outcome;
mod pipeline;
mod random;
mod reader;
mod stage;
mod stream;

use std::io::Write as _;

pub use lake::{Lake, Listed};
pub use market::{Market, TICKERS, Tick};
pub use outcome::{Figure, Outcome, Row};
pub use pipeline::{Pace, Pipeline, Worker, is_empty, state_at};
pub use random::{Random, seed};
pub use reader::Reader;
pub use stage::Stage;
pub use stream::Stream;

/// Tells people something during a test, past the test harness that holds back what a passing test prints.
pub fn tell(line: &str) {
    // Nobody to tell is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}
