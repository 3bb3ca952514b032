//! The stream's shards, looked up again and again.

use std::time::Duration;

use stockstream_core::lineage::{Decision, Head, coverage, plan};
use tokio::time::Instant;

use super::super::start::infos;
use super::Coordinator;
use super::jobs::Job;
use crate::ambient;
use crate::observe::{ConditionStatus, PipelinePhase};
use crate::source::kinesis::{ListedShard, Listing, StreamError};

/// Between two listings of the shards.
const LIST_EVERY: Duration = Duration::from_secs(10);

/// Listings out of turn are at least this far apart: ListShards allows 1,000 calls a second and stream (Kinesis API
/// reference), for all workers.
const LIST_APART: Duration = Duration::from_secs(1);

/// Rounds of listings in a row with a hole in the hash keys before it is a condition.
const HOLE_ROUNDS: u32 = 3;

impl Coordinator<'_> {
    /// Lists the shards when it is time. With jitter: many workers share the account's calls.
    pub(super) fn start_listing(&mut self) {
        if Instant::now() < self.list_at {
            return;
        }
        self.list_again_at = Instant::now() + LIST_APART;
        self.list_at = Instant::now() + LIST_EVERY + ambient::jitter(LIST_EVERY / 10);
        let client = self.started.guard.client().clone();
        ambient::spawn_in(&mut self.jobs, async move {
            Job::Listed(client.list_shards(Listing::All).await)
        });
    }

    /// A shard was read to its end: its children may begin, and the listing may not know them yet.
    pub(super) fn list_for_children(&mut self) {
        self.list_at = self.list_at.min(self.list_again_at.max(Instant::now()));
    }

    pub(super) fn listed(&mut self, listed: Result<Vec<ListedShard>, StreamError>) {
        self.watch_progress();
        match listed {
            Ok(listed) => {
                let is_first = self.listing.is_empty();
                if is_first && self.failure.is_none() {
                    let observer = &self.started.context.observer;
                    observer.set_phase(PipelinePhase::Running, None);
                }
                self.listing = infos(listed);
                self.check_coverage();
                if !is_first {
                    self.look_again();
                }
                self.bury();
                self.want_decision();
            }
            Err(error) => {
                tracing::warn!(event = "listing_failed", cause = %error, "the shards can't be listed; trying again");
                if self.listing.is_empty() {
                    self.list_at = Instant::now() + Duration::from_secs(1);
                }
            }
        }
    }

    /// Looks again at chains of which nobody alive says how they stand: another worker may have finished one and gone,
    /// and its children wait as long as this one doesn't know; what only a newer release could read may have been
    /// written again for this one.
    fn look_again(&mut self) {
        let reads = self.started.context.reads;
        let view = self.membership.view.borrow().clone();
        let unsure = |(shard, head): &(&String, &Head)| {
            let finished = head.position.is_final() && head.drained;
            !reads.read(head.format) || (!finished && !self.claims.is_held(shard, &view))
        };
        let unsure = self.started.heads.iter().filter(unsure);
        let unsure: Vec<String> = unsure.map(|(shard, _)| shard.clone()).collect();
        for shard in unsure.into_iter().chain(self.unbegun()) {
            self.refresh(&shard);
        }
    }

    /// Shards that could begin, as far as this worker knows: another one may have begun them, or even finished them, and
    /// gone.
    fn unbegun(&self) -> Vec<String> {
        let started = &self.started;
        let decisions = plan(
            &self.listing,
            &started.roots,
            started.started,
            &started.heads,
        );
        let begins = |decision: &Decision| {
            matches!(
                decision,
                Decision::CreateFirst(_) | Decision::StartChild { .. }
            )
        };
        let unbegun = decisions.into_iter().filter(|(_, does)| begins(does));
        unbegun.map(|(shard, _)| shard).collect()
    }

    fn check_coverage(&mut self) {
        let open: Vec<_> = self
            .listing
            .iter()
            .filter(|shard| !shard.closed)
            .map(|shard| shard.range)
            .collect();
        self.started.context.files.open_shards(open.len());
        let whole = coverage(&open).is_complete();
        self.holes = if whole { 0 } else { self.holes + 1 };
        let (status, reason, message) = match (whole, self.holes >= HOLE_ROUNDS) {
            (true, _) => (
                ConditionStatus::True,
                "Covered",
                "the open shards cover every hash key",
            ),
            (false, true) => (
                ConditionStatus::False,
                "HashKeyHole",
                "the open shards leave hash keys uncovered: records with those keys can't be read",
            ),
            (false, false) => return,
        };
        let context = &self.started.context;
        context.observer.set_condition(
            "ShardCoverage",
            status,
            reason,
            message,
            context.clock.wall().0,
        );
    }
}
