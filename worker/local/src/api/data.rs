//! Reading records: iterators and GetRecords.

use super::iterator::{LIFETIME_MILLIS, ShardIterator};
use super::shards::{range_view, shard_id};
use super::validate::{Constraints, SEQUENCE_PATTERN};
use super::*;
use crate::log::{Continuation, ReadLimits, SequenceNumber, Shard, StoredRecord, Stream};

/// Limits of GetRecords (Kinesis API reference).
const MAX_GET_RECORDS: i64 = 10_000;
const MAX_GET_BYTES: usize = 10 * 1024 * 1024;

pub(super) const ITERATOR_TYPES: [&str; 5] = [
    "AFTER_SEQUENCE_NUMBER",
    "LATEST",
    "AT_TIMESTAMP",
    "AT_SEQUENCE_NUMBER",
    "TRIM_HORIZON",
];

/// Ends a call that is to be tried only, once nothing else would: `DryRun` of the API reference.
///
/// # Errors
/// It is such a call.
pub(super) fn check_dry_run(dry_run: Option<bool>) -> Result<(), KinesisError> {
    match dry_run {
        Some(true) => {
            let message = "The request would have succeeded, but DryRun was specified.";
            Err(KinesisError::new(ErrorKind::DryRunOperation, message))
        }
        _ => Ok(()),
    }
}

impl Kinesis {
    /// Gives out an iterator at a place in a shard.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream or shard, or the sequence number isn't of that shard.
    pub fn get_shard_iterator(
        &self,
        request: &GetShardIteratorRequest,
    ) -> Result<GetShardIteratorOutcome, KinesisError> {
        let mut constraints = Constraints::new();
        constraints.name("streamName", request.stream.stream_name.as_ref());
        constraints.text("streamARN", request.stream.stream_arn.as_ref(), 2048);
        constraints.required("shardId", request.shard_id.as_ref());
        constraints.name("shardId", request.shard_id.as_ref());
        constraints.required("shardIteratorType", request.shard_iterator_type.as_ref());
        constraints.one_of(
            "shardIteratorType",
            request.shard_iterator_type.as_ref(),
            &ITERATOR_TYPES,
        );
        let sequence = request.starting_sequence_number.as_ref();
        constraints.decimal("startingSequenceNumber", sequence, SEQUENCE_PATTERN);
        constraints.finish()?;
        let stream = self.resolve_data(&request.stream)?;
        let id = request.shard_id.as_deref().unwrap_or_default();
        let number = self.parse_shard_id(&stream, id)?;
        let shard = stream
            .shard(number)
            .ok_or_else(|| self.no_shard(&stream, id))?;
        self.admit_iterator(stream.name(), &shard)?;
        let place = Place {
            operation: "GetShardIterator",
            field: "StartingSequenceNumber",
            kind: request.shard_iterator_type.as_deref().unwrap_or_default(),
            sequence: request.starting_sequence_number.as_deref(),
            timestamp: request.timestamp,
        };
        let position = self.position(&stream, &shard, &place)?;
        check_dry_run(request.dry_run)?;
        let iterator = self.iterator(&stream, number, position);
        Ok(GetShardIteratorOutcome {
            shard_iterator: iterator,
        })
    }

    fn iterator(&self, stream: &Stream, shard: u32, position: u64) -> String {
        ShardIterator {
            stream: stream.name().to_owned(),
            created_millis: stream.created_millis(),
            shard,
            position,
            issued_millis: self.now(),
        }
        .encode()
    }

    /// The index of the first record to read from a place on.
    pub(super) fn position(
        &self,
        stream: &Stream,
        shard: &Shard,
        place: &Place<'_>,
    ) -> Result<u64, KinesisError> {
        match (place.kind, place.sequence, place.timestamp) {
            // Not the horizon as it is now: expired records are dropped when the iterator is used.
            ("TRIM_HORIZON", None, None) => Ok(shard.trim_horizon()),
            ("LATEST", None, None) => Ok(shard.latest()),
            ("AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER", Some(sequence), None) => {
                // At a continuation and after it are the same: it is no record's number.
                let (sequence, after) = match sequence.parse::<Continuation>() {
                    Ok(continuation) => (continuation.after.to_string(), true),
                    Err(_) => (sequence.to_owned(), place.kind == "AFTER_SEQUENCE_NUMBER"),
                };
                let index = self.sequence_index(stream, shard, place, &sequence)?;
                Ok(index + u64::from(after))
            }
            ("AT_TIMESTAMP", None, Some(timestamp)) => {
                // The shard's own time, which stands still while a clock that was set back catches up.
                let now = self.now().max(shard.last_arrival());
                if timestamp.0 > now {
                    return Err(KinesisError::invalid_argument(format!(
                        "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
                         timestampInMillis: {}, currentTimestampInMillis: {now}",
                        timestamp.0
                    )));
                }
                Ok(shard.position_at(timestamp.0)?)
            }
            _ => Err(wrong_combination(place)),
        }
    }

    fn sequence_index(
        &self,
        stream: &Stream,
        shard: &Shard,
        place: &Place<'_>,
        text: &str,
    ) -> Result<u64, KinesisError> {
        let (operation, field) = (place.operation, place.field);
        let (id, name, account) = (
            shard_id(shard.number()),
            stream.name(),
            &self.options.account_id,
        );
        let used = format!(
            "{field} {text} used in {operation} on shard {id} in stream {name} under account {account}"
        );
        let Ok(sequence) = text.parse::<SequenceNumber>() else {
            return Err(KinesisError::invalid_argument(format!(
                "{used} is invalid."
            )));
        };
        if sequence.shard != shard.number() {
            return Err(KinesisError::invalid_argument(format!(
                "Invalid {field}. It encodes {}, while it was used in a call to a shard with {id}",
                shard_id(sequence.shard)
            )));
        }
        shard.index_of(sequence).ok_or_else(|| {
            KinesisError::invalid_argument(format!(
                "{used} is invalid because it did not come from this stream."
            ))
        })
    }

    /// Reads records from an iterator's place; returns at once, with none if there are none.
    ///
    /// # Errors
    /// The iterator is invalid, expired or of a stream that is gone, or the disk failed.
    pub fn get_records(
        &self,
        request: &GetRecordsRequest,
    ) -> Result<GetRecordsOutcome, KinesisError> {
        let mut constraints = Constraints::new();
        constraints.required("shardIterator", request.shard_iterator.as_ref());
        constraints.text("shardIterator", request.shard_iterator.as_ref(), 512);
        constraints.number("limit", request.limit, 1, i64::MAX);
        constraints.finish()?;
        if let Some(limit) = request.limit.filter(|limit| *limit > MAX_GET_RECORDS) {
            // Said of GetRecords alone (API reference), where other operations have a ValidationException.
            return Err(KinesisError::invalid_argument(format!(
                "Limit {limit} is too large: GetRecords gives {MAX_GET_RECORDS} records at most."
            )));
        }
        let now = self.now();
        let iterator = ShardIterator::decode(request.shard_iterator.as_deref().unwrap_or_default());
        let iterator =
            iterator.ok_or_else(|| KinesisError::invalid_argument("Invalid ShardIterator."))?;
        check_age(&iterator, now)?;
        let stream = self.stream(&iterator.stream)?;
        if stream.created_millis() != iterator.created_millis {
            return Err(KinesisError::invalid_argument(
                "Invalid ShardIterator: it was given out for an earlier stream of the same name.",
            ));
        }
        let shard = stream.shard(iterator.shard);
        let shard = shard.ok_or_else(|| self.no_shard(&stream, &shard_id(iterator.shard)))?;
        check_dry_run(request.dry_run)?;
        self.admit_read(stream.name(), &shard)?;
        shard.trim_before(stream.cutoff(now))?;
        let limits = ReadLimits {
            records: usize::try_from(request.limit.unwrap_or(MAX_GET_RECORDS)).unwrap_or(1),
            bytes: MAX_GET_BYTES,
        };
        let read = shard.read(iterator.position, limits, now)?;
        self.charge_read(&shard, || {
            let payload = |read: &StoredRecord| read.record.payload_bytes();
            read.records.iter().map(payload).sum()
        });
        let next =
            (!read.ended).then(|| self.iterator(&stream, iterator.shard, read.next_position));
        Ok(GetRecordsOutcome {
            records: read.records.into_iter().map(RecordView).collect(),
            next_shard_iterator: next,
            millis_behind_latest: read.millis_behind_latest,
            child_shards: read.ended.then(|| child_shards(&stream, iterator.shard)),
        })
    }
}

/// A place in a shard, as GetShardIterator and SubscribeToShard ask for it.
pub(super) struct Place<'a> {
    /// For messages.
    pub operation: &'static str,
    /// The operation's name for `sequence`.
    pub field: &'static str,
    /// One of [`ITERATOR_TYPES`].
    pub kind: &'a str,
    pub sequence: Option<&'a str>,
    pub timestamp: Option<Timestamp>,
}

fn check_age(iterator: &ShardIterator, now: u64) -> Result<(), KinesisError> {
    if !iterator.expired(now) {
        return Ok(());
    }
    Err(KinesisError::new(
        ErrorKind::ExpiredIterator,
        format!(
            "Iterator expired. The iterator was created at time {} while right now it is {now} (milliseconds since 1970) which \
             is further in the future than the tolerated delay of {LIFETIME_MILLIS} milliseconds.",
            iterator.issued_millis
        ),
    ))
}

fn wrong_combination(place: &Place<'_>) -> KinesisError {
    let (kind, field) = (place.kind, place.field);
    let given = match (place.sequence, place.timestamp) {
        (Some(_), Some(_)) => format!("both a {field} and a Timestamp"),
        (Some(_), None) => format!("also a {field}"),
        (None, Some(_)) => "also a Timestamp".to_owned(),
        (None, None) => format!("neither {field} nor Timestamp"),
    };
    KinesisError::invalid_argument(format!(
        "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and {field} or (2) TRIM_HORIZON or \
         LATEST and no {field} or (3) AT_TIMESTAMP and Timestamp. Request specified {kind} and {given}."
    ))
}

pub(super) fn child_shards(stream: &Stream, number: u32) -> Vec<ChildShard> {
    let children = stream.children(number).into_iter();
    children
        .map(|child| ChildShard {
            shard_id: shard_id(child.number),
            parent_shards: [child.parent, child.adjacent_parent]
                .into_iter()
                .flatten()
                .map(shard_id)
                .collect(),
            hash_key_range: range_view(child.range),
        })
        .collect()
}
