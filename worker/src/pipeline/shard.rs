//! One shard's runner: feeds the chain, carries out its actions, tells the observer.
//!
//! Owns waiting: for input, for effects, for deadlines. Must never decide about ticks, windows or versions: the core
//! does. At most one action is under way.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stockstream_core::chain::{Action, ShardChain};
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec::DEFAULT_FORMAT;
use stockstream_core::lineage::Head;
use stockstream_core::state::{Applied, RecordMeta};
use stockstream_core::time::Monotonic;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::actions::{self, Lifetime, Outcome};
use super::collect::collect;
use super::context::Context;
use super::error::PipelineError;
use super::feed::{Input, Parsed};
use super::register::Registering;
use super::report::ShardWatch;
use crate::ambient::jitter;
use crate::failpoint::{Point, collection_interval, meet};
use crate::source::kinesis::Held;

/// What the whole pipeline was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Orders {
    /// Go on.
    #[default]
    Run,
    /// Read to the tip, then close every window, publish and stop. Requests sent before this reading don't count.
    Drain(Monotonic),
    /// Stop reading, commit, and stop: a successor seals and publishes what is open.
    Release,
    /// Stop reading, publish what is closed, and stop. Windows stay open for the next owner.
    Stop,
    /// Drop it as it is: another worker has taken it.
    Leave,
}

/// How a shard's run ended.
#[derive(Debug)]
pub enum Ended {
    /// It was read to its end and everything is out.
    Finished,
    /// As ordered.
    Released,
    /// Another owner has it.
    Fenced {
        /// The version that fenced us; `None` when we heard of the other owner before we met its version.
        version: Option<u64>,
    },
    /// The time to create a version passed without a known outcome: take it again from the chain.
    Abandoned,
    /// It can't go on.
    Failed(PipelineError),
}

/// Applied records between two looks at everything else.
const SLICE: usize = 2_000;

/// The same of records that were parsed ahead, which take a tenth of the time.
const SLICE_PARSED: usize = 20_000;

/// A worker that was told to stop and can't commit or publish gives up after this long: Kubernetes kills after 30 s.
const STOP_WITHIN: Duration = Duration::from_secs(25);

/// Pauses after a failed action.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

type InFlight = Pin<Box<dyn Future<Output = Result<Outcome, PipelineError>> + Send>>;
type Collecting = Pin<Box<dyn Future<Output = Result<usize, PipelineError>> + Send>>;

/// Starts the feed at a chain's position, once it may read.
pub type StartFeed =
    Box<dyn FnOnce(&mut ShardChain) -> Result<mpsc::Receiver<Input>, PipelineError> + Send>;

/// What a runner is given by its worker.
pub struct Charge {
    /// What it is told.
    pub orders: watch::Receiver<Orders>,
    /// Until when this worker may read: its lease.
    pub lease: watch::Receiver<Instant>,
    /// Told when the shard is taken, and when it has ended or its outbox is empty.
    pub news: mpsc::UnboundedSender<(String, Head)>,
    /// The format in which versions are written; it follows who else is there.
    pub format: watch::Receiver<u16>,
}

impl Charge {
    /// Of a runner that no other worker competes with, and whose news nobody needs.
    pub fn alone(orders: watch::Receiver<Orders>) -> Self {
        let (_, lease) = watch::channel(Instant::now() + NO_LEASE);
        let (news, _) = mpsc::unbounded_channel();
        let (_, format) = watch::channel(DEFAULT_FORMAT);
        Charge {
            orders,
            lease,
            news,
            format,
        }
    }

    /// The same, writing in this format.
    pub fn in_format(self, format: u16) -> Self {
        let (_, format) = watch::channel(format);
        Charge { format, ..self }
    }
}

/// Longer than any process lives.
const NO_LEASE: Duration = Duration::from_secs(100 * 365 * 86_400);

/// One shard's runner.
pub struct ShardRunner {
    context: Arc<Context>,
    shard: String,
    chain: ShardChain,
    orders: watch::Receiver<Orders>,
    orders_gone: bool,
    stop_by: Option<Instant>,
    start_feed: Option<StartFeed>,
    feed: Option<mpsc::Receiver<Input>>,
    /// A feed that waits to hear whether the chain is still ours.
    still_ours: Option<oneshot::Sender<()>>,
    waiting: VecDeque<(RecordMeta, Bytes)>,
    /// The same, parsed ahead. Never both.
    parsed: Option<Parsed>,
    /// The share of what may be read ahead that waits.
    held: Option<Held>,
    marks: Option<Vec<u64>>,
    in_flight: Option<InFlight>,
    under_way: Option<Action>,
    lifetime: Option<Lifetime>,
    not_before: Instant,
    pause: Duration,
    is_take: bool,
    lease: watch::Receiver<Instant>,
    news: mpsc::UnboundedSender<(String, Head)>,
    format: watch::Receiver<u16>,
    told: Option<(bool, bool, u16)>,
    collecting: Option<Collecting>,
    collect_at: Instant,
    registering: Registering,
    watch: ShardWatch,
}

impl ShardRunner {
    /// Begins to take a shard from its newest version, or from a first state.
    ///
    /// # Errors
    /// When the chain is another's, or the spec contradicts it.
    pub fn take(
        context: Arc<Context>,
        newest: Checkpoint,
        charge: Charge,
        start_feed: StartFeed,
    ) -> Result<Self, PipelineError> {
        let shard = newest.shard.clone();
        let chain = ShardChain::take(
            context.identity(&shard, *charge.format.borrow()),
            context.settings.plan.clone(),
            context.settings.pace,
            newest,
            context.clock.monotonic(),
        )
        .map_err(|source| PipelineError::Chain {
            shard: shard.clone(),
            source,
        })?;
        Ok(ShardRunner {
            watch: ShardWatch::new(context.clone(), &shard),
            registering: Registering::new(&context),
            context,
            shard,
            chain,
            orders: charge.orders,
            orders_gone: false,
            stop_by: None,
            start_feed: Some(start_feed),
            feed: None,
            still_ours: None,
            waiting: VecDeque::new(),
            parsed: None,
            held: None,
            marks: None,
            in_flight: None,
            under_way: None,
            lifetime: None,
            not_before: Instant::now(),
            pause: FIRST_PAUSE,
            is_take: true,
            lease: charge.lease,
            news: charge.news,
            format: charge.format,
            told: None,
            collecting: None,
            collect_at: Instant::now() + jitter(collection_interval()),
        })
    }

    /// Runs until the shard ends, is released, fenced or fails. Tells how the chain stands, as far as this owner knows.
    pub async fn run(mut self) -> (Ended, Head) {
        let ended = match self.run_inner().await {
            Ok(ended) => ended,
            Err(error) => Ended::Failed(error),
        };
        self.watch.ended(&self.chain, &ended);
        (ended, self.chain.head())
    }

    async fn run_inner(&mut self) -> Result<Ended, PipelineError> {
        loop {
            self.follow_orders();
            self.start_action()?;
            if let Some(ended) = self.is_over() {
                return Ok(ended);
            }
            self.start_reading()?;
            self.apply_waiting();
            self.start_collecting();
            self.registering.start(&self.chain);
            if self.chain.waits_for_catalog() {
                // Nothing of its own is left to get on with, and the catalog has a condition of its own.
                self.context.progress.note(&self.shard);
            }
            self.watch.look(&self.chain);
            self.wait().await?;
        }
    }

    /// True when stopping has taken too long: what is sealed stays in the outbox, for the next owner.
    fn is_overdue(&self) -> bool {
        self.stop_by.is_some_and(|by| Instant::now() >= by)
    }

    fn is_over(&self) -> Option<Ended> {
        let fenced_by = self.chain.fenced_by();
        if fenced_by.is_some() || *self.orders.borrow() == Orders::Leave {
            return Some(Ended::Fenced { version: fenced_by });
        }
        if self.lifetime.is_some_and(|lifetime| lifetime.is_over())
            && matches!(self.under_way, Some(Action::Create { .. }))
            && self.in_flight.is_none()
        {
            return Some(Ended::Abandoned);
        }
        if self.in_flight.is_some() || !self.chain.is_done() {
            return self.is_overdue().then(|| {
                Ended::Failed(PipelineError::Unfinished {
                    shard: self.shard.clone(),
                    bytes: self.chain.unpublished_bytes(),
                    cause: self.watch.reason().to_owned(),
                })
            });
        }
        Some(match self.chain.state().position().is_final() {
            true => Ended::Finished,
            false => Ended::Released,
        })
    }

    fn follow_orders(&mut self) {
        self.chain.hold(Instant::now() >= *self.lease.borrow());
        self.chain.set_format(*self.format.borrow());
        // Without anybody to give orders there is nobody to work for.
        let orders = match self.orders_gone {
            true => Orders::Stop,
            false => *self.orders.borrow_and_update(),
        };
        match orders {
            Orders::Run | Orders::Drain(_) => return,
            Orders::Release => self.chain.release(),
            Orders::Stop | Orders::Leave => self.chain.finish(),
        }
        self.feed = None;
        self.start_feed = None;
        self.waiting.clear();
        self.parsed = None;
        self.held = None;
        self.stop_by
            .get_or_insert_with(|| Instant::now() + STOP_WITHIN);
    }

    fn start_action(&mut self) -> Result<(), PipelineError> {
        if self.in_flight.is_some() || Instant::now() < self.not_before {
            return Ok(());
        }
        let now = self.context.clock.monotonic();
        let action = self
            .chain
            .poll(now)
            .map_err(|source| PipelineError::Chain {
                shard: self.shard.clone(),
                source,
            })?;
        let Some(action) = action else {
            self.under_way = None;
            return Ok(());
        };
        self.lifetime = Lifetime::of(&action, self.lifetime);
        self.watch.action_started(&action);
        self.under_way = Some(action.clone());
        let (context, shard) = (self.context.clone(), self.shard.clone());
        let (lifetime, is_take) = (self.lifetime, self.is_take);
        self.in_flight = Some(Box::pin(async move {
            actions::carry_out(&context, &shard, action, lifetime, is_take).await
        }));
        Ok(())
    }

    fn finish_action(
        &mut self,
        result: Result<Outcome, PipelineError>,
    ) -> Result<(), PipelineError> {
        self.in_flight = None;
        match result {
            Ok(outcome) => {
                self.pause = FIRST_PAUSE;
                self.watch
                    .action_done(&self.chain, self.under_way.as_ref(), &outcome);
                if matches!(outcome, Outcome::Listed(_)) {
                    self.lifetime = None;
                }
                actions::report(&mut self.chain, outcome);
                if !self.chain.is_doubted()
                    && self.chain.fenced_by().is_none()
                    && let Some(still_ours) = self.still_ours.take()
                {
                    // A feed that ended meanwhile doesn't need to know.
                    let _ = still_ours.send(());
                }
                self.is_take &= !self.chain.is_taken();
                self.tell_news();
                Ok(())
            }
            // Something foreign lies where our file belongs: trying again can't help.
            Err(error) if error.is_conflict() => Err(error),
            Err(error) => {
                meet(Point::BeforeRetry);
                self.watch.trouble(&error);
                self.not_before = Instant::now() + self.pause + jitter(self.pause / 2);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Ok(())
            }
        }
    }

    /// Tells the worker what others wait for: the take, the shard's end, an empty outbox, a format that they read.
    fn tell_news(&mut self) {
        if !self.chain.is_taken() {
            return;
        }
        let ended = self.chain.committed_position().is_final();
        let drained = ended && self.chain.is_settled();
        let head = self.chain.head();
        let news = Some((ended, drained, head.format));
        if self.told != news {
            self.told = news;
            // Nobody listens while the worker shuts down; then it doesn't matter.
            let _ = self.news.send((self.shard.clone(), head));
        }
    }

    fn start_reading(&mut self) -> Result<(), PipelineError> {
        if self.chain.wants_records()
            && let Some(start) = self.start_feed.take()
        {
            self.feed = Some(start(&mut self.chain)?);
        }
        Ok(())
    }

    fn apply_waiting(&mut self) {
        self.apply_parsed();
        let now = self.context.clock.monotonic();
        for _ in 0..SLICE {
            if !self.chain.wants_records() {
                return;
            }
            let Some((meta, data)) = self.waiting.pop_front() else {
                break;
            };
            let applied = self.chain.apply(&meta, &data, now);
            if !matches!(applied, Applied::Counted | Applied::Duplicate) {
                self.watch.rejected(&applied);
            }
        }
        if self.waiting.is_empty() {
            self.held = None;
        }
        if self.waiting.is_empty()
            && let Some(marks) = self.marks.take()
        {
            self.chain.set_file_marks(&marks);
        }
    }

    fn apply_parsed(&mut self) {
        let Some(parsed) = &mut self.parsed else {
            return;
        };
        let now = self.context.clock.monotonic();
        let records = &mut parsed.records;
        let after = records.left().saturating_sub(SLICE_PARSED);
        while records.left() > after {
            if !self.chain.wants_records() {
                return;
            }
            let most = records.left() - after;
            if let Some(applied) = self.chain.apply_parsed(records, most, now)
                && !matches!(applied, Applied::Counted | Applied::Duplicate)
            {
                self.watch.rejected(&applied);
            }
        }
        if records.is_done() {
            self.chain.set_file_marks(&parsed.marks);
            self.parsed = None;
        }
    }

    /// True when a record is at hand.
    fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.parsed.is_some()
    }

    fn take_input(&mut self, input: Input) -> Result<(), PipelineError> {
        match input {
            Input::Records {
                records,
                millis_behind_latest,
                marks,
                held,
            } => {
                self.waiting.extend(records);
                self.held = held;
                self.marks = (!marks.is_empty()).then_some(marks);
                self.watch.read(millis_behind_latest);
            }
            Input::Parsed(parsed) => {
                self.parsed = Some(parsed);
                self.watch.read(None);
            }
            Input::EmptyAtTip { sent, wall } => {
                let before = self.chain.state().counters().rows_closed;
                self.chain.observe_empty_tip(sent, wall);
                self.watch.read(Some(0));
                self.watch.idle(&self.chain, before);
                if let Orders::Drain(asked) = *self.orders.borrow()
                    && sent > asked
                {
                    self.chain.close_all_windows();
                    self.chain.finish();
                }
            }
            Input::Behind(millis) => self.watch.read(Some(millis)),
            Input::Closed { children } => self.chain.end_of_shard(children),
            Input::Gone => self.chain.end_of_stream(),
            Input::End => self.chain.end_of_input(),
            Input::Lost { seconds } => {
                self.watch.lost(seconds);
                self.chain.note_loss(seconds);
            }
            Input::Trouble(error) => {
                self.watch.stream_trouble(&error);
            }
            Input::FanOut(outcome) => self.watch.fan_out(outcome),
            Input::Evicted(still_ours) => {
                self.watch.evicted();
                self.chain.doubt();
                self.still_ours = Some(still_ours);
            }
            Input::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn start_collecting(&mut self) {
        if self.collecting.is_none() && Instant::now() >= self.collect_at {
            let (context, shard) = (self.context.clone(), self.shard.clone());
            self.collecting = Some(Box::pin(async move { collect(&context, &shard).await }));
        }
    }

    /// Waits for whatever comes first.
    async fn wait(&mut self) -> Result<(), PipelineError> {
        let wants_input = !self.has_waiting() && self.chain.wants_records();
        let busy = self.has_waiting() && self.chain.wants_records();
        let deadline = self.next_deadline();
        let held = self.chain.is_held();
        let (in_flight, feed, collecting) =
            (&mut self.in_flight, &mut self.feed, &mut self.collecting);
        let registering = &mut self.registering;
        tokio::select! {
            biased;
            result = async { match in_flight { Some(action) => action.await, None => std::future::pending().await } } => {
                self.finish_action(result)
            }
            changed = self.orders.changed(), if !self.orders_gone => {
                self.orders_gone = changed.is_err();
                Ok(())
            }
            // A lease that is prolonged wakes only who waited for it.
            Ok(()) = self.lease.changed(), if held => Ok(()),
            result = async { match collecting { Some(round) => round.await, None => std::future::pending().await } } => {
                self.collecting = None;
                self.collect_at = Instant::now() + collection_interval();
                self.watch.collected(result);
                Ok(())
            }
            round = registering.ended() => {
                self.registering.finish(&round, &mut self.chain, &self.context);
                Ok(())
            }
            input = async { match feed { Some(feed) => feed.recv().await, None => std::future::pending().await } }, if wants_input => {
                match input {
                    Some(input) => self.take_input(input),
                    // A feed says how it ended; without a word it broke down.
                    None => Err(PipelineError::Task {
                        detail: format!("reading shard {} ended without a reason", self.shard),
                    }),
                }
            }
            // With ticks at hand everything else gets its turn, but nothing is waited for.
            () = async { if busy { yield_now().await } else { sleep_until(deadline).await } } => Ok(()),
        }
    }

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let mut deadline = self.watch.next_look().min(now + Duration::from_secs(1));
        deadline = deadline.min(self.registering.next(&self.chain).unwrap_or(deadline));
        if self.in_flight.is_none() {
            if self.under_way.is_some() || self.not_before > now {
                deadline = deadline.min(self.not_before);
            } else if let Some(due) = self.chain.deadline() {
                deadline = deadline.min(self.context.clock.instant(due));
            }
        }
        deadline
    }
}

/// How long a worker that was fenced waits before it takes that shard again: one expiry, doubling, with jitter.
pub fn fenced_pause(expiry: Duration, times: u32) -> Duration {
    let pause = expiry.saturating_mul(1 << times.min(2));
    pause + jitter(pause / 2)
}
