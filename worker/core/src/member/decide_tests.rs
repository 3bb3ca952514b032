#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn member(name: &str) -> MemberFacts {
    MemberFacts {
        name: name.to_owned(),
        draining: false,
        reads: Formats {
            oldest: 1,
            newest: 2,
        },
        since: Micros(0),
    }
}

fn members(ids: &[&str]) -> BTreeMap<String, MemberFacts> {
    ids.iter()
        .map(|id| ((*id).to_owned(), member(id.split('-').next().unwrap())))
        .collect()
}

fn shards(owners: &[(&str, Option<&str>)]) -> BTreeMap<String, ShardFacts> {
    owners
        .iter()
        .map(|(shard, owner)| {
            let facts = ShardFacts {
                owner: owner.map(str::to_owned),
                owner_name: owner.map(|owner| owner.split('-').next().unwrap().to_owned()),
                format: Some(1),
                is_neglected: false,
            };
            ((*shard).to_owned(), facts)
        })
        .collect()
}

fn steps(
    me: &str,
    members: &BTreeMap<String, MemberFacts>,
    shards: &BTreeMap<String, ShardFacts>,
    stable: bool,
) -> BTreeMap<String, LeaseStep> {
    decide(&LeaseFacts {
        pipeline: "test",
        me,
        members,
        shards,
        stable,
    })
    .steps
}

fn release(to: &str) -> LeaseStep {
    LeaseStep::Release {
        successor: Some(to.to_owned()),
    }
}

#[test]
fn a_dead_members_shard_is_taken_by_exactly_one() {
    let members = members(&["a-1", "b-1"]);
    let shards = shards(&[
        ("s1", Some("gone-1")),
        ("s2", Some("a-1")),
        ("s3", Some("b-1")),
    ]);
    let a = steps("a-1", &members, &shards, false);
    let b = steps("b-1", &members, &shards, false);
    assert_eq!(a.len() + b.len(), 1, "{a:?} {b:?}");
}

#[test]
fn a_live_owners_shard_is_never_taken() {
    let members = members(&["a-1", "b-1"]);
    let shards = shards(&[("s1", Some("a-1")), ("s2", Some("a-1"))]);
    assert!(steps("b-1", &members, &shards, true).is_empty());
    assert_eq!(steps("a-1", &members, &shards, true).len(), 1);
}

#[test]
fn nothing_moves_between_live_members_before_the_membership_is_stable() {
    let members = members(&["a-1", "b-1"]);
    let shards = shards(&[("s1", Some("a-1")), ("s2", Some("a-1"))]);
    assert!(steps("a-1", &members, &shards, false).is_empty());
}

#[test]
fn who_drains_gives_everything_away_at_once_and_takes_nothing() {
    let mut members = members(&["a-1", "b-1"]);
    members.get_mut("a-1").unwrap().draining = true;
    let shards = shards(&[("s1", Some("a-1")), ("s2", None)]);
    let a = steps("a-1", &members, &shards, false);
    assert_eq!(a, BTreeMap::from([("s1".to_owned(), release("b-1"))]));
    let b = steps("b-1", &members, &shards, false);
    assert_eq!(b, BTreeMap::from([("s2".to_owned(), LeaseStep::Take)]));
}

#[test]
fn the_last_member_that_drains_has_no_successor() {
    let mut members = members(&["a-1"]);
    members.get_mut("a-1").unwrap().draining = true;
    let shards = shards(&[("s1", Some("a-1"))]);
    let nobody = LeaseStep::Release { successor: None };
    assert_eq!(
        steps("a-1", &members, &shards, true),
        BTreeMap::from([("s1".to_owned(), nobody)])
    );
}

#[test]
fn a_restarted_worker_takes_what_its_dead_id_held() {
    let members = members(&["a-2", "b-1"]);
    let shards = shards(&[("s1", Some("a-1")), ("s2", Some("b-1"))]);
    assert_eq!(
        steps("a-2", &members, &shards, false),
        BTreeMap::from([("s1".to_owned(), LeaseStep::Take)])
    );
    assert!(steps("b-1", &members, &shards, false).is_empty());
}

#[test]
fn a_shard_in_a_newer_format_goes_to_who_reads_it_and_is_told_when_nobody_does() {
    let mut members = members(&["a-1", "b-1"]);
    members.get_mut("a-1").unwrap().reads.newest = 1;
    let mut shards = shards(&[("s1", None), ("s2", None)]);
    for facts in shards.values_mut() {
        facts.format = Some(2);
    }
    assert!(steps("a-1", &members, &shards, true).is_empty());
    assert_eq!(steps("b-1", &members, &shards, true).len(), 2);
    members.remove("b-1");
    let facts = LeaseFacts {
        pipeline: "test",
        me: "a-1",
        members: &members,
        shards: &shards,
        stable: true,
    };
    assert_eq!(decide(&facts).unreadable, ["s1", "s2"]);
}

proptest! {
    /// Whoever decides first, every shard ends up held, and once the membership is stable nobody wants to move again.
    #[test]
    fn carried_out_the_steps_lead_to_a_plan_that_rests(
        ids in proptest::collection::btree_set("[a-f]-[0-9]", 1..6),
        owners in proptest::collection::vec(proptest::option::of("[a-h]-[0-9]"), 1..20),
    ) {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let members = members(&ids);
        let names: Vec<String> = (0..owners.len()).map(|index| format!("s{index}")).collect();
        let pairs: Vec<(&str, Option<&str>)> = names
            .iter()
            .zip(&owners)
            .map(|(name, owner)| (name.as_str(), owner.as_deref()))
            .collect();
        let mut shards = shards(&pairs);
        for _ in 0..3 {
            let now = shards.clone();
            for me in &ids {
                for (shard, step) in steps(me, &members, &now, true) {
                    let owner = match step {
                        LeaseStep::Take => Some((*me).to_owned()),
                        LeaseStep::Release { .. } => None,
                    };
                    shards.get_mut(&shard).unwrap().owner = owner;
                }
            }
        }
        for me in &ids {
            prop_assert!(steps(me, &members, &shards, true).is_empty());
        }
        let most = names.len().div_ceil(ids.len());
        for id in &ids {
            let held = shards.values().filter(|facts| facts.owner.as_deref() == Some(id)).count();
            prop_assert!(held <= most && held + 1 >= names.len() / ids.len());
        }
    }
}

#[test]
fn the_newest_of_a_name_inherits_from_the_dead_of_that_name() {
    let mut members = members(&["a-1", "a-2", "b-1"]);
    // A newcomer still takes the one before it for alive.
    members.get_mut("a-1").unwrap().since = Micros(10);
    members.get_mut("a-2").unwrap().since = Micros(5);
    let shards = shards(&[("s", Some("a-0"))]);
    let plan = |me| {
        decide(&LeaseFacts {
            pipeline: "p",
            me,
            members: &members,
            shards: &shards,
            stable: false,
        })
    };
    assert_eq!(plan("a-1").steps.get("s"), Some(&LeaseStep::Take));
    assert_eq!(plan("a-2").steps.get("s"), None);
}

/// Facts differ: each of two workers leaves the shard to the other.
#[test]
fn a_neglected_shard_is_taken_by_whoever_reads_it() {
    let ids = ["a-1", "b-1", "c-1"];
    let mut members = members(&ids);
    members.get_mut("b-1").unwrap().reads.newest = 1;
    members.get_mut("c-1").unwrap().draining = true;
    let mut shards = shards(&[("s", Some("dead-1"))]);
    let shard = shards.get_mut("s").unwrap();
    (shard.format, shard.is_neglected) = (Some(2), true);
    let takers = |shards: &BTreeMap<String, ShardFacts>| {
        let takes = |me: &&&str| steps(me, &members, shards, false).contains_key("s");
        ids.iter().filter(takes).count()
    };
    assert_eq!(takers(&shards), 1, "only one reads it and stays");
    shards.get_mut("s").unwrap().format = Some(1);
    assert_eq!(takers(&shards), 2);
    shards.get_mut("s").unwrap().owner = Some("c-1".to_owned());
    let step = steps("a-1", &members, &shards, false);
    assert!(!step.contains_key("s"), "who holds it lives");
}
