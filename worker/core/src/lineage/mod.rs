//! Which shards are read, in which order, and what each one begins with.
//!
//! Owns the decisions about roots, parents and children, and streams made anew: facts in (a listing, the roots, the
//! chains' newest versions), decisions out. Must never talk to a stream or a store, nor depend on the order in which
//! facts are given: every worker comes to the same decisions.

mod coverage;
mod decide;
mod first_version;
mod heritage;
mod roots;

use crate::checkpoint::Checkpoint;
use crate::hash::HashRange;
use crate::mutants::{Mutant, broken};
use crate::sequence::Position;

pub use coverage::{Coverage, coverage};
pub use decide::{Decision, Inheritance, plan, plan_end_of_incarnation};
pub use first_version::{
    Author, LineageError, Source, Tombstone, first_version_after_recreation,
    first_version_of_child, first_version_of_root, tombstone,
};
pub use roots::{MAX_ROOTS_BYTES, Root, Roots, RootsError, StartRule, choose_roots};

/// A shard as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// The shard's id.
    pub id: String,
    /// Its hash keys.
    pub range: HashRange,
    /// `ParentShardId` and `AdjacentParentShardId`, where present. They may be listed no longer.
    pub parents: Vec<String>,
    /// True when it takes no records any more (it has an `EndingSequenceNumber`).
    pub closed: bool,
}

/// What the newest version of a chain says, as far as lineage cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where reading goes on.
    pub position: Position,
    /// The newest version.
    pub version: u64,
    /// Its epoch.
    pub epoch: u64,
    /// The member that wrote it.
    pub owner: String,
    /// The format that it is written in.
    pub format: u16,
    /// The shard's hash keys.
    pub range: HashRange,
    /// The shards that it came from, and the chains that it took state over from.
    pub parents: Vec<String>,
    /// True when no batch waits to be published and no partition to be registered.
    pub drained: bool,
}

impl Head {
    /// Of a chain's newest version, in the format that it is written in.
    pub fn of(checkpoint: &Checkpoint, format: u16) -> Self {
        Head {
            position: checkpoint.position.clone(),
            version: checkpoint.version,
            epoch: checkpoint.epoch,
            owner: checkpoint.owner.clone(),
            format,
            range: checkpoint.range,
            parents: checkpoint.parents.clone(),
            drained: is_drained(checkpoint),
        }
    }
}

impl Head {
    /// Of a version in a format that this release doesn't read: a shard that only a newer release can go on with.
    /// Nobody knows its keys, so it stands in the way of every shard that could take over from it.
    pub fn unreadable(format: u16) -> Self {
        Head {
            position: Position::TrimHorizon,
            version: 0,
            epoch: 0,
            owner: String::new(),
            format,
            range: HashRange::ALL,
            parents: Vec::new(),
            drained: false,
        }
    }
}

/// No batch waits to be published, and no partition to be registered.
fn is_drained(checkpoint: &Checkpoint) -> bool {
    broken(Mutant::ReleaseBeforeOutboxIsEmpty)
        || (checkpoint.outbox.is_empty() && checkpoint.unregistered.is_empty())
}

/// The part of a chain's keys that no child's chain has taken over. `chains` gives every chain's range and parents.
fn not_taken_over<'a>(
    shard: &str,
    range: HashRange,
    chains: impl Iterator<Item = (HashRange, &'a [String])>,
) -> Vec<HashRange> {
    let taken: Vec<HashRange> = chains
        .filter(|(_, parents)| parents.iter().any(|parent| parent == shard))
        .map(|(range, _)| range)
        .collect();
    range.without(&taken)
}
