//! Who holds which shard, as far as this worker knows.
//!
//! Owns putting together what chains say (heads) and what members say (infos), and asking the core. Facts may be old:
//! a wrong one costs a take that loses or a shard that waits for a heartbeat, never a figure.

use std::collections::BTreeMap;
use std::time::Duration;

use stockstream_core::lineage::{Decision, Head, plan};
use stockstream_core::member::{
    LeaseFacts, LeaseStep, MemberFacts, MemberInfo, ShardFacts, decide,
};
use tokio::time::Instant;

use super::super::error::PipelineError;
use super::super::members::View;
use super::super::shard::Orders;
use super::Coordinator;
use crate::ambient;
use crate::observe::ConditionStatus;

/// An owner that a chain names, but whose info doesn't name the shard, is believed for so many heartbeats after the
/// chain was first seen so: it may have taken the shard a moment ago.
const BELIEVED_HEARTBEATS: u32 = 2;

/// A shard that nobody alive has held for so many expiries is taken by whoever sees that. By then every other worker has
/// seen the same members, and looked at the chain.
const NEGLECTED_EXPIRIES: u32 = 2;

/// What one member says of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    member: String,
    epoch: u64,
    ended: bool,
}

/// What members say of shards, and since when chains are known as they are.
#[derive(Debug)]
pub(super) struct Claims {
    by_shard: BTreeMap<String, Claim>,
    /// Claims up to this epoch no longer hold: their owner has said so.
    void: BTreeMap<String, u64>,
    changed: BTreeMap<String, Instant>,
    /// When shards that nobody alive holds count as neglected.
    neglected_at: BTreeMap<String, Instant>,
    believed_until: Option<Instant>,
}

/// What a member says of the shards that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// Nothing any more.
    Dead,
    /// It lives, and its info couldn't be read yet.
    Unheard,
    /// What is in its info.
    Heard,
}

/// What a new view of the members calls for.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Shards whose chains must be looked at again.
    pub(super) refresh: Vec<String>,
    /// True when the stream's shards are to be listed: one was read to its end, or another worker reads one that this one
    /// has never looked at, and whose siblings the listing may lack too.
    pub(super) list: bool,
    /// Shards whose owner has a newer epoch than the chain that is known: shard, epoch, owner.
    pub(super) taken: Vec<(String, u64, String)>,
}

impl Claims {
    pub(super) fn new(heads: &BTreeMap<String, Head>, now: Instant) -> Self {
        Claims {
            by_shard: BTreeMap::new(),
            void: BTreeMap::new(),
            changed: heads.keys().map(|shard| (shard.clone(), now)).collect(),
            neglected_at: BTreeMap::new(),
            believed_until: None,
        }
    }

    pub(super) fn changed(&mut self, shard: &str, now: Instant) {
        self.changed.insert(shard.to_owned(), now);
    }

    /// The owner of this epoch has given the shard up.
    pub(super) fn void(&mut self, shard: &str, epoch: u64) {
        let void = self.void.entry(shard.to_owned()).or_default();
        *void = epoch.max(*void);
    }

    /// Whether nobody alive has held a shard for too long. Workers come to it one after another, so that not all take it.
    fn is_neglected(&mut self, shard: &str, is_free: bool, expiry: Duration) -> bool {
        if !is_free {
            self.neglected_at.remove(shard);
            return false;
        }
        let now = Instant::now();
        let patience = || now + expiry * NEGLECTED_EXPIRIES + ambient::jitter(expiry);
        let at = self.neglected_at.entry(shard.to_owned());
        *at.or_insert_with(patience) <= now
    }

    /// When a belief in an owner ends without any news.
    pub(super) fn next_change(&self) -> Option<Instant> {
        self.believed_until
    }

    /// Takes over what members say now.
    pub(super) fn follow(&mut self, view: &View, heads: &BTreeMap<String, Head>) -> Changes {
        let mut now: BTreeMap<String, Claim> = BTreeMap::new();
        for info in infos(view) {
            for (shard, holding) in &info.shards {
                let newer = now
                    .get(shard)
                    .is_none_or(|claim| claim.epoch < holding.epoch);
                if newer {
                    let claim = Claim {
                        member: info.member.clone(),
                        epoch: holding.epoch,
                        ended: holding.ended,
                    };
                    now.insert(shard.clone(), claim);
                }
            }
        }
        let mut changes = Changes::default();
        for (shard, claim) in &now {
            let before = self.by_shard.get(shard);
            if claim.ended && !before.is_some_and(|before| before.ended) {
                changes.refresh.push(shard.clone());
                changes.list = true;
            }
            match heads.get(shard) {
                Some(head) if head.epoch >= claim.epoch => {}
                Some(_) => {
                    let taken = (shard.clone(), claim.epoch, claim.member.clone());
                    changes.taken.push(taken);
                }
                None => {
                    changes.refresh.push(shard.clone());
                    changes.list |= before.is_none();
                }
            }
        }
        let gone = self
            .by_shard
            .keys()
            .filter(|shard| !now.contains_key(*shard));
        changes.refresh.extend(gone.cloned());
        self.by_shard = now;
        changes
    }

    fn claim(&self, shard: &str) -> Option<&Claim> {
        let void = self.void.get(shard).copied().unwrap_or(0);
        self.by_shard.get(shard).filter(|claim| claim.epoch > void)
    }

    /// True when a live member says that it reads the shard.
    pub(super) fn is_held(&self, shard: &str, view: &View) -> bool {
        let live = |member: &str| view.peers.get(member).is_some_and(|peer| peer.is_live);
        self.claim(shard)
            .is_some_and(|claim| !claim.ended && live(&claim.member))
    }

    /// The member that holds a shard or held it last; `None` when it was given up. `says` tells what is known of a member.
    fn owner(
        &mut self,
        shard: &str,
        head: Option<&Head>,
        says: impl Fn(&str) -> Says,
        believed: Duration,
    ) -> Option<String> {
        let known = head.map_or(0, |head| head.epoch);
        if let Some(claim) = self.claim(shard).filter(|claim| claim.epoch >= known) {
            return Some(claim.member.clone());
        }
        let head = head.filter(|head| !head.owner.is_empty())?;
        let says = says(&head.owner);
        if says == Says::Dead {
            return Some(head.owner.clone());
        }
        if self.void.get(shard).is_some_and(|void| *void >= head.epoch) {
            return None;
        }
        if says == Says::Unheard {
            return Some(head.owner.clone());
        }
        let until = *self.changed.get(shard)? + believed;
        if until <= Instant::now() {
            return None;
        }
        self.believed_until = Some(self.believed_until.map_or(until, |at| at.min(until)));
        Some(head.owner.clone())
    }
}

/// A member id is its worker's name and the process's id.
fn name_of(member: &str) -> &str {
    member.rsplit_once('-').map_or("", |(name, _)| name)
}

/// The infos of members that read the same life of the stream, and can be believed.
fn infos(view: &View) -> impl Iterator<Item = &MemberInfo> {
    view.peers
        .values()
        .filter_map(|peer| peer.info.as_ref())
        .filter(|info| info.incarnation == view.me.incarnation)
}

impl Coordinator<'_> {
    /// True when somebody else could take this worker's shards.
    pub(super) fn has_company(&self) -> bool {
        let view = self.membership.view.borrow();
        let live = view.peers.values().filter(|peer| peer.is_live);
        live.filter_map(|peer| peer.info.as_ref())
            .any(|info| info.incarnation == view.me.incarnation && !info.draining)
    }

    /// The view of the members has changed.
    pub(super) fn look_at_members(&mut self) {
        let view = self.membership.view.borrow_and_update().clone();
        self.show_members(&view);
        let format = self.newest_format(&view);
        self.format
            .send_if_modified(|known| std::mem::replace(known, format) != format);
        let changes = self.claims.follow(&view, &self.started.heads);
        for (shard, epoch, owner) in changes.taken {
            // An owner that sees a higher epoch for its shard drops it.
            if let Some(held) = self.held.get(&shard)
                && held.epoch > 0
                && held.epoch < epoch
            {
                held.orders.send_replace(Orders::Leave);
            }
            self.stuck.seen(&shard, epoch);
            if let Some(head) = self.started.heads.get_mut(&shard) {
                head.epoch = epoch;
                head.owner = owner;
            }
            self.claims.changed(&shard, Instant::now());
        }
        for shard in changes.refresh {
            self.refresh(&shard);
        }
        if changes.list {
            self.list_for_children();
        }
        self.want_decision();
    }

    /// Live members, this one included. One whose info couldn't be read yet takes nothing and is asked for nothing, but
    /// what is its own stays so.
    pub(super) fn members(&self, view: &View) -> BTreeMap<String, MemberFacts> {
        let facts = |info: &MemberInfo| MemberFacts {
            name: info.name.clone(),
            draining: info.draining,
            reads: info.reads,
            since: info.since,
        };
        let unheard = |member: &str| MemberFacts {
            name: name_of(member).to_owned(),
            draining: true,
            reads: view.me.reads,
            since: view.me.since,
        };
        let live = view.peers.iter().filter(|(_, peer)| peer.is_live);
        let mut members: BTreeMap<String, MemberFacts> = live
            .filter_map(|(member, peer)| match &peer.info {
                None => Some((member.clone(), unheard(member))),
                Some(info) if info.incarnation == view.me.incarnation => {
                    Some((member.clone(), facts(info)))
                }
                Some(_) => None,
            })
            .collect();
        let mut me = facts(&view.me);
        me.draining = self.draining;
        members.insert(view.me.member.clone(), me);
        members
    }

    /// The newest format that every live member reads, within what the spec allows.
    fn newest_format(&self, view: &View) -> u16 {
        let readable = self.members(view);
        let newest = readable.values().map(|member| member.reads.newest).min();
        let context = &self.started.context;
        newest
            .map_or(context.settings.format, |newest| {
                context.settings.format.min(newest)
            })
            .max(context.reads.oldest)
    }

    /// Asks the core what this worker shall do, and does it.
    pub(super) fn decide(&mut self) {
        self.decide_at = None;
        self.tell_ended();
        self.claims.believed_until = None;
        if self.failure.is_some() || self.listing.is_empty() {
            return;
        }
        let decisions = plan(
            &self.listing,
            &self.started.roots,
            self.started.started,
            &self.started.heads,
        );
        let view = self.membership.view.borrow().clone();
        let members = self.members(&view);
        let me = view.me.member.clone();
        let mut shards = BTreeMap::new();
        let mut doings = BTreeMap::new();
        for (shard, decision) in decisions {
            if decision == Decision::StateLost {
                return self.state_lost(shard);
            }
            let has_work = matches!(
                decision,
                Decision::CreateFirst(_)
                    | Decision::StartChild { .. }
                    | Decision::Ready
                    | Decision::EndUnlisted
            );
            // A runner may still be at work on what the listing and the heads call finished.
            if has_work || self.held.contains_key(&shard) {
                shards.insert(shard.clone(), self.shard_facts(&shard, &me, &members));
                doings.insert(shard, decision);
            }
        }
        let undrained = shards.keys().filter(|shard| !self.drained.contains(*shard));
        self.undrained = Some(undrained.count());
        let stable = self.stable_at() <= Instant::now();
        let plan = decide(&LeaseFacts {
            pipeline: &self.started.context.state_id,
            me: &me,
            members: &members,
            shards: &shards,
            stable,
        });
        self.tell_unreadable(plan.unreadable);
        for (shard, step) in plan.steps {
            match step {
                LeaseStep::Take => {
                    if let Some(decision) = doings.remove(&shard) {
                        self.open(&shard, decision);
                    }
                }
                LeaseStep::Release { successor } => self.give_away(&shard, successor),
            }
        }
        self.retry_stuck(&doings);
    }

    fn shard_facts(
        &mut self,
        shard: &str,
        me: &str,
        members: &BTreeMap<String, MemberFacts>,
    ) -> ShardFacts {
        let head = self.started.heads.get(shard);
        let format = head.map(|head| head.format);
        let mine = self.held.contains_key(shard) || self.stuck.contains(shard);
        let believed = self.company.heartbeat * BELIEVED_HEARTBEATS;
        let view = self.membership.view.borrow();
        let says = |member: &str| match view.peers.get(member) {
            _ if !members.contains_key(member) => Says::Dead,
            Some(peer) if peer.info.is_none() => Says::Unheard,
            _ => Says::Heard,
        };
        let owner = if mine {
            Some(me.to_owned())
        } else {
            self.claims
                .owner(shard, head, says, believed)
                // What this worker doesn't hold it has given up, or never had.
                .filter(|owner| owner != me)
        };
        let owner_name = owner.as_ref().map(|owner| {
            let info = view.peers.get(owner).and_then(|peer| peer.info.as_ref());
            let known = info.map(|info| info.name.clone());
            known.unwrap_or_else(|| name_of(owner).to_owned())
        });
        let is_free = owner
            .as_ref()
            .is_none_or(|owner| !members.contains_key(owner));
        let expiry = self.company.expiry;
        ShardFacts {
            is_neglected: self.claims.is_neglected(shard, is_free, expiry),
            owner,
            owner_name,
            format,
        }
    }

    pub(super) fn state_lost(&mut self, shard: String) {
        let context = &self.started.context;
        let url = context.state.url_of(&context.keys.started());
        self.fail(PipelineError::StateLost { shard, url });
    }

    /// Tries again what couldn't go on.
    fn retry_stuck(&mut self, doings: &BTreeMap<String, Decision>) {
        for shard in self.stuck.due() {
            if let Some(decision) = doings.get(&shard) {
                self.open(&shard, decision.clone());
            }
        }
    }

    fn tell_unreadable(&mut self, unreadable: Vec<String>) {
        if self.unreadable == unreadable {
            return;
        }
        let (status, reason, message) = match unreadable.first() {
            None => (
                ConditionStatus::True,
                "Readable",
                "every checkpoint can be read by a live worker".to_owned(),
            ),
            Some(first) => (
                ConditionStatus::False,
                "NewerFormat",
                format!(
                    "no live worker reads the checkpoints of {} shards ({first} first): a newer release wrote them. Run it \
                     again, or wait for its workers",
                    unreadable.len()
                ),
            ),
        };
        let context = &self.started.context;
        context.observer.set_condition(
            "StateReadable",
            status,
            reason,
            message,
            context.clock.wall().0,
        );
        self.unreadable = unreadable;
    }
}
