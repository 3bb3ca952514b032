//! The server through aws-sdk-kinesis, and through plain HTTP where the SDK can't say it wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

mod client;
mod faults;
mod sdk;
mod subscribe;
mod wire;
