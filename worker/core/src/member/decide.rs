//! Which shards this worker takes and which it gives away.
//!
//! Owns the step from the plan that all workers share to one worker's own deeds: take what nobody alive holds, give
//! away what another shall have, leave everything else. Facts may differ from worker to worker: then two try to take the
//! same shard, and its chain decides; or each leaves it to the other, until one has seen it free for too long.

use std::collections::BTreeMap;

use crate::assignment::{Assignment, Candidate, Formats, Wanted, assign};
use crate::mutants::{Mutant, broken};
use crate::time::Micros;

/// A live member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberFacts {
    /// The worker's name.
    pub name: String,
    /// True when it gives its shards away.
    pub draining: bool,
    /// The checkpoint formats that it reads.
    pub reads: Formats,
    /// When its process started, by its own clock.
    pub since: Micros,
}

/// A shard that somebody must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardFacts {
    /// The member that holds it, or held it last, if known. It may be dead.
    pub owner: Option<String>,
    /// The name of that member's worker, if known.
    pub owner_name: Option<String>,
    /// The format of its newest version; `None` when it has none.
    pub format: Option<u16>,
    /// Nobody alive has held it for so long that whoever shall have it, by this worker's facts, knows something else.
    pub is_neglected: bool,
}

/// What one worker knows.
#[derive(Clone, Debug)]
pub struct LeaseFacts<'a> {
    /// The pipeline's state id.
    pub pipeline: &'a str,
    /// This worker's member id; a member like the others.
    pub me: &'a str,
    /// Live members, this worker included.
    pub members: &'a BTreeMap<String, MemberFacts>,
    /// Every shard that has work left.
    pub shards: &'a BTreeMap<String, ShardFacts>,
    /// True when the same members have lived for long enough to move shards between live ones.
    pub stable: bool,
}

/// What this worker shall do about a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseStep {
    /// Take it: nobody alive holds it.
    Take,
    /// Give it to this member; to nobody in particular when nobody can have it.
    Release {
        /// The member.
        successor: Option<String>,
    },
}

/// What this worker shall do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By shard.
    pub steps: BTreeMap<String, LeaseStep>,
    /// Shards whose checkpoints no live member can read.
    pub unreadable: Vec<String>,
}

/// Decides.
pub fn decide(facts: &LeaseFacts<'_>) -> Plan {
    let candidates: BTreeMap<&str, Candidate> = facts
        .members
        .iter()
        .filter(|(_, member)| !member.draining)
        .map(|(id, member)| {
            (
                id.as_str(),
                Candidate {
                    formats: member.reads,
                },
            )
        })
        .collect();
    let wanted: BTreeMap<&str, Wanted<'_>> = facts
        .shards
        .iter()
        .map(|(id, shard)| (id.as_str(), facts.wanted(shard)))
        .collect();
    let Assignment { owners, unreadable } = assign(facts.pipeline, &candidates, &wanted);
    let drains = facts
        .members
        .get(facts.me)
        .is_none_or(|member| member.draining);
    let mut steps = BTreeMap::new();
    for (id, shard) in facts.shards {
        let target = owners.get(id.as_str()).copied();
        let holder = shard
            .owner
            .as_deref()
            .filter(|owner| facts.members.contains_key(*owner))
            .filter(|owner| *owner == facts.me || !broken(Mutant::TakeFromTheLiving));
        let step = match holder {
            None if target == Some(facts.me) => LeaseStep::Take,
            None if shard.is_neglected && facts.can_take(shard) => LeaseStep::Take,
            Some(holder) if holder == facts.me && drains => LeaseStep::Release {
                successor: target.map(str::to_owned),
            },
            Some(holder) if holder == facts.me && facts.stable => match target {
                Some(target) if target != facts.me => LeaseStep::Release {
                    successor: Some(target.to_owned()),
                },
                _ => continue,
            },
            _ => continue,
        };
        steps.insert(id.clone(), step);
    }
    Plan {
        steps,
        unreadable: unreadable.into_iter().map(str::to_owned).collect(),
    }
}

impl LeaseFacts<'_> {
    fn common_format(&self) -> u16 {
        let newest = self.members.values().map(|member| member.reads.newest);
        newest.min().unwrap_or(Formats::OURS.newest)
    }

    /// True when this worker could go on with a shard, whoever shall have it.
    fn can_take(&self, shard: &ShardFacts) -> bool {
        let me = self.members.get(self.me).filter(|me| !me.draining);
        me.is_some_and(|me| shard.format.is_none_or(|format| me.reads.read(format)))
    }

    fn wanted<'b>(&'b self, shard: &'b ShardFacts) -> Wanted<'b> {
        let owner = shard.owner.as_deref();
        let dead = owner.is_some_and(|owner| !self.members.contains_key(owner));
        // A process takes the shards of a dead id of its own name first: its caches and its place are the same. The newest
        // one: a newcomer doesn't know yet that those before it are dead.
        let heir = shard
            .owner_name
            .as_deref()
            .filter(|_| dead)
            .and_then(|name| {
                let heirs = self
                    .members
                    .iter()
                    .filter(|(_, member)| member.name == name && !member.draining);
                let newest = heirs.max_by_key(|(id, member)| (member.since, *id));
                newest.map(|(id, _)| id.as_str())
            });
        Wanted {
            owner: owner.filter(|_| !dead),
            preferred: heir,
            // What has no chain yet is begun in a format that all members read.
            format: shard.format.unwrap_or_else(|| self.common_format()),
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
