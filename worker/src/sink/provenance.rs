//! Who wrote a file, and what it must hold: Parquet key-value metadata.
//!
//! Owns the metadata's names. Must never depend on how rows are encoded: a later release compares by it.

use bytes::Bytes;
use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use serde::Serialize;
use stockstream_core::layout::BatchName;
use stockstream_core::sequence::SequenceNumber;

/// What all names begin with.
const PREFIX: &str = "stockstream.";

/// The release that wrote a file.
const WRITER: &str = env!("CARGO_PKG_VERSION");

/// Where a file's content comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// The pipeline's random id.
    pub state_id: String,
    /// The stream's life.
    pub incarnation: String,
    /// The shard.
    pub shard: String,
    /// The version that sealed the batch.
    pub version: u64,
    /// SHA-256 of the content in file order, independent of its encoding.
    pub row_digest: String,
    /// The first tick's sequence number; empty when unknown.
    pub first_sequence: String,
    /// The last tick's sequence number; empty when unknown.
    pub last_sequence: String,
    /// Ticks that the content was made from.
    pub ticks: u64,
    /// The release that wrote the file.
    pub writer: String,
}

impl Provenance {
    /// Of a file of the batch `name`, written by this release.
    pub(crate) fn new(
        name: &BatchName,
        row_digest: String,
        first: impl Iterator<Item = SequenceNumber>,
        last: impl Iterator<Item = SequenceNumber>,
        ticks: u64,
    ) -> Self {
        let text = |number: Option<SequenceNumber>| {
            number.map(|number| number.to_string()).unwrap_or_default()
        };
        Provenance {
            state_id: name.state_id.clone(),
            incarnation: name.incarnation.to_string(),
            shard: name.shard.clone(),
            version: name.version,
            row_digest,
            first_sequence: text(first.min()),
            last_sequence: text(last.max()),
            ticks,
            writer: WRITER.to_owned(),
        }
    }

    /// As Parquet keeps it.
    pub(crate) fn to_metadata(&self) -> Vec<KeyValue> {
        let entry = |name: &str, value: String| KeyValue::new(format!("{PREFIX}{name}"), value);
        vec![
            entry("state_id", self.state_id.clone()),
            entry("incarnation", self.incarnation.clone()),
            entry("shard", self.shard.clone()),
            entry("version", self.version.to_string()),
            entry("row_digest", self.row_digest.clone()),
            entry("first_sequence", self.first_sequence.clone()),
            entry("last_sequence", self.last_sequence.clone()),
            entry("ticks", self.ticks.to_string()),
            entry("writer", self.writer.clone()),
        ]
    }

    /// From a file's metadata; `None` when the file isn't one of Stockstream's.
    pub(crate) fn from_metadata(metadata: &[KeyValue]) -> Option<Self> {
        let value = |name: &str| {
            let found = metadata
                .iter()
                .find(|entry| entry.key.strip_prefix(PREFIX) == Some(name));
            found.and_then(|entry| entry.value.clone())
        };
        Some(Provenance {
            state_id: value("state_id")?,
            incarnation: value("incarnation")?,
            shard: value("shard")?,
            version: value("version")?.parse().ok()?,
            row_digest: value("row_digest")?,
            first_sequence: value("first_sequence").unwrap_or_default(),
            last_sequence: value("last_sequence").unwrap_or_default(),
            ticks: value("ticks")
                .and_then(|ticks| ticks.parse().ok())
                .unwrap_or_default(),
            writer: value("writer").unwrap_or_default(),
        })
    }

    /// From the bytes of a whole Parquet file; `None` when it is another kind of file, damaged or foreign.
    pub(crate) fn of_file(bytes: &Bytes) -> Option<Self> {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(bytes).ok()?;
        Self::from_metadata(metadata.file_metadata().key_value_metadata()?)
    }
}

/// The content digest that a whole Parquet file of Stockstream's carries.
pub fn digest_of(bytes: &Bytes) -> Option<String> {
    Provenance::of_file(bytes).map(|provenance| provenance.row_digest)
}
