//! Dead letters as NDJSON.
//!
//! Owns the lines' form: one JSON object each, its fields always in the same order.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use stockstream_core::layout::BatchName;
use stockstream_core::row::DeadLetter;

#[derive(Serialize)]
struct Line<'a> {
    reason: &'static str,
    detail: &'a str,
    shard: &'a str,
    sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_sequence_number: Option<u32>,
    arrival_time: String,
    data_base64: String,
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
        let line = Line {
            reason: letter.reason.label(),
            detail: &letter.detail,
            shard: &name.shard,
            sequence_number: letter.sequence.to_string(),
            sub_sequence_number: letter.sub_sequence,
            arrival_time: letter.arrival.to_string(),
            data_base64: STANDARD.encode(&letter.data),
        };
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    Ok(Bytes::from(lines))
}
