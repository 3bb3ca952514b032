//! Stockstream's pure core: what a tick means, when a window closes, what a checkpoint holds and when it may be
//! acted on.
//!
//! Owns every decision that the figures depend on. Must never see a clock, randomness, tokio, AWS, a file or a
//! socket: times and ids come in as arguments, effects go out as values. `clippy.toml` beside this crate and
//! `tests/purity.rs` hold it to that.

pub mod layout;
pub mod row;
pub mod sequence;
pub mod time;
