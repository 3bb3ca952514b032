//! SubscribeToShard: a subscription as a source of events that is polled, as futures are, and knows no
//! runtime; and which subscription of a consumer to a shard is the valid one. Must never know HTTP,
//! or decide how an event is written.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use super::consumers::{FoundConsumer, no_consumer};
use super::data::{ITERATOR_TYPES, Place, check_dry_run, child_shards};
use super::limits::Scope;
use super::shards::shard_id;
use super::validate::{Constraints, SEQUENCE_PATTERN};
use super::*;
use crate::clock::Clock;
use crate::log::{Continuation, ReadLimits, Stream, Waiter};

/// A subscription ends after so long (Kinesis API reference, SubscribeToShard).
const LIFETIME: Duration = Duration::from_secs(300);
/// From so long after a successful call on, another one takes the subscription over (the same).
const TAKE_OVER_AFTER: Duration = Duration::from_secs(5);
/// Without records, an event goes out this long after the last one.
const IDLE_EVENT_AFTER: Duration = Duration::from_secs(5);
/// How much an event may carry; a record above it comes alone.
const EVENT: ReadLimits = ReadLimits {
    records: 10_000,
    bytes: 1024 * 1024,
};

/// What may have one valid subscription at a time: a consumer and a shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    shard_uid: u64,
    consumer: String,
    arn_seconds: u64,
}

/// The last successful call for a consumer and a shard.
#[derive(Debug)]
struct Latest {
    /// Monotonic time of the call.
    since: Duration,
    /// Set when another call takes over; gone with the subscription.
    taken_over: Weak<AtomicBool>,
}

/// The valid subscriptions of all consumers.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    latest: Mutex<HashMap<Key, Latest>>,
}

impl Subscriptions {
    fn latest(&self) -> MutexGuard<'_, HashMap<Key, Latest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call succeeds at `now`: not right after another one.
    fn free(latest: &HashMap<Key, Latest>, key: &Key, now: Duration) -> bool {
        latest
            .get(key)
            .is_none_or(|last| now.saturating_sub(last.since) >= TAKE_OVER_AFTER)
    }

    /// Makes a new subscription the valid one, unless a call succeeded just before; returns what is
    /// set once it isn't any more.
    fn begin(&self, key: Key, now: Duration) -> Option<Arc<AtomicBool>> {
        let mut latest = self.latest();
        if !Self::free(&latest, &key, now) {
            return None;
        }
        let taken_over = Arc::new(AtomicBool::new(false));
        let newest = Latest {
            since: now,
            taken_over: Arc::downgrade(&taken_over),
        };
        if let Some(before) = latest.insert(key, newest)
            && let Some(before) = before.taken_over.upgrade()
        {
            before.store(true, Ordering::SeqCst);
        }
        Some(taken_over)
    }

    /// Forgets the subscriptions that ended and no longer keep others off.
    pub fn forget(&self, now: Duration) {
        self.latest().retain(|_, last| {
            last.taken_over.strong_count() > 0 || now.saturating_sub(last.since) < TAKE_OVER_AFTER
        });
    }
}

impl Kinesis {
    /// Subscribes a consumer to a shard.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream, consumer or shard, the consumer isn't ACTIVE or
    /// subscribed to the shard just before, or the disk failed. With `DryRun` every call ends in an
    /// error; the one that says so means that all is well.
    pub fn subscribe_to_shard(
        &self,
        request: &SubscribeToShardRequest,
    ) -> Result<Subscription, KinesisError> {
        check_subscribe(request)?;
        let by_arn = ConsumerRequest {
            consumer_arn: request.consumer_arn.clone(),
            ..Default::default()
        };
        let consumer = self.find_consumer(Operation::SubscribeToShard, &by_arn)?;
        let stream = &consumer.stream;
        let id = request.shard_id.as_deref().unwrap_or_default();
        let shard = stream.shard(self.parse_shard_id(stream, id)?);
        let shard = shard.ok_or_else(|| self.no_shard(stream, id))?;
        let scope = Scope::Subscription {
            stream: stream.name(),
            consumer: &consumer.name,
            shard_uid: shard.uid(),
        };
        self.admit(Operation::SubscribeToShard, scope)?;
        self.check_consumer(&consumer)?;
        let starting = request.starting_position.clone().unwrap_or_default();
        let place = Place {
            operation: "SubscribeToShard",
            field: "SequenceNumber",
            kind: starting.r#type.as_deref().unwrap_or_default(),
            sequence: starting.sequence_number.as_deref(),
            timestamp: starting.timestamp,
        };
        let position = self.position(stream, &shard, &place)?;
        let key = Key {
            shard_uid: shard.uid(),
            consumer: consumer.name.clone(),
            arn_seconds: consumer.arn_seconds,
        };
        let since = self.options.clock.monotonic();
        let taken_over = if request.dry_run == Some(true) {
            let free = Subscriptions::free(&self.subscriptions.latest(), &key, since);
            if free {
                check_dry_run(request.dry_run)?;
            }
            None
        } else {
            self.subscriptions.begin(key, since)
        };
        let account = self.options.account_id.clone();
        let taken_over =
            taken_over.ok_or_else(|| another_subscription(&account, &consumer, shard.number()))?;
        // The one before shall find out that it was taken over.
        shard.wake();
        Ok(Subscription {
            waiter: Waiter::new(shard),
            clock: self.options.clock.clone(),
            account,
            consumer,
            taken_over,
            since,
            last_event: None,
            resting_until: Duration::ZERO,
            position,
            ended: false,
        })
    }
}

impl Kinesis {
    /// Counts an event that a subscription gave; lets the subscription rest when its consumer has got
    /// all that AWS lets it have of a shard for the time being.
    pub fn pace(&self, subscription: &mut Subscription, event: &SubscribeToShardEvent) {
        let payload = |view: &RecordView| view.0.record.payload_bytes();
        let rest = self.fan_out_delay(
            &subscription.consumer.name,
            subscription.waiter.shard().uid(),
            || event.records.iter().map(payload).sum(),
        );
        subscription.resting_until = subscription.clock.monotonic() + rest;
    }
}

fn check_subscribe(request: &SubscribeToShardRequest) -> Result<(), KinesisError> {
    let starting = request.starting_position.as_ref();
    let mut constraints = Constraints::new();
    constraints.required("consumerARN", request.consumer_arn.as_ref());
    constraints.consumer_arn("consumerARN", request.consumer_arn.as_ref());
    constraints.required("shardId", request.shard_id.as_ref());
    constraints.name("shardId", request.shard_id.as_ref());
    constraints.required("startingPosition", starting);
    if let Some(starting) = starting {
        let (kind, sequence) = (starting.r#type.as_ref(), starting.sequence_number.as_ref());
        constraints.required("startingPosition.type", kind);
        constraints.one_of("startingPosition.type", kind, &ITERATOR_TYPES);
        constraints.decimal(
            "startingPosition.sequenceNumber",
            sequence,
            SEQUENCE_PATTERN,
        );
    }
    constraints.finish()
}

fn another_subscription(account: &str, consumer: &FoundConsumer, shard: u32) -> KinesisError {
    let message = format!(
        "Another active subscription exists for this consumer: {account}:{}:{}:{}",
        consumer.stream.name(),
        consumer.name,
        shard_id(shard)
    );
    KinesisError::new(ErrorKind::ResourceInUse, message)
}

/// A consumer's subscription to a shard: events as they come. Dropping it frees all it holds.
///
/// Holds no records: an event is read when it is asked for, so a slow reader costs nothing.
pub struct Subscription {
    waiter: Waiter,
    clock: Arc<dyn Clock>,
    account: String,
    consumer: FoundConsumer,
    taken_over: Arc<AtomicBool>,
    /// Monotonic time of the call.
    since: Duration,
    /// Monotonic time of the last event.
    last_event: Option<Duration>,
    /// Monotonic time before which no event goes out.
    resting_until: Duration,
    /// The next record's index.
    position: u64,
    ended: bool,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Subscription")
            .field("stream", &self.consumer.stream.name())
            .field("consumer", &self.consumer.name)
            .field("shard", &self.waiter.shard().number())
            .field("position", &self.position)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

type Event = Result<SubscribeToShardEvent, KinesisError>;

impl Subscription {
    /// The next event: the first at once, others when there are records, or every few seconds
    /// without. An error is the last event. None is the end: after five minutes, and after the event
    /// of the shard's end.
    ///
    /// When it is pending, the task is woken when records come or the subscription ends by someone's
    /// doing; the caller has to poll again after [`Subscription::due_in`], too. May read from the disk.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if let ready @ Poll::Ready(_) = self.look() {
            return ready;
        }
        // What changes before this is seen by the second look, what changes after it wakes.
        self.waiter.wake_me(context.waker());
        self.look()
    }

    /// How long nothing is to be told if nothing happens.
    #[must_use]
    pub fn due_in(&self) -> Duration {
        let now = self.clock.monotonic();
        let event = match self.last_event {
            _ if now < self.resting_until => self.resting_until,
            Some(last) => last + IDLE_EVENT_AFTER,
            None => now,
        };
        event.min(self.since + LIFETIME).saturating_sub(now)
    }

    /// The name of its stream.
    #[must_use]
    pub fn stream_name(&self) -> &str {
        self.consumer.stream.name()
    }

    /// The id of its shard.
    #[must_use]
    pub fn shard_id(&self) -> String {
        shard_id(self.waiter.shard().number())
    }

    fn look(&mut self) -> Poll<Option<Event>> {
        let now = self.clock.monotonic();
        if self.ended {
            return Poll::Ready(None);
        }
        if let Err(error) = self.check_valid() {
            self.ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        if now.saturating_sub(self.since) >= LIFETIME {
            self.ended = true;
            return Poll::Ready(None);
        }
        if now < self.resting_until {
            return Poll::Pending;
        }
        let event = self.read();
        let told = match &event {
            Ok(event) => !event.records.is_empty() || event.child_shards.is_some(),
            Err(_) => true,
        };
        let idle = self
            .last_event
            .is_none_or(|last| now.saturating_sub(last) >= IDLE_EVENT_AFTER);
        if !told && !idle {
            return Poll::Pending;
        }
        self.last_event = Some(now);
        Poll::Ready(Some(event))
    }

    fn check_valid(&self) -> Result<(), KinesisError> {
        let FoundConsumer {
            stream,
            name,
            arn_seconds,
        } = &self.consumer;
        if self.taken_over.load(Ordering::SeqCst) {
            let shard = self.waiter.shard().number();
            return Err(another_subscription(&self.account, &self.consumer, shard));
        }
        let registered = stream.inspect(|settings| {
            settings.consumers.get(name).is_some_and(|consumer| {
                consumer.arn_seconds == *arn_seconds && consumer.deleting_since_millis.is_none()
            })
        });
        match registered {
            Some(true) => Ok(()),
            Some(false) => Err(no_consumer(stream.name(), name, &self.account)),
            None => Err(KinesisError::not_found(format!(
                "Stream {} under account {} not found.",
                stream.name(),
                self.account
            ))),
        }
    }

    /// What there is to read, and on to the place behind it.
    fn read(&mut self) -> Event {
        let stream: &Stream = &self.consumer.stream;
        let shard = self.waiter.shard();
        let now = self.clock.wall_millis();
        let read = shard
            .trim_before(stream.cutoff(now))
            .and_then(|()| shard.read(self.position, EVENT, now));
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                self.ended = true;
                return Err(error.into());
            }
        };
        self.position = read.next_position;
        self.ended = read.ended;
        let after = shard.sequence_number(read.next_position.saturating_sub(1));
        Ok(SubscribeToShardEvent {
            records: read.records.into_iter().map(RecordView).collect(),
            continuation_sequence_number: (!read.ended).then_some(Continuation { after }),
            millis_behind_latest: read.millis_behind_latest,
            child_shards: read.ended.then(|| child_shards(stream, shard.number())),
        })
    }
}
