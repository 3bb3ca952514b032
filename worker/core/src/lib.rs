//! Stockstream's pure core: what a tick means, when a window closes, what a checkpoint holds and when it may be
//! acted on.
//!
//! Owns every decision that the figures depend on. Must never see a clock, randomness, tokio, AWS, a file or a
//! socket: times and ids come in as arguments, effects go out as values. `clippy.toml` beside this crate and
//! `tests/purity.rs` hold it to that.

pub mod aggregate;
pub mod aggregated;
pub mod assignment;
pub mod chain;
pub mod checkpoint;
pub mod codec;
pub mod cost;
pub mod generation;
pub mod hash;
pub mod layout;
pub mod lineage;
pub mod member;
pub mod mutants;
mod narrow;
pub mod plan;
pub mod row;
pub mod rows;
pub mod sequence;
mod sequence_column;
mod shared_text;
pub mod state;
pub mod tick;
pub mod time;
pub mod watermark;
pub mod window;
mod window_columns;

#[cfg(test)]
pub mod testing;
