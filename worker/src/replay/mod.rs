//! The producer: replays historical rows into a Kinesis stream as if they were live ticks.
//!
//! Owns the `replay` command: reading rows ([`rows`]), the order and the batches in which they are
//! sent ([`lanes`]), their event times ([`event_time`]) and their pace ([`pace`]). Must never know about
//! windows, checkpoints or output: to a pipeline it is one producer among others.
//!
//! **Order.** AWS does not promise the order of the records of one PutRecords call, and a call may
//! fail for some of them only. So at most one record of a ticker is ever in flight: the next one is
//! sent only after the answer for the one before it. Calls are filled with the next records of
//! different tickers, and several calls with different tickers run side by side.

mod args;
pub mod dead_letters;
mod drive;
mod error;
pub mod event_time;
pub mod lanes;
pub mod options;
pub mod pace;
pub mod progress;
mod put;
pub mod rows;
mod run;
mod summary;
#[cfg(test)]
mod tests;
mod tick;

pub use args::ReplayArgs;
pub use error::ReplayError;
pub use options::{ReplayOptions, RetryPolicy};
pub use progress::{ConsoleObserver, Observer, Plan, Progress, Silent};
pub use rows::check_input;
pub use run::{run, run_with_clock};
pub use summary::ReplaySummary;
