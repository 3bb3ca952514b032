//! Operations on shards: list, split, merge; and how shards are named and shown.

use std::sync::{Arc, PoisonError};

use super::control::{check_stream, limit_or, page};
use super::page::{PageToken, Token as _};
use super::validate::{Constraints, HASH_KEY_PATTERN};
use super::*;
use crate::log::{
    Change, HashKeyRange, Reshard, ReshardError, Shard, ShardMeta, Status, Stream, StreamMeta,
    StreamMode,
};

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

pub(super) fn shard_view(shard: &Arc<Shard>) -> ShardView {
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

impl Kinesis {
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
        self.admit(Operation::ListShards, stream.name())?;
        if let status @ (Status::Creating | Status::Deleting) = stream.status() {
            return Err(self.not_active(stream.name(), status));
        }
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
    pub(super) fn listed(&self, stream: &Stream) -> Vec<Arc<Shard>> {
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

    /// Splits a shard.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream or shard, it is closed, the
    /// stream isn't active or is on demand, or the disk failed.
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
        self.admit(Operation::SplitShard, &request.stream)?;
        let stream = self.resolve(&request.stream)?;
        let number = self.parse_shard_id(
            &stream,
            request.shard_to_split.as_deref().unwrap_or_default(),
        )?;
        let key = request.new_starting_hash_key.as_deref().unwrap_or_default();
        // A key beyond the key space is outside of every shard, as its last key is.
        let new_starting_hash_key = key.parse().unwrap_or(u128::MAX);
        let split = Reshard::Split {
            shard: number,
            new_starting_hash_key,
        };
        self.reshard(&stream, split, 1)
    }

    /// Begins a reshard after which `more` shards are open, as documented only of a provisioned stream.
    fn reshard(
        &self,
        stream: &Stream,
        reshard: Reshard,
        more: usize,
    ) -> Result<Done, KinesisError> {
        self.check_shard_limit(self.open_shard_count(), more)?;
        let delay = self.options.delays.updating;
        self.begin(stream, Change::Reshard(reshard), delay, |meta| {
            self.check_provisioned(meta)
        })?;
        Ok(Done)
    }

    pub(super) fn check_provisioned(&self, meta: &StreamMeta) -> Result<(), KinesisError> {
        if meta.settings.mode == StreamMode::Provisioned {
            return Ok(());
        }
        let (name, account) = (&meta.name, &self.options.account_id);
        let message = format!(
            "Stream {name} under account {account} is in ON_DEMAND mode: its shards can only be changed in PROVISIONED mode."
        );
        Err(KinesisError::new(ErrorKind::Validation, message))
    }

    /// Merges two adjacent shards.
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
        self.admit(Operation::MergeShards, &request.stream)?;
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
        let merge = Reshard::Merge {
            shard: number,
            adjacent,
        };
        self.reshard(&stream, merge, 0)
    }

    /// Open shards of all streams: what the account's limit is about.
    pub(super) fn open_shard_count(&self) -> usize {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        open_shards(streams.values())
    }
}

/// Open shards of `streams`.
pub(super) fn open_shards<'a>(streams: impl Iterator<Item = &'a Arc<Stream>>) -> usize {
    streams.map(|stream| stream.open_shards()).sum()
}

/// Why a stream's shards can't be changed so, as AWS says it.
pub(super) fn reshard_error(name: &str, account: &str, error: ReshardError) -> KinesisError {
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
    /// Open at the horizon, before anything that happened in its millisecond: a shard that was split then, and not what
    /// it was split into, of which a reader would otherwise begin both.
    AtHorizon(u64),
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
            Some("AT_TRIM_HORIZON") => Ok(Self::AtHorizon(horizon)),
            Some("AT_LATEST") => Ok(Self::Open),
            Some("AT_TIMESTAMP") => Ok(match timestamp()? {
                millis if millis == horizon => Self::AtHorizon(millis),
                millis => Self::At(millis),
            }),
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
            Self::AtHorizon(millis) => {
                let born = shard.created_millis;
                let there = born < *millis || (born == *millis && shard.parent.is_none());
                there && open_from(*millis)
            }
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
