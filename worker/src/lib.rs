//! Stockstream's worker: one binary for `dev`, `worker`, `kinesis`, `replay` and `inspect`.
//!
//! Owns everything with an effect: stores, streams, servers, the terminal. Must never decide what figures mean or when
//! they may be published: `stockstream-core` does.

pub mod ambient;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod failpoint;
pub mod observe;
pub mod page;
mod parallel;
pub mod pipeline;
pub mod replay;
pub mod sink;
pub mod source;
pub mod storage;
