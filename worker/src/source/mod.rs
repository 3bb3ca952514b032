//! Where ticks come from.
//!
//! Owns reading a source in its own order and naming each record's place in it. Must never decide what a tick means:
//! that is the core's.

pub mod files;
pub mod kinesis;
