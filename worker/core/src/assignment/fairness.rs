//! How many shards of each class each member gets.
//!
//! Owns the optimum: a minimum-cost flow from classes of shards through members, found by successive shortest paths. Must
//! never look at names: ties fall to the lower number, and the caller has numbered by hash.

use super::Class;

/// Costs, compared as one number: a unit of load outweighs all moves, a move outweighs all wishes.
#[derive(Clone, Copy)]
struct Weights {
    load: i64,
    moved: i64,
}

const WISH: i64 = 1;

/// Up to here costs fit in 64 bits: twice its cube is below 2^63. Beyond it, moves would only weigh too little.
const MOST_SHARDS_WEIGHED: usize = 1_500_000;

/// Shards of each class that each member shall have: `[class][member]`. Every class has at least one reader.
pub(super) fn place(classes: &[Class<'_>]) -> Vec<Vec<usize>> {
    let members = classes.first().map_or(0, |class| class.readable_by.len());
    let shards: usize = classes.iter().map(|class| class.shards.len()).sum();
    let more_than_all = shards.min(MOST_SHARDS_WEIGHED) as i64 + 1;
    let mut flow = Flow {
        classes,
        weights: Weights {
            load: more_than_all * more_than_all,
            moved: more_than_all,
        },
        given: vec![vec![0; members]; classes.len()],
        loads: vec![0; members],
        swaps: vec![vec![None; classes.len()]; classes.len()],
    };
    for (number, class) in classes.iter().enumerate() {
        for _ in 0..class.shards.len() {
            flow.place_one(number);
        }
    }
    flow.given
}

struct Flow<'c, 'a> {
    classes: &'c [Class<'a>],
    weights: Weights,
    given: Vec<Vec<usize>>,
    loads: Vec<usize>,
    /// The cheapest place where a shard of one class can take that of another: `[displacer][displaced]`, its cost and the
    /// member. Kept, for a placement changes few of them.
    swaps: Vec<Vec<Option<(i64, usize)>>>,
}

/// The cheapest way found so far to have one shard of a class to place.
#[derive(Clone, Copy)]
struct Reached {
    cost: i64,
    /// The class whose shard took this one's place, and the member where it did.
    by: Option<(usize, usize)>,
}

impl Flow<'_, '_> {
    /// Places one more shard of a class so that the whole stays at the least cost: along the cheapest row of shards, each
    /// making room for the one before it.
    fn place_one(&mut self, class: usize) {
        let mut reached: Vec<Option<Reached>> = vec![None; self.classes.len()];
        reached[class] = Some(Reached { cost: 0, by: None });
        // Bellman-Ford: costs may be below zero, but no circle is.
        for _ in 1..self.classes.len() {
            if !self.relax(&mut reached) {
                break;
            }
        }
        let mut best: Option<(i64, usize, usize)> = None;
        for (class, reached) in reached.iter().enumerate() {
            let Some(reached) = reached else { continue };
            for member in self.readers(class) {
                let load = 2 * self.loads[member] as i64 + 1;
                let cost = reached.cost + self.cost_of_one_more(class, member);
                let cost = cost.saturating_add(load.saturating_mul(self.weights.load));
                if best.is_none_or(|(least, ..)| cost < least) {
                    best = Some((cost, class, member));
                }
            }
        }
        let Some((_, mut class, member)) = best else {
            return;
        };
        self.loads[member] += 1;
        self.given[class][member] += 1;
        self.follow_change(member);
        while let Some((displacer, place)) = reached[class].and_then(|way| way.by) {
            self.given[class][place] -= 1;
            self.given[displacer][place] += 1;
            self.follow_change(place);
            class = displacer;
        }
    }

    /// Looks for cheaper ways by one more displacement; false when there is none.
    fn relax(&self, reached: &mut [Option<Reached>]) -> bool {
        let mut better = false;
        for displacer in 0..self.classes.len() {
            let Some(from) = reached[displacer] else {
                continue;
            };
            for (displaced, swap) in self.swaps[displacer].iter().enumerate() {
                let Some((swap, member)) = *swap else {
                    continue;
                };
                let cost = from.cost + swap;
                if reached[displaced].is_none_or(|known| cost < known.cost) {
                    let by = Some((displacer, member));
                    reached[displaced] = Some(Reached { cost, by });
                    better = true;
                }
            }
        }
        better
    }

    /// What a member holds has changed.
    fn follow_change(&mut self, member: usize) {
        for displacer in 0..self.classes.len() {
            for displaced in (0..self.classes.len()).filter(|other| *other != displacer) {
                let now = self.swap_at(displacer, displaced, member);
                let now = now.map(|cost| (cost, member));
                let known = self.swaps[displacer][displaced];
                let is_dearer = known.is_some_and(|known| {
                    known.1 == member && now.is_none_or(|now| now.0 > known.0)
                });
                self.swaps[displacer][displaced] = if is_dearer {
                    let all = self.readers(displacer).filter_map(|at| {
                        let cost = self.swap_at(displacer, displaced, at)?;
                        Some((cost, at))
                    });
                    all.min()
                } else {
                    // Where it was and isn't dearer, it is now at least as cheap.
                    let known = known.filter(|known| known.1 != member);
                    known.into_iter().chain(now).min()
                };
            }
        }
    }

    /// What it costs when a shard of one class takes the place of one of another; `None` where it can't.
    fn swap_at(&self, displacer: usize, displaced: usize, member: usize) -> Option<i64> {
        let can = self.classes[displacer].readable_by[member] && self.given[displaced][member] > 0;
        can.then(|| {
            self.cost_of_one_more(displacer, member) - self.cost_of_the_last(displaced, member)
        })
    }

    fn readers(&self, class: usize) -> impl Iterator<Item = usize> {
        let readable_by = self.classes[class].readable_by.iter().enumerate();
        readable_by.filter_map(|(member, reads)| reads.then_some(member))
    }

    fn cost_of_one_more(&self, class: usize, member: usize) -> i64 {
        self.cost_of(class, member, self.given[class][member])
    }

    fn cost_of_the_last(&self, class: usize, member: usize) -> i64 {
        self.cost_of(class, member, self.given[class][member] - 1)
    }

    /// Beside the load, of the shard that comes after `before` others: a member keeps its own first, then gets those for
    /// which it is preferred. Never falls with `before`, which is what makes the shortest paths exact.
    fn cost_of(&self, class: usize, member: usize, before: usize) -> i64 {
        let class = &self.classes[class];
        if before < class.owned[member] {
            -self.weights.moved
        } else if before < class.owned[member] + class.preferred[member] {
            -WISH
        } else {
            0
        }
    }
}
