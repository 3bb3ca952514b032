//! Shards that go from one live worker to another.
//!
//! Owns offer, release and word to the successor. A shard is offered first: who says no, or can't be asked, doesn't get
//! rows that only a successor would publish. Whatever gets lost on the way, the listing of members tells it later.

use std::time::Duration;

use tokio::time::Instant;

use super::super::members::{Incoming, Nudge, View};
use super::super::shard::Orders;
use super::Coordinator;
use super::jobs::Job;
use crate::ambient;
use crate::observe::{MemberReport, MemberShard};
use stockstream_core::lineage::Decision;
use stockstream_core::member::MemberInfo;

/// A shard that nobody wanted is offered again after this long.
const OFFER_AGAIN: Duration = Duration::from_secs(5);

/// Peers that are told of an end at the same time.
const TOLD_AT_ONCE: usize = 16;

/// A member that lives and doesn't hear so many offers can't be reached: it finds the shard in the listing.
const UNHEARD_OFFERS: u32 = 3;

/// A worker that goes waits at most so long for peers that don't answer.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Coordinator<'_> {
    /// Offers a shard to its successor, or, without one, brings it to rest.
    pub(super) fn give_away(&mut self, shard: &str, successor: Option<String>) {
        let stopping = self.halt == Orders::Stop;
        let Some(held) = self.held.get_mut(shard) else {
            return;
        };
        let waits = self.waits.holds_back(shard, held.epoch);
        let unsettled = waits || Instant::now() < held.settles_at;
        if held.leaving || (unsettled && !stopping) {
            return;
        }
        if held.epoch == 0 {
            // Not taken yet: it can't be handed over, only dropped when the worker stops.
            if stopping {
                held.leaving = true;
                held.orders.send_replace(Orders::Stop);
            }
            return;
        }
        held.leaving = true;
        let contact = successor.as_ref().and_then(|successor| {
            let view = self.membership.view.borrow();
            view.contact(successor)
        });
        match (successor, contact) {
            (Some(successor), Some((address, token))) => {
                let (peers, shard) = (self.company.peers.clone(), shard.to_owned());
                ambient::spawn_in(&mut self.jobs, async move {
                    let offer = Nudge::Offer {
                        shard: shard.clone(),
                    };
                    let answer = peers.nudge(&address, &token, &offer).await;
                    let answer = answer.inspect_err(|error| {
                        tracing::debug!(event = "offer_failed", shard, cause = %error, "released by the listing");
                    });
                    Job::Offered(shard, successor, answer.ok())
                });
            }
            // Nobody to ask: everything closed goes out first, then the listing tells that the shard is free.
            _ => {
                held.orders.send_replace(Orders::Stop);
            }
        }
    }

    pub(super) fn offered(&mut self, shard: &str, successor: String, accepted: Option<bool>) {
        let stopping = self.halt == Orders::Stop;
        let Some(held) = self.held.get_mut(shard) else {
            return;
        };
        match accepted {
            Some(true) => {
                held.successor = Some(successor);
                held.orders.send_replace(Orders::Release);
            }
            // Without word from it, it may be gone: its beats will tell.
            Some(false) | None if !stopping && held.unheard < UNHEARD_OFFERS => {
                held.leaving = false;
                held.unheard += u32::from(accepted.is_none());
                let until = Instant::now() + OFFER_AGAIN;
                self.waits.pause(shard, held.epoch, until);
            }
            Some(false) | None => {
                held.orders.send_replace(Orders::Stop);
            }
        }
    }

    /// A shard was released: its successor is told at once.
    pub(super) fn released(&mut self, shard: String, epoch: u64, successor: Option<String>) {
        if self.halt == Orders::Run {
            self.started.context.observer.remove_shard(&shard);
        }
        let Some(successor) = successor else {
            return;
        };
        let contact = self.membership.view.borrow().contact(&successor);
        let Some((address, token)) = contact else {
            return;
        };
        let peers = self.company.peers.clone();
        ambient::spawn_in(&mut self.words, async move {
            let nudge = Nudge::Released {
                shard: shard.clone(),
                epoch,
            };
            if let Err(error) = peers.nudge(&address, &token, &nudge).await {
                tracing::debug!(event = "release_untold", shard, cause = %error, "the listing tells it");
            }
        });
    }

    /// Before a worker goes: what was released a moment ago is to be taken at once.
    pub(super) async fn finish_telling(&mut self) {
        let told = async { while self.words.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, told).await.is_err() {
            tracing::debug!(event = "words_dropped", "the listing tells them");
        }
    }

    /// A peer's word. Each is a hint only.
    pub(super) fn hear(&mut self, incoming: Incoming) {
        let Incoming { nudge, answer } = incoming;
        let accepted = match nudge {
            Nudge::Suspect { member } => self.membership.suspects.try_send(member).is_ok(),
            Nudge::Offer { shard } => self.can_take(&shard),
            Nudge::Released { shard, epoch } => self.take_released(&shard, epoch),
            Nudge::Ended { shards } => self.look_for_children(&shards),
        };
        // Who asked may have gone.
        let _ = answer.send(accepted);
    }

    /// Shards were read to their end: the worker to which a child falls may be any of them, so all are told.
    pub(super) fn tell_ended(&mut self) {
        let shards = std::mem::take(&mut self.ended_untold);
        if shards.is_empty() {
            return;
        }
        let view = self.membership.view.borrow().clone();
        let live = view.peers.iter().filter(|(_, peer)| peer.is_live);
        let contacts: Vec<_> = live
            .filter_map(|(member, _)| view.contact(member))
            .collect();
        let peers = self.company.peers.clone();
        ambient::spawn_in(&mut self.words, async move {
            let nudge = Nudge::Ended { shards };
            for some in contacts.chunks(TOLD_AT_ONCE) {
                let tell = some
                    .iter()
                    .map(|(address, token)| peers.nudge(address, token, &nudge));
                for told in futures::future::join_all(tell).await {
                    if let Err(error) = told {
                        tracing::debug!(event = "end_untold", cause = %error, "the listing tells it");
                    }
                }
            }
        });
    }

    /// A peer has read shards to their end.
    fn look_for_children(&mut self, parents: &[String]) -> bool {
        for parent in parents {
            let known = self.listing.iter().any(|listed| listed.id == *parent);
            if known {
                self.refresh(parent);
            }
        }
        self.list_for_children();
        true
    }

    fn can_take(&self, shard: &str) -> bool {
        let lives = Instant::now() < *self.membership.lease.borrow();
        lives
            && self.failure.is_none()
            && matches!(self.halt, Orders::Run)
            && !self.held.contains_key(shard)
            && !self.stuck.has_failed(shard)
            && !self.listing.is_empty()
    }

    /// Takes what was released, whatever this worker's own plan says yet.
    fn take_released(&mut self, shard: &str, epoch: u64) -> bool {
        self.claims.void(shard, epoch);
        self.want_decision();
        if !self.can_take(shard) {
            return false;
        }
        self.waits.forget(shard);
        self.open(shard, Decision::Ready);
        true
    }

    /// Shows all workers of the pipeline, whichever is asked.
    pub(super) fn show_members(&self, view: &View) {
        let peers = view.peers.values().filter_map(|peer| {
            let info = peer.info.as_ref()?;
            Some(report(info, peer.is_live))
        });
        let mut members: Vec<MemberReport> = peers.chain([report(&view.me, true)]).collect();
        members.sort_unstable_by(|a, b| a.member_id.cmp(&b.member_id));
        self.started.context.observer.set_members(members);
    }
}

fn report(info: &MemberInfo, live: bool) -> MemberReport {
    MemberReport {
        member_id: info.member.clone(),
        name: info.name.clone(),
        address: info.address.clone(),
        version: info.release.clone(),
        since: info.since.0,
        live,
        draining: info.draining,
        shards: info
            .shards
            .iter()
            .map(|(shard, holding)| MemberShard {
                shard: shard.clone(),
                epoch: holding.epoch,
                since: holding.since.0,
                ended: holding.ended,
                trouble: holding.trouble.clone(),
            })
            .collect(),
    }
}
