//! The Kinesis operations as plain synchronous calls: requests and outcomes typed after the AWS API
//! reference, AWS's errors and messages. Must never know HTTP or tokio; records and shards are the
//! log's business.

mod consumers;
mod control;
mod data;
mod error;
mod iterator;
mod kinesis;
mod limits;
mod operation;
mod page;
mod puts;
mod settings;
mod shards;
mod subscription;
mod tags;
mod target;
mod types;
mod validate;

pub use error::{ErrorKind, KinesisError, NoSuchError};
pub use kinesis::{Caller, Delays, Kinesis, KinesisOptions, Storage};
pub use operation::{NotServed, Operation};
pub(crate) use puts::{PutEntry, Puts, PutsOutcome};
pub use subscription::Subscription;
pub use target::Target;
pub use types::*;
