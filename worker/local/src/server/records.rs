//! The quick way of the two operations that carry records in bulk: PutRecords' body in, and the records
//! in PutRecords' and GetRecords' answers out. A call's cost is almost all here: per record, nothing is
//! allocated, and its data is decoded or encoded where it is to lie.
//!
//! Must never decide what is valid or what an answer says. A body that isn't plain is left to the way
//! of all other operations, which then also finds the error; around the records, answers are written by
//! serde.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::api::{
    ErrorKind, GetRecordsOutcome, KinesisError, PutEntry, PutRecordsOutcome, PutRecordsResult,
    Puts, PutsOutcome, RecordView,
};
use crate::log::{SequenceNumber, StoredRecord, decimal};

/// A PutRecords as clients send it, with every string just as it stands in the body: `&str` takes no
/// string with an escape in it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PlainPuts<'a> {
    stream_name: Option<&'a str>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<&'a str>,
    dry_run: Option<bool>,
    #[serde(borrow)]
    records: Vec<PlainEntry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PlainEntry<'a> {
    data: &'a str,
    partition_key: &'a str,
    explicit_hash_key: Option<&'a str>,
}

/// The PutRecords in `body`, its records' data decoded into `decoded`; none when it isn't plain.
pub(super) fn plain_puts<'a>(body: &'a [u8], decoded: &'a mut Vec<u8>) -> Option<Puts<'a>> {
    let plain: PlainPuts<'a> = serde_json::from_slice(body).ok()?;
    let room = |entry: &PlainEntry<'_>| base64::decoded_len_estimate(entry.data.len());
    decoded.resize(plain.records.iter().map(room).sum(), 0);
    let mut free = &mut decoded[..];
    let entry = |entry: &PlainEntry<'a>| {
        let (slot, rest) = std::mem::take(&mut free).split_at_mut(room(entry));
        free = rest;
        let length = STANDARD.decode_slice(entry.data, slot).ok()?;
        Some(PutEntry {
            data: Some(&slot[..length]),
            partition_key: Some(entry.partition_key),
            explicit_hash_key: entry.explicit_hash_key,
        })
    };
    Some(Puts {
        stream_name: plain.stream_name,
        stream_arn: plain.stream_arn,
        entries: Some(plain.records.iter().map(entry).collect::<Option<_>>()?),
        dry_run: plain.dry_run,
    })
}

/// Bytes of a written entry's result.
const WRITTEN_ROOM: usize = 120;
/// Bytes of a record beside its data and key.
const RECORD_ROOM: usize = 200;

/// The answer of PutRecords.
pub(super) fn puts_answer(outcome: &PutsOutcome) -> Result<Vec<u8>, KinesisError> {
    let frame = PutRecordsOutcome {
        failed_record_count: outcome.failed_record_count,
        records: Vec::new(),
        encryption_type: outcome.encryption_type,
    };
    let room = outcome.results.len() * WRITTEN_ROOM;
    around_list(&frame, &outcome.results, room, |answer, result| {
        match result {
            Ok(sequence) => written(answer, *sequence),
            Err(error) => refused(answer, error)?,
        }
        Ok(())
    })
}

/// The answer of GetRecords.
pub(super) fn records_answer(outcome: GetRecordsOutcome) -> Result<Vec<u8>, KinesisError> {
    let records = outcome.records;
    let frame = GetRecordsOutcome {
        records: Vec::new(),
        ..outcome
    };
    let room = |RecordView(stored): &RecordView| {
        let record = &stored.record;
        RECORD_ROOM + record.partition_key().len() + base64_length(record.data())
    };
    let room = records.iter().map(room).sum();
    around_list(&frame, &records, room, |answer, RecordView(stored)| {
        record(answer, stored)
    })
}

/// Writes `frame`, whose list `Records` is empty, with `items` in that list, each by `write`. About
/// `room` bytes are needed for them.
fn around_list<T>(
    frame: &impl Serialize,
    items: &[T],
    room: usize,
    write: impl Fn(&mut Vec<u8>, &T) -> Result<(), KinesisError>,
) -> Result<Vec<u8>, KinesisError> {
    const LIST: &str = r#""Records":["#;
    let frame = serde_json::to_string(frame).map_err(unwritten)?;
    // The list's name comes first or after a number: no text before it could be taken for it.
    let (before, after) = frame
        .split_once(LIST)
        .ok_or_else(|| unwritten("it has no list of records"))?;
    let mut answer = Vec::with_capacity(frame.len() + room);
    answer.extend_from_slice(before.as_bytes());
    answer.extend_from_slice(LIST.as_bytes());
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            answer.push(b',');
        }
        write(&mut answer, item)?;
    }
    answer.extend_from_slice(after.as_bytes());
    Ok(answer)
}

fn written(answer: &mut Vec<u8>, sequence: SequenceNumber) {
    answer.extend_from_slice(br#"{"ShardId":"shardId-"#);
    answer.extend_from_slice(&decimal::<12>(sequence.shard.into()));
    answer.extend_from_slice(br#"","SequenceNumber":""#);
    answer.extend_from_slice(&sequence.digits());
    answer.extend_from_slice(br#""}"#);
}

fn refused(answer: &mut Vec<u8>, error: &KinesisError) -> Result<(), KinesisError> {
    let failed = PutRecordsResult::Failed {
        error_code: error.kind.name(),
        error_message: error.message.clone(),
    };
    serde_json::to_writer(answer, &failed).map_err(unwritten)
}

fn record(answer: &mut Vec<u8>, stored: &StoredRecord) -> Result<(), KinesisError> {
    let record = &stored.record;
    answer.extend_from_slice(br#"{"SequenceNumber":""#);
    answer.extend_from_slice(&stored.sequence_number.digits());
    answer.extend_from_slice(br#"","ApproximateArrivalTimestamp":"#);
    seconds(answer, stored.arrival_millis);
    answer.extend_from_slice(br#","Data":""#);
    let begin = answer.len();
    answer.resize(begin + base64_length(record.data()), 0);
    STANDARD
        .encode_slice(record.data(), &mut answer[begin..])
        .map_err(unwritten)?;
    answer.extend_from_slice(br#"","PartitionKey":"#);
    text(answer, record.partition_key())?;
    answer.extend_from_slice(br#","EncryptionType":""#);
    answer.extend_from_slice(record.encryption_type().as_bytes());
    answer.extend_from_slice(br#""}"#);
    Ok(())
}

/// Bytes of `data` in base64.
fn base64_length(data: &[u8]) -> usize {
    data.len().div_ceil(3) * 4
}

/// Writes milliseconds as seconds: a number with three decimals.
fn seconds(answer: &mut Vec<u8>, millis: u64) {
    let digits = decimal::<20>(millis / 1000);
    let leading = digits.iter().take(19).take_while(|digit| **digit == b'0');
    answer.extend_from_slice(&digits[leading.count()..]);
    answer.push(b'.');
    answer.extend_from_slice(&decimal::<3>(millis % 1000));
}

/// Writes a string, in quotes and escaped.
fn text(answer: &mut Vec<u8>, text: &str) -> Result<(), KinesisError> {
    // What RFC 8259, section 7, wants escaped. Hardly a partition key has any of it.
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if !text.bytes().all(plain) {
        return serde_json::to_writer(answer, text).map_err(unwritten);
    }
    answer.push(b'"');
    answer.extend_from_slice(text.as_bytes());
    answer.push(b'"');
    Ok(())
}

/// The error of an answer that can't be written.
pub(super) fn unwritten(error: impl std::fmt::Display) -> KinesisError {
    KinesisError::new(
        ErrorKind::InternalFailure,
        format!("the answer couldn't be written: {error}"),
    )
}

#[cfg(test)]
mod tests;
