//! `--enforce-limits`: AWS's rates, as the API reference and the developer guide document them. Owns
//! what is counted and what a refusal says; when it is off, everything is admitted at once.
//!
//! A bucket that is full again says as much as none at all, so such ones are dropped whenever their
//! number has doubled: what is kept is bounded by what was in use in the last seconds. Counts of a
//! day are kept for a day, in memory: a restart forgets them.

mod bucket;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::bucket::{Bucket, Rate, Rolling};
use super::shards::shard_id;
use super::target::stream_in_arn;
use super::{ErrorKind, Kinesis, KinesisError, Operation, StreamRef};
use crate::log::{Shard, StreamMeta};

const MIB: u32 = 1024 * 1024;
const WRITE_RECORDS: Rate = Rate::per_second(1_000);
const WRITE_BYTES: Rate = Rate::per_second(MIB);
const READS: Rate = Rate::per_second(5);
const READ_BYTES: Rate = Rate::per_second(2 * MIB);
const ITERATORS: Rate = Rate::per_second(5);
const FAN_OUT_BYTES: Rate = Rate::per_second(2 * MIB);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Buckets below which no one looks for full ones.
const PRUNE_FROM: usize = 256;

/// What a control call is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// The account alone, as for ListStreams.
    Account,
    /// A stream, by name.
    Stream(&'a str),
    /// One consumer's subscription to one shard.
    Subscription {
        /// The stream's name.
        stream: &'a str,
        /// The consumer's name.
        consumer: &'a str,
        /// The shard's uid: no other stream's shard has it.
        shard_uid: u64,
    },
}

impl<'a> Scope<'a> {
    fn stream(self) -> Option<&'a str> {
        match self {
            Self::Account => None,
            Self::Stream(stream) | Self::Subscription { stream, .. } => Some(stream),
        }
    }
}

impl<'a> From<&'a str> for Scope<'a> {
    fn from(stream: &'a str) -> Self {
        Self::Stream(stream)
    }
}

impl<'a> From<&'a StreamRef> for Scope<'a> {
    fn from(reference: &'a StreamRef) -> Self {
        match (&reference.stream_name, &reference.stream_arn) {
            (Some(name), _) => Self::Stream(name),
            (None, Some(arn)) => Self::from_arn(arn),
            (None, None) => Self::Account,
        }
    }
}

impl<'a> Scope<'a> {
    /// The stream in a stream's or consumer's ARN.
    pub fn from_arn(arn: &'a str) -> Self {
        stream_in_arn(arn).map_or(Self::Account, Self::Stream)
    }
}

/// What a rate is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Per {
    Account,
    Stream,
    Subscription,
}

/// The documented rate of a control call; none for those that have a shard's limits.
fn rate(operation: Operation) -> Option<(u32, Per)> {
    use Operation::*;
    Some(match operation {
        PutRecord | PutRecords | GetRecords | GetShardIterator => return None,
        DescribeLimits => (1, Per::Account),
        DescribeStream | UpdateShardCount => (10, Per::Account),
        DescribeStreamSummary => (20, Per::Account),
        ListShards => (1_000, Per::Stream),
        DescribeStreamConsumer => (20, Per::Stream),
        DeregisterStreamConsumer | ListStreamConsumers => (5, Per::Stream),
        SubscribeToShard => (1, Per::Subscription),
        _ => (5, Per::Account),
    })
}

/// How often it may be done to a stream in 24 hours.
fn daily(operation: Operation) -> Option<usize> {
    match operation {
        Operation::StartStreamEncryption | Operation::StopStreamEncryption => Some(25),
        Operation::UpdateStreamMode => Some(2),
        _ => None,
    }
}

/// What of a shard is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Meter {
    WriteRecords,
    WriteBytes,
    Reads,
    ReadBytes,
    Iterators,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(Operation),
    Stream(Operation, String),
    /// Shards by uid, here and below: a shard made anew is another one.
    Subscription(String, u64),
    FanOut(String, u64),
    Shard(u64, Meter),
}

/// A map that drops what says no more than nothing, whenever it has doubled.
#[derive(Debug)]
struct Bounded<K, V> {
    entries: HashMap<K, V>,
    prune_at: usize,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    fn new() -> Self {
        Self {
            entries: HashMap::new(),
            prune_at: PRUNE_FROM,
        }
    }

    fn entry(
        &mut self,
        key: K,
        new: impl FnOnce() -> V,
        mut says_nothing: impl FnMut(&mut V) -> bool,
    ) -> &mut V {
        if self.entries.len() >= self.prune_at {
            self.entries.retain(|_, value| !says_nothing(value));
            self.prune_at = PRUNE_FROM.max(2 * self.entries.len());
        }
        self.entries.entry(key).or_insert_with(new)
    }
}

#[derive(Debug)]
struct Counts {
    buckets: Bounded<Key, Bucket>,
    days: Bounded<(Operation, u64), Rolling>,
}

impl Counts {
    fn bucket(&mut self, key: Key, rate: Rate, now: Duration) -> &mut Bucket {
        let full = |bucket: &mut Bucket| bucket.is_full(now);
        self.buckets.entry(key, || Bucket::full(rate, now), full)
    }

    /// Takes one, if there is one.
    fn admit(&mut self, key: Key, rate: Rate, now: Duration) -> bool {
        let bucket = self.bucket(key, rate, now);
        let admitted = bucket.has(1, now);
        if admitted {
            bucket.take(1, now);
        }
        admitted
    }

    /// Room for one record of `bytes` in a shard: both or neither are taken.
    fn admit_write(&mut self, uid: u64, bytes: u64, now: Duration) -> bool {
        let (records, data) = (
            Key::Shard(uid, Meter::WriteRecords),
            Key::Shard(uid, Meter::WriteBytes),
        );
        let admitted = self.bucket(data.clone(), WRITE_BYTES, now).has(bytes, now)
            && self.admit(records, WRITE_RECORDS, now);
        if admitted {
            self.bucket(data, WRITE_BYTES, now).take(bytes, now);
        }
        admitted
    }

    fn admit_read(&mut self, uid: u64, now: Duration) -> bool {
        let data = Key::Shard(uid, Meter::ReadBytes);
        self.bucket(data, READ_BYTES, now).is_in_credit(now)
            && self.admit(Key::Shard(uid, Meter::Reads), READS, now)
    }

    fn admit_call(&mut self, operation: Operation, scope: Scope<'_>, now: Duration) -> bool {
        let key = match (rate(operation), scope) {
            (None, _) => None,
            (
                Some((rate, Per::Subscription)),
                Scope::Subscription {
                    consumer,
                    shard_uid,
                    ..
                },
            ) => Some((Key::Subscription(consumer.to_owned(), shard_uid), rate)),
            (Some((rate, Per::Stream)), scope) if scope.stream().is_some() => {
                let stream = scope.stream().unwrap_or_default().to_owned();
                Some((Key::Stream(operation, stream), rate))
            }
            (Some((rate, _)), _) => Some((Key::Account(operation), rate)),
        };
        key.is_none_or(|(key, rate)| self.admit(key, Rate::per_second(rate), now))
    }

    /// A change of a stream, told by its creation.
    fn admit_change(&mut self, operation: Operation, created_millis: u64, now: Duration) -> bool {
        let Some(most) = daily(operation) else {
            return true;
        };
        let nothing = |rolling: &mut Rolling| rolling.is_empty(DAY, now);
        self.days
            .entry((operation, created_millis), Rolling::default, nothing)
            .admit(most, DAY, now)
    }
}

/// All limits' state; nothing when they aren't enforced.
#[derive(Debug)]
pub(super) struct Limits {
    counts: Option<Mutex<Counts>>,
}

impl Limits {
    pub fn new(enforced: bool) -> Self {
        let counts = || Counts {
            buckets: Bounded::new(),
            days: Bounded::new(),
        };
        Self {
            counts: enforced.then(|| Mutex::new(counts())),
        }
    }

    /// Whether anything is ever refused.
    pub fn enforced(&self) -> bool {
        self.counts.is_some()
    }

    /// What `decide` says, or the default when nothing is enforced.
    fn with<T>(&self, default: T, decide: impl FnOnce(&mut Counts) -> T) -> T {
        match &self.counts {
            None => default,
            Some(counts) => decide(&mut counts.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

/// Every call asks one of these. Control calls: `self.admit(Operation::X, &request.stream)?` once
/// their fields are known to be valid.
impl Kinesis {
    fn monotonic(&self) -> Duration {
        self.options.clock.monotonic()
    }

    /// Counts a control call.
    ///
    /// # Errors
    /// `LimitExceededException`: there were too many.
    pub(super) fn admit<'a>(
        &self,
        operation: Operation,
        scope: impl Into<Scope<'a>>,
    ) -> Result<(), KinesisError> {
        if !self.limits.enforced() {
            return Ok(());
        }
        let (scope, now) = (scope.into(), self.monotonic());
        match (self.limits).with(true, |counts| counts.admit_call(operation, scope, now)) {
            true => Ok(()),
            false => Err(self.rate_exceeded(scope.stream())),
        }
    }

    /// Counts a change that a stream takes only so often a day, once nothing else refuses it.
    ///
    /// # Errors
    /// `LimitExceededException`: there were too many.
    pub(super) fn admit_change(
        &self,
        operation: Operation,
        stream: &StreamMeta,
    ) -> Result<(), KinesisError> {
        let (created, now) = (stream.created_millis, self.monotonic());
        match (self.limits).with(true, |counts| counts.admit_change(operation, created, now)) {
            true => Ok(()),
            false => Err(self.rate_exceeded(Some(&stream.name))),
        }
    }

    /// Counts a record of `bytes` (data and key) on its way into a shard.
    ///
    /// # Errors
    /// `ProvisionedThroughputExceededException`: this second's records or bytes are used up.
    pub(super) fn admit_put(
        &self,
        stream: &str,
        shard: &Shard,
        bytes: usize,
    ) -> Result<(), KinesisError> {
        self.admit_data(stream, shard, |counts, now| {
            counts.admit_write(shard.uid(), bytes as u64, now)
        })
    }

    /// Counts a GetRecords.
    ///
    /// # Errors
    /// `ProvisionedThroughputExceededException`: too many calls, or too much was read before.
    pub(super) fn admit_read(&self, stream: &str, shard: &Shard) -> Result<(), KinesisError> {
        self.admit_data(stream, shard, |counts, now| {
            counts.admit_read(shard.uid(), now)
        })
    }

    /// Counts what a GetRecords has read; later calls wait for it.
    pub(super) fn charge_read(&self, shard: &Shard, bytes: impl FnOnce() -> usize) {
        self.limits.with((), |counts| {
            let now = self.monotonic();
            let key = Key::Shard(shard.uid(), Meter::ReadBytes);
            counts
                .bucket(key, READ_BYTES, now)
                .charge(bytes() as u64, now);
        });
    }

    /// Counts a GetShardIterator.
    ///
    /// # Errors
    /// `ProvisionedThroughputExceededException`: there were too many.
    pub(super) fn admit_iterator(&self, stream: &str, shard: &Shard) -> Result<(), KinesisError> {
        self.admit_data(stream, shard, |counts, now| {
            counts.admit(Key::Shard(shard.uid(), Meter::Iterators), ITERATORS, now)
        })
    }

    /// Counts `bytes` sent to a subscription and says how long to wait before the next event, so
    /// that a consumer gets 2 MiB a second from a shard; zero when nothing is enforced.
    pub(super) fn fan_out_delay(
        &self,
        consumer: &str,
        shard_uid: u64,
        bytes: impl FnOnce() -> usize,
    ) -> Duration {
        self.limits.with(Duration::ZERO, |counts| {
            let now = self.monotonic();
            let key = Key::FanOut(consumer.to_owned(), shard_uid);
            let bucket = counts.bucket(key, FAN_OUT_BYTES, now);
            bucket.take(bytes() as u64, now);
            bucket.debt(now)
        })
    }

    fn admit_data(
        &self,
        stream: &str,
        shard: &Shard,
        decide: impl FnOnce(&mut Counts, Duration) -> bool,
    ) -> Result<(), KinesisError> {
        let admitted = (self.limits).with(true, |counts| decide(counts, self.monotonic()));
        match admitted {
            true => Ok(()),
            false => Err(self.throughput_exceeded(stream, Some(&shard_id(shard.number())))),
        }
    }

    /// AWS's message for a control call that comes too often.
    pub(crate) fn rate_exceeded(&self, stream: Option<&str>) -> KinesisError {
        let account = &self.options.account_id;
        let message = match stream {
            Some(stream) => format!("Rate exceeded for stream {stream} under account {account}."),
            None => format!("Rate exceeded for account {account}."),
        };
        KinesisError::new(ErrorKind::LimitExceeded, message)
    }

    /// AWS's message for a shard that is used up.
    pub(crate) fn throughput_exceeded(&self, stream: &str, shard: Option<&str>) -> KinesisError {
        let account = &self.options.account_id;
        let shard = shard.map_or_else(String::new, |shard| format!("shard {shard} in "));
        KinesisError::new(
            ErrorKind::ProvisionedThroughputExceeded,
            format!("Rate exceeded for {shard}stream {stream} under account {account}."),
        )
    }
}
