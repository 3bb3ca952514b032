//! Decisions and first versions by example: splits, merges, and shards that went by unseen.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::*;
use crate::checkpoint::{Checkpoint, Floor, Generation, Latest, OpenWindow};
use crate::lineage::{
    Author, LineageError, Root, StartRule, Tombstone, choose_roots, first_version_after_recreation,
    first_version_of_child, first_version_of_root, tombstone,
};
use crate::plan::{Aggregate, Function};
use crate::row::Partition;
use crate::testing::empty_checkpoint;
use crate::time::{Date, Micros};

const HALF: u128 = u128::MAX / 2;

fn range(start: u128, end: u128) -> HashRange {
    HashRange::new(start, end).unwrap()
}

fn lower() -> HashRange {
    range(0, HALF)
}

fn upper() -> HashRange {
    range(HALF + 1, u128::MAX)
}

fn shard(id: &str, range: HashRange, parents: &[&str]) -> ShardInfo {
    ShardInfo {
        id: id.into(),
        range,
        parents: parents.iter().map(|parent| (*parent).into()).collect(),
        closed: false,
    }
}

fn head(range: HashRange, parents: &[&str], position: Position) -> Head {
    Head {
        owner: "w".into(),
        format: 1,
        position,
        version: 3,
        epoch: 1,
        range,
        parents: parents.iter().map(|parent| (*parent).into()).collect(),
        drained: true,
    }
}

fn reading() -> Position {
    Position::After(7.into())
}

fn heads(list: &[(&str, Head)]) -> BTreeMap<String, Head> {
    list.iter()
        .map(|(shard, head)| ((*shard).to_owned(), head.clone()))
        .collect()
}

fn roots(shards: &[ShardInfo]) -> Roots {
    choose_roots(StartRule::TrimHorizon, shards, &[], 5_000).unwrap()
}

fn from(list: &[(&str, &[HashRange])]) -> Decision {
    let from = list
        .iter()
        .map(|(shard, ranges)| Inheritance {
            shard: (*shard).to_owned(),
            ranges: ranges.to_vec(),
        })
        .collect();
    Decision::StartChild { from }
}

fn wait(parents: &[&str]) -> Decision {
    Decision::WaitFor {
        parents: parents.iter().map(|id| (*id).to_owned()).collect(),
    }
}

/// a was split into b and c.
fn split() -> Vec<ShardInfo> {
    vec![
        shard("c", upper(), &["a"]),
        shard("a", HashRange::ALL, &[]),
        shard("b", lower(), &["a"]),
    ]
}

#[test]
fn a_root_is_made_before_the_start_and_missed_after_it() {
    let roots = roots(&split());
    let before = plan(&split(), &roots, false, &heads(&[]));
    assert_eq!(before["a"], Decision::CreateFirst(Position::TrimHorizon));
    assert_eq!(before["b"], wait(&["a"]));
    let after = plan(&split(), &roots, true, &heads(&[]));
    assert_eq!(after["a"], Decision::StateLost);
    // Also when it is listed no longer: its state was there.
    assert_eq!(
        plan(&[], &roots, true, &heads(&[]))["a"],
        Decision::StateLost
    );
}

#[test]
fn children_wait_for_their_parents_end_and_take_over_all_keys() {
    let listing = split();
    let roots = roots(&listing);
    let open = heads(&[("a", head(HashRange::ALL, &[], reading()))]);
    let decisions = plan(&listing, &roots, true, &open);
    assert_eq!(decisions["a"], Decision::Ready);
    assert_eq!(decisions["c"], wait(&["a"]));
    let mut ended = head(HashRange::ALL, &[], Position::ShardEnd);
    ended.drained = false;
    let decisions = plan(&listing, &roots, true, &heads(&[("a", ended.clone())]));
    assert_eq!(decisions["a"], Decision::Ready);
    assert_eq!(decisions["b"], from(&[("a", &[HashRange::ALL])]));
    // Restarted between the two children's first versions.
    ended.drained = true;
    let half = heads(&[("a", ended), ("b", head(lower(), &["a"], reading()))]);
    let decisions = plan(&listing, &roots, true, &half);
    assert_eq!(decisions["a"], Decision::Finished);
    assert_eq!(decisions["b"], Decision::Ready);
    assert_eq!(decisions["c"], from(&[("a", &[upper()])]));
}

#[test]
fn a_merge_waits_for_both_parents() {
    let listing = [
        shard("a", lower(), &[]),
        shard("b", upper(), &[]),
        shard("m", HashRange::ALL, &["b", "a"]),
    ];
    let roots = roots(&listing);
    let mut chains = heads(&[
        ("a", head(lower(), &[], Position::ShardEnd)),
        ("b", head(upper(), &[], reading())),
    ]);
    assert_eq!(plan(&listing, &roots, true, &chains)["m"], wait(&["b"]));
    chains.get_mut("b").unwrap().position = Position::ShardEnd;
    assert_eq!(
        plan(&listing, &roots, true, &chains)["m"],
        from(&[("a", &[lower()]), ("b", &[upper()])])
    );
}

#[test]
fn shards_before_the_roots_are_never_read() {
    let mut listing = split();
    listing[1].closed = true;
    let roots = choose_roots(StartRule::Latest, &listing, &[], 5_000).unwrap();
    let decisions = plan(&listing, &roots, false, &heads(&[]));
    assert_eq!(decisions["a"], Decision::AncestorEnded);
    assert_eq!(
        decisions["b"],
        Decision::CreateFirst(Position::AtTimestamp(5_000))
    );
}

#[test]
fn a_chain_that_is_listed_no_longer_ends_and_its_children_go_on() {
    let roots = roots(&split());
    let listing = &split()[..1];
    let open = heads(&[("a", head(HashRange::ALL, &[], reading()))]);
    let decisions = plan(listing, &roots, true, &open);
    assert_eq!(decisions["a"], Decision::EndUnlisted);
    assert_eq!(decisions["c"], wait(&["a"]));
}

#[test]
fn windows_jump_over_shards_that_went_by_unseen() {
    // a was split into b and c, b into d and e; a and b are listed no longer, b was never read.
    let quarter = range(0, HALF / 2);
    let rest = range(HALF / 2 + 1, HALF);
    let roots = roots(&[shard("a", HashRange::ALL, &[])]);
    let listing = [
        shard("c", upper(), &["a"]),
        shard("d", quarter, &["b"]),
        shard("e", rest, &["b"]),
    ];
    let mut chains = heads(&[("a", head(HashRange::ALL, &[], reading()))]);
    assert_eq!(plan(&listing, &roots, true, &chains)["d"], wait(&["a"]));
    chains.get_mut("a").unwrap().position = Position::ShardEnd;
    let decisions = plan(&listing, &roots, true, &chains);
    assert_eq!(decisions["c"], from(&[("a", &[HashRange::ALL])]));
    assert_eq!(decisions["d"], from(&[("a", &[quarter])]));
    // Once d and c have begun, what is left of a is e's.
    chains.insert("d".into(), head(quarter, &["a", "b"], reading()));
    chains.insert("c".into(), head(upper(), &["a"], Position::ShardEnd));
    // c and e become f while e itself is never seen: f gets e's part from a, the rest from c.
    let listing = [
        listing[1].clone(),
        shard("f", range(HALF / 2 + 1, u128::MAX), &["c", "e"]),
    ];
    assert_eq!(
        plan(&listing, &roots, true, &chains)["f"],
        from(&[("a", &[rest]), ("c", &[upper()])])
    );
}

#[test]
fn a_shard_without_anything_before_it_starts_empty() {
    let roots = roots(&[shard("a", lower(), &[])]);
    let listing = [shard("a", lower(), &[]), shard("z", upper(), &["y"])];
    let chains = heads(&[("a", head(lower(), &[], reading()))]);
    assert_eq!(plan(&listing, &roots, true, &chains)["z"], from(&[]));
}

#[test]
fn the_end_of_a_life_ends_every_leaf_and_makes_missing_roots_first() {
    let roots = roots(&[shard("a", lower(), &[]), shard("b", upper(), &[])]);
    let mut ended = head(lower(), &[], Position::ShardEnd);
    ended.drained = false;
    let chains = heads(&[("a", ended), ("c", head(lower(), &["a"], reading()))]);
    let decisions = plan_end_of_incarnation(&roots, false, &chains);
    assert_eq!(decisions["a"], Decision::Ready);
    assert_eq!(decisions["b"], Decision::CreateFirst(Position::TrimHorizon));
    assert_eq!(decisions["c"], Decision::EndStreamGone);
    let decisions = plan_end_of_incarnation(&roots, true, &chains);
    assert_eq!(decisions["b"], Decision::StateLost);
}

// ---- First versions ----

fn author() -> Author {
    Author {
        state_id: "5f2c".into(),
        incarnation: "k2".into(),
        owner: "me".into(),
        writer: "0.0.0".into(),
        window_size: 60,
    }
}

fn figures(names: &[&str]) -> Vec<Aggregate> {
    let figure = |name: &&str| Aggregate {
        name: (*name).into(),
        function: Function::Sum,
        field: "close".into(),
    };
    names.iter().map(figure).collect()
}

fn window(ticker: &str, start: i64, slots: &[f64]) -> OpenWindow {
    OpenWindow {
        ticker: ticker.into(),
        start: Micros(start),
        trade_date: Date::from_days(1),
        dated: true,
        ticks: 1,
        slots: slots.to_vec(),
        first_sequence: 1.into(),
        last_sequence: 1.into(),
        ids: vec!["id".into()],
    }
}

/// md5("AAPL") begins with 8b, md5("AMZN") with 21.
fn ended(id: &str, range: HashRange, watermark: Option<i64>, tickers: &[&str]) -> Checkpoint {
    Checkpoint {
        shard: id.into(),
        version: 9,
        range,
        position: Position::ShardEnd,
        watermark: watermark.map(Micros),
        read_through: watermark.map(Micros),
        generations: vec![Generation {
            from: Micros(i64::MIN),
            aggregates: figures(&["a", "b"]),
        }],
        windows: tickers
            .iter()
            .map(|ticker| window(ticker, 600, &[1.0, 5.0, 1.0, 5.0]))
            .collect(),
        latest: tickers
            .iter()
            .map(|ticker| Latest {
                ticker: (*ticker).into(),
                close: Some(2.0),
                event_time: Micros(610),
            })
            .collect(),
        ..empty_checkpoint()
    }
}

fn whole(chain: &Checkpoint) -> Inheritance {
    Inheritance {
        shard: chain.shard.clone(),
        ranges: vec![chain.range],
    }
}

#[test]
fn each_child_of_a_split_gets_its_tickers() {
    let mut parent = ended("a", HashRange::ALL, Some(500), &["AAPL", "AMZN"]);
    parent.floors = vec![Floor {
        range: range(5, HALF + 5),
        watermark: Micros(620),
    }];
    let child = shard("c", upper(), &["a"]);
    let first =
        first_version_of_child(&author(), &child, &[whole(&parent)], &[parent.clone()]).unwrap();
    assert_eq!((first.version, first.epoch), (1, 1));
    assert_eq!(first.position, Position::TrimHorizon);
    assert_eq!(first.watermark, Some(Micros(500)));
    assert_eq!(first.windows, [parent.windows[0].clone()]);
    assert_eq!(first.latest, [parent.latest[0].clone()]);
    assert_eq!(first.parents, ["a"]);
    // Its own watermark is the parent's: only the inherited floor stays, cut to its keys.
    let floor = Floor {
        range: range(HALF + 1, HALF + 5),
        watermark: Micros(620),
    };
    assert_eq!(first.floors, [floor]);
}

#[test]
fn a_merge_takes_the_lowest_watermark_and_keeps_the_other_as_floor() {
    let a = ended("a", lower(), Some(300), &["AMZN"]);
    let b = ended("b", upper(), Some(500), &["AAPL"]);
    let child = shard("m", HashRange::ALL, &["a", "b"]);
    let from = [whole(&b), whole(&a)];
    let first = first_version_of_child(&author(), &child, &from, &[b.clone(), a.clone()]).unwrap();
    assert_eq!(first.watermark, Some(Micros(300)));
    assert_eq!(first.read_through, Some(Micros(500)));
    let floor = Floor {
        range: upper(),
        watermark: Micros(500),
    };
    assert_eq!(first.floors, [floor]);
    let tickers: Vec<Arc<str>> = first.windows.iter().map(|own| own.ticker.clone()).collect();
    assert_eq!(tickers, ["AAPL".into(), "AMZN".into()]);
    // A parent that never had a tick says nothing about lateness.
    let silent = ended("a", lower(), None, &[]);
    let first = first_version_of_child(&author(), &child, &from, &[b, silent]).unwrap();
    assert_eq!(first.watermark, Some(Micros(500)));
    assert_eq!(first.floors, []);
}

#[test]
fn merged_windows_keep_their_figures_whatever_their_order() {
    let a = ended("a", lower(), Some(300), &["AMZN"]);
    let mut b = ended("b", upper(), Some(300), &["AAPL"]);
    b.generations[0].aggregates = figures(&["c", "b"]);
    b.windows[0].slots = vec![1.0, 7.0, 1.0, 8.0];
    let child = shard("m", HashRange::ALL, &["a", "b"]);
    let first =
        first_version_of_child(&author(), &child, &[whole(&a), whole(&b)], &[a, b]).unwrap();
    // a's list is taken first; each figure begins for all where the other's windows end.
    let lists = first
        .generations
        .iter()
        .map(|own| (own.from.0, own.aggregates.clone()));
    let lists = Vec::from_iter(lists);
    assert_eq!(
        lists,
        [
            (i64::MIN, figures(&["b"])),
            (660, figures(&["b", "a", "c"]))
        ]
    );
    assert_eq!(first.windows[1].slots, [1.0, 5.0, 1.0, 5.0]);
    let aapl = &first.windows[0].slots;
    assert_eq!((&aapl[..2], &aapl[4..]), (&[1.0, 8.0][..], &[1.0, 7.0][..]));
    assert!(aapl[2..4].iter().all(|slot| slot.is_nan()));
}

#[test]
fn faults_are_named_and_nothing_is_made() {
    let parent = ended("a", HashRange::ALL, Some(500), &["AAPL"]);
    let child = shard("c", upper(), &["a"]);
    let make = |from: &[Inheritance], chains: &[Checkpoint]| {
        first_version_of_child(&author(), &child, from, chains)
            .unwrap_err()
            .to_string()
    };
    let own = [whole(&parent)];
    let open = Checkpoint {
        position: reading(),
        ..parent.clone()
    };
    assert!(make(&own, std::slice::from_ref(&open)).contains("the chain of a stands at AFTER 7"));
    assert!(make(&own, &[]).contains("takes over from a, not from no chain"));
    assert!(
        make(&[], std::slice::from_ref(&parent)).contains("takes over from no chain, not from a")
    );
    let foreign = Checkpoint {
        state_id: "other".into(),
        ..parent.clone()
    };
    assert!(make(&own, &[foreign]).contains("state id other"));
    let twin = Checkpoint {
        shard: "b".into(),
        ..parent.clone()
    };
    let both = [whole(&parent), whole(&twin)];
    assert!(make(&both, &[parent.clone(), twin.clone()]).contains("window of \"AAPL\""));
    let mut other = Checkpoint {
        windows: vec![],
        ..twin
    };
    other.generations[0].aggregates[1].function = Function::Max;
    assert!(make(&both, &[parent, other]).contains("\"b\" means different figures"));
    let roots = roots(&[shard("a", HashRange::ALL, &[])]);
    let error = first_version_of_root(&author(), &roots, "z").unwrap_err();
    assert!(matches!(error, LineageError::NotARoot { .. }));
    let error = first_version_after_recreation(&author(), &roots, "a", &[open]).unwrap_err();
    assert!(matches!(error, LineageError::ParentNotEnded { .. }));
}

#[test]
fn a_stream_made_anew_takes_over_what_no_child_had() {
    // a was split; only b's chain had begun.
    let a = ended("a", HashRange::ALL, Some(500), &["AAPL", "AMZN"]);
    let mut b = ended("b", lower(), Some(700), &["AMZN"]);
    b.parents = vec!["a".into()];
    b.position = Position::StreamGone;
    let listing = [shard("a", HashRange::ALL, &[])];
    let roots = roots(&listing);
    let first =
        first_version_after_recreation(&author(), &roots, "a", &[a.clone(), b.clone()]).unwrap();
    assert_eq!(first.incarnation, "k2");
    assert_eq!(first.position, Position::TrimHorizon);
    assert_eq!(first.parents, Vec::<String>::new());
    assert_eq!(first.watermark, Some(Micros(500)));
    assert_eq!(first.read_through, Some(Micros(5_000_000)));
    assert_eq!(first.windows, [a.windows[0].clone(), b.windows[0].clone()]);
    assert_eq!(first.floors.len(), 1);
    assert_eq!(first.floors[0].range, lower());
    let Root { shard, .. } = &roots.roots[0];
    let plain = first_version_of_root(&author(), &roots, shard).unwrap();
    assert_eq!((plain.windows, plain.watermark), (vec![], None));
}

#[test]
fn a_tombstone_needs_every_childs_chain_and_the_retention() {
    let mut a = ended("a", HashRange::ALL, Some(500), &["AAPL"]);
    let b = ("b", head(lower(), &["a"], reading()));
    let c = ("c", head(upper(), &["a"], reading()));
    let (one, both) = (heads(std::slice::from_ref(&b)), heads(&[b, c]));
    assert_eq!(tombstone(&a, &one, true), Tombstone::NotYet);
    assert_eq!(tombstone(&a, &both, false), Tombstone::NotYet);
    let Tombstone::Rewrite(rewritten) = tombstone(&a, &both, true) else {
        unreachable!("a tombstone was due");
    };
    assert_eq!(rewritten.version, 10);
    assert!(rewritten.windows.is_empty() && rewritten.latest.is_empty());
    assert_eq!(tombstone(&rewritten, &both, true), Tombstone::Done);
    a.unregistered = vec![Partition {
        ticker: "A".into(),
        trade_date: Date::from_days(1),
    }];
    assert_eq!(tombstone(&a, &both, true), Tombstone::NotYet);
    a.unregistered.clear();
    a.position = reading();
    assert_eq!(tombstone(&a, &both, true), Tombstone::NotYet);
}
