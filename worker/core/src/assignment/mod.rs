//! Who shall have which shard.
//!
//! Owns the plan that every worker makes for itself from the same facts: live members, ready shards and their present
//! owners. Must never depend on the order of its input, on who asks, or on a hash that differs between releases or
//! machines: two workers that see the same facts must come to the same plan, also during a rolling upgrade. A plan moves
//! nothing: a live owner releases its shard itself, and taking a shard is the chain's matter.
//!
//! # What a plan promises
//! Of all plans that give every readable shard to an eligible member that can read its chain, it is one with, in this
//! order of importance:
//!
//! 1. **The fairest loads**: the smallest sum of squared loads. When every member reads every chain, loads differ by at
//!    most one. When formats tie shards to some of the members, this is as even as can be: no shard can be moved, not
//!    even by a row of shards each making room for the next, from a member to one that has two shards fewer.
//! 2. **The fewest moves**: shards taken from an owner that may go on with them.
//! 3. **The most wishes**: shards without such an owner that go to the member that is preferred for them.
//!
//! Ties are broken by SHA-256 of the pipeline's state id with the names, so that the one shard of each of many small
//! pipelines doesn't land on the first name each time, and a shard's children don't land side by side.
//!
//! From this follows: a plan made again over its own outcome moves nothing; a plan made while another one is half
//! carried out never undoes a move that was made (it would not have been one of the fewest); members above the number
//! of shards get none; one member more or less moves at most ⌈shards ÷ members⌉ shards beside those that lost their owner
//! (when every member reads every chain).

mod fairness;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Checkpoint formats that a release reads, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formats {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl Formats {
    /// What this release reads.
    pub const OURS: Formats = Formats {
        oldest: crate::codec::OLDEST_FORMAT,
        newest: crate::codec::FORMAT,
    };

    /// True when a chain written in `format` can be gone on with.
    pub fn read(&self, format: u16) -> bool {
        (self.oldest..=self.newest).contains(&format)
    }
}

/// A live member that may be given shards: it isn't draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The chains that it can go on with.
    pub formats: Formats,
}

/// A shard that is ready to be owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The format of its chain's newest version.
    pub format: u16,
    /// Who owns it now. May be dead, draining or unknown: then it counts as without an owner.
    pub owner: Option<&'a str>,
    /// Who shall rather have it than another when it has no owner that may go on: the process whose name's dead id held
    /// it, or the successor that a release named.
    pub preferred: Option<&'a str>,
}

/// The plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// The member that shall have it, by shard.
    pub owners: BTreeMap<&'a str, &'a str>,
    /// Shards that no eligible member can read: they stay where they are, and somebody must be told.
    pub unreadable: BTreeSet<&'a str>,
}

impl<'a> Assignment<'a> {
    /// The shards that a member shall have, by name.
    pub fn of<'b>(&'b self, member: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        let owned = self
            .owners
            .iter()
            .filter(move |(_, owner)| **owner == member);
        owned.map(|(shard, _)| *shard)
    }
}

/// Plans who shall have which shard. `pipeline` is the pipeline's state id, which seeds the ties; `members` are those
/// that may be given shards, by id; `shards` those that are ready, by id.
///
/// Takes time in proportion to shards × members, and to the square of the sets of members that formats make (one, or two
/// while a roll-out is under way).
pub fn assign<'a>(
    pipeline: &str,
    members: &BTreeMap<&'a str, Candidate>,
    shards: &BTreeMap<&'a str, Wanted<'a>>,
) -> Assignment<'a> {
    let table = Table::new(pipeline, members, shards);
    let loads = fairness::place(&table.classes);
    let mut plan = Assignment {
        owners: BTreeMap::new(),
        unreadable: table.unreadable,
    };
    for (class, room) in table.classes.iter().zip(loads) {
        let ids = table.members.iter().copied();
        hand_out(class, room, &ids.collect::<Vec<_>>(), &mut plan.owners);
    }
    plan
}

/// Members and shards as numbers.
struct Table<'a> {
    /// In the order that breaks ties.
    members: Vec<&'a str>,
    classes: Vec<Class<'a>>,
    unreadable: BTreeSet<&'a str>,
}

/// Shards that the same members can read. Members are numbers of [`Table::members`].
struct Class<'a> {
    /// Whether each member can read these shards.
    readable_by: Vec<bool>,
    /// In the order that breaks ties.
    shards: Vec<Item<'a>>,
    /// Shards that each member owns already.
    owned: Vec<usize>,
    /// Shards without an owner for which each member is preferred.
    preferred: Vec<usize>,
}

struct Item<'a> {
    shard: &'a str,
    home: Home,
}

/// Where a shard belongs before anything is planned.
#[derive(Clone, Copy, PartialEq)]
enum Home {
    Owned(usize),
    Preferred(usize),
    Nowhere,
}

impl<'a> Table<'a> {
    fn new(
        pipeline: &str,
        members: &BTreeMap<&'a str, Candidate>,
        shards: &BTreeMap<&'a str, Wanted<'a>>,
    ) -> Self {
        let order = in_tie_order(pipeline, "member", members.keys().copied());
        let number: BTreeMap<&str, usize> =
            order.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let readers = |format: u16| -> Vec<bool> {
            let candidates = order.iter().filter_map(|id| members.get(id));
            candidates.map(|one| one.formats.read(format)).collect()
        };
        let mut classes: Vec<Class<'a>> = Vec::new();
        let mut class_of: BTreeMap<u16, Option<usize>> = BTreeMap::new();
        let mut unreadable = BTreeSet::new();
        for shard in in_tie_order(pipeline, "shard", shards.keys().copied()) {
            let Some(wanted) = shards.get(shard) else {
                continue;
            };
            let class = class_of.entry(wanted.format).or_insert_with(|| {
                let readable_by = readers(wanted.format);
                readable_by
                    .contains(&true)
                    .then(|| class_number(&mut classes, readable_by))
            });
            let Some(class) = class.and_then(|at| classes.get_mut(at)) else {
                unreadable.insert(shard);
                continue;
            };
            class.add(shard, wanted, &number);
        }
        Table {
            members: order,
            classes,
            unreadable,
        }
    }
}

fn class_number(classes: &mut Vec<Class<'_>>, readable_by: Vec<bool>) -> usize {
    let known = classes
        .iter()
        .position(|class| class.readable_by == readable_by);
    known.unwrap_or_else(|| {
        let none = vec![0; readable_by.len()];
        classes.push(Class {
            readable_by,
            shards: Vec::new(),
            owned: none.clone(),
            preferred: none,
        });
        classes.len() - 1
    })
}

impl<'a> Class<'a> {
    fn add(&mut self, shard: &'a str, wanted: &Wanted<'a>, number: &BTreeMap<&str, usize>) {
        let able = |id: Option<&str>| {
            let at = number.get(id?).copied()?;
            self.readable_by[at].then_some(at)
        };
        let home = match (able(wanted.owner), able(wanted.preferred)) {
            (Some(owner), _) => Home::Owned(owner),
            (None, Some(preferred)) => Home::Preferred(preferred),
            (None, None) => Home::Nowhere,
        };
        match home {
            Home::Owned(at) => self.owned[at] += 1,
            Home::Preferred(at) => self.preferred[at] += 1,
            Home::Nowhere => {}
        }
        self.shards.push(Item { shard, home });
    }
}

/// Gives each shard of a class to a member while there is room: to its owner, then to the preferred ones, then to whoever
/// has room left. In blocks, not in turns: so a plan that is half carried out comes out the same again.
fn hand_out<'a>(
    class: &Class<'a>,
    mut room: Vec<usize>,
    members: &[&'a str],
    owners: &mut BTreeMap<&'a str, &'a str>,
) {
    let mut left: Vec<&Item<'a>> = class.shards.iter().collect();
    for round in [Home::Owned as fn(usize) -> Home, Home::Preferred] {
        left.retain(|item| {
            let (Home::Owned(at) | Home::Preferred(at)) = item.home else {
                return true;
            };
            let stays = item.home == round(at) && room[at] > 0;
            if stays {
                room[at] -= 1;
                owners.insert(item.shard, members[at]);
            }
            !stays
        });
    }
    let places = room.iter().zip(members);
    let places = places.flat_map(|(room, member)| std::iter::repeat_n(*member, *room));
    for (item, member) in left.into_iter().zip(places) {
        owners.insert(item.shard, member);
    }
}

/// Names in an order that differs from pipeline to pipeline and is the same everywhere for one of them.
fn in_tie_order<'a>(
    pipeline: &str,
    kind: &str,
    names: impl Iterator<Item = &'a str>,
) -> Vec<&'a str> {
    let mut seeded = Sha256::new();
    for part in [pipeline, kind] {
        seeded.update((part.len() as u64).to_le_bytes());
        seeded.update(part);
    }
    let mut keyed: Vec<([u8; 32], &str)> = names
        .map(|name| (seeded.clone().chain_update(name).finalize().into(), name))
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests;
