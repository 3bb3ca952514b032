//! What a shard's runner is fed with, and the task that reads Kinesis for it.
//!
//! Owns reading ahead by one reply, and whether records are polled or pushed. Must never apply anything: it hands over in order and stops when nobody listens.

mod loss;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::state::{ParsedRecords, RecordMeta};
use stockstream_core::time::{Micros, Monotonic};
use stockstream_crds::spec::OnDataLoss;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::error::PipelineError;
use crate::ambient;
use crate::clock::Clock;
use crate::source::kinesis::{
    Held, LARGEST_REPLY, Pushed, REPLY_AT_TIP, ReadBudget, ReaderSettings, Reading, ShardBytes,
    ShardReader, StreamClient, StreamDescription, StreamError, Subscribed, Subscriber,
};

/// Records that were parsed ahead, in the shard's order.
#[derive(Debug)]
pub struct Parsed {
    /// The records.
    pub records: ParsedRecords,
    /// The marks after the last of them.
    pub marks: Vec<u64>,
}

/// What comes from the source, in the shard's order.
#[derive(Debug)]
pub enum Input {
    /// Records.
    Records {
        /// In the shard's order.
        records: Vec<(RecordMeta, Bytes)>,
        /// How far behind the tip, in milliseconds; `None` for files.
        millis_behind_latest: Option<i64>,
        /// Files: the marks after the last of these records.
        marks: Vec<u64>,
        /// Streams: their share of the bytes that may be read ahead; to be kept until they are applied.
        held: Option<Held>,
    },
    /// Records that were parsed ahead: of files only.
    Parsed(Parsed),
    /// Nothing at the tip.
    EmptyAtTip {
        /// When the request was sent.
        sent: Monotonic,
        /// The same, by the clock.
        wall: Micros,
    },
    /// Nothing here, more further on.
    Behind(i64),
    /// The shard has been read to its end.
    Closed {
        /// Its children.
        children: Vec<String>,
    },
    /// The stream of this incarnation no longer exists.
    Gone,
    /// Bounded input has come to its end.
    End,
    /// Records were trimmed before they were read, and the spec says to go on.
    Lost {
        /// Seconds of the stream, at least.
        seconds: u64,
    },
    /// A call failed; it is tried again.
    Trouble(StreamError),
    /// Enhanced fan-out: how the last call ended. Refused, the shard is polled.
    FanOut(Result<(), StreamError>),
    /// A subscription ended as if another worker had taken it over: it isn't renewed before the chain was found to be
    /// still ours, which this tells.
    Evicted(oneshot::Sender<()>),
    /// Reading can't go on.
    Failed(PipelineError),
}

/// Replies held ready while the runner is busy.
const READ_AHEAD: usize = 1;

/// What a record takes in memory beside its bytes: its sequence number, times, pointers.
const RECORD_BYTES: usize = 200;

/// How long a call that is refused waits before it is tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// Checks that the stream is still the one that the state knows.
///
/// One description serves all iterators obtained before it was asked for.
#[derive(Debug)]
pub struct IncarnationGuard {
    client: Arc<dyn StreamClient>,
    clock: Clock,
    created_millis: i64,
    /// When the last description that agreed was asked for, and how long the stream kept records then.
    confirmed: Mutex<Option<(Monotonic, Duration)>>,
}

impl IncarnationGuard {
    /// A guard for the life of the stream that was created then.
    pub fn new(client: Arc<dyn StreamClient>, clock: Clock, created_millis: i64) -> Self {
        IncarnationGuard {
            client,
            clock,
            created_millis,
            confirmed: Mutex::new(None),
        }
    }

    /// The stream's client.
    pub fn client(&self) -> &Arc<dyn StreamClient> {
        &self.client
    }

    /// True when the stream that an iterator obtained at `obtained` belongs to is the known one.
    ///
    /// # Errors
    /// The stream's fault.
    pub async fn confirm(&self, obtained: Monotonic) -> Result<bool, StreamError> {
        let mut confirmed = self.confirmed.lock().await;
        if confirmed.is_some_and(|(at, _)| at > obtained) {
            return Ok(true);
        }
        let asked = self.clock.monotonic();
        let found = self.client.describe().await?;
        let same = found.created_millis == self.created_millis;
        if same {
            *confirmed = Some((asked, found.retention()));
        }
        Ok(same)
    }

    /// How long the stream keeps records, as of the last [`IncarnationGuard::confirm`].
    async fn retention(&self) -> Option<Duration> {
        let confirmed = *self.confirmed.lock().await;
        confirmed.map(|(_, retention)| retention)
    }

    /// The error that tells of another life of the stream.
    pub fn changed(&self, found: String) -> PipelineError {
        PipelineError::StreamChanged {
            stream: self.client.name().to_owned(),
            expected: format!("k{}", self.created_millis),
            found,
        }
    }

    /// Describes the stream.
    ///
    /// # Errors
    /// The stream's fault.
    pub async fn describe(&self) -> Result<StreamDescription, StreamError> {
        self.client.describe().await
    }
}

/// What a shard's poll begins with.
#[derive(Debug)]
pub struct PollStart {
    /// The shard.
    pub shard: String,
    /// Where reading goes on.
    pub position: Position,
    /// Every record that arrived before this has been read.
    pub read_through: Option<Micros>,
    /// How long the stream keeps records, as last described.
    pub retention: Duration,
    /// What happens when records were trimmed before they were read.
    pub on_data_loss: OnDataLoss,
    /// How much may be read ahead of what is applied, over all shards.
    pub budget: ReadBudget,
}

/// Starts to poll a shard. The task ends when the receiver is dropped, the shard ends or reading fails.
pub fn poll_kinesis(
    guard: Arc<IncarnationGuard>,
    clock: Clock,
    start: PollStart,
    settings: ReaderSettings,
) -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let client = guard.client().clone();
    let position = start.position.clone();
    let subscriber = Subscriber::new(client.clone(), &start.shard);
    let reader = ShardReader::new(client, clock.clone(), &start.shard, settings, position);
    ambient::spawn(async move {
        let mut poll = Poll {
            read_at: None,
            missing_since: None,
            is_unlisted: false,
            handed_over: None,
            guard,
            clock,
            reader,
            subscriber,
            still_ours: None,
            bytes: start.budget.shard(&start.shard),
            expected: LARGEST_REPLY,
            polled: false,
            start,
            sender: sender.clone(),
        };
        tokio::select! {
            biased;
            () = poll.run() => {}
            () = sender.closed() => {}
        }
    });
    receiver
}

struct Poll {
    guard: Arc<IncarnationGuard>,
    clock: Clock,
    reader: ShardReader,
    subscriber: Option<Subscriber>,
    /// Tells when the chain was found to be ours after a subscription was taken over.
    still_ours: Option<oneshot::Receiver<()>>,
    /// After a take reading begins by polling: the subscription of the owner before may stand in the way.
    polled: bool,
    start: PollStart,
    bytes: Arc<ShardBytes>,
    /// What the next reply may hold.
    expected: u64,
    /// When the last read was asked for, by the clock; `None` before the first.
    read_at: Option<Micros>,
    /// Since when the stream has answered that it doesn't have the shard, and its listing agreed.
    missing_since: Option<Instant>,
    /// The stream no longer has the shard: its end follows.
    is_unlisted: bool,
    /// Records up to this one were handed over before reading went to the horizon.
    handed_over: Option<SequenceNumber>,
    sender: mpsc::Sender<Input>,
}

impl Poll {
    async fn run(&mut self) {
        loop {
            let Some(next) = self.next().await else {
                continue;
            };
            let last = matches!(next, Input::Closed { .. } | Input::Failed(_));
            let refused = matches!(&next, Input::Trouble(error) if !error.is_transient());
            let ready = Instant::now();
            if self.sender.send(next).await.is_err() || last {
                return;
            }
            // The runner had no room: it waits for the sink, or is behind.
            self.bytes.add_wait(ready.elapsed());
            if refused {
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }

    /// `None` when an iterator has expired: that says nothing of the shard, and there will be another.
    async fn next(&mut self) -> Option<Input> {
        if self.is_unlisted {
            let children = Vec::new();
            return Some(Input::Closed { children });
        }
        if let Some(input) = self.next_pushed().await {
            return Some(input);
        }
        if self.reader.needs_iterator()
            && let Err(input) = self.enter().await
        {
            return Some(input);
        }
        if let Some(lost) = self.lost_by_pausing().await {
            return Some(lost);
        }
        self.reader.wait_for_pace().await;
        // Before it is sent: what is read can't be given back.
        let mut held = self.start.budget.reserve(&self.bytes, self.expected).await;
        let asked = self.clock.wall();
        Some(match self.reader.read().await {
            Ok(reading) => {
                self.polled = true;
                self.expected = expected_after(&reading, self.expected);
                if let Some(held) = &mut held {
                    held.settle(bytes_of(&reading));
                }
                self.hand_over(asked, reading, held).await
            }
            Err(StreamError::ExpiredIterator) => return None,
            Err(error) => self.judge(error).await,
        })
    }

    async fn hand_over(&mut self, asked: Micros, reading: Reading, held: Option<Held>) -> Input {
        self.read_at = Some(asked);
        self.missing_since = None;
        let reading = self.without_handed_over(reading);
        self.note(&reading);
        let lost = self.lost_by_distance(asked, &reading).await;
        lost.unwrap_or_else(|| handed_over(reading, held))
    }

    /// What the subscription brings, or what became of subscribing; `None` when the shard is to be polled.
    async fn next_pushed(&mut self) -> Option<Input> {
        if !self.subscriber.as_mut()?.is_live() {
            return self.subscribe().await;
        }
        if let Some(lost) = self.lost_by_pausing().await {
            return Some(lost);
        }
        let asked = self.clock.wall();
        match self.subscriber.as_mut()?.next().await {
            Ok(Pushed::Reading(reading)) => {
                if let Reading::Records { records, .. } = &reading
                    && let Some(last) = records.last()
                {
                    self.reader.go_on_after(last.sequence.clone());
                }
                // An event has been sent before it is asked for: it waits for its share here, and the next ones with it.
                let bytes = bytes_of(&reading);
                let mut held = None;
                if bytes > 0 {
                    held = self.start.budget.reserve(&self.bytes, bytes).await;
                    if let Some(held) = &mut held {
                        held.settle(bytes);
                    }
                }
                Some(self.hand_over(asked, reading, held).await)
            }
            Ok(Pushed::Quiet) => Some(self.look_at_tip().await),
            Ok(Pushed::Over) => None,
            Ok(Pushed::Evicted) => {
                let (sender, receiver) = oneshot::channel();
                self.still_ours = Some(receiver);
                Some(Input::Evicted(sender))
            }
            Err(error) => Some(Input::Trouble(error)),
        }
    }

    /// Subscribes when it's time to.
    async fn subscribe(&mut self) -> Option<Input> {
        if let Some(still_ours) = &mut self.still_ours {
            // The runner, which would tell, is gone when it found another owner: then nobody listens here either.
            still_ours.try_recv().ok()?;
            self.still_ours = None;
        }
        let subscriber = self.subscriber.as_mut().filter(|_| self.polled)?;
        if !subscriber.is_due() {
            return None;
        }
        match subscriber.subscribe(self.reader.position()).await {
            Subscribed::Yes => {}
            Subscribed::NotYet(error) => {
                tracing::debug!(event = "subscription_later", shard = %self.start.shard, cause = %error);
                return None;
            }
            Subscribed::Refused(error) => return Some(Input::FanOut(Err(error))),
        }
        let confirmed = self.guard.confirm(self.clock.monotonic()).await;
        if !matches!(confirmed, Ok(true)) {
            self.subscriber.as_mut()?.drop_subscription();
        }
        Some(match confirmed {
            Ok(true) => Input::FanOut(Ok(())),
            Ok(false) => self.changed().await,
            Err(error) => Input::Trouble(error),
        })
    }

    /// A subscription is quiet: one poll tells whether the shard is.
    async fn look_at_tip(&mut self) -> Input {
        let asked = self.clock.wall();
        match self.reader.look_at_tip().await {
            Ok(Some((sent, wall))) => {
                let reading = Reading::EmptyAtTip { sent, wall };
                self.hand_over(asked, reading, None).await
            }
            Ok(None) | Err(StreamError::ExpiredIterator) => Input::Behind(0),
            Err(error) => Input::Trouble(error),
        }
    }

    /// Gets an iterator, and makes sure that it belongs to the stream that the state knows. An iterator of which that
    /// isn't known is never read from.
    async fn enter(&mut self) -> Result<(), Input> {
        if let Err(error) = self.reader.ensure_iterator().await {
            return Err(self.judge(error).await);
        }
        let confirmed = self.guard.confirm(self.clock.monotonic()).await;
        if !matches!(confirmed, Ok(true)) {
            self.reader.forget_iterator();
        }
        match confirmed {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.changed().await),
            Err(error) => Err(Input::Trouble(error)),
        }
    }

    fn note(&mut self, reading: &Reading) {
        match reading {
            Reading::Records { records, .. } => {
                self.start.read_through = records.last().map(|record| record.arrival);
            }
            Reading::EmptyAtTip { wall, .. } => self.start.read_through = Some(*wall),
            Reading::Empty { .. } | Reading::Closed { .. } => {}
        }
    }
}

/// What a reading's records take in memory, roughly.
fn bytes_of(reading: &Reading) -> u64 {
    let Reading::Records { records, .. } = reading else {
        return 0;
    };
    let bytes = records
        .iter()
        .map(|record| record.data.len() + RECORD_BYTES);
    bytes.sum::<usize>() as u64
}

/// What the reply after this one is taken to hold: behind the tip, twice as much as this one, for records of one shard
/// are much alike; it counts as what it really holds once it is here.
fn expected_after(reading: &Reading, before: u64) -> u64 {
    match reading {
        Reading::Records {
            millis_behind_latest: 0,
            ..
        }
        | Reading::EmptyAtTip { .. } => REPLY_AT_TIP,
        Reading::Records { .. } => (2 * bytes_of(reading)).clamp(REPLY_AT_TIP, LARGEST_REPLY),
        Reading::Empty { .. } | Reading::Closed { .. } => before,
    }
}

fn handed_over(reading: Reading, held: Option<Held>) -> Input {
    match reading {
        Reading::Records {
            records,
            millis_behind_latest,
        } => Input::Records {
            records: records
                .into_iter()
                .map(|record| {
                    let meta = RecordMeta {
                        sequence: record.sequence,
                        arrival: record.arrival,
                    };
                    (meta, record.data)
                })
                .collect(),
            millis_behind_latest: Some(millis_behind_latest),
            marks: Vec::new(),
            held,
        },
        Reading::EmptyAtTip { sent, wall } => Input::EmptyAtTip { sent, wall },
        Reading::Empty {
            millis_behind_latest,
        } => Input::Behind(millis_behind_latest),
        Reading::Closed { children } => Input::Closed { children },
    }
}

#[cfg(test)]
#[path = "feed_fake.rs"]
mod fake;

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "feed_loss_tests.rs"]
mod loss_tests;
