#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

const PIPELINE: &str = "5f2c";

/// Numbers instead of names, so that worlds are easy to generate and to change.
#[derive(Clone, Debug)]
struct World {
    /// Oldest and newest format of each live member, by name.
    members: BTreeMap<String, (u16, u16)>,
    shards: BTreeMap<String, Shard>,
}

#[derive(Clone, Debug)]
struct Shard {
    format: u16,
    owner: Option<String>,
    preferred: Option<String>,
}

fn member(number: usize) -> String {
    format!("worker-{number}")
}

fn shard(number: usize) -> String {
    format!("shardId-{number:012}")
}

impl World {
    /// Shards are owned as `owner` says; all read everything.
    fn new(members: usize, shards: usize, owner: impl Fn(usize) -> Option<usize>) -> Self {
        World {
            members: (0..members).map(|at| (member(at), (1, 1))).collect(),
            shards: (0..shards)
                .map(|at| {
                    let owner = owner(at).map(member);
                    let (format, preferred) = (1, None);
                    let shard_ = Shard {
                        format,
                        owner,
                        preferred,
                    };
                    (shard(at), shard_)
                })
                .collect(),
        }
    }

    fn plan(&self) -> Plan {
        self.plan_for(PIPELINE)
    }

    fn plan_for(&self, pipeline: &str) -> Plan {
        let members = self.members.iter().map(|(id, &(oldest, newest))| {
            let formats = Formats { oldest, newest };
            (id.as_str(), Candidate { formats })
        });
        let shards = self.shards.iter().map(|(id, shard)| {
            let wanted = Wanted {
                format: shard.format,
                owner: shard.owner.as_deref(),
                preferred: shard.preferred.as_deref(),
            };
            (id.as_str(), wanted)
        });
        let plan = assign(pipeline, &members.collect(), &shards.collect());
        let owned = |(shard, owner): (&&str, &&str)| ((*shard).to_owned(), (*owner).to_owned());
        Plan {
            owners: plan.owners.iter().map(owned).collect(),
            unreadable: plan.unreadable.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    fn reads(&self, member: &str, shard: &Shard) -> bool {
        let formats = self.members.get(member);
        formats.is_some_and(|(oldest, newest)| (*oldest..=*newest).contains(&shard.format))
    }

    /// The owner, if it may go on.
    fn home<'a>(&self, shard: &'a Shard) -> Option<&'a str> {
        let owner = shard.owner.as_deref();
        owner.filter(|owner| self.reads(owner, shard))
    }

    /// What a plan is judged by: squared loads, moves, unmet wishes.
    fn cost(&self, owners: &BTreeMap<String, String>) -> (usize, usize, usize) {
        let squares = loads(self, owners).values().map(|load| load * load).sum();
        let (mut moves, mut unmet) = (0, 0);
        for (id, owner) in owners {
            let shard = &self.shards[id];
            let preferred = shard.preferred.as_deref();
            match self.home(shard) {
                Some(home) => moves += usize::from(home != owner),
                None if preferred.is_some_and(|wish| self.reads(wish, shard)) => {
                    unmet += usize::from(preferred != Some(owner.as_str()));
                }
                None => {}
            }
        }
        (squares, moves, unmet)
    }

    /// The least cost of all plans, by trying each.
    fn least_cost(&self) -> Option<(usize, usize, usize)> {
        let mut owners = BTreeMap::new();
        let readable = self.shards.iter().filter(|(_, shard)| {
            let mut members = self.members.keys();
            members.any(|member| self.reads(member, shard))
        });
        self.try_all(&readable.collect::<Vec<_>>(), &mut owners)
    }

    fn try_all(
        &self,
        left: &[(&String, &Shard)],
        owners: &mut BTreeMap<String, String>,
    ) -> Option<(usize, usize, usize)> {
        let Some(((id, shard), rest)) = left.split_first() else {
            return Some(self.cost(owners));
        };
        let able = self.members.keys().filter(|id| self.reads(id, shard));
        able.filter_map(|owner| {
            owners.insert((*id).clone(), owner.clone());
            self.try_all(rest, owners)
        })
        .min()
    }

    fn carry_out(&mut self, plan: &Plan, which: impl Fn(&str) -> bool) {
        for (id, owner) in plan.owners.iter().filter(|(id, _)| which(id)) {
            self.shards.get_mut(id).unwrap().owner = Some(owner.clone());
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Plan {
    owners: BTreeMap<String, String>,
    unreadable: BTreeSet<String>,
}

fn loads(world: &World, owners: &BTreeMap<String, String>) -> BTreeMap<String, usize> {
    let mut loads: BTreeMap<String, usize> =
        world.members.keys().map(|id| (id.clone(), 0)).collect();
    for owner in owners.values() {
        *loads.get_mut(owner).unwrap() += 1;
    }
    loads
}

fn moved(world: &World, plan: &Plan) -> usize {
    world.cost(&plan.owners).1
}

prop_compose! {
    /// Up to `members` members and `shards` shards, with up to `formats` formats; owners and wishes may name the dead.
    fn worlds(members: usize, shards: usize, formats: u16)(
        live in prop::collection::btree_map(0..members + 2, (1..=formats, 0..formats), 0..=members),
        wanted in prop::collection::btree_map(
            0..shards * 3,
            (1..=formats, prop::option::of(0..members + 2), prop::option::of(0..members + 2)),
            0..=shards,
        ),
    ) -> World {
        World {
            members: live
                .into_iter()
                .map(|(at, (oldest, more))| {
                    let oldest = if formats == 1 { 1 } else { oldest };
                    (member(at), (oldest, oldest + more))
                })
                .collect(),
            shards: wanted
                .into_iter()
                .map(|(at, (format, owner, preferred))| {
                    let (owner, preferred) = (owner.map(member), preferred.map(member));
                    (shard(at), Shard { format, owner, preferred })
                })
                .collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_plan_is_fairer_or_moves_less_or_grants_more_wishes(world in worlds(4, 6, 3)) {
        let plan = world.plan();
        prop_assert_eq!(Some(world.cost(&plan.owners)), world.least_cost());
    }

    #[test]
    fn without_formats_loads_differ_by_at_most_one(world in worlds(9, 60, 1)) {
        prop_assume!(!world.members.is_empty());
        let loads = loads(&world, &world.plan().owners);
        let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", loads);
    }

    #[test]
    fn every_shard_is_given_to_a_member_that_reads_it_or_reported(world in worlds(6, 40, 4)) {
        let plan = world.plan();
        for (id, shard) in &world.shards {
            let readable = world.members.keys().any(|member| world.reads(member, shard));
            prop_assert_eq!(plan.unreadable.contains(id), !readable);
            prop_assert_eq!(plan.owners.contains_key(id), readable);
            if let Some(owner) = plan.owners.get(id) {
                prop_assert!(world.reads(owner, shard));
            }
        }
        prop_assert_eq!(plan.owners.len() + plan.unreadable.len(), world.shards.len());
    }

    #[test]
    fn no_shard_can_go_to_a_reader_with_two_fewer(world in worlds(8, 60, 4)) {
        let plan = world.plan();
        let loads = loads(&world, &plan.owners);
        for (id, owner) in &plan.owners {
            for (member, load) in &loads {
                if world.reads(member, &world.shards[id]) {
                    prop_assert!(loads[owner] <= load + 1, "{id} of {owner}: {loads:?}");
                }
            }
        }
    }

    #[test]
    fn a_plan_over_its_own_outcome_moves_nothing(mut world in worlds(8, 40, 3)) {
        let plan = world.plan();
        world.carry_out(&plan, |_| true);
        prop_assert_eq!(world.plan(), plan);
    }

    #[test]
    fn a_move_that_was_made_is_never_undone(mut world in worlds(8, 40, 3), made in prop::collection::vec(any::<bool>(), 40)) {
        let plan = world.plan();
        let order: BTreeMap<String, bool> = plan.owners.keys().cloned().zip(made).collect();
        let before = world.clone();
        world.carry_out(&plan, |id| order[id]);
        let again = world.plan();
        for (id, made) in &order {
            let shard = &before.shards[id];
            if *made && before.home(shard).is_some_and(|home| home != plan.owners[id]) {
                prop_assert_eq!(&again.owners[id], &plan.owners[id]);
            }
        }
    }

    #[test]
    fn without_formats_half_a_plan_leads_to_the_same_plan(mut world in worlds(8, 40, 1), made in prop::collection::vec(any::<bool>(), 40)) {
        for shard in world.shards.values_mut() {
            shard.preferred = None;
        }
        let plan = world.plan();
        let order: BTreeMap<String, bool> = plan.owners.keys().cloned().zip(made).collect();
        world.carry_out(&plan, |id| order[id]);
        prop_assert_eq!(world.plan(), plan);
    }

    #[test]
    fn one_member_less_moves_its_shards_and_no_more_than_a_members_share(
        members in 2usize..12, shards in 0usize..80, gone in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(members, shards, |_| None);
        let plan = world.plan();
        world.carry_out(&plan, |_| true);
        let gone = member(gone.index(members));
        world.members.remove(&gone);
        let orphans = plan.owners.values().filter(|owner| **owner == gone).count();
        let again = world.plan();
        // All but the orphans could stay: they were balanced.
        prop_assert_eq!(moved(&world, &again), 0);
        let changed = plan.owners.iter().filter(|(id, owner)| again.owners[*id] != **owner);
        prop_assert_eq!(changed.count(), orphans);
    }

    #[test]
    fn one_member_more_moves_no_more_than_its_share(members in 1usize..12, shards in 0usize..80) {
        let mut world = World::new(members, shards, |_| None);
        let plan = world.plan();
        world.carry_out(&plan, |_| true);
        world.members.insert(member(members), (1, 1));
        let again = world.plan();
        let moved = moved(&world, &again);
        prop_assert!(moved <= shards.div_ceil(members + 1), "{moved}");
        prop_assert_eq!(loads(&world, &again.owners)[&member(members)], moved);
    }
}

#[test]
fn nobody_and_nothing_are_answered() {
    assert_eq!(World::new(3, 0, |_| None).plan().owners.len(), 0);
    let alone = World::new(0, 2, |_| Some(0)).plan();
    assert_eq!((alone.owners.len(), alone.unreadable.len()), (0, 2));
}

#[test]
fn members_beyond_the_number_of_shards_get_none() {
    let world = World::new(7, 3, |_| None);
    let mut loads: Vec<usize> = loads(&world, &world.plan().owners).into_values().collect();
    loads.sort_unstable();
    assert_eq!(loads, [0, 0, 0, 0, 1, 1, 1]);
}

#[test]
fn names_of_the_dead_change_nothing() {
    // Maps are sorted, so the order of the input can't matter; names beside those that count could.
    let world = World::new(5, 23, |at| Some(at % 7));
    let mut renamed = world.clone();
    for shard in renamed.shards.values_mut() {
        if shard.owner == Some(member(5)) || shard.owner == Some(member(6)) {
            shard.owner = Some("somebody-else-who-is-dead".into());
        }
    }
    assert_eq!(world.plan(), renamed.plan());
}

#[test]
fn a_process_takes_the_shards_of_its_names_dead_id_first() {
    let mut world = World::new(3, 9, |at| Some(at % 3));
    world.members.remove(&member(1));
    world.members.insert("worker-1-again".into(), (1, 1));
    for shard in world.shards.values_mut() {
        let was = shard.owner == Some(member(1));
        shard.preferred = was.then(|| "worker-1-again".into());
    }
    let plan = world.plan();
    assert_eq!(moved(&world, &plan), 0);
    for (id, shard) in &world.shards {
        if shard.owner == Some(member(1)) {
            assert_eq!(plan.owners[id], "worker-1-again");
        }
    }
}

#[test]
fn a_wish_never_takes_a_shard_from_its_live_owner() {
    let mut world = World::new(2, 2, |at| Some(at % 2));
    for shard in world.shards.values_mut() {
        shard.preferred = Some(member(0));
    }
    assert_eq!(moved(&world, &world.plan()), 0);
}

#[test]
fn in_a_roll_out_chains_of_the_new_format_stay_with_those_who_read_it() {
    // Two old workers read 1, one new worker reads 1 and 2; half of the chains are written in 2.
    let mut world = World::new(3, 8, |_| Some(0));
    *world.members.get_mut(&member(2)).unwrap() = (1, 2);
    for at in 0..4 {
        world.shards.get_mut(&shard(at)).unwrap().format = 2;
    }
    let plan = world.plan();
    assert!(plan.unreadable.is_empty());
    assert!((0..4).all(|at| plan.owners[&shard(at)] == member(2)));
    let loads: Vec<usize> = loads(&world, &plan.owners).into_values().collect();
    assert_eq!(loads, [2, 2, 4]);
}

#[test]
fn room_is_made_by_a_row_of_shards_when_no_single_move_makes_it() {
    // Formats 1 | 2 | 3: worker 0 reads 1, worker 1 reads 1–2, worker 2 reads 2–3. Four chains in 1, owned by workers 0
    // and 1; two in 2, owned by worker 1: only worker 2 has room, and can't read 1.
    let mut world = World::new(3, 6, |at| Some(usize::from(at >= 2)));
    for (at, formats) in [(0, (1, 1)), (1, (1, 2)), (2, (2, 3))] {
        world.members.insert(member(at), formats);
    }
    for at in 4..6 {
        world.shards.get_mut(&shard(at)).unwrap().format = 2;
    }
    let plan = world.plan();
    let loads: Vec<usize> = loads(&world, &plan.owners).into_values().collect();
    assert_eq!((loads, moved(&world, &plan)), (vec![2, 2, 2], 2));
}

#[test]
fn the_one_shard_of_each_of_many_pipelines_does_not_land_on_one_name() {
    let world = World::new(4, 1, |_| None);
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for pipeline in 0..400 {
        let plan = world.plan_for(&format!("{pipeline:08x}"));
        *taken.entry(plan.owners[&shard(0)].clone()).or_default() += 1;
    }
    assert_eq!(taken.len(), 4);
    assert!(
        taken.values().all(|times| (50..150).contains(times)),
        "{taken:?}"
    );
}

#[test]
fn releases_agree_on_the_ties() {
    // Changing the hash makes workers of two releases plan differently during a roll-out: these must stay.
    let plan = World::new(3, 4, |_| None).plan();
    let owners: Vec<&str> = plan.owners.values().map(String::as_str).collect();
    assert_eq!(owners, ["worker-2", "worker-0", "worker-0", "worker-1"]);
}
