//! The sharded log: sequence numbers, hash ranges, shards and streams. Synchronous, and without a
//! clock of its own: time is passed in. Must never know HTTP, JSON or tokio.

mod hash;
mod record;
mod reshard;
mod sequence;
mod shard;
mod stream;
mod transition;
mod waiters;

pub use hash::{HashKeyRange, hash_key};
pub use record::{Record, StoredRecord};
pub use reshard::{Birth, Reshard, ReshardError};
pub(crate) use sequence::decimal;
pub use sequence::{Continuation, ParseSequenceError, SequenceNumber};
pub use shard::{AppendError, Appended, Read, ReadLimits, Shard, ShardClosed, ShardMeta, ShardTip};
pub use stream::{ConsumerMeta, NewStream, Routes, Settings, Stream, StreamMeta, StreamMode};
pub use transition::{Change, ChangeError, Status, Transition, When};
pub use waiters::Waiter;
