//! What is to be done with each shard.
//!
//! Owns the order "parent before child" and the cases in which a shard was never read or is listed no longer.

use std::collections::{BTreeMap, BTreeSet};

use super::roots::ancestors;
use super::{Head, Roots, ShardInfo, not_taken_over};
use crate::hash::HashRange;
use crate::mutants::{Mutant, broken};
use crate::sequence::Position;

/// What a shard's first version takes over from an ended chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inheritance {
    /// The ended chain's shard.
    pub shard: String,
    /// Its keys that no other chain has taken over, in order.
    pub ranges: Vec<HashRange>,
}

/// What is to be done with a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A root without a chain, before `started` was written: its first version begins here.
    CreateFirst(Position),
    /// A root without a chain though `started` says it had one: its state is lost; refuse to go on.
    StateLost,
    /// It has a chain and work left: reading, or only publishing and registering once it has ended.
    Ready,
    /// Every parent has ended and it has no chain yet: its first version takes over from these chains (none when its
    /// parents were never read).
    StartChild {
        /// The chains to take over from, by shard.
        from: Vec<Inheritance>,
    },
    /// These chains must end first.
    WaitFor {
        /// By shard.
        parents: Vec<String>,
    },
    /// Ended, published and registered: nothing to do.
    Finished,
    /// Listed no longer while the incarnation is unchanged: its owner commits SHARD_END and counts the loss.
    EndUnlisted,
    /// The stream of this incarnation is gone: its owner commits STREAM_GONE and leaves the windows open.
    EndStreamGone,
    /// An ancestor of a root: it counts as ended and is never read.
    AncestorEnded,
}

/// Decides for every shard that is listed, is a root or has a chain.
///
/// `started` says that the object `started` exists: every root has had its first version. `heads` holds every chain of the
/// incarnation, by shard.
///
/// A listed shard whose parent was never read and is listed no longer takes over, by range, what the ended chains
/// before that parent left open, so that no window is lost when several generations of shards went by unseen.
pub fn plan(
    listing: &[ShardInfo],
    roots: &Roots,
    started: bool,
    heads: &BTreeMap<String, Head>,
) -> BTreeMap<String, Decision> {
    let listed: BTreeMap<&str, &ShardInfo> = listing
        .iter()
        .map(|shard| (shard.id.as_str(), shard))
        .collect();
    let root_ids = roots.roots.iter().map(|root| root.shard.as_str());
    let facts = Facts {
        before_roots: ancestors(root_ids.clone(), &listed),
        listed: &listed,
        roots,
        started,
        heads,
    };
    let shards: BTreeSet<&str> = listed
        .keys()
        .copied()
        .chain(root_ids)
        .chain(heads.keys().map(String::as_str))
        .collect();
    shards
        .into_iter()
        .map(|shard| (shard.to_owned(), facts.decide(shard)))
        .collect()
}

/// Decides for every root and chain of an incarnation whose stream is gone: all are brought to an end. The next
/// incarnation's roots may be made once every decision is [`Decision::Finished`] or [`Decision::Ready`] of a chain that
/// has ended.
pub fn plan_end_of_incarnation(
    roots: &Roots,
    started: bool,
    heads: &BTreeMap<String, Head>,
) -> BTreeMap<String, Decision> {
    let missing = roots
        .roots
        .iter()
        .filter(|root| !heads.contains_key(&root.shard))
        .map(|root| {
            let decision = match started {
                true => Decision::StateLost,
                false => Decision::CreateFirst(root.position.clone()),
            };
            (root.shard.clone(), decision)
        });
    let chains = heads.iter().map(|(shard, head)| {
        let decision = match (head.position.is_final(), head.drained) {
            (true, true) => Decision::Finished,
            (true, false) => Decision::Ready,
            (false, _) => Decision::EndStreamGone,
        };
        (shard.clone(), decision)
    });
    missing.chain(chains).collect()
}

struct Facts<'a> {
    listed: &'a BTreeMap<&'a str, &'a ShardInfo>,
    roots: &'a Roots,
    started: bool,
    heads: &'a BTreeMap<String, Head>,
    before_roots: BTreeSet<&'a str>,
}

/// How a parent stands.
#[derive(PartialEq)]
enum Parent {
    /// Its chain says SHARD_END.
    Ended,
    /// It is or will be read.
    Open,
    /// It lies before a root.
    BeforeRoots,
    /// It was never read and is listed no longer.
    Unseen,
}

impl Facts<'_> {
    fn decide(&self, shard: &str) -> Decision {
        if let Some(head) = self.heads.get(shard) {
            return match (head.position.is_final(), head.drained) {
                (true, true) => Decision::Finished,
                (true, false) => Decision::Ready,
                (false, _) if self.listed.contains_key(shard) => Decision::Ready,
                (false, _) => Decision::EndUnlisted,
            };
        }
        if let Some(root) = self.roots.get(shard) {
            return match self.started {
                true => Decision::StateLost,
                false => Decision::CreateFirst(root.position.clone()),
            };
        }
        match self.listed.get(shard) {
            Some(info) if !self.before_roots.contains(shard) => self.decide_child(info),
            _ => Decision::AncestorEnded,
        }
    }

    fn decide_child(&self, child: &ShardInfo) -> Decision {
        let parents: BTreeSet<&str> = child.parents.iter().map(String::as_str).collect();
        let mut from: BTreeMap<&str, Vec<HashRange>> = BTreeMap::new();
        let mut wait: BTreeSet<&str> = BTreeSet::new();
        let mut unseen = false;
        for parent in &parents {
            match (self.parent(parent), self.heads.get(*parent)) {
                (Parent::Ended, Some(head)) => {
                    from.insert(parent, self.left_by(parent, head));
                }
                (Parent::Open, _) => {
                    wait.insert(parent);
                }
                (Parent::Unseen, _) => unseen = true,
                _ => {}
            }
        }
        if unseen {
            self.add_older_chains(child, &parents, &mut from, &mut wait);
        }
        if !wait.is_empty() {
            let parents = wait.into_iter().map(str::to_owned).collect();
            return Decision::WaitFor { parents };
        }
        Decision::StartChild {
            from: from
                .into_iter()
                .map(|(shard, ranges)| Inheritance {
                    shard: shard.to_owned(),
                    ranges,
                })
                .filter(|own| !own.ranges.is_empty())
                .collect(),
        }
    }

    /// A parent was never read: what it would have taken over is still in the chains before it, which are found by
    /// their keys since nobody knows its parents any more.
    fn add_older_chains<'b>(
        &'b self,
        child: &ShardInfo,
        parents: &BTreeSet<&str>,
        from: &mut BTreeMap<&'b str, Vec<HashRange>>,
        wait: &mut BTreeSet<&'b str>,
    ) {
        let known: Vec<HashRange> = parents.iter().filter_map(|id| self.range(id)).collect();
        let orphaned = child.range.without(&known);
        for (shard, head) in self.heads {
            let comes_after = ancestors([shard.as_str()], self.listed).contains(child.id.as_str());
            if parents.contains(shard.as_str()) || comes_after {
                continue;
            }
            let ranges = overlap(&self.left_by(shard, head), &orphaned);
            if ranges.is_empty() {
                continue;
            }
            if head.position == Position::ShardEnd {
                from.insert(shard, ranges);
            } else {
                wait.insert(shard);
            }
        }
    }

    fn parent(&self, parent: &str) -> Parent {
        match self.heads.get(parent) {
            Some(head) if head.position == Position::ShardEnd => Parent::Ended,
            Some(_) if broken(Mutant::ChildBeforeParent) => Parent::Ended,
            Some(_) => Parent::Open,
            None if self.roots.get(parent).is_some() => Parent::Open,
            None if self.before_roots.contains(parent) => Parent::BeforeRoots,
            None if self.listed.contains_key(parent) => Parent::Open,
            None => Parent::Unseen,
        }
    }

    fn range(&self, shard: &str) -> Option<HashRange> {
        let head = self.heads.get(shard).map(|head| head.range);
        head.or_else(|| self.listed.get(shard).map(|info| info.range))
    }

    fn left_by(&self, shard: &str, head: &Head) -> Vec<HashRange> {
        let chains = self.heads.values();
        let chains = chains.map(|head| (head.range, head.parents.as_slice()));
        not_taken_over(shard, head.range, chains)
    }
}

fn overlap(left: &[HashRange], right: &[HashRange]) -> Vec<HashRange> {
    left.iter()
        .flat_map(|a| right.iter().filter_map(|b| a.intersection(b)))
        .collect()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
