//! The workers of a pipeline: what each says of itself, who lives, and who shall read which shard.
//!
//! Owns the document `info`, the rule by which a member counts as dead, and the decision to take or release a shard.
//! Must never rest correctness on any of it: two workers that both think that a shard is theirs are kept apart by the
//! shard's chain alone. No wall clocks are compared.

mod decide;
mod document;
mod watch;

pub use crate::assignment::Formats;
pub use decide::{LeaseFacts, LeaseStep, MemberFacts, Plan, ShardFacts, decide};
pub use document::{Holding, MAX_INFO_BYTES, MemberError, MemberInfo, member_id};
pub use watch::{FORGET_AFTER, Found, LeaseTiming, MemberView, Seen, Watch};
