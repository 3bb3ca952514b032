//! `make bench-assignment`: how long a plan takes at the largest sizes foreseen. Figures, not assertions.

use std::collections::BTreeMap;

use divan::Bencher;
use stockstream_core::assignment::{Candidate, Formats, Wanted, assign};

fn main() {
    divan::main();
}

const SHARDS: usize = 10_000;
const MEMBERS: usize = 200;

struct Names {
    members: Vec<String>,
    shards: Vec<String>,
}

fn names() -> Names {
    let members = (0..MEMBERS).map(|number| format!("stock-ticks-7c9f8d6b5-{number:05}.3f2a9c01"));
    let shards = (0..SHARDS).map(|number| format!("shardId-{number:012}"));
    Names {
        members: members.collect(),
        shards: shards.collect(),
    }
}

/// `owner` gives each shard's present owner, `newest` the newest format that each member reads, `format` each chain's.
fn plan(
    bencher: Bencher<'_, '_>,
    owner: impl Fn(usize) -> Option<usize>,
    newest: impl Fn(usize) -> u16,
    format: impl Fn(usize) -> u16,
) {
    let names = names();
    let id = |number: usize| names.members.get(number).map(String::as_str);
    let members: BTreeMap<&str, Candidate> = (0..MEMBERS)
        .filter_map(|number| {
            let newest = newest(number);
            let oldest = newest.saturating_sub(1);
            let formats = Formats { oldest, newest };
            Some((id(number)?, Candidate { formats }))
        })
        .collect();
    let shards: BTreeMap<&str, Wanted<'_>> = names
        .shards
        .iter()
        .enumerate()
        .map(|(number, shard)| {
            let wanted = Wanted {
                format: format(number),
                owner: owner(number).and_then(id),
                preferred: None,
            };
            (shard.as_str(), wanted)
        })
        .collect();
    bencher.bench_local(|| assign("5f2c", &members, &shards));
}

#[divan::bench]
fn nothing_is_owned_yet(bencher: Bencher<'_, '_>) {
    plan(bencher, |_| None, |_| 1, |_| 1);
}

#[divan::bench]
fn all_is_balanced(bencher: Bencher<'_, '_>) {
    plan(bencher, |shard| Some(shard % MEMBERS), |_| 1, |_| 1);
}

#[divan::bench]
fn one_member_has_died(bencher: Bencher<'_, '_>) {
    plan(bencher, |shard| Some(shard % (MEMBERS + 1)), |_| 1, |_| 1);
}

#[divan::bench]
fn half_of_the_members_are_new(bencher: Bencher<'_, '_>) {
    plan(bencher, |shard| Some(shard % (MEMBERS / 2)), |_| 1, |_| 1);
}

/// Old members read formats 1 and 2, new ones 2 and 3; chains are written in 1, 2 and 3.
#[divan::bench]
fn three_formats_in_a_roll_out(bencher: Bencher<'_, '_>) {
    plan(
        bencher,
        |shard| Some(shard % (MEMBERS / 2)),
        |member| 2 + u16::from(member % 2 == 0),
        |shard| [1, 2, 3][shard % 3],
    );
}
