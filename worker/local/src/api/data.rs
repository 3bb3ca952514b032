//! Operations on records: put, iterators, get.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::iterator::{LIFETIME_MILLIS, ShardIterator};
use super::shards::{range_view, shard_id};
use super::validate::{Constraints, HASH_KEY_PATTERN, MAX_RECORD_BYTES, SEQUENCE_PATTERN};
use super::*;
use crate::log::{
    AppendError, Continuation, ReadLimits, Record, Routes, SequenceNumber, Shard, StoredRecord,
    Stream, hash_key,
};

/// Limits of PutRecords and GetRecords (Kinesis API reference).
const MAX_PUT_RECORDS: usize = 500;
const MAX_PUT_BYTES: usize = 10 * 1024 * 1024;
const MAX_GET_RECORDS: i64 = 10_000;
const MAX_GET_BYTES: usize = 10 * 1024 * 1024;

pub(super) const ITERATOR_TYPES: [&str; 5] = [
    "AFTER_SEQUENCE_NUMBER",
    "LATEST",
    "AT_TIMESTAMP",
    "AT_SEQUENCE_NUMBER",
    "TRIM_HORIZON",
];

/// The hash key that a record is routed by.
fn routing_key(partition_key: &str, explicit: Option<&String>) -> Result<u128, KinesisError> {
    let Some(explicit) = explicit else {
        return Ok(hash_key(partition_key));
    };
    explicit.parse().map_err(|_| {
        KinesisError::invalid_argument(format!(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {explicit}"
        ))
    })
}

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

fn check_size(routes: &Routes<'_>, bytes: usize) -> Result<(), KinesisError> {
    let most = routes.max_record_bytes().min(MAX_RECORD_BYTES);
    if bytes > most {
        return Err(KinesisError::invalid_argument(format!(
            "The record of {bytes} bytes is too large: data and partition key together may have {most} bytes."
        )));
    }
    Ok(())
}

impl Kinesis {
    /// Puts one record; every reader sees it when this returns.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream, or the disk failed. Here and below, a call with `DryRun` ends in an
    /// error whatever happens; the one that says so means that all is well.
    pub fn put_record(&self, request: &PutRecordRequest) -> Result<PutRecordOutcome, KinesisError> {
        let mut constraints = Constraints::new();
        constraints.name("streamName", request.stream_name.as_ref());
        constraints.text("streamARN", request.stream_arn.as_ref(), 2048);
        constraints.data("data", request.data.as_ref());
        constraints.partition_key("partitionKey", request.partition_key.as_ref());
        constraints.decimal(
            "explicitHashKey",
            request.explicit_hash_key.as_ref(),
            HASH_KEY_PATTERN,
        );
        constraints.finish()?;
        let stream = self.resolve_data(&StreamRef {
            stream_name: request.stream_name.clone(),
            stream_arn: request.stream_arn.clone(),
        })?;
        let partition_key = request.partition_key.as_deref().unwrap_or_default();
        let data = request.data.as_ref().map_or(&[][..], |data| &data.0);
        let key = routing_key(partition_key, request.explicit_hash_key.as_ref())?;
        let routes = stream
            .routes()
            .ok_or_else(|| self.no_stream(stream.name()))?;
        check_size(&routes, partition_key.len() + data.len())?;
        let shard = open_shard(&routes, key)?;
        check_dry_run(request.dry_run)?;
        self.admit_put(stream.name(), shard, partition_key.len() + data.len())?;
        let record = Record::new(partition_key, data).encrypted(routes.encrypted());
        let encryption_type = record.encryption_type();
        let appended = self.append(shard, vec![record])?;
        Ok(PutRecordOutcome {
            shard_id: shard_id(shard.number()),
            sequence_number: appended,
            encryption_type,
        })
    }

    /// Appends to one shard and returns the first record's sequence number.
    fn append(
        &self,
        shard: &Arc<Shard>,
        records: Vec<Record>,
    ) -> Result<SequenceNumber, KinesisError> {
        match shard.append(self.now(), records, self.tail_budget()) {
            Ok(appended) => Ok(shard.sequence_number(appended.first_index)),
            Err(AppendError::Store(error)) => Err(error.into()),
            // Routes hold closings off, so this would be a defect: say so rather than lose the record.
            Err(AppendError::Closed) => Err(KinesisError::new(
                ErrorKind::InternalFailure,
                "the shard is closed",
            )),
        }
    }

    /// Puts up to 500 records; those of one shard stay in the request's order and are written
    /// together or not at all.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream, or the disk took none of the records.
    pub fn put_records(
        &self,
        request: &PutRecordsRequest,
    ) -> Result<PutRecordsOutcome, KinesisError> {
        let entries = check_put_records(request)?;
        let stream = self.resolve_data(&StreamRef {
            stream_name: request.stream_name.clone(),
            stream_arn: request.stream_arn.clone(),
        })?;
        let routes = stream
            .routes()
            .ok_or_else(|| self.no_stream(stream.name()))?;
        let runs = route(&routes, entries)?;
        check_dry_run(request.dry_run)?;
        let mut results: Vec<Option<PutRecordsResult>> = vec![None; entries.len()];
        let mut failure = None;
        let mut failed_record_count = 0;
        for run in runs.into_values() {
            let (run, refused) = self.within_limits(stream.name(), run);
            for (place, error) in refused {
                failed_record_count += 1;
                failed(&mut results, &[place], &error);
            }
            let Run {
                shard,
                places,
                records,
            } = run;
            if records.is_empty() {
                continue;
            }
            match self.append(&shard, records) {
                Ok(first) => written(&mut results, &places, shard.number(), first),
                Err(error) => {
                    failed_record_count += places.len();
                    failed(&mut results, &places, &error);
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if failed_record_count == entries.len() => Err(error),
            _ => Ok(PutRecordsOutcome {
                failed_record_count,
                records: results.into_iter().flatten().collect(),
                encryption_type: if routes.encrypted() { "KMS" } else { "NONE" },
            }),
        }
    }

    /// What a shard still takes of a call in this second, entry by entry, and the others' errors. A
    /// small record may so be written after a large one of the same call was refused: a client that
    /// sends again what failed, as AWS asks for, gives up the call's order there too.
    fn within_limits(&self, stream: &str, run: Run) -> (Run, Vec<(usize, KinesisError)>) {
        let mut refused = Vec::new();
        if !self.limits.enforced() {
            return (run, refused);
        }
        let mut admitted = Run {
            shard: run.shard,
            places: Vec::with_capacity(run.places.len()),
            records: Vec::with_capacity(run.records.len()),
        };
        for (place, record) in run.places.into_iter().zip(run.records) {
            match self.admit_put(stream, &admitted.shard, record.payload_bytes()) {
                Ok(()) => {
                    admitted.places.push(place);
                    admitted.records.push(record);
                }
                Err(error) => refused.push((place, error)),
            }
        }
        (admitted, refused)
    }

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

/// The records of one call that go to one shard.
struct Run {
    shard: Arc<Shard>,
    /// Their places in the request.
    places: Vec<usize>,
    records: Vec<Record>,
}

/// Sorts the records of a call by shard, by number, in the request's order.
fn route(
    routes: &Routes<'_>,
    entries: &[PutRecordsEntry],
) -> Result<BTreeMap<u32, Run>, KinesisError> {
    let mut runs: BTreeMap<u32, Run> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        let partition_key = entry.partition_key.as_deref().unwrap_or_default();
        let data = entry.data.as_ref().map_or(&[][..], |data| &data.0);
        let key = routing_key(partition_key, entry.explicit_hash_key.as_ref())?;
        check_size(routes, partition_key.len() + data.len())?;
        let shard = open_shard(routes, key)?;
        let run = runs.entry(shard.number()).or_insert_with(|| Run {
            shard: shard.clone(),
            places: Vec::new(),
            records: Vec::new(),
        });
        run.places.push(place);
        let record = Record::new(partition_key, data).encrypted(routes.encrypted());
        run.records.push(record);
    }
    Ok(runs)
}

/// The open shard of a hash key. There always is one; else the record is refused, not lost.
fn open_shard<'a>(routes: &'a Routes<'_>, key: u128) -> Result<&'a Arc<Shard>, KinesisError> {
    routes.shard(key).ok_or_else(|| {
        KinesisError::new(
            ErrorKind::InternalFailure,
            "no open shard takes this hash key",
        )
    })
}

fn check_put_records(request: &PutRecordsRequest) -> Result<&Vec<PutRecordsEntry>, KinesisError> {
    static NONE: Vec<PutRecordsEntry> = Vec::new();
    let mut constraints = Constraints::new();
    constraints.list("records", request.records.as_ref(), MAX_PUT_RECORDS);
    constraints.name("streamName", request.stream_name.as_ref());
    constraints.text("streamARN", request.stream_arn.as_ref(), 2048);
    let entries = request.records.as_ref().unwrap_or(&NONE);
    let mut bytes = 0;
    for (place, entry) in entries.iter().enumerate().take(MAX_PUT_RECORDS) {
        // The path is made only when something is wrong: this runs for every record.
        if !plausible(entry) {
            let field = |name: &str| format!("records.{}.member.{name}", place + 1);
            constraints.data(&field("data"), entry.data.as_ref());
            constraints.partition_key(&field("partitionKey"), entry.partition_key.as_ref());
            constraints.decimal(
                &field("explicitHashKey"),
                entry.explicit_hash_key.as_ref(),
                HASH_KEY_PATTERN,
            );
        }
        bytes += entry.data.as_ref().map_or(0, |data| data.0.len());
        bytes += entry.partition_key.as_ref().map_or(0, String::len);
    }
    constraints.finish()?;
    if bytes > MAX_PUT_BYTES {
        return Err(KinesisError::invalid_argument(format!(
            "Records size exceeds 10 MB limit: {bytes} bytes of data and partition keys were sent, {MAX_PUT_BYTES} are allowed."
        )));
    }
    Ok(entries)
}

/// Whether an entry certainly breaks no constraint.
fn plausible(entry: &PutRecordsEntry) -> bool {
    let data = entry
        .data
        .as_ref()
        .is_some_and(|data| data.0.len() <= MAX_RECORD_BYTES);
    let key = entry
        .partition_key
        .as_ref()
        .is_some_and(|key| (1..=256).contains(&key.len()));
    data && key && entry.explicit_hash_key.is_none()
}

fn written(
    results: &mut [Option<PutRecordsResult>],
    places: &[usize],
    shard: u32,
    first: SequenceNumber,
) {
    for (place, index) in places.iter().zip(first.index..) {
        results[*place] = Some(PutRecordsResult::Written {
            shard_id: shard_id(shard),
            sequence_number: SequenceNumber { index, ..first },
        });
    }
}

fn failed(results: &mut [Option<PutRecordsResult>], places: &[usize], error: &KinesisError) {
    for place in places {
        results[*place] = Some(PutRecordsResult::Failed {
            error_code: error.kind.name(),
            error_message: error.message.clone(),
        });
    }
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
