//! Who holds which shard, as far as this worker knows.
//!
//! Owns putting together what chains say (heads) and what members say (infos), and asking the core. Facts may be old:
//! a wrong one costs a take that loses or a shard that waits for a heartbeat, never a figure.

use std::collections::BTreeMap;

use stockstream_core::lineage::{Decision, plan};
use stockstream_core::member::{
    LeaseFacts, LeaseStep, MemberFacts, MemberInfo, ShardFacts, decide,
};
use tokio::time::Instant;

use super::super::error::PipelineError;
use super::super::members::View;
use super::super::shard::Orders;
use super::Coordinator;
use super::claims::{BELIEVED_HEARTBEATS, Says};
use crate::observe::ConditionStatus;

/// A member that lives and of which nothing else is known.
fn unheard(member: &str, view: &View) -> MemberFacts {
    MemberFacts {
        name: name_of(member).to_owned(),
        draining: true,
        reads: view.me.reads,
        since: view.me.since,
    }
}

/// A member id is its worker's name and the process's id.
fn name_of(member: &str) -> &str {
    member.rsplit_once('-').map_or("", |(name, _)| name)
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
            self.claims.taken(&shard, Instant::now());
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
        let live = view.peers.iter().filter(|(_, peer)| peer.is_live);
        let mut members: BTreeMap<String, MemberFacts> = live
            .filter_map(|(member, peer)| match &peer.info {
                None => Some((member.clone(), unheard(member, view))),
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

    /// Adds owners that may have joined after the last listing: that it doesn't show them says nothing.
    fn add_unlisted(&mut self, view: &View, members: &mut BTreeMap<String, MemberFacts>) {
        for shard in self.claims.taken_since(view.listed_at) {
            let head = self.started.heads.get(shard);
            let owner = head.map(|head| &head.owner).filter(|own| !own.is_empty());
            if let Some(owner) = owner.filter(|own| !view.peers.contains_key(*own)) {
                members
                    .entry(owner.clone())
                    .or_insert_with(|| unheard(owner, view));
            }
        }
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
        let mut members = self.members(&view);
        self.add_unlisted(&view, &mut members);
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
