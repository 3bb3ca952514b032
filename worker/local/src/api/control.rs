//! Operations on streams: create, delete, describe, list, retention.

use std::sync::{Arc, PoisonError};

use super::shards::shard_view;
use super::validate::{Constraints, MAX_RECORD_BYTES};
use super::*;
use crate::log::{NewStream, Settings, Stream, StreamMode};

/// Shards of all streams together, so that memory is bounded (AWS: 20,000 by default).
const MAX_SHARDS: usize = 20_000;
/// AWS's on-demand streams begin with four shards.
const ON_DEMAND_SHARDS: u32 = 4;
/// Hours (Kinesis API reference, IncreaseStreamRetentionPeriod).
const DEFAULT_RETENTION: u32 = 24;
const MAX_RETENTION: i64 = 8760;

const MODES: [&str; 2] = ["PROVISIONED", "ON_DEMAND"];

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
    /// Makes a stream, active when this returns.
    ///
    /// # Errors
    /// A field is invalid, the stream exists, there are too many shards, or the disk failed.
    pub fn create_stream(&self, request: &CreateStreamRequest) -> Result<Done, KinesisError> {
        let new = self.check_create(request)?;
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if streams.contains_key(&new.name) {
            let (name, account) = (&new.name, &self.options.account_id);
            let message = format!("Stream {name} under account {account} already exists.");
            return Err(KinesisError::new(ErrorKind::ResourceInUse, message));
        }
        let shards: usize = streams.values().map(|stream| stream.shards().len()).sum();
        self.check_shard_limit(shards, new.shards as usize)?;
        let birth = self.give_birth(new.shards);
        let meta = new.describe(birth.birth, birth.first_uid);
        self.save(&meta)?;
        let name = meta.name.clone();
        let stream = Stream::new(meta, |_| Default::default(), self.record_store());
        streams.insert(name, Arc::new(stream));
        Ok(Done)
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
        Ok(NewStream {
            name: request.stream_name.clone().unwrap_or_default(),
            shards,
            settings: Settings::new(
                mode,
                DEFAULT_RETENTION,
                kib.map_or(MAX_RECORD_BYTES, |kib| kib * 1024),
            ),
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

    /// Removes a stream and its records at once.
    ///
    /// # Errors
    /// There is no such stream, or the disk failed.
    pub fn delete_stream(&self, request: &StreamRequest) -> Result<Done, KinesisError> {
        let stream = self.check_and_resolve(&request.stream)?;
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let current = streams
            .get(stream.name())
            .filter(|current| Arc::ptr_eq(current, &stream));
        let current = current.ok_or_else(|| self.no_stream(stream.name()))?;
        current.delete(|meta| match &self.store {
            Some(store) => store.delete_stream(meta),
            None => Ok(()),
        })?;
        streams.remove(stream.name());
        Ok(Done)
    }

    fn check_and_resolve(&self, stream: &StreamRef) -> Result<Arc<Stream>, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, stream);
        constraints.finish()?;
        self.resolve(stream)
    }

    fn basics(&self, caller: &Caller, stream: &Stream) -> StreamBasics {
        let meta = stream.meta();
        StreamBasics {
            stream_arn: self.arn(caller, &meta.name),
            stream_name: meta.name,
            stream_status: "ACTIVE",
            stream_mode_details: StreamModeDetails {
                stream_mode: meta.settings.mode,
            },
            retention_period_hours: meta.settings.retention_hours,
            stream_creation_timestamp: Timestamp(meta.created_millis),
            enhanced_monitoring: vec![EnhancedMetrics {
                shard_level_metrics: Vec::new(),
            }],
            encryption_type: "NONE",
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
        let stream = self.resolve(&request.stream)?;
        let after = match &request.exclusive_start_shard_id {
            Some(id) => Some(self.parse_shard_id(&stream, id)?),
            None => None,
        };
        let shards = self.listed(&stream);
        let shards = shards
            .iter()
            .filter(|shard| after.is_none_or(|after| shard.number() > after));
        let (shards, has_more_shards) =
            page(shards.map(shard_view), limit_or(request.limit, 100, 10_000));
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
        let stream = self.check_and_resolve(&request.stream)?;
        let shards = stream.meta().shards;
        Ok(DescribeStreamSummaryOutcome {
            stream_description_summary: StreamDescriptionSummary {
                basics: self.basics(caller, &stream),
                open_shard_count: shards.iter().filter(|shard| shard.closed.is_none()).count(),
                consumer_count: self.consumer_count(&stream),
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
        // The token is the last name of the page before.
        let after = request
            .next_token
            .as_ref()
            .or(request.exclusive_start_stream_name.as_ref());
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let rest = streams
            .values()
            .filter(|stream| after.is_none_or(|after| stream.name() > after.as_str()));
        let (streams, has_more_streams) = page(rest, limit_or(request.limit, 100, 10_000));
        let summaries = streams.iter().map(|stream| StreamSummary {
            stream_name: stream.name().to_owned(),
            stream_arn: self.arn(caller, stream.name()),
            stream_status: "ACTIVE",
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

    /// Keeps records longer.
    ///
    /// # Errors
    /// The period is invalid or shorter, there is no such stream, or the disk failed.
    pub fn increase_stream_retention_period(
        &self,
        request: &RetentionRequest,
    ) -> Result<Done, KinesisError> {
        self.change_retention(request, true)
    }

    /// Keeps records shorter; older ones are trimmed.
    ///
    /// # Errors
    /// The period is invalid or longer, there is no such stream, or the disk failed.
    pub fn decrease_stream_retention_period(
        &self,
        request: &RetentionRequest,
    ) -> Result<Done, KinesisError> {
        self.change_retention(request, false)
    }

    fn change_retention(&self, request: &RetentionRequest, up: bool) -> Result<Done, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.required(
            "retentionPeriodHours",
            request.retention_period_hours.as_ref(),
        );
        constraints.finish()?;
        let hours = request.retention_period_hours.unwrap_or_default();
        if !(i64::from(DEFAULT_RETENTION)..=MAX_RETENTION).contains(&hours) {
            let bound = if hours > MAX_RETENTION {
                "Maximum"
            } else {
                "Minimum"
            };
            let limit = if hours > MAX_RETENTION {
                MAX_RETENTION
            } else {
                i64::from(DEFAULT_RETENTION)
            };
            return Err(KinesisError::invalid_argument(format!(
                "{bound} allowed retention period is {limit} hours. Requested retention period ({hours} hours) is not allowed."
            )));
        }
        let stream = self.resolve(&request.stream)?;
        let change = |settings: &mut Settings| {
            let current = i64::from(settings.retention_hours);
            if (up && hours < current) || (!up && hours > current) {
                let (wanted, relation) = if up {
                    ("longer", "shorter")
                } else {
                    ("shorter", "longer")
                };
                return Err(KinesisError::invalid_argument(format!(
                    "Requested retention period ({hours} hours) for stream {} can not be {relation} than existing retention \
                     period ({current} hours): a {wanted} one is expected.",
                    stream.name()
                )));
            }
            settings.retention_hours = u32::try_from(hours).unwrap_or(DEFAULT_RETENTION);
            Ok(())
        };
        stream.change(change, |meta| self.save(meta))?;
        Ok(Done)
    }
}
