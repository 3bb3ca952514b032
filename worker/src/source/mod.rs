//! Where ticks come from.
//!
//! Owns reading, in order. Must never know what a tick means for a window.

pub mod kinesis;
