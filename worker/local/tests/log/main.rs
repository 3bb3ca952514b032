//! The log and its operations without HTTP: against a model, under concurrency, on disk, in time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

mod concurrency;
mod consumers;
mod durable;
mod ferrokinesis;
mod harness;
mod lifecycle;
mod model;
mod operations;
mod settings;
mod subscriptions;
mod time;
