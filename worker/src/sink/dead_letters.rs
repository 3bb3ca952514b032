//! Dead letters as NDJSON.
//!
//! Owns the lines' form: one JSON object each, its fields always in the same order. docs/rejects.md describes it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stockstream_core::layout::BatchName;
use stockstream_core::row::DeadLetter;

/// A line of a file of dead letters.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadLetterLine<'a> {
    /// The stable label of the reason.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// What was found, for people.
    #[serde(borrow)]
    pub detail: Cow<'a, str>,
    /// The shard of the record.
    #[serde(borrow)]
    pub shard: Cow<'a, str>,
    /// The record's sequence number, decimal.
    #[serde(borrow)]
    pub sequence_number: Cow<'a, str>,
    /// Of a KPL-aggregated record: which of its sub-records, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_sequence_number: Option<u32>,
    /// When the stream received it: ISO-8601, UTC.
    #[serde(borrow)]
    pub arrival_time: Cow<'a, str>,
    /// The record, or the sub-record, as it came (RFC 4648, padded).
    #[serde(borrow)]
    pub data_base64: Cow<'a, str>,
}

impl DeadLetterLine<'_> {
    /// The record as it came.
    ///
    /// # Errors
    /// When `data_base64` isn't base64.
    pub fn data(&self) -> Result<Vec<u8>, base64::DecodeError> {
        STANDARD.decode(self.data_base64.as_bytes())
    }
}

/// The file of a batch's dead letters, a line each. `data_base64` is the record as it came (RFC 4648, padded); of an
/// aggregated record it is the sub-record that `sub_sequence_number` names, which plain records don't have.
///
/// # Errors
/// None that strings can cause; serde's are handed on.
pub fn dead_letters_ndjson(
    name: &BatchName,
    letters: &[DeadLetter],
) -> Result<Bytes, serde_json::Error> {
    let mut lines = Vec::new();
    for letter in letters {
        let line = DeadLetterLine {
            reason: letter.reason.label().into(),
            detail: letter.detail.as_str().into(),
            shard: name.shard.as_str().into(),
            sequence_number: letter.sequence.to_string().into(),
            sub_sequence_number: letter.sub_sequence,
            arrival_time: letter.arrival.to_string().into(),
            data_base64: STANDARD.encode(&letter.data).into(),
        };
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    Ok(Bytes::from(lines))
}
