//! Tests of the storage module.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod create;
mod file;
mod probe;
mod store;

use std::sync::Arc;
use std::time::Duration;

use super::faults::FaultyStore;
use super::{Policy, Store};

/// Short limits: 6 attempts of 50 ms.
fn quick() -> Policy {
    Policy {
        attempt: Duration::from_millis(50),
        overall: Duration::from_secs(5),
        attempts: 6,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
    }
}

/// A store in memory that fails by script.
fn faulty() -> (Arc<FaultyStore>, Store) {
    let faulty = Arc::new(FaultyStore::default());
    let store = Store::from_object_store(faulty.clone(), "root").with_policy(quick());
    (faulty, store)
}
