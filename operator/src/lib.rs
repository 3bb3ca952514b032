//! Stockstream's operator: from a StockStream to its stream, its tables and its workers.
//!
//! Owns Kubernetes and the AWS control plane. Must never read a tick or write a row: workers do, and none of them needs the
//! operator to go on.

pub mod apply;
pub mod aws;
pub mod build;
pub mod claims;
pub mod cli;
pub mod context;
pub mod controller;
pub mod events;
pub mod failpoint;
pub mod finalize;
pub mod kinds;
pub mod leader;
pub mod look;
pub mod memory;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod policy;
pub mod provision;
pub mod reconcile;
pub mod serve;
pub mod settings;
pub mod status;
pub mod validate;
pub mod workers;
