//! Stockstream's worker: one binary for dev, worker, kinesis, replay and inspect

pub mod source;
