//! Putting records. Both operations work on borrowed entries, so that neither the protocol nor a caller
//! in the same process has to copy what it holds: a record's bytes are copied once, into the log's own
//! memory. Must never parse or write JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::data::check_dry_run;
use super::shards::shard_id;
use super::validate::{Constraints, HASH_KEY_PATTERN, MAX_RECORD_BYTES};
use super::*;
use crate::log::{AppendError, Record, Routes, SequenceNumber, Shard, hash_key};

/// Limits of PutRecords (Kinesis API reference).
const MAX_PUT_RECORDS: usize = 500;
const MAX_PUT_BYTES: usize = 10 * 1024 * 1024;

/// A [`PutRecordsRequest`], borrowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Puts<'a> {
    pub stream_name: Option<&'a str>,
    pub stream_arn: Option<&'a str>,
    pub entries: Option<Vec<PutEntry<'a>>>,
    pub dry_run: Option<bool>,
}

/// A [`PutRecordsEntry`], borrowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PutEntry<'a> {
    pub data: Option<&'a [u8]>,
    pub partition_key: Option<&'a str>,
    pub explicit_hash_key: Option<&'a str>,
}

impl<'a> From<&'a PutRecordsRequest> for Puts<'a> {
    fn from(request: &'a PutRecordsRequest) -> Self {
        let entry = |entry: &'a PutRecordsEntry| PutEntry {
            data: entry.data.as_ref().map(|data| &data.0[..]),
            partition_key: entry.partition_key.as_deref(),
            explicit_hash_key: entry.explicit_hash_key.as_deref(),
        };
        let entries = request.records.as_ref();
        Self {
            stream_name: request.stream_name.as_deref(),
            stream_arn: request.stream_arn.as_deref(),
            entries: entries.map(|entries| entries.iter().map(entry).collect()),
            dry_run: request.dry_run,
        }
    }
}

impl PutEntry<'_> {
    fn bytes(&self) -> usize {
        self.data.map_or(0, <[u8]>::len) + self.partition_key.map_or(0, str::len)
    }

    /// Partition key and data, once both are known to be there.
    fn parts(&self) -> (&str, &[u8]) {
        (
            self.partition_key.unwrap_or_default(),
            self.data.unwrap_or_default(),
        )
    }

    /// Whether it certainly breaks no constraint.
    fn plausible(&self) -> bool {
        self.data.is_some_and(|data| data.len() <= MAX_RECORD_BYTES)
            && self
                .partition_key
                .is_some_and(|key| (1..=256).contains(&key.len()))
            && self.explicit_hash_key.is_none()
    }

    /// The hash key that it is routed by.
    fn routing_key(&self) -> Result<u128, KinesisError> {
        let Some(explicit) = self.explicit_hash_key else {
            return Ok(hash_key(self.partition_key.unwrap_or_default()));
        };
        explicit.parse().map_err(|_| {
            KinesisError::invalid_argument(format!(
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {explicit}"
            ))
        })
    }
}

/// [`PutRecordsOutcome`], without text that only a caller in the same process wants.
#[derive(Debug)]
pub(crate) struct PutsOutcome {
    pub failed_record_count: usize,
    /// One per entry, in their order. A sequence number says its shard, too.
    pub results: Vec<Result<SequenceNumber, KinesisError>>,
    /// `KMS` or `NONE`.
    pub encryption_type: &'static str,
}

impl From<PutsOutcome> for PutRecordsOutcome {
    fn from(outcome: PutsOutcome) -> Self {
        let result = |result: Result<SequenceNumber, KinesisError>| match result {
            Ok(sequence_number) => PutRecordsResult::Written {
                shard_id: shard_id(sequence_number.shard),
                sequence_number,
            },
            Err(KinesisError { kind, message }) => PutRecordsResult::Failed {
                error_code: kind.name(),
                error_message: message,
            },
        };
        Self {
            failed_record_count: outcome.failed_record_count,
            records: outcome.results.into_iter().map(result).collect(),
            encryption_type: outcome.encryption_type,
        }
    }
}

impl Kinesis {
    /// Puts one record; every reader sees it when this returns.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream, or the disk failed. Here and below, a call with `DryRun` ends in an
    /// error whatever happens; the one that says so means that all is well.
    pub fn put_record(&self, request: &PutRecordRequest) -> Result<PutRecordOutcome, KinesisError> {
        let entry = PutEntry {
            data: request.data.as_ref().map(|data| &data.0[..]),
            partition_key: request.partition_key.as_deref(),
            explicit_hash_key: request.explicit_hash_key.as_deref(),
        };
        let mut constraints = Constraints::new();
        constraints.name("streamName", request.stream_name.as_ref());
        constraints.text("streamARN", request.stream_arn.as_ref(), 2048);
        constraints.data("data", entry.data);
        constraints.partition_key("partitionKey", entry.partition_key);
        constraints.decimal("explicitHashKey", entry.explicit_hash_key, HASH_KEY_PATTERN);
        constraints.finish()?;
        let stream = self.resolve_data(&StreamRef {
            stream_name: request.stream_name.clone(),
            stream_arn: request.stream_arn.clone(),
        })?;
        let key = entry.routing_key()?;
        let routes = stream
            .routes()
            .ok_or_else(|| self.no_stream(stream.name()))?;
        check_size(&routes, entry.bytes())?;
        let shard = open_shard(&routes, key)?;
        check_dry_run(request.dry_run)?;
        self.admit_put(stream.name(), shard, entry.bytes())?;
        let (partition_key, data) = entry.parts();
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
        self.put(&request.into()).map(Into::into)
    }

    /// [`Kinesis::put_records`] of what is borrowed.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn put(&self, puts: &Puts<'_>) -> Result<PutsOutcome, KinesisError> {
        let entries = check_puts(puts)?;
        let stream = self.resolve_data(&StreamRef {
            stream_name: puts.stream_name.map(str::to_owned),
            stream_arn: puts.stream_arn.map(str::to_owned),
        })?;
        let routes = stream
            .routes()
            .ok_or_else(|| self.no_stream(stream.name()))?;
        let runs = route(&routes, entries)?;
        check_dry_run(puts.dry_run)?;
        let mut results = Vec::new();
        results.resize_with(entries.len(), || None);
        let mut failure = None;
        let mut failed_record_count = 0;
        for run in runs.into_values() {
            let (run, refused) = self.within_limits(stream.name(), run, entries);
            failed_record_count += refused.len();
            for (place, error) in refused {
                results[place] = Some(Err(error));
            }
            if run.places.is_empty() {
                continue;
            }
            let records = run.records(entries, routes.encrypted());
            match self.append(&run.shard, records) {
                Ok(first) => {
                    for (place, index) in run.places.into_iter().zip(first.index..) {
                        results[place] = Some(Ok(SequenceNumber { index, ..first }));
                    }
                }
                Err(error) => {
                    failed_record_count += run.places.len();
                    for place in run.places {
                        results[place] = Some(Err(error.clone()));
                    }
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if failed_record_count == entries.len() => Err(error),
            _ => Ok(PutsOutcome {
                failed_record_count,
                results: results.into_iter().flatten().collect(),
                encryption_type: if routes.encrypted() { "KMS" } else { "NONE" },
            }),
        }
    }

    /// What a shard still takes of a call in this second, entry by entry, and the others' errors. A
    /// small record may so be written after a large one of the same call was refused: a client that
    /// sends again what failed, as AWS asks for, gives up the call's order there too.
    fn within_limits(
        &self,
        stream: &str,
        mut run: Run,
        entries: &[PutEntry<'_>],
    ) -> (Run, Vec<(usize, KinesisError)>) {
        let mut refused = Vec::new();
        if self.limits.enforced() {
            run.places.retain(|place| {
                let admitted = self.admit_put(stream, &run.shard, entries[*place].bytes());
                admitted
                    .map_err(|error| refused.push((*place, error)))
                    .is_ok()
            });
        }
        (run, refused)
    }
}

/// The entries of one call that go to one shard.
struct Run {
    shard: Arc<Shard>,
    /// Their places in the request.
    places: Vec<usize>,
}

impl Run {
    fn records(&self, entries: &[PutEntry<'_>], encrypted: bool) -> Vec<Record> {
        let pairs = self.places.iter().map(|place| entries[*place].parts());
        let records = Record::batch(&pairs.collect::<Vec<_>>()).into_iter();
        records.map(|record| record.encrypted(encrypted)).collect()
    }
}

/// Sorts the entries of a call by shard, by number, in the request's order.
fn route(
    routes: &Routes<'_>,
    entries: &[PutEntry<'_>],
) -> Result<BTreeMap<u32, Run>, KinesisError> {
    let mut runs: BTreeMap<u32, Run> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        let key = entry.routing_key()?;
        check_size(routes, entry.bytes())?;
        let shard = open_shard(routes, key)?;
        let run = runs.entry(shard.number()).or_insert_with(|| Run {
            shard: shard.clone(),
            places: Vec::new(),
        });
        run.places.push(place);
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

fn check_size(routes: &Routes<'_>, bytes: usize) -> Result<(), KinesisError> {
    let most = routes.max_record_bytes().min(MAX_RECORD_BYTES);
    if bytes > most {
        return Err(KinesisError::invalid_argument(format!(
            "The record of {bytes} bytes is too large: data and partition key together may have {most} bytes."
        )));
    }
    Ok(())
}

fn check_puts<'a, 'b>(puts: &'b Puts<'a>) -> Result<&'b [PutEntry<'a>], KinesisError> {
    let mut constraints = Constraints::new();
    constraints.list("records", puts.entries.as_ref(), MAX_PUT_RECORDS);
    constraints.name("streamName", puts.stream_name);
    constraints.text("streamARN", puts.stream_arn, 2048);
    let entries = puts.entries.as_deref().unwrap_or_default();
    let mut bytes = 0;
    for (place, entry) in entries.iter().enumerate().take(MAX_PUT_RECORDS) {
        // The path is made only when something is wrong: this runs for every record.
        if !entry.plausible() {
            let field = |name: &str| format!("records.{}.member.{name}", place + 1);
            constraints.data(&field("data"), entry.data);
            constraints.partition_key(&field("partitionKey"), entry.partition_key);
            constraints.decimal(
                &field("explicitHashKey"),
                entry.explicit_hash_key,
                HASH_KEY_PATTERN,
            );
        }
        bytes += entry.bytes();
    }
    constraints.finish()?;
    if bytes > MAX_PUT_BYTES {
        return Err(KinesisError::invalid_argument(format!(
            "Records size exceeds 10 MB limit: {bytes} bytes of data and partition keys were sent, {MAX_PUT_BYTES} are allowed."
        )));
    }
    Ok(entries)
}
