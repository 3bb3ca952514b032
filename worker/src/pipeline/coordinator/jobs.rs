//! What takes a request and must not hold up the loop: reading chains, offering shards, telling peers.
//!
//! Owns these requests and what their results mean for the coordinator.

use bytes::Bytes;
use stockstream_core::chain::ShardChain;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::lineage::{Decision, Head};
use stockstream_core::sequence::Position;
use stockstream_core::time::Micros;
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::super::actions::load_newest_bytes;
use super::super::context::Context;
use super::super::error::PipelineError;
use super::super::feed::{PollStart, poll_kinesis};
use super::super::first::first_version;
use super::super::shard::{Charge, Orders, ShardRunner, StartFeed};
use super::{Coordinator, Held};
use crate::ambient;
use crate::failpoint::{Point, meet};
use crate::observe::Event;
use crate::source::kinesis::{ListedShard, ReaderSettings, StreamError};

/// After a store or stream that failed for a moment.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A job that is done.
pub(super) enum Job {
    /// What a shard is taken from.
    Opened(String, Result<Opening, PipelineError>),
    /// How a chain stands.
    Refreshed(String, Result<Option<Head>, PipelineError>),
    /// The stream's shards.
    Listed(Result<Vec<ListedShard>, StreamError>),
    /// Whether a peer takes a shard; `None` when it couldn't be asked.
    Offered(String, String, Option<bool>),
    /// Whether `started` stands.
    Marked(Result<(), PipelineError>),
    /// Chains that are tombstones now.
    Buried(Vec<String>),
}

/// What a shard is taken from.
pub(super) enum Opening {
    /// Take it from here.
    Take(Box<Checkpoint>),
    /// There is nothing to take: how its chain stands.
    Nothing(Head),
    /// It has no chain, though somebody has said that it has one.
    Gone,
}

impl Coordinator<'_> {
    /// Begins to take a shard, unless it must wait or is in hand.
    pub(super) fn open(&mut self, shard: &str, decision: Decision) {
        if self.waits.holds_back(shard, self.known_epoch(shard))
            || self.halt == Orders::Stop
            || self.drained.contains(shard)
            || self.held.contains_key(shard)
            || self.opening.contains(shard)
        {
            return;
        }
        self.opening.insert(shard.to_owned());
        let (shard, context) = (shard.to_owned(), self.started.context.clone());
        let facts = OpenFacts {
            roots: self.started.roots.clone(),
            before: self.started.before.clone(),
            listing: self.listing.clone(),
            epoch: self.known_epoch(&shard).max(self.claims.voided(&shard)),
        };
        ambient::spawn_in(&mut self.jobs, async move {
            let opened = facts.open(&context, &shard, decision).await;
            Job::Opened(shard, opened)
        });
    }

    fn known_epoch(&self, shard: &str) -> u64 {
        self.started.heads.get(shard).map_or(0, |head| head.epoch)
    }

    /// Looks at a shard's chain again. What is asked for while a look is under way may be newer than what that sees: then
    /// there is another after it.
    pub(super) fn refresh(&mut self, shard: &str) {
        if self.held.contains_key(shard) {
            return;
        }
        match self.refreshing.get_mut(shard) {
            Some(again) => *again = true,
            None => self.read_head(shard.to_owned(), Duration::ZERO),
        }
    }

    fn read_head(&mut self, shard: String, after: Duration) {
        self.refreshing.insert(shard.clone(), false);
        let context = self.started.context.clone();
        ambient::spawn_in(&mut self.jobs, async move {
            tokio::time::sleep(after).await;
            let head = match load_newest_bytes(&context, &shard).await {
                Ok(newest) => newest.map(|newest| newest.head()).transpose(),
                Err(error) => Err(error),
            };
            Job::Refreshed(shard, head)
        });
    }

    fn refreshed(&mut self, shard: String, head: Result<Option<Head>, PipelineError>) {
        let again = self.refreshing.remove(&shard).unwrap_or(false);
        if self.held.contains_key(&shard) {
            return; // its runner's own news are newer
        }
        match head {
            Ok(head) => {
                if again {
                    self.read_head(shard.clone(), Duration::ZERO);
                }
                let before = self.started.heads.get(&shard);
                let was_open = before.is_none_or(|before| !before.position.is_final());
                match head {
                    Some(head) => {
                        if was_open && head.position == Position::ShardEnd {
                            // Who read it may have finished it and forgotten it between two listings of the members.
                            self.list_for_children();
                        }
                        self.learn(shard, head);
                    }
                    None if before.is_some() => self.chain_is_gone(shard),
                    // A peer is about to begin it.
                    None => {}
                }
            }
            Err(error) => {
                tracing::warn!(event = "head_unread", shard, cause = %error, "trying again");
                self.read_head(shard, TRY_AGAIN);
            }
        }
    }

    /// A parent's chain is newer than was known, and of a release that is newer than this one.
    fn refresh_parents(&mut self, shard: &str) {
        let child = self.listing.iter().find(|listed| listed.id == shard);
        for parent in child.map_or_else(Vec::new, |child| child.parents.clone()) {
            self.refresh(&parent);
        }
    }

    pub(super) fn job_done(&mut self, job: Job) {
        match job {
            Job::Opened(shard, opened) => self.opened(shard, opened),
            Job::Refreshed(shard, head) => self.refreshed(shard, head),
            Job::Listed(listed) => self.listed(listed),
            Job::Offered(shard, successor, accepted) => self.offered(&shard, successor, accepted),
            Job::Marked(marked) => self.marked(marked),
            Job::Buried(shards) => self.buried.extend(shards),
        }
    }

    fn opened(&mut self, shard: String, opened: Result<Opening, PipelineError>) {
        self.opening.remove(&shard);
        self.want_decision();
        let begun = match opened {
            Ok(Opening::Nothing(head)) => return self.learn(shard, head),
            Ok(Opening::Gone) => return self.chain_is_gone(shard),
            Ok(Opening::Take(_)) if self.halt == Orders::Stop => return,
            Ok(Opening::Take(newest)) => self.start_runner(*newest),
            Err(error) => Err(error),
        };
        match begun {
            Ok(()) => self.stuck.taken(&shard),
            Err(error) if error.is_transient() || error.is_newer_format() => {
                tracing::warn!(event = "take_failed", shard, cause = %error, "trying again");
                if error.is_newer_format() {
                    self.refresh_parents(&shard);
                }
                let epoch = self.known_epoch(&shard);
                self.waits.pause(&shard, epoch, Instant::now() + TRY_AGAIN);
            }
            Err(error @ PipelineError::StreamChanged { .. }) => self.fail(error),
            Err(error) => {
                let epoch = self.known_epoch(&shard);
                self.shard_failed(shard, epoch, error, false);
                self.write_info();
            }
        }
    }

    /// A chain that was there has no version any more: nothing of ours removes its last one. A new one would publish
    /// again what is out already.
    fn chain_is_gone(&mut self, shard: String) {
        if self.started.heads.contains_key(&shard) {
            return self.state_lost(shard);
        }
        // Only a peer's word says that there is a chain.
        self.waits.pause(&shard, 0, Instant::now() + TRY_AGAIN);
    }

    fn start_runner(&mut self, newest: Checkpoint) -> Result<(), PipelineError> {
        let shard = newest.shard.clone();
        let feed = self.kinesis_feed(&shard);
        let (orders, told) = watch::channel(self.halt);
        let charge = Charge {
            orders: told,
            lease: self.membership.lease.clone(),
            news: self.news_sender.clone(),
            format: self.format.subscribe(),
        };
        let runner = ShardRunner::take(self.started.context.clone(), newest, charge, feed)?;
        self.started.context.progress.note(&shard);
        let held = Held {
            orders,
            epoch: 0,
            since: Micros(0),
            ended: false,
            successor: None,
            leaving: false,
            unheard: 0,
            settles_at: Instant::now() + 2 * self.company.expiry,
        };
        self.held.insert(shard.clone(), held);
        ambient::spawn_in(&mut self.runners, async move {
            let ended = runner.run().await;
            (shard, ended)
        });
        Ok(())
    }

    fn kinesis_feed(&self, shard: &str) -> StartFeed {
        let (guard, context) = (self.started.guard.clone(), self.started.context.clone());
        let (retention, on_data_loss) = (self.started.retention, self.started.on_data_loss);
        let shard = shard.to_owned();
        Box::new(move |chain: &mut ShardChain| {
            let start = PollStart {
                shard,
                position: chain.state().position().clone(),
                read_through: chain.state().read_through(),
                retention,
                on_data_loss,
                budget: context.read_budget.clone(),
            };
            let clock = context.clock.clone();
            Ok(poll_kinesis(guard, clock, start, ReaderSettings::default()))
        })
    }

    /// Once every root has its first version, `started` says so: from then on a root without a chain is state lost.
    pub(super) fn mark_started(&mut self) {
        let heads = &self.started.heads;
        let mut roots = self.started.roots.roots.iter();
        if self.started.started
            || self.marking
            || !roots.all(|root| heads.contains_key(&root.shard))
        {
            return;
        }
        self.marking = true;
        let context = self.started.context.clone();
        ambient::spawn_in(&mut self.jobs, async move {
            meet(Point::BeforeStarted);
            let key = context.keys.started();
            let created = context.state.create(&key, Bytes::from_static(b"{}")).await;
            if created.is_err() {
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Job::Marked(created.map(drop).map_err(PipelineError::from))
        });
    }

    fn marked(&mut self, marked: Result<(), PipelineError>) {
        self.marking = false;
        if let Err(error) = marked {
            tracing::warn!(event = "started_failed", cause = %error, "trying again");
            return;
        }
        self.started.started = true;
        let context = &self.started.context;
        let event = Event::PipelineStarted {
            pipeline: format!("{}/{}", context.settings.namespace, context.settings.name),
            stream: self.started.guard.client().name().to_owned(),
            incarnation: context.incarnation.to_string(),
            state_id: context.state_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        context.observer.emit(&event, context.clock.wall().0);
    }
}

/// What opening a shard needs, apart from the coordinator's own.
struct OpenFacts {
    roots: stockstream_core::lineage::Roots,
    before: Vec<Checkpoint>,
    listing: Vec<stockstream_core::lineage::ShardInfo>,
    /// The newest epoch of the shard that is known, zero without one.
    epoch: u64,
}

impl OpenFacts {
    async fn open(
        &self,
        context: &Context,
        shard: &str,
        decision: Decision,
    ) -> Result<Opening, PipelineError> {
        if let Some(newest) = load_newest_bytes(context, shard).await? {
            let head = newest.head()?;
            if head.position.is_final() && head.drained {
                return Ok(Opening::Nothing(head));
            }
            if head.epoch > self.epoch || !context.reads.read(head.format) {
                // Another worker has taken it meanwhile, perhaps one of a newer release.
                return Ok(Opening::Nothing(head));
            }
            return Ok(Opening::Take(Box::new(newest.decode()?)));
        }
        match decision {
            Decision::Ready | Decision::EndUnlisted => Ok(Opening::Gone),
            _ => first_version(
                context,
                shard,
                &decision,
                &self.roots,
                &self.listing,
                &self.before,
            )
            .await
            .map(|first| Opening::Take(Box::new(first))),
        }
    }
}
