//! Operations on streams and shards: create, delete, describe, list, retention, split, merge.

use std::sync::{Arc, PoisonError};

use super::page::PageToken;
use super::validate::{Constraints, HASH_KEY_PATTERN, MAX_RECORD_BYTES};
use super::*;
use crate::log::{HashKeyRange, NewStream, ReshardError, Shard, ShardMeta, Stream, StreamMode};

/// Shards of all streams together, so that memory is bounded (AWS: 20,000 by default).
const MAX_SHARDS: usize = 20_000;
/// AWS's on-demand streams begin with four shards.
const ON_DEMAND_SHARDS: u32 = 4;
/// Hours (Kinesis API reference, IncreaseStreamRetentionPeriod).
const DEFAULT_RETENTION: u32 = 24;
const MAX_RETENTION: i64 = 8760;

const MODES: [&str; 2] = ["PROVISIONED", "ON_DEMAND"];
const FILTERS: [&str; 6] = [
    "AFTER_SHARD_ID",
    "AT_TRIM_HORIZON",
    "FROM_TRIM_HORIZON",
    "AT_LATEST",
    "AT_TIMESTAMP",
    "FROM_TIMESTAMP",
];

/// `shardId-000000000003` for 3.
pub(super) fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// 3 for `shardId-000000000003`.
pub(super) fn shard_number(id: &str) -> Option<u32> {
    let number = id.strip_prefix("shardId-")?.parse().ok()?;
    (shard_id(number) == id).then_some(number)
}

pub(super) fn range_view(range: HashKeyRange) -> HashKeyRangeView {
    HashKeyRangeView {
        starting_hash_key: range.start.to_string(),
        ending_hash_key: range.end.to_string(),
    }
}

fn shard_view(shard: &Arc<Shard>) -> ShardView {
    let meta = shard.meta();
    ShardView {
        shard_id: shard_id(meta.number),
        parent_shard_id: meta.parent.map(shard_id),
        adjacent_parent_shard_id: meta.adjacent_parent.map(shard_id),
        hash_key_range: range_view(meta.range),
        sequence_number_range: SequenceNumberRange {
            starting_sequence_number: shard.sequence_number(0),
            ending_sequence_number: meta
                .closed
                .map(|closed| shard.sequence_number(closed.end_index)),
        },
    }
}

fn check_stream(constraints: &mut Constraints, stream: &StreamRef) {
    constraints.name("streamName", stream.stream_name.as_ref());
    constraints.text("streamARN", stream.stream_arn.as_ref(), 2048);
}

/// The first `limit` of `items`, and whether more follow.
fn page<T>(items: impl Iterator<Item = T>, limit: usize) -> (Vec<T>, bool) {
    let mut items = items;
    let page: Vec<T> = items.by_ref().take(limit).collect();
    (page, items.next().is_some())
}

/// A limit that was checked to be positive.
fn limit_or(limit: Option<i64>, default: usize, most: usize) -> usize {
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
            mode,
            retention_hours: DEFAULT_RETENTION,
            max_record_bytes: kib.map_or(MAX_RECORD_BYTES, |kib| kib * 1024),
        })
    }

    fn check_shard_limit(&self, present: usize, more: usize) -> Result<(), KinesisError> {
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
                stream_mode: meta.mode,
            },
            retention_period_hours: meta.retention_hours,
            stream_creation_timestamp: Timestamp(meta.created_millis),
            enhanced_monitoring: vec![EnhancedMetrics {
                shard_level_metrics: Vec::new(),
            }],
            encryption_type: "NONE",
            max_record_size_in_kib: meta.max_record_bytes / 1024,
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
                consumer_count: 0,
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
                stream_mode: stream.meta().mode,
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

    /// Lists a stream's shards by id.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream, or the page token is old.
    pub fn list_shards(
        &self,
        request: &ListShardsRequest,
    ) -> Result<ListShardsOutcome, KinesisError> {
        check_list_shards(request)?;
        let now = self.now();
        let (stream, after, filter) = match &request.next_token {
            Some(token) => self.resume_list(token, now)?,
            None => self.begin_list(request)?,
        };
        let selected = Selection::new(filter.as_ref(), now, &stream)?;
        let shards = self.listed(&stream);
        let shards = shards.iter().filter(|shard| {
            after.is_none_or(|after| shard.number() > after) && selected.takes(&shard.meta())
        });
        let (shards, more) = page(shards, limit_or(request.max_results, 1000, 1000));
        let next_token = shards.last().filter(|_| more).map(|last| {
            PageToken {
                stream: stream.name().to_owned(),
                created_millis: stream.created_millis(),
                after_shard: last.number(),
                filter: filter.as_ref().map(Into::into),
                issued_millis: now,
            }
            .encode()
        });
        Ok(ListShardsOutcome {
            shards: shards.into_iter().map(shard_view).collect(),
            next_token,
        })
    }

    fn begin_list(&self, request: &ListShardsRequest) -> Result<ListPosition, KinesisError> {
        let stream = self.resolve(&request.stream)?;
        let created = request.stream_creation_timestamp;
        if created.is_some_and(|created| created.0 != stream.created_millis()) {
            return Err(self.no_stream(stream.name()));
        }
        let after = match &request.exclusive_start_shard_id {
            Some(id) => Some(self.parse_shard_id(&stream, id)?),
            None => None,
        };
        Ok((stream, after, request.shard_filter.clone()))
    }

    fn resume_list(&self, token: &str, now: u64) -> Result<ListPosition, KinesisError> {
        let token = PageToken::decode(token, now)?;
        let stream = self.stream(&token.stream)?;
        if stream.created_millis() != token.created_millis {
            return Err(KinesisError::invalid_argument(
                "NextToken is of an earlier stream of the same name.",
            ));
        }
        Ok((
            stream,
            Some(token.after_shard),
            token.filter.map(Into::into),
        ))
    }

    /// Shards that are listed: AWS drops a closed one once its records have expired.
    fn listed(&self, stream: &Stream) -> Vec<Arc<Shard>> {
        let cutoff = stream.cutoff(self.now());
        let mut shards = stream.shards();
        shards.retain(|shard| {
            shard
                .meta()
                .closed
                .is_none_or(|closed| closed.at_millis >= cutoff)
        });
        shards
    }

    pub(super) fn no_shard(&self, stream: &Stream, id: &str) -> KinesisError {
        let (name, account) = (stream.name(), &self.options.account_id);
        KinesisError::not_found(format!(
            "Shard {id} in stream {name} under account {account} does not exist"
        ))
    }

    pub(super) fn parse_shard_id(&self, stream: &Stream, id: &str) -> Result<u32, KinesisError> {
        shard_number(id).ok_or_else(|| {
            let (name, account) = (stream.name(), &self.options.account_id);
            KinesisError::not_found(format!(
                "Could not find shard {id} in stream {name} under account {account}."
            ))
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
        let current = i64::from(stream.meta().retention_hours);
        if (up && hours < current) || (!up && hours > current) {
            let (wanted, relation) = if up {
                ("longer", "shorter")
            } else {
                ("shorter", "longer")
            };
            return Err(KinesisError::invalid_argument(format!(
                "Requested retention period ({hours} hours) for stream {} can not be {relation} than existing retention period \
                 ({current} hours): a {wanted} one is expected.",
                stream.name()
            )));
        }
        let hours = u32::try_from(hours).unwrap_or(DEFAULT_RETENTION);
        stream.set_retention(hours, |meta| self.save(meta))?;
        Ok(Done)
    }

    /// Splits a shard at once.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream or shard, it is closed, or the disk failed.
    pub fn split_shard(&self, request: &SplitShardRequest) -> Result<Done, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.required("shardToSplit", request.shard_to_split.as_ref());
        constraints.name("shardToSplit", request.shard_to_split.as_ref());
        constraints.required("newStartingHashKey", request.new_starting_hash_key.as_ref());
        constraints.decimal(
            "newStartingHashKey",
            request.new_starting_hash_key.as_ref(),
            HASH_KEY_PATTERN,
        );
        constraints.finish()?;
        let stream = self.resolve(&request.stream)?;
        let number = self.parse_shard_id(
            &stream,
            request.shard_to_split.as_deref().unwrap_or_default(),
        )?;
        let key = request.new_starting_hash_key.as_deref().unwrap_or_default();
        // A key beyond the key space is outside of every shard, as its last key is.
        let key = key.parse().unwrap_or(u128::MAX);
        self.check_shard_limit(self.shard_count(), 2)?;
        stream
            .split_shard(number, key, self.give_birth(2), |meta| self.save(meta))
            .map_err(|error| self.reshard_error(&stream, error))?;
        Ok(Done)
    }

    /// Merges two adjacent shards at once.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream or shard, they are closed or not adjacent, or the disk failed.
    pub fn merge_shards(&self, request: &MergeShardsRequest) -> Result<Done, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.required("shardToMerge", request.shard_to_merge.as_ref());
        constraints.name("shardToMerge", request.shard_to_merge.as_ref());
        constraints.required(
            "adjacentShardToMerge",
            request.adjacent_shard_to_merge.as_ref(),
        );
        constraints.name(
            "adjacentShardToMerge",
            request.adjacent_shard_to_merge.as_ref(),
        );
        constraints.finish()?;
        let stream = self.resolve(&request.stream)?;
        let number = self.parse_shard_id(
            &stream,
            request.shard_to_merge.as_deref().unwrap_or_default(),
        )?;
        let adjacent = self.parse_shard_id(
            &stream,
            request
                .adjacent_shard_to_merge
                .as_deref()
                .unwrap_or_default(),
        )?;
        self.check_shard_limit(self.shard_count(), 1)?;
        stream
            .merge_shards(number, adjacent, self.give_birth(1), |meta| self.save(meta))
            .map_err(|error| self.reshard_error(&stream, error))?;
        Ok(Done)
    }

    fn shard_count(&self) -> usize {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.values().map(|stream| stream.shards().len()).sum()
    }

    fn reshard_error(&self, stream: &Stream, error: ReshardError) -> KinesisError {
        let (name, account) = (stream.name(), &self.options.account_id);
        let place = format!("in stream {name} under account {account}");
        match error {
            ReshardError::NoSuchShard(number) => KinesisError::not_found(format!(
                "Could not find shard {} {place}.",
                shard_id(number)
            )),
            ReshardError::Closed(number) => KinesisError::invalid_argument(format!(
                "Shard {} {place} has already been merged or split, and thus is not eligible for merging or splitting.",
                shard_id(number)
            )),
            ReshardError::NotInside { key, range } => KinesisError::invalid_argument(format!(
                "NewStartingHashKey {key} used in SplitShard() {place} is not both greater than one plus the shard's \
                 StartingHashKey {} and less than the shard's EndingHashKey {}.",
                range.start, range.end
            )),
            ReshardError::NotAdjacent(one, other) => KinesisError::invalid_argument(format!(
                "Shards {} and {} {place} are not an adjacent pair of shards eligible for merging",
                shard_id(one),
                shard_id(other)
            )),
            ReshardError::Deleted => self.no_stream(name),
            ReshardError::Store(error) => error.into(),
        }
    }
}

/// The stream, the shard to list after, and the filter.
type ListPosition = (Arc<Stream>, Option<u32>, Option<ShardFilter>);

fn check_list_shards(request: &ListShardsRequest) -> Result<(), KinesisError> {
    let mut constraints = Constraints::new();
    check_stream(&mut constraints, &request.stream);
    constraints.number("maxResults", request.max_results, 1, 10_000);
    constraints.text("nextToken", request.next_token.as_ref(), 1_048_576);
    constraints.name(
        "exclusiveStartShardId",
        request.exclusive_start_shard_id.as_ref(),
    );
    if let Some(filter) = &request.shard_filter {
        constraints.required("shardFilter.type", filter.r#type.as_ref());
        constraints.one_of("shardFilter.type", filter.r#type.as_ref(), &FILTERS);
        constraints.name("shardFilter.shardId", filter.shard_id.as_ref());
    }
    constraints.finish()?;
    let named = request.stream.stream_name.is_some() || request.stream.stream_arn.is_some();
    let placed =
        request.exclusive_start_shard_id.is_some() || request.stream_creation_timestamp.is_some();
    if request.next_token.is_some() && (named || placed || request.shard_filter.is_some()) {
        return Err(KinesisError::invalid_argument(
            "NextToken can't be provided together with StreamName, StreamARN, ExclusiveStartShardId, \
             StreamCreationTimestamp or ShardFilter.",
        ));
    }
    Ok(())
}

/// What a shard filter selects (Kinesis API reference, ShardFilter).
enum Selection {
    After(u32),
    /// Open at some time from this one on.
    From(u64),
    /// Open at this time.
    At(u64),
    Open,
}

impl Selection {
    fn new(filter: Option<&ShardFilter>, now: u64, stream: &Stream) -> Result<Self, KinesisError> {
        let horizon = stream.cutoff(now).max(stream.created_millis());
        let Some(filter) = filter else {
            return Ok(Self::From(0));
        };
        let timestamp = || {
            let millis = filter.timestamp.map(|timestamp| timestamp.0);
            let millis = millis.ok_or_else(|| missing_in_filter(filter, "Timestamp"))?;
            Ok::<u64, KinesisError>(millis.max(horizon))
        };
        match filter.r#type.as_deref() {
            Some("AFTER_SHARD_ID") => {
                let id = filter
                    .shard_id
                    .as_deref()
                    .ok_or_else(|| missing_in_filter(filter, "ShardId"))?;
                let number = shard_number(id).ok_or_else(|| {
                    KinesisError::not_found(format!("Could not find shard {id}."))
                })?;
                Ok(Self::After(number))
            }
            Some("AT_TRIM_HORIZON") => Ok(Self::At(horizon)),
            Some("AT_LATEST") => Ok(Self::Open),
            Some("AT_TIMESTAMP") => Ok(Self::At(timestamp()?)),
            Some("FROM_TIMESTAMP") => Ok(Self::From(timestamp()?)),
            // FROM_TRIM_HORIZON: all that are listed.
            _ => Ok(Self::From(0)),
        }
    }

    fn takes(&self, shard: &ShardMeta) -> bool {
        let open_from = |millis: u64| shard.closed.is_none_or(|closed| closed.at_millis >= millis);
        match self {
            Self::After(number) => shard.number > *number,
            Self::From(millis) => open_from(*millis),
            Self::At(millis) => shard.created_millis <= *millis && open_from(*millis),
            Self::Open => shard.closed.is_none(),
        }
    }
}

fn missing_in_filter(filter: &ShardFilter, field: &str) -> KinesisError {
    let kind = filter.r#type.as_deref().unwrap_or_default();
    KinesisError::invalid_argument(format!(
        "{field} must be provided in a ShardFilter of type {kind}."
    ))
}
