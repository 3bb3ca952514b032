//! Operations on streams as wholes: create, delete, describe, list.

use std::sync::{Arc, PoisonError};

use super::limits::Scope;
use super::settings::DEFAULT_RETENTION;
use super::shards::{open_shards, shard_view};
use super::tags::check_tags;
use super::validate::{Constraints, DEFAULT_RECORD_BYTES};
use super::*;
use crate::log::{Change, NewStream, Settings, Status, Stream, StreamMeta, StreamMode, Transition};

/// Shards of all streams together, so that memory is bounded (AWS: 20,000 by default).
pub(super) const MAX_SHARDS: usize = 20_000;
/// AWS's on-demand streams begin with four shards.
const ON_DEMAND_SHARDS: u32 = 4;
/// On-demand streams in all (Kinesis developer guide, quotas).
pub(super) const MAX_ON_DEMAND_STREAMS: usize = 50;
/// Streams in CREATING at once (Kinesis API reference, CreateStream).
const MAX_CREATING: usize = 5;

pub(super) const MODES: [&str; 2] = ["PROVISIONED", "ON_DEMAND"];

pub(super) fn check_stream(constraints: &mut Constraints, stream: &StreamRef) {
    constraints.name("streamName", stream.stream_name.as_ref());
    constraints.text("streamARN", stream.stream_arn.as_ref(), 2048);
}

/// The first `limit` of `items`, and whether more follow.
pub(super) fn page<T>(items: impl Iterator<Item = T>, limit: usize) -> (Vec<T>, bool) {
    let mut items = items;
    let page: Vec<T> = items.by_ref().take(limit).collect();
    (page, items.next().is_some())
}

/// A limit that was checked to be positive.
pub(super) fn limit_or(limit: Option<i64>, default: usize, most: usize) -> usize {
    limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(default)
        .min(most)
}

impl Kinesis {
    /// Makes a stream, active when its delay is over.
    ///
    /// # Errors
    /// A field is invalid, the stream exists, there are too many shards, on-demand streams or streams
    /// being created, or the disk failed.
    pub fn create_stream(&self, request: &CreateStreamRequest) -> Result<Done, KinesisError> {
        let new = self.check_create(request)?;
        self.admit(Operation::CreateStream, new.name.as_str())?;
        // A deletion that is over makes room for its name.
        if let Some(before) = self.present(&new.name) {
            self.settle(&before)?;
        }
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if streams.contains_key(&new.name) {
            let (name, account) = (&new.name, &self.options.account_id);
            let message = format!("Stream {name} under account {account} already exists.");
            return Err(KinesisError::new(ErrorKind::ResourceInUse, message));
        }
        self.check_shard_limit(open_shards(streams.values()), new.shards as usize)?;
        if new.settings.mode == StreamMode::OnDemand {
            self.check_on_demand_limit(on_demand(streams.values()))?;
        }
        self.check_creating_limit(streams.values())?;
        let birth = self.give_birth(new.shards);
        let mut meta = new.describe(birth.birth, birth.first_uid);
        let delay = self.options.delays.creating;
        if !delay.is_zero() {
            meta.transition = Some(Transition {
                change: Change::Create,
                since_millis: birth.now_millis,
                due_millis: birth
                    .now_millis
                    .saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            });
        }
        self.save(&meta)?;
        let name = meta.name.clone();
        let stream = Stream::new(meta, |_| Default::default(), self.record_store());
        streams.insert(name, Arc::new(stream));
        Ok(Done)
    }

    pub(super) fn present(&self, name: &str) -> Option<Arc<Stream>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.get(name).cloned()
    }

    pub(super) fn check_on_demand_limit(&self, present: usize) -> Result<(), KinesisError> {
        if present < MAX_ON_DEMAND_STREAMS {
            return Ok(());
        }
        let account = &self.options.account_id;
        let message = format!(
            "This request would exceed the limit of {MAX_ON_DEMAND_STREAMS} on-demand streams for the account {account}."
        );
        Err(KinesisError::new(ErrorKind::LimitExceeded, message))
    }

    fn check_creating_limit<'a>(
        &self,
        streams: impl Iterator<Item = &'a Arc<Stream>>,
    ) -> Result<(), KinesisError> {
        let creating = streams.filter(|stream| stream.status() == Status::Creating);
        if creating.count() < MAX_CREATING {
            return Ok(());
        }
        let account = &self.options.account_id;
        let message = format!(
            "The account {account} has {MAX_CREATING} streams in the CREATING state already: no more are allowed at a time."
        );
        Err(KinesisError::new(ErrorKind::LimitExceeded, message))
    }

    fn check_create(&self, request: &CreateStreamRequest) -> Result<NewStream, KinesisError> {
        let mode = request.stream_mode_details.as_ref();
        let mut constraints = Constraints::new();
        constraints.required("streamName", request.stream_name.as_ref());
        constraints.name("streamName", request.stream_name.as_ref());
        constraints.number("shardCount", request.shard_count, 1, i64::MAX);
        constraints.number(
            "maxRecordSizeInKiB",
            request.max_record_size_in_kib,
            1024,
            10_240,
        );
        constraints.tags("tags", request.tags.as_ref());
        if let Some(mode) = mode {
            constraints.required("streamModeDetails.streamMode", mode.stream_mode.as_ref());
            constraints.one_of(
                "streamModeDetails.streamMode",
                mode.stream_mode.as_ref(),
                &MODES,
            );
        }
        constraints.finish()?;
        let on_demand = mode.and_then(|mode| mode.stream_mode.as_deref()) == Some("ON_DEMAND");
        let (mode, shards) = match (on_demand, request.shard_count) {
            (true, None) => (StreamMode::OnDemand, ON_DEMAND_SHARDS),
            (true, Some(_)) => {
                let message = "ShardCount can't be specified for a stream in ON_DEMAND mode.";
                return Err(KinesisError::invalid_argument(message));
            }
            // Larger counts fail at the limit, with its message.
            (false, Some(count)) => (
                StreamMode::Provisioned,
                u32::try_from(count).unwrap_or(u32::MAX),
            ),
            (false, None) => {
                let message = "ShardCount must be specified for a stream in PROVISIONED mode.";
                return Err(KinesisError::invalid_argument(message));
            }
        };
        let kib = request
            .max_record_size_in_kib
            .and_then(|kib| usize::try_from(kib).ok());
        let largest = kib.map_or(DEFAULT_RECORD_BYTES, |kib| kib * 1024);
        let mut settings = Settings::new(mode, DEFAULT_RETENTION, largest);
        settings.tags = request.tags.clone().unwrap_or_default();
        check_tags(&settings.tags)?;
        Ok(NewStream {
            name: request.stream_name.clone().unwrap_or_default(),
            shards,
            settings,
        })
    }

    pub(super) fn check_shard_limit(
        &self,
        present: usize,
        more: usize,
    ) -> Result<(), KinesisError> {
        if present + more <= MAX_SHARDS {
            return Ok(());
        }
        let account = &self.options.account_id;
        let message = format!(
            "This request would exceed the shard limit for the account {account}. Current shard count for the account: \
             {present}. Limit: {MAX_SHARDS}. Number of additional shards that would have resulted from this request: {more}."
        );
        Err(KinesisError::new(ErrorKind::LimitExceeded, message))
    }

    /// Removes a stream and its records when the delay is over.
    ///
    /// # Errors
    /// There is no such stream, it isn't active or has consumers that weren't given up too, or the
    /// disk failed.
    pub fn delete_stream(&self, request: &DeleteStreamRequest) -> Result<Done, KinesisError> {
        let stream = self.check_and_resolve(Operation::DeleteStream, &request.stream)?;
        let with_consumers = request.enforce_consumer_deletion.unwrap_or_default();
        let delay = self.options.delays.deleting;
        self.begin(&stream, Change::Delete, delay, |meta| {
            let consumers = self.consumer_count(&meta.settings);
            if consumers == 0 || with_consumers {
                return Ok(());
            }
            let (name, account) = (&meta.name, &self.options.account_id);
            let message = format!(
                "Stream {name} under account {account} has {consumers} registered consumers: deregister them, or \
                 set EnforceConsumerDeletion."
            );
            Err(KinesisError::new(ErrorKind::ResourceInUse, message))
        })?;
        if delay.is_zero() {
            self.remove(&stream)?;
        }
        Ok(Done)
    }

    /// Removes a stream and its records.
    pub(super) fn remove(&self, stream: &Arc<Stream>) -> Result<(), KinesisError> {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let current = streams
            .get(stream.name())
            .filter(|current| Arc::ptr_eq(current, stream));
        let current = current.ok_or_else(|| self.no_stream(stream.name()))?;
        current.delete(|meta| match &self.store {
            Some(store) => store.delete_stream(meta),
            None => Ok(()),
        })?;
        streams.remove(stream.name());
        Ok(())
    }

    pub(super) fn check_and_resolve(
        &self,
        operation: Operation,
        stream: &StreamRef,
    ) -> Result<Arc<Stream>, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, stream);
        constraints.finish()?;
        self.admit(operation, stream)?;
        self.resolve(stream)
    }

    fn basics(&self, caller: &Caller, stream: &Stream) -> StreamBasics {
        let status = stream.status();
        let meta = stream.meta();
        StreamBasics {
            stream_arn: self.arn(caller, &meta.name),
            stream_name: meta.name,
            stream_status: status,
            stream_mode_details: StreamModeDetails {
                stream_mode: meta.settings.mode,
            },
            retention_period_hours: meta.settings.retention_hours,
            stream_creation_timestamp: Timestamp(meta.created_millis),
            enhanced_monitoring: vec![EnhancedMetrics {
                shard_level_metrics: Vec::new(),
            }],
            encryption_type: match meta.settings.encryption_key {
                Some(_) => "KMS",
                None => "NONE",
            },
            key_id: meta.settings.encryption_key,
            max_record_size_in_kib: meta.settings.max_record_bytes / 1024,
        }
    }

    /// Describes a stream with a page of its shards.
    ///
    /// # Errors
    /// A field is invalid, or there is no such stream.
    pub fn describe_stream(
        &self,
        caller: &Caller,
        request: &DescribeStreamRequest,
    ) -> Result<DescribeStreamOutcome, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.number("limit", request.limit, 1, 10_000);
        constraints.name(
            "exclusiveStartShardId",
            request.exclusive_start_shard_id.as_ref(),
        );
        constraints.finish()?;
        self.admit(Operation::DescribeStream, &request.stream)?;
        let stream = self.resolve(&request.stream)?;
        let after = match &request.exclusive_start_shard_id {
            Some(id) => Some(self.parse_shard_id(&stream, id)?),
            None => None,
        };
        // A stream that is being created has no shards to show yet.
        let shards = match stream.status() {
            Status::Creating => Vec::new(),
            _ => self.listed(&stream),
        };
        let shards = shards
            .iter()
            .filter(|shard| after.is_none_or(|after| shard.number() > after));
        let (shards, has_more_shards) =
            page(shards.map(shard_view), limit_or(request.limit, 100, 100));
        let stream_description = StreamDescription {
            basics: self.basics(caller, &stream),
            shards,
            has_more_shards,
        };
        Ok(DescribeStreamOutcome { stream_description })
    }

    /// Describes a stream without its shards.
    ///
    /// # Errors
    /// There is no such stream.
    pub fn describe_stream_summary(
        &self,
        caller: &Caller,
        request: &StreamRequest,
    ) -> Result<DescribeStreamSummaryOutcome, KinesisError> {
        let stream = self.check_and_resolve(Operation::DescribeStreamSummary, &request.stream)?;
        let StreamMeta {
            shards, settings, ..
        } = stream.meta();
        Ok(DescribeStreamSummaryOutcome {
            stream_description_summary: StreamDescriptionSummary {
                basics: self.basics(caller, &stream),
                open_shard_count: shards.iter().filter(|shard| shard.closed.is_none()).count(),
                consumer_count: self.consumer_count(&settings),
            },
        })
    }

    /// Lists streams by name.
    ///
    /// # Errors
    /// A field is invalid.
    pub fn list_streams(
        &self,
        caller: &Caller,
        request: &ListStreamsRequest,
    ) -> Result<ListStreamsOutcome, KinesisError> {
        let mut constraints = Constraints::new();
        constraints.number("limit", request.limit, 1, 10_000);
        constraints.name(
            "exclusiveStartStreamName",
            request.exclusive_start_stream_name.as_ref(),
        );
        constraints.text("nextToken", request.next_token.as_ref(), 1_048_576);
        constraints.finish()?;
        self.admit(Operation::ListStreams, Scope::Account)?;
        // The token is the last name of the page before.
        let after = request
            .next_token
            .as_ref()
            .or(request.exclusive_start_stream_name.as_ref());
        for stream in self.all_streams() {
            self.settle(&stream)?;
        }
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let rest = streams
            .values()
            .filter(|stream| after.is_none_or(|after| stream.name() > after.as_str()));
        let (streams, has_more_streams) = page(rest, limit_or(request.limit, 100, 10_000));
        let summaries = streams.iter().map(|stream| StreamSummary {
            stream_name: stream.name().to_owned(),
            stream_arn: self.arn(caller, stream.name()),
            stream_status: stream.status(),
            stream_mode_details: StreamModeDetails {
                stream_mode: stream.settings().mode,
            },
            stream_creation_timestamp: Timestamp(stream.created_millis()),
        });
        let last = streams.last().map(|stream| stream.name().to_owned());
        Ok(ListStreamsOutcome {
            stream_names: streams
                .iter()
                .map(|stream| stream.name().to_owned())
                .collect(),
            stream_summaries: summaries.collect(),
            has_more_streams,
            next_token: last.filter(|_| has_more_streams),
        })
    }
}

/// How many of the streams are on demand.
pub(super) fn on_demand<'a>(streams: impl Iterator<Item = &'a Arc<Stream>>) -> usize {
    streams
        .filter(|stream| stream.settings().mode == StreamMode::OnDemand)
        .count()
}
