//! A pipeline at run time: the core's decisions carried out on real stores and streams.
//!
//! Owns tasks, waiting, retries and the order of start-up. Must never decide about figures, versions or shards itself.

mod actions;
mod collect;
mod context;
mod coordinator;
mod error;
mod feed;
mod files;
mod first;
pub mod members;
mod ownership;
mod progress;
mod recreated;
mod register;
mod report;
mod run;
pub mod settings;
mod shard;
pub mod small_files;
mod start;

pub use actions::{Newest, load_newest, load_newest_bytes};
pub use context::Context;
pub use coordinator::{Company, Coordinator};
pub use error::PipelineError;
pub use feed::Input;
pub use files::FilesPipeline;
pub use members::{get_json, machine_id};
pub use ownership::PipelineDocument;
pub use register::tell as tell_catalog;
pub use run::{StreamSource, run_stream};
pub use settings::Settings;
pub use shard::{Charge, Ended, Orders, ShardRunner};
pub use start::{Host, Started, Stores, claim_stores, start_stream};
