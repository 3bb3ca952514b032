//! The embedded Kinesis: a sharded log, in memory or on disk, behind the AWS JSON protocol.
//!
//! [`Server`] serves it to AWS clients on a port; [`Kinesis`] is the same without HTTP, for
//! simulations. Every promise of Kinesis that a reader or a producer rests on is kept: order within
//! a shard, visibility at once, lineage of shards. It is no general emulator: what isn't served is
//! refused by name.
//!
//! Layers, each knowing only those before it: [`log`] and [`store`] (shards and their records),
//! [`api`] (operations, AWS's errors), the server (HTTP). Never here: what a tick, a window or a
//! pipeline is.

pub mod api;
pub mod clock;
pub mod faults;
pub mod log;
mod server;
pub mod store;

pub use api::{Caller, Delays, ErrorKind, Kinesis, KinesisError, KinesisOptions, Storage};
pub use clock::{Clock, ManualClock, SystemClock};
pub use server::{Server, ServerError, ServerOptions};
pub use store::{DiskOptions, StoreError};
