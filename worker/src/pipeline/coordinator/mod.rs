//! The shards of a stream in one worker among others.
//!
//! Owns the loop: facts in (listings of shards, the other members, news of this worker's runners), deeds out (take,
//! release, drop a shard). Must never touch a shard's chain itself: a runner does. Who reads what is decided by the
//! core, which begins when by the lineage.

mod claims;
mod facts;
mod handover;
mod jobs;
mod listing;
mod stuck;
mod tombstones;
mod upkeep;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use stockstream_core::lineage::{Head, ShardInfo};
use stockstream_core::member::{Holding, LeaseTiming, MemberInfo};
use stockstream_core::mutants::{Mutant, broken};
use stockstream_core::sequence::Position;
use stockstream_core::time::Micros;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::context::Context;
use super::error::PipelineError;
use super::members::{Incoming, Mailbox, Membership, MembershipHandle, Peers, leave, machine_id};
use super::shard::{Ended, Orders, fenced_pause};
use super::start::Started;
use crate::clock::micros;
use crate::observe::{Event, PipelinePhase};
use claims::Claims;
use jobs::Job;
use stuck::Stuck;
use waits::Waits;

/// What a worker brings along to live with others.
pub struct Company {
    /// The lease's heartbeat.
    pub heartbeat: Duration,
    /// The lease's expiry.
    pub expiry: Duration,
    /// Where peers reach this worker, as `host:port`.
    pub address: Option<String>,
    /// How peers are reached.
    pub peers: Arc<dyn Peers>,
    /// What peers must know to be heard.
    pub mailbox: Mailbox,
    /// What they say.
    pub incoming: mpsc::Receiver<Incoming>,
}

impl Company {
    /// What a worker says of itself before it holds a shard.
    pub(super) fn info(&self, context: &Context) -> MemberInfo {
        let mut me = MemberInfo::new(
            &context.member,
            &context.name,
            context.incarnation.as_str(),
            env!("CARGO_PKG_VERSION"),
            context.clock.wall(),
        );
        me.address.clone_from(&self.address);
        me.machine = machine_id();
        me.reads = context.reads;
        self.mailbox.token().clone_into(&mut me.token);
        me
    }
}

/// A shard in this worker's hands.
#[derive(Debug)]
struct Held {
    orders: watch::Sender<Orders>,
    /// Zero until it is taken.
    epoch: u64,
    since: Micros,
    ended: bool,
    /// To whom it goes once it is released.
    successor: Option<String>,
    /// It was offered to somebody, or is being released.
    leaving: bool,
    /// Offers in a row that didn't arrive.
    unheard: u32,
    /// Before this it isn't given to another live member: views differ for a while after every change.
    settles_at: Instant,
}

/// Decisions are made at most this often: each looks at all shards.
const DECIDE_EVERY: Duration = Duration::from_millis(50);

/// Runs the shards of a stream that fall to this worker.
pub struct Coordinator<'a> {
    started: Started,
    company: &'a mut Company,
    timing: LeaseTiming,
    orders: watch::Receiver<Orders>,
    membership: MembershipHandle,
    /// The format that all live workers read: what runners write.
    format: watch::Sender<u16>,
    /// What all shards were told last.
    halt: Orders,
    runners: JoinSet<(String, (Ended, Head))>,
    held: BTreeMap<String, Held>,
    stuck: Stuck,
    jobs: JoinSet<Job>,
    /// What peers are being told.
    words: JoinSet<()>,
    /// Shards that a job is opening or looking at.
    opening: BTreeSet<String>,
    /// True when it was asked for again meanwhile.
    refreshing: BTreeMap<String, bool>,
    /// Shards that were given up, fenced or couldn't be taken.
    waits: Waits,
    /// Shards that were read to the tip as ordered: nothing more is read of them.
    drained: BTreeSet<String>,
    /// Shards with work left that weren't, as of the last decision.
    undrained: Option<usize>,
    claims: Claims,
    news_sender: mpsc::UnboundedSender<(String, Head)>,
    news: mpsc::UnboundedReceiver<(String, Head)>,
    listing: Vec<ShardInfo>,
    list_at: Instant,
    /// Before this the shards aren't listed again, whatever happens.
    list_again_at: Instant,
    /// When this worker last looked after what nobody's events tell.
    looked_after: Option<Instant>,
    /// Shards that get on with nothing were told.
    stalled: bool,
    bury_at: Instant,
    /// Chains that are tombstones already.
    buried: BTreeSet<String>,
    /// Shards that this worker has read to their end, and the others don't know it yet.
    ended_untold: Vec<String>,
    holes: u32,
    decide_at: Option<Instant>,
    unreadable: Vec<String>,
    draining: bool,
    marking: bool,
    failure: Option<PipelineError>,
}

impl<'a> Coordinator<'a> {
    /// Joins the other workers of a prepared pipeline.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn join(
        started: Started,
        company: &'a mut Company,
        orders: watch::Receiver<Orders>,
    ) -> Result<Self, PipelineError> {
        let timing = LeaseTiming::new(micros(company.heartbeat), micros(company.expiry));
        let context = &started.context;
        let me = company.info(context);
        let membership = Membership::join(
            context.state.clone(),
            context.clock.clone(),
            timing,
            me,
            company.peers.clone(),
        )
        .await?;
        let (news_sender, news) = mpsc::unbounded_channel();
        let claims = Claims::new(&started.heads, Instant::now());
        let (format, _) = watch::channel(started.context.settings.format);
        Ok(Coordinator {
            started,
            company,
            timing,
            orders,
            membership,
            format,
            halt: Orders::Run,
            runners: JoinSet::new(),
            held: BTreeMap::new(),
            stuck: Stuck::default(),
            jobs: JoinSet::new(),
            words: JoinSet::new(),
            opening: BTreeSet::new(),
            refreshing: BTreeMap::new(),
            waits: Waits::default(),
            drained: BTreeSet::new(),
            undrained: None,
            claims,
            news_sender,
            news,
            listing: Vec::new(),
            list_at: Instant::now(),
            list_again_at: Instant::now(),
            looked_after: None,
            stalled: false,
            bury_at: Instant::now(),
            buried: BTreeSet::new(),
            ended_untold: Vec::new(),
            holes: 0,
            decide_at: Some(Instant::now()),
            unreadable: Vec::new(),
            draining: false,
            marking: false,
            failure: None,
        })
    }

    /// Runs until ordered to end, or until something fails for good.
    ///
    /// # Errors
    /// Why this worker can't go on; everything committed before is safe.
    pub async fn run(mut self) -> Result<(), PipelineError> {
        let context = self.started.context.clone();
        self.look_at_members();
        self.follow_orders(false);
        loop {
            self.start_listing();
            self.mark_started();
            if self.decide_at.is_some_and(|at| at <= Instant::now()) {
                self.decide();
            }
            if self.is_over() {
                break;
            }
            self.wait().await;
        }
        self.finish_telling().await;
        self.membership.stop();
        if let Err(error) = leave(&context.state, &context.member).await {
            tracing::warn!(event = "leave_failed", cause = %error, "the other workers find out by its missing beats");
        }
        match self.failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        let ordered = match self.halt {
            Orders::Run => self.failure.is_some(),
            // Every shard must have had its turn, those of a dead process too.
            Orders::Drain(_) => self.decide_at.is_none() && self.undrained == Some(0),
            Orders::Release | Orders::Stop | Orders::Leave => true,
        };
        ordered && self.held.is_empty() && self.opening.is_empty()
    }

    async fn wait(&mut self) {
        let wake = self.next_wake();
        tokio::select! {
            biased;
            changed = self.orders.changed() => self.follow_orders(changed.is_err()),
            Some(ended) = self.runners.join_next() => match ended {
                Ok((shard, (ended, head))) => self.runner_ended(shard, ended, head),
                Err(error) => self.fail(PipelineError::Task { detail: error.to_string() }),
            },
            Some((shard, head)) = self.news.recv() => self.note_news(shard, head),
            Some(incoming) = self.company.incoming.recv() => self.hear(incoming),
            Some(done) = self.jobs.join_next() => match done {
                Ok(job) => self.job_done(job),
                Err(error) => self.fail(PipelineError::Task { detail: error.to_string() }),
            },
            Some(told) = self.words.join_next() => {
                if let Err(error) = told {
                    self.fail(PipelineError::Task { detail: error.to_string() });
                }
            }
            Ok(()) = self.membership.view.changed() => self.look_at_members(),
            () = tokio::time::sleep_until(wake) => self.want_decision(),
        }
    }

    fn next_wake(&self) -> Instant {
        // Whatever else is due is looked at by a decision that is due already.
        if let Some(at) = self.decide_at {
            return at.min(self.list_at);
        }
        let now = Instant::now();
        let later = self
            .stuck
            .retries()
            .chain(self.waits.ends())
            .chain([self.stable_at()])
            .filter(|at| *at > now);
        later
            .chain(self.claims.next_change())
            .fold(self.list_at, Instant::min)
    }

    /// When shards may move between live members: the membership has been the same for two expiries.
    fn stable_at(&self) -> Instant {
        let since = self.membership.view.borrow().stable_since;
        self.started
            .context
            .clock
            .instant(since.plus(2 * self.timing.expiry()))
    }

    /// Facts have changed: decide soon.
    fn want_decision(&mut self) {
        self.decide_at
            .get_or_insert_with(|| Instant::now() + DECIDE_EVERY);
    }

    fn follow_orders(&mut self, gone: bool) {
        let orders = if gone {
            Orders::Stop
        } else {
            *self.orders.borrow_and_update()
        };
        if gone {
            // Nobody will give orders again: don't ask any more.
            let (_, never) = watch::channel(Orders::Stop);
            self.orders = never;
        }
        match orders {
            Orders::Run => return,
            Orders::Drain(_) => {
                self.halt = orders;
                self.tell_all(orders);
            }
            Orders::Release | Orders::Stop | Orders::Leave => self.stop(),
        }
        let observer = &self.started.context.observer;
        observer.set_phase(PipelinePhase::Stopping, None);
    }

    /// Ends in good order: shards go to the others, or, when there are none, everything that is closed is published.
    fn stop(&mut self) {
        if self.halt == Orders::Stop {
            return;
        }
        self.halt = Orders::Stop;
        self.stuck.give_up();
        if self.has_company() {
            self.draining = true;
            self.write_info();
            self.decide();
        } else {
            self.tell_all(Orders::Stop);
        }
    }

    fn tell_all(&self, orders: Orders) {
        for held in self.held.values() {
            held.orders.send_replace(orders);
        }
    }

    /// A runner has taken its shard, come to the shard's end, or published the last of it.
    fn note_news(&mut self, shard: String, head: Head) {
        if let Some(held) = self.held.get_mut(&shard) {
            if held.epoch != head.epoch {
                held.epoch = head.epoch;
                held.since = self.started.context.clock.wall();
                self.waits.forget(&shard);
                self.stuck.taken(&shard);
            }
            let ended = !held.ended && head.position == Position::ShardEnd;
            held.ended = head.position.is_final();
            if ended {
                self.ended_untold.push(shard.clone());
                self.list_for_children();
            }
        }
        self.learn(shard, head);
        self.write_info();
    }

    fn learn(&mut self, shard: String, head: Head) {
        // A chain that stands as it stood says nothing new of its owner: looking again must not make it believed again.
        let known = self.started.heads.get(&shard);
        if known.is_none_or(|known| known.version != head.version) || broken(Mutant::BelievedAnew) {
            self.claims.changed(&shard, Instant::now());
        }
        if known.is_none_or(|known| known.epoch < head.epoch) {
            self.claims.taken(&shard, Instant::now());
        }
        self.stuck.seen(&shard, head.epoch);
        self.started.heads.insert(shard, head);
        self.want_decision();
    }

    fn runner_ended(&mut self, shard: String, ended: Ended, head: Head) {
        let Some(held) = self.held.remove(&shard) else {
            return;
        };
        self.started.context.files.forget(&shard);
        self.started.context.progress.forget(&shard);
        let now = Instant::now();
        let epoch = head.epoch;
        match ended {
            Ended::Finished => {
                self.learn(shard, head);
                self.list_for_children();
            }
            Ended::Released => {
                self.claims.void(&shard, epoch);
                self.learn(shard.clone(), head);
                // Whoever shall have it, this worker tries it last.
                self.waits.pause(&shard, epoch, now + self.company.expiry);
                if matches!(self.halt, Orders::Drain(_)) {
                    self.drained.insert(shard.clone());
                }
                self.released(shard, epoch, held.successor);
            }
            Ended::Fenced { .. } => {
                let expiry = self.company.expiry;
                self.waits
                    .fenced(&shard, epoch + 1, |times| now + fenced_pause(expiry, times));
                self.refresh(&shard);
            }
            Ended::Abandoned => {
                self.waits.forget(&shard);
                self.refresh(&shard);
            }
            Ended::Failed(error @ PipelineError::StreamChanged { .. }) => self.fail(error),
            Ended::Failed(error) => {
                let was_held = held.epoch > 0;
                self.shard_failed(shard, epoch, error, was_held);
            }
        }
        self.write_info();
        self.want_decision();
    }

    /// One shard can't go on. The others do; it stays this worker's, which tries again. A worker that is left with nothing
    /// else ends, unless it had the shard and there are others: they would take it, and end by it too. One that couldn't
    /// even take it may be the only one that can't.
    fn shard_failed(&mut self, shard: String, epoch: u64, error: PipelineError, was_held: bool) {
        let idle = self.held.is_empty() && self.opening.is_empty();
        let ends = match self.halt {
            Orders::Run => idle && !(was_held && self.has_company()),
            Orders::Drain(_) => idle,
            Orders::Release | Orders::Stop | Orders::Leave => true,
        };
        if ends {
            return self.fail(error);
        }
        let context = &self.started.context;
        let reason = error.to_string();
        let event = Event::Failed {
            cause: reason.clone(),
        };
        let now = context.clock.wall();
        context.observer.emit(&event, now.0);
        self.stuck.failed(shard, epoch, now, reason);
    }

    /// Stops everything: the shards finish what they have committed.
    fn fail(&mut self, error: PipelineError) {
        let context = &self.started.context;
        if !matches!(error, PipelineError::StreamChanged { .. }) {
            let event = Event::Failed {
                cause: error.to_string(),
            };
            context.observer.emit(&event, context.clock.wall().0);
            context
                .observer
                .set_phase(PipelinePhase::Failed, Some(error.to_string()));
        }
        self.failure.get_or_insert(error);
        self.halt = Orders::Stop;
        self.tell_all(Orders::Stop);
    }

    /// Tells the others, through `info`, what this worker holds.
    fn write_info(&mut self) {
        let held = self.held.iter().filter(|(_, held)| held.epoch > 0);
        let held = held.map(|(shard, held)| {
            let holding = Holding {
                epoch: held.epoch,
                since: held.since,
                ended: held.ended,
                trouble: None,
            };
            (shard.clone(), holding)
        });
        let shards: BTreeMap<String, Holding> = self.stuck.holdings().chain(held).collect();
        let draining = self.draining;
        self.membership.own.send_if_modified(|info| {
            let changed = info.shards != shards || info.draining != draining;
            info.shards = shards;
            info.draining = draining;
            changed
        });
    }
}
