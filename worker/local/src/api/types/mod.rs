//! Requests and outcomes, field for field as the Kinesis API reference has them; they are what the
//! JSON protocol carries. Absent and null are the same.

mod common;
mod consumers;
mod data;
mod settings;
mod shards;
mod streams;

pub use common::*;
pub use consumers::*;
pub use data::*;
pub use settings::*;
pub use shards::*;
pub use streams::*;
