//! Stored objects: `s3://` and `file://` behind one handle.
//!
//! Owns how requests are made (deadlines, bounded retries, errors that say what to do) and the one conditional write that
//! correctness rests on: create-if-absent ([`Store::create`]). Must never know what the bytes mean.

mod classify;
mod create;
mod deadline;
mod error;
#[cfg(any(test, feature = "failpoints"))]
pub mod faults;
mod file;
mod meter;
mod probe;
mod root;
mod s3;
mod store;

#[cfg(test)]
mod tests;

pub use create::{CreateOptions, Created, Guard, Same};
pub use deadline::{Deadline, Expired, boot_time};
pub use error::{Operation, StoreError};
pub use meter::{Meter, Requests};
pub use probe::{ProbeReport, probe};
pub use store::{ObjectInfo, Policy, Store, StoreOptions};
