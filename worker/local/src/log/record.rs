//! One record, held compactly: one allocation for key and data, shared by every reader.

use std::sync::Arc;

use super::SequenceNumber;

/// A record as the log keeps it: its place is known from where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Partition key, then data.
    payload: Arc<[u8]>,
    /// The key's length, and [`ENCRYPTED`].
    key: u32,
}

/// Set in a key's length when the stream was encrypted as the record was put. Lengths stay below it.
const ENCRYPTED: u32 = 1 << 31;

/// What a record costs in memory beside its payload: the handle, the shared allocation's counts and
/// the allocator's rounding.
const OVERHEAD_BYTES: usize = 72;

impl Record {
    /// A record of `data` under `partition_key`.
    #[must_use]
    pub fn new(partition_key: &str, data: &[u8]) -> Self {
        let mut payload = Vec::with_capacity(partition_key.len() + data.len());
        payload.extend_from_slice(partition_key.as_bytes());
        payload.extend_from_slice(data);
        Self {
            payload: payload.into(),
            // Keys are at most 256 characters, so this never saturates for a validated request.
            key: u32::try_from(partition_key.len()).unwrap_or(!ENCRYPTED),
        }
    }

    /// The same, put while the stream was encrypted, or wasn't.
    #[must_use]
    pub fn encrypted(self, encrypted: bool) -> Self {
        let key = if encrypted {
            self.key | ENCRYPTED
        } else {
            self.key & !ENCRYPTED
        };
        Self { key, ..self }
    }

    /// `KMS` or `NONE`, as the stream was when the record was put.
    #[must_use]
    pub fn encryption_type(&self) -> &'static str {
        if self.key & ENCRYPTED == 0 {
            "NONE"
        } else {
            "KMS"
        }
    }

    fn key_length(&self) -> usize {
        (self.key & !ENCRYPTED) as usize
    }

    /// The record in `payload` as [`Record::stored_key`] describes it; none when the key isn't UTF-8
    /// or the payload is shorter.
    pub(crate) fn from_parts(payload: &[u8], stored_key: u32) -> Option<Self> {
        let key = payload.get(..(stored_key & !ENCRYPTED) as usize)?;
        std::str::from_utf8(key).ok()?;
        Some(Self {
            payload: payload.into(),
            key: stored_key,
        })
    }

    /// The partition key.
    #[must_use]
    pub fn partition_key(&self) -> &str {
        // Both constructors have checked it; an empty key would only show a bug, not hide data.
        std::str::from_utf8(&self.payload[..self.key_length()]).unwrap_or_default()
    }

    /// The data blob.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.payload[self.key_length()..]
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The key's length and whether the record counts as encrypted, in the form that is stored.
    pub(crate) fn stored_key(&self) -> u32 {
        self.key
    }

    /// Bytes of key and data together.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Bytes this record takes in memory, overhead included.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.payload.len() + OVERHEAD_BYTES
    }
}

/// A record with its place and arrival, as a reader gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its sequence number.
    pub sequence_number: SequenceNumber,
    /// When it arrived: milliseconds since the Unix epoch, never falling within a shard.
    pub arrival_millis: u64,
    /// Key and data.
    pub record: Record,
}
