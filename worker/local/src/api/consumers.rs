//! Operations on registered consumers (enhanced fan-out): register, deregister, describe, list; and
//! what state a consumer is in. Subscriptions are in `subscription`.

use std::sync::Arc;
use std::time::Duration;

use super::control::{limit_or, page};
use super::page::{ConsumerToken, Token as _};
use super::tags::check_tags;
use super::validate::Constraints;
use super::*;
use crate::log::{ConsumerMeta, Settings, Stream};

/// Consumers of a stream at most (Kinesis API reference, RegisterStreamConsumer).
const MAX_CONSUMERS: usize = 20;
/// Consumers of a stream that may be CREATING at once (the same).
const MAX_CREATING: usize = 5;
/// Consumers a page (Kinesis API reference, ListStreamConsumers).
const PAGE: usize = 100;

/// What a consumer's ARN says: `arn:aws:kinesis:REGION:ACCOUNT:stream/STREAM/consumer/NAME:SECONDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConsumerArn<'a> {
    account: &'a str,
    pub stream: &'a str,
    pub name: &'a str,
    pub seconds: u64,
}

impl<'a> ConsumerArn<'a> {
    /// The pattern AWS prints.
    pub const PATTERN: &'static str = "^(arn):aws.*:kinesis:.*:\\d{12}:.*stream\\/[a-zA-Z0-9_.-]+\\/consumer\\/[a-zA-Z0-9_.-]+:[0-9]+";

    pub fn parse(arn: &'a str) -> Option<Self> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, "kinesis", _region, account, resource] = parts[..] else {
            return None;
        };
        let (stream, consumer) = resource.strip_prefix("stream/")?.split_once("/consumer/")?;
        let (name, seconds) = consumer.rsplit_once(':')?;
        let plain = |name: &str| !name.is_empty() && !name.contains(['/', ':']);
        let digits = seconds.bytes().all(|byte| byte.is_ascii_digit());
        if !partition.starts_with("aws") || !plain(stream) || !plain(name) || !digits {
            return None;
        }
        Some(Self {
            account,
            stream,
            name,
            seconds: seconds.parse().ok()?,
        })
    }
}

/// A consumer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Creating,
    Active,
    Deleting,
    /// Deleted, though not yet forgotten.
    Gone,
}

impl Status {
    fn of(consumer: &ConsumerMeta, delays: &Delays, now: u64) -> Self {
        match consumer.deleting_since_millis {
            Some(since) if within(delays.deleting, since, now) => Self::Deleting,
            Some(_) => Self::Gone,
            None if within(delays.creating, consumer.created_millis, now) => Self::Creating,
            None => Self::Active,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Deleting | Self::Gone => "DELETING",
        }
    }
}

/// Whether less than `delay` has passed since `since`. A time in the future (the clock was set back)
/// is long past, so that nothing waits for the clock to catch up.
fn within(delay: Duration, since: u64, now: u64) -> bool {
    now.checked_sub(since)
        .is_some_and(|passed| u128::from(passed) < delay.as_millis())
}

/// A consumer of a stream, found by what a request says.
pub(super) struct FoundConsumer {
    pub stream: Arc<Stream>,
    pub name: String,
    pub arn_seconds: u64,
}

impl Kinesis {
    /// Registers a consumer with a stream.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream, the name is taken, there are too many consumers,
    /// or the disk failed.
    pub fn register_stream_consumer(
        &self,
        caller: &Caller,
        request: &RegisterStreamConsumerRequest,
    ) -> Result<RegisterStreamConsumerOutcome, KinesisError> {
        let (arn, name) = (request.stream_arn.as_ref(), request.consumer_name.as_ref());
        let mut constraints = Constraints::new();
        constraints.required("streamARN", arn);
        constraints.text("streamARN", arn, 2048);
        constraints.required("consumerName", name);
        constraints.name("consumerName", name);
        constraints.tags("tags", request.tags.as_ref());
        constraints.finish()?;
        let tags = request.tags.clone().unwrap_or_default();
        check_tags(&tags)?;
        self.admit(Operation::RegisterStreamConsumer, &by_arn(arn))?;
        let stream = self.resolve(&by_arn(arn))?;
        self.check_active(&stream)?;
        let name = name.cloned().unwrap_or_default();
        let now = self.now();
        let register = |settings: &mut Settings| {
            self.purge(settings, now);
            self.check_room(&stream, settings, &name, now)?;
            let consumer = ConsumerMeta {
                created_millis: now,
                deleting_since_millis: None,
                arn_seconds: unused_seconds(settings, now),
                tags: tags.clone(),
            };
            settings.consumers.insert(name.clone(), consumer.clone());
            Ok::<_, KinesisError>(consumer)
        };
        let consumer = stream.change(register, |meta| self.save(meta))?;
        Ok(RegisterStreamConsumerOutcome {
            consumer: self.consumer_view(caller, &stream, &name, &consumer, now),
        })
    }

    /// Whether one more consumer may be registered, of that name.
    fn check_room(
        &self,
        stream: &Stream,
        settings: &Settings,
        name: &str,
        now: u64,
    ) -> Result<(), KinesisError> {
        let (stream, account) = (stream.name(), &self.options.account_id);
        if settings.consumers.contains_key(name) {
            let message = format!(
                "Consumer {name} under stream {stream} already exists for account {account}."
            );
            return Err(KinesisError::new(ErrorKind::ResourceInUse, message));
        }
        let creating = |consumer: &&ConsumerMeta| self.status(consumer, now) == Status::Creating;
        let creating = settings.consumers.values().filter(creating).count();
        let message = if settings.consumers.len() >= MAX_CONSUMERS {
            format!(
                "Stream {stream} under account {account} has {MAX_CONSUMERS} consumers, the most that can be registered."
            )
        } else if creating >= MAX_CREATING {
            format!(
                "Stream {stream} under account {account} has {MAX_CREATING} consumers in status CREATING, the most that can be \
                 created at once."
            )
        } else {
            return Ok(());
        };
        Err(KinesisError::new(ErrorKind::LimitExceeded, message))
    }

    /// Deregisters a consumer: its subscriptions end. Once more while it is DELETING changes nothing.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream or consumer, or the disk failed.
    pub fn deregister_stream_consumer(
        &self,
        request: &ConsumerRequest,
    ) -> Result<Done, KinesisError> {
        let found = self.find_consumer(Operation::DeregisterStreamConsumer, request)?;
        let now = self.now();
        let deregister = |settings: &mut Settings| {
            let consumer = settings
                .consumers
                .get_mut(&found.name)
                .filter(|consumer| consumer.arn_seconds == found.arn_seconds)
                .ok_or_else(|| self.no_consumer(&found.stream, &found.name))?;
            consumer.deleting_since_millis.get_or_insert(now);
            self.purge(settings, now);
            Ok::<_, KinesisError>(())
        };
        found.stream.change(deregister, |meta| self.save(meta))?;
        found.stream.wake();
        Ok(Done)
    }

    /// Describes a consumer.
    ///
    /// # Errors
    /// A field is invalid, or there is no such stream or consumer.
    pub fn describe_stream_consumer(
        &self,
        caller: &Caller,
        request: &ConsumerRequest,
    ) -> Result<DescribeStreamConsumerOutcome, KinesisError> {
        let FoundConsumer { stream, name, .. } =
            self.find_consumer(Operation::DescribeStreamConsumer, request)?;
        let now = self.now();
        let consumer = self
            .known_consumer(&stream, &name, now)
            .ok_or_else(|| self.no_consumer(&stream, &name))?;
        Ok(DescribeStreamConsumerOutcome {
            consumer_description: ConsumerDescription {
                consumer: self.consumer_view(caller, &stream, &name, &consumer, now),
                stream_arn: self.arn(caller, stream.name()),
            },
        })
    }

    /// Lists a stream's consumers by name.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream, or the page token is old.
    pub fn list_stream_consumers(
        &self,
        caller: &Caller,
        request: &ListStreamConsumersRequest,
    ) -> Result<ListStreamConsumersOutcome, KinesisError> {
        let arn = request.stream_arn.as_ref();
        let mut constraints = Constraints::new();
        constraints.required("streamARN", arn);
        constraints.text("streamARN", arn, 2048);
        constraints.text("nextToken", request.next_token.as_ref(), 1_048_576);
        constraints.number("maxResults", request.max_results, 1, 10_000);
        constraints.finish()?;
        let now = self.now();
        let created = request.stream_creation_timestamp;
        if request.next_token.is_some() && created.is_some() {
            return Err(KinesisError::invalid_argument(
                "NextToken and StreamCreationTimestamp can't be provided together.",
            ));
        }
        self.admit(Operation::ListStreamConsumers, &by_arn(arn))?;
        let stream = self.resolve(&by_arn(arn))?;
        if created.is_some_and(|created| created.0 != stream.created_millis()) {
            return Err(self.no_stream(stream.name()));
        }
        let after = match &request.next_token {
            Some(token) => Some(resume(token, &stream, now)?),
            None => None,
        };
        let consumers = stream.settings().consumers;
        let listed = consumers.iter().filter(|(name, consumer)| {
            after.as_ref().is_none_or(|after| *name > after)
                && self.status(consumer, now) != Status::Gone
        });
        let (consumers, more) = page(listed, limit_or(request.max_results, PAGE, PAGE));
        let next_token = consumers.last().filter(|_| more).map(|(last, _)| {
            ConsumerToken {
                stream: stream.name().to_owned(),
                created_millis: stream.created_millis(),
                after_consumer: (*last).clone(),
                issued_millis: now,
            }
            .encode()
        });
        let view = |(name, consumer): (&String, &ConsumerMeta)| {
            self.consumer_view(caller, &stream, name, consumer, now)
        };
        Ok(ListStreamConsumersOutcome {
            consumers: consumers.into_iter().map(view).collect(),
            next_token,
        })
    }

    /// How many consumers a stream has, those included that are being created or deleted.
    pub(super) fn consumer_count(&self, settings: &Settings) -> usize {
        let now = self.now();
        let there = |consumer: &&ConsumerMeta| self.status(consumer, now) != Status::Gone;
        settings.consumers.values().filter(there).count()
    }

    /// The consumer that a request names by ARN, by its stream's ARN and its name, or by all three.
    pub(super) fn find_consumer(
        &self,
        operation: Operation,
        request: &ConsumerRequest,
    ) -> Result<FoundConsumer, KinesisError> {
        let mut constraints = Constraints::new();
        constraints.text("streamARN", request.stream_arn.as_ref(), 2048);
        constraints.name("consumerName", request.consumer_name.as_ref());
        constraints.consumer_arn("consumerARN", request.consumer_arn.as_ref());
        constraints.finish()?;
        let arn = request.consumer_arn.as_deref().and_then(ConsumerArn::parse);
        let stream = match &request.stream_arn {
            Some(_) => Some(self.name_of(&by_arn(request.stream_arn.as_ref()))?),
            None => None,
        };
        let (stream, name) = match (arn, stream, &request.consumer_name) {
            (Some(arn), stream, name) => {
                let stream_agrees = stream.is_none_or(|stream| stream == arn.stream);
                if !stream_agrees || name.as_ref().is_some_and(|name| name != arn.name) {
                    return Err(KinesisError::invalid_argument(
                        "ConsumerARN names another consumer than StreamARN and ConsumerName do.",
                    ));
                }
                (arn.stream.to_owned(), arn.name.to_owned())
            }
            (None, Some(stream), Some(name)) => (stream, name.clone()),
            _ => {
                return Err(KinesisError::invalid_argument(
                    "Either ConsumerARN, or both StreamARN and ConsumerName must be specified.",
                ));
            }
        };
        if let Some(other) = arn.filter(|arn| arn.account != self.options.account_id) {
            return Err(KinesisError::not_found(format!(
                "Stream {stream} under account {} not found.",
                other.account
            )));
        }
        let scope = match operation {
            // Counted per shard, when that is known to exist.
            Operation::SubscribeToShard => None,
            _ => Some(stream.as_str()),
        };
        if let Some(scope) = scope {
            self.admit(operation, scope)?;
        }
        let stream = self.stream(&stream)?;
        let consumer = self
            .known_consumer(&stream, &name, self.now())
            .filter(|consumer| arn.is_none_or(|arn| arn.seconds == consumer.arn_seconds))
            .ok_or_else(|| self.no_consumer(&stream, &name))?;
        Ok(FoundConsumer {
            stream,
            name,
            arn_seconds: consumer.arn_seconds,
        })
    }

    /// Refuses a consumer that can't read.
    pub(super) fn check_consumer(&self, found: &FoundConsumer) -> Result<(), KinesisError> {
        let (stream, name) = (&found.stream, &found.name);
        let now = self.now();
        let consumer = self
            .known_consumer(stream, name, now)
            .ok_or_else(|| self.no_consumer(stream, name))?;
        let status = self.status(&consumer, now);
        if status == Status::Active {
            return Ok(());
        }
        let message = format!(
            "Consumer {name} under stream {} under account {} is {}: it must be ACTIVE.",
            stream.name(),
            self.options.account_id,
            status.name()
        );
        Err(KinesisError::new(ErrorKind::ResourceInUse, message))
    }

    pub(super) fn no_consumer(&self, stream: &Stream, name: &str) -> KinesisError {
        no_consumer(stream.name(), name, &self.options.account_id)
    }

    fn known_consumer(&self, stream: &Stream, name: &str, now: u64) -> Option<ConsumerMeta> {
        let consumer = stream.inspect(|settings| settings.consumers.get(name).cloned());
        consumer
            .flatten()
            .filter(|consumer| self.status(consumer, now) != Status::Gone)
    }

    fn status(&self, consumer: &ConsumerMeta, now: u64) -> Status {
        Status::of(consumer, &self.options.delays, now)
    }

    /// Forgets the consumers that are gone, and which numbers their ARNs had.
    fn purge(&self, settings: &mut Settings, now: u64) {
        let mut seconds = settings.gone_consumer_seconds;
        settings.consumers.retain(|_, consumer| {
            let gone = self.status(consumer, now) == Status::Gone;
            if gone {
                seconds = seconds.max(consumer.arn_seconds);
            }
            !gone
        });
        settings.gone_consumer_seconds = seconds;
    }

    fn consumer_view(
        &self,
        caller: &Caller,
        stream: &Stream,
        name: &str,
        consumer: &ConsumerMeta,
        now: u64,
    ) -> Consumer {
        let stream_arn = self.arn(caller, stream.name());
        Consumer {
            consumer_name: name.to_owned(),
            consumer_arn: format!("{stream_arn}/consumer/{name}:{}", consumer.arn_seconds),
            consumer_status: self.status(consumer, now).name(),
            consumer_creation_timestamp: Timestamp(consumer.created_millis),
        }
    }
}

pub(super) fn no_consumer(stream: &str, name: &str, account: &str) -> KinesisError {
    KinesisError::not_found(format!(
        "Consumer {name} under stream {stream} not found for account {account}."
    ))
}

fn by_arn(arn: Option<&String>) -> StreamRef {
    StreamRef {
        stream_name: None,
        stream_arn: arn.cloned(),
    }
}

/// The number for a new consumer's ARN: this second, unless a consumer that is gone may have had it.
fn unused_seconds(settings: &Settings, now: u64) -> u64 {
    let seconds = now / 1000;
    if seconds <= settings.gone_consumer_seconds {
        settings.gone_consumer_seconds + 1
    } else {
        seconds
    }
}

/// The last consumer of the page before.
fn resume(token: &str, stream: &Stream, now: u64) -> Result<String, KinesisError> {
    let token = ConsumerToken::decode(token, now)?;
    if token.stream != stream.name() || token.created_millis != stream.created_millis() {
        return Err(KinesisError::invalid_argument(
            "NextToken was given out for another stream than StreamARN's.",
        ));
    }
    Ok(token.after_consumer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_arn_is_read_as_it_is_written(stream in "[a-zA-Z0-9_.-]{1,128}", name in "[a-zA-Z0-9_.-]{1,128}", seconds in any::<u64>()) {
            let arn = format!("arn:aws:kinesis:eu-west-1:000000000000:stream/{stream}/consumer/{name}:{seconds}");
            let expected = ConsumerArn { account: "000000000000", stream: &stream, name: &name, seconds };
            prop_assert_eq!(ConsumerArn::parse(&arn), Some(expected));
        }

        #[test]
        fn garbage_is_no_arn_and_no_panic(text in ".{0,200}") {
            prop_assert_eq!(ConsumerArn::parse(&text), None);
        }
    }

    #[test]
    fn what_is_almost_an_arn_is_refused() {
        for arn in [
            "arn:aws:kinesis:eu-west-1:000000000000:stream/s",
            "arn:aws:kinesis:eu-west-1:000000000000:stream/s/consumer/c",
            "arn:aws:kinesis:eu-west-1:000000000000:stream/s/consumer/c:",
            "arn:aws:kinesis:eu-west-1:000000000000:stream/s/consumer/c:+1",
            "arn:aws:kinesis:eu-west-1:000000000000:stream/s/consumer/c:99999999999999999999",
            "arn:aws:kinesis:eu-west-1:000000000000:stream//consumer/c:1",
            "arn:aws:kinesis:eu-west-1:000000000000:stream/s/t/consumer/c:1",
            "arn:aws:s3:eu-west-1:000000000000:stream/s/consumer/c:1",
        ] {
            assert_eq!(ConsumerArn::parse(arn), None, "{arn}");
        }
    }

    #[test]
    fn a_time_in_the_future_is_past() {
        let delay = Duration::from_millis(10);
        assert!(within(delay, 100, 100) && within(delay, 100, 109));
        assert!(!within(delay, 100, 110) && !within(delay, 100, 99));
        assert!(!within(Duration::ZERO, 100, 100));
    }
}
