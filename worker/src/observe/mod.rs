//! What a person, a scraper or a script can see of a running worker: its state, metrics, logs and live table.
//!
//! Owns the plain data of a worker's view and every way of showing it. Must never decide anything about
//! the pipeline: dropping this module would change no row.

pub mod event;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod http;
pub mod iso8601;
pub mod log;
pub mod metrics;
pub mod observer;
pub mod state;
pub mod summaries;
pub mod terminal;

pub use event::Event;
pub use observer::{Identity, Observer};
pub use state::{
    Condition, ConditionStatus, Counters, MemberReport, MemberShard, PipelinePhase, PipelineReport,
    ShardPhase, ShardReport, TickerReport, WindowFigures,
};
pub use summaries::Summaries;
