//! All shards of a stream in one worker.
//!
//! Owns starting and ending runners as the lineage decides. Must never touch a shard's chain itself: a runner does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use stockstream_core::chain::ShardChain;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::lineage::{Decision, Head, ShardInfo, coverage, plan};
use stockstream_crds::spec::OnDataLoss;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::actions::load_newest;
use super::error::PipelineError;
use super::feed::{Input, PollStart, poll_kinesis};
use super::first::first_version;
use super::shard::{Ended, Orders, ShardRunner, StartFeed, fenced_pause};
use super::start::{Started, infos};
use crate::ambient;
use crate::clock::micros;
use crate::failpoint::{Point, meet};
use crate::observe::{ConditionStatus, Event, PipelinePhase};
use crate::source::kinesis::{Listing, ReaderSettings};

/// Between two listings of the shards.
const LIST_EVERY: Duration = Duration::from_secs(10);

/// Rounds of listings in a row with a hole in the hash keys before it is a condition.
const HOLE_ROUNDS: u32 = 3;

/// Runs all shards of a stream.
pub struct Coordinator {
    started: Started,
    expiry: Duration,
    orders: watch::Receiver<Orders>,
    runners: JoinSet<(String, Ended)>,
    running: BTreeSet<String>,
    /// Shards that were fenced: how often, and when they may be taken again.
    fenced: BTreeMap<String, (u32, Instant)>,
    taken_sender: mpsc::UnboundedSender<String>,
    taken: mpsc::UnboundedReceiver<String>,
    released: BTreeSet<String>,
    list_at: Instant,
    holes: u32,
    failure: Option<PipelineError>,
    halt: watch::Sender<Orders>,
}

impl Coordinator {
    /// A coordinator of a prepared pipeline. `expiry` is the lease's.
    pub fn new(started: Started, expiry: Duration, orders: watch::Receiver<Orders>) -> Self {
        let (taken_sender, taken) = mpsc::unbounded_channel();
        let first = *orders.borrow();
        Coordinator {
            started,
            expiry,
            orders,
            runners: JoinSet::new(),
            running: BTreeSet::new(),
            fenced: BTreeMap::new(),
            taken_sender,
            taken,
            released: BTreeSet::new(),
            list_at: Instant::now(),
            holes: 0,
            failure: None,
            halt: watch::Sender::new(first),
        }
    }

    /// Runs until ordered to end, or until every shard has ended, or something fails for good.
    ///
    /// # Errors
    /// Why the pipeline can't go on; everything committed before is safe.
    pub async fn run(mut self) -> Result<(), PipelineError> {
        let observer = self.started.context.observer.clone();
        observer.set_phase(PipelinePhase::Running, None);
        let mut listing: Vec<ShardInfo> = Vec::new();
        loop {
            if Instant::now() >= self.list_at {
                self.refresh(&mut listing).await;
            }
            self.start_runners(&listing).await;
            self.mark_started().await;
            if self.is_over() {
                break;
            }
            self.wait().await;
        }
        match self.failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        let ordered = self.failure.is_some() || *self.halt.borrow() != Orders::Run;
        ordered && self.runners.is_empty()
    }

    async fn refresh(&mut self, listing: &mut Vec<ShardInfo>) {
        self.list_at = Instant::now() + LIST_EVERY;
        let client = self.started.guard.client().clone();
        let listed = tokio::select! {
            biased;
            listed = client.list_shards(Listing::All) => listed,
            changed = self.orders.changed() => return self.follow_orders(changed.is_err()),
        };
        match listed {
            Ok(listed) => {
                *listing = infos(listed);
                self.check_coverage(listing);
            }
            Err(error) => {
                tracing::warn!(event = "listing_failed", cause = %error, "the shards can't be listed; trying again");
                if listing.is_empty() {
                    self.list_at = Instant::now() + Duration::from_secs(1);
                }
            }
        }
    }

    fn check_coverage(&mut self, listing: &[ShardInfo]) {
        let open: Vec<_> = listing
            .iter()
            .filter(|shard| !shard.closed)
            .map(|shard| shard.range)
            .collect();
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

    /// Starts a runner for every shard that is ready and has none.
    async fn start_runners(&mut self, listing: &[ShardInfo]) {
        if listing.is_empty() || self.failure.is_some() || *self.halt.borrow() == Orders::Stop {
            return;
        }
        let started = &self.started;
        let decisions = plan(listing, &started.roots, started.started, &started.heads);
        for (shard, decision) in decisions {
            if self.running.contains(&shard)
                || self.released.contains(&shard)
                || self.must_wait(&shard)
            {
                continue;
            }
            if let Err(error) = self.act_on(&shard, decision, listing).await {
                if error.is_transient() {
                    tracing::warn!(event = "take_failed", shard, cause = %error, "trying again");
                    self.fenced
                        .insert(shard, (0, Instant::now() + Duration::from_secs(1)));
                } else {
                    self.fail(error);
                    return;
                }
            }
        }
    }

    fn must_wait(&self, shard: &str) -> bool {
        self.fenced
            .get(shard)
            .is_some_and(|(_, until)| Instant::now() < *until)
    }

    async fn act_on(
        &mut self,
        shard: &str,
        decision: Decision,
        listing: &[ShardInfo],
    ) -> Result<(), PipelineError> {
        let context = self.started.context.clone();
        match decision {
            Decision::StateLost => Err(PipelineError::StateLost {
                shard: shard.to_owned(),
                url: context.state.url_of(&context.keys.started()),
            }),
            Decision::CreateFirst(_) | Decision::StartChild { .. } => {
                // Somebody else may have made it meanwhile.
                let newest = match load_newest(&context, shard).await? {
                    Some(newest) => newest,
                    None => {
                        first_version(
                            &context,
                            shard,
                            &decision,
                            &self.started.roots,
                            listing,
                            &self.started.before,
                        )
                        .await?
                    }
                };
                self.start_runner(newest, false)
            }
            Decision::Ready => match load_newest(&context, shard).await? {
                Some(newest) => self.start_runner(newest, false),
                None => Ok(()),
            },
            Decision::EndUnlisted => self.end_unlisted(shard).await,
            Decision::EndStreamGone
            | Decision::WaitFor { .. }
            | Decision::Finished
            | Decision::AncestorEnded => Ok(()),
        }
    }

    /// A shard that the stream no longer lists: what wasn't read of it is lost.
    async fn end_unlisted(&mut self, shard: &str) -> Result<(), PipelineError> {
        let context = self.started.context.clone();
        let guard = &self.started.guard;
        if !guard.confirm(context.clock.monotonic()).await? {
            let found = guard.describe().await?;
            return Err(guard.changed(format!("k{}", found.created_millis)));
        }
        let Some(newest) = load_newest(&context, shard).await? else {
            return Ok(());
        };
        let unread = newest
            .read_through
            .map_or(0, |through| context.clock.wall().0 - through.0);
        if self.started.on_data_loss == OnDataLoss::Fail {
            return Err(PipelineError::DataLost {
                shard: shard.to_owned(),
                paused: unread / 1_000_000,
                retention: micros(self.started.retention) / 1_000_000,
            });
        }
        self.start_runner(newest, true)
    }

    fn start_runner(&mut self, newest: Checkpoint, unlisted: bool) -> Result<(), PipelineError> {
        let shard = newest.shard.clone();
        let feed = match unlisted {
            true => end_of_unlisted(),
            false => self.kinesis_feed(&shard),
        };
        let runner = ShardRunner::take(
            self.started.context.clone(),
            newest,
            self.halt.subscribe(),
            feed,
            self.taken_sender.clone(),
        )?;
        self.running.insert(shard.clone());
        ambient::spawn_in(
            &mut self.runners,
            async move { (shard, runner.run().await) },
        );
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
            };
            let clock = context.clock.clone();
            Ok(poll_kinesis(guard, clock, start, ReaderSettings::default()))
        })
    }

    async fn wait(&mut self) {
        let wake = self
            .fenced
            .values()
            .map(|(_, until)| *until)
            .filter(|until| *until > Instant::now())
            .chain([self.list_at])
            .min()
            .unwrap_or(self.list_at);
        tokio::select! {
            biased;
            Some(ended) = self.runners.join_next() => match ended {
                Ok((shard, ended)) => self.runner_ended(shard, ended).await,
                Err(error) => self.fail(PipelineError::Task { detail: error.to_string() }),
            },
            Some(shard) = self.taken.recv() => self.shard_taken(&shard).await,
            changed = self.orders.changed() => self.follow_orders(changed.is_err()),
            () = tokio::time::sleep_until(wake) => {}
        }
    }

    fn follow_orders(&mut self, gone: bool) {
        let orders = if gone {
            Orders::Stop
        } else {
            *self.orders.borrow_and_update()
        };
        if orders != Orders::Run {
            self.started
                .context
                .observer
                .set_phase(PipelinePhase::Stopping, None);
        }
        if gone {
            // Nobody will give orders again: don't ask any more.
            let (_, never) = watch::channel(Orders::Stop);
            self.orders = never;
        }
        self.halt.send_replace(orders);
    }

    async fn shard_taken(&mut self, shard: &str) {
        self.fenced.remove(shard);
        if let Ok(Some(newest)) = load_newest(&self.started.context, shard).await {
            self.started
                .heads
                .insert(shard.to_owned(), Head::of(&newest));
        }
    }

    /// Once every root has its first version, `started` says so: from then on a root without a chain is state lost.
    async fn mark_started(&mut self) {
        let heads = &self.started.heads;
        let all = self
            .started
            .roots
            .roots
            .iter()
            .all(|root| heads.contains_key(&root.shard));
        if self.started.started || !all {
            return;
        }
        meet(Point::BeforeStarted);
        let context = &self.started.context;
        match context
            .state
            .create(&context.keys.started(), Bytes::from_static(b"{}"))
            .await
        {
            Ok(_) => {
                self.started.started = true;
                let event = Event::PipelineStarted {
                    pipeline: format!("{}/{}", context.settings.namespace, context.settings.name),
                    stream: self.started.guard.client().name().to_owned(),
                    incarnation: context.incarnation.to_string(),
                    state_id: context.state_id.clone(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                };
                context.observer.emit(&event, context.clock.wall().0);
            }
            Err(error) => {
                tracing::warn!(event = "started_failed", cause = %error, "trying again");
            }
        }
    }

    async fn runner_ended(&mut self, shard: String, ended: Ended) {
        self.running.remove(&shard);
        match ended {
            Ended::Finished => {
                // Its children may begin; the listing may not know them yet.
                self.list_at = Instant::now();
            }
            Ended::Released => {
                self.released.insert(shard.clone());
            }
            Ended::Fenced { .. } => {
                let times = self.fenced.get(&shard).map_or(0, |(times, _)| *times);
                let until = Instant::now() + fenced_pause(self.expiry, times);
                self.fenced.insert(shard.clone(), (times + 1, until));
            }
            Ended::Abandoned => {
                self.fenced.insert(shard.clone(), (0, Instant::now()));
            }
            Ended::Failed(error) => self.fail(error),
        }
        match load_newest(&self.started.context, &shard).await {
            Ok(Some(newest)) => {
                self.started.heads.insert(shard, Head::of(&newest));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(event = "head_unread", shard, cause = %error, "trying again")
            }
        }
    }

    /// Stops everything: the others finish what they have committed.
    fn fail(&mut self, error: PipelineError) {
        let context = &self.started.context;
        let event = Event::Failed {
            cause: error.to_string(),
        };
        context.observer.emit(&event, context.clock.wall().0);
        context
            .observer
            .set_phase(PipelinePhase::Failed, Some(error.to_string()));
        self.failure.get_or_insert(error);
        self.halt.send_replace(Orders::Stop);
    }
}

/// A shard that the stream no longer lists has nothing to read.
fn end_of_unlisted() -> StartFeed {
    Box::new(|chain: &mut ShardChain| {
        chain.note_loss(0);
        let (sender, receiver) = mpsc::channel(1);
        let children = Vec::new();
        // The channel was made with room for one.
        let _ = sender.try_send(Input::Closed { children });
        Ok(receiver)
    })
}
