//! Records, held compactly: those that were put together lie in one allocation, which every reader
//! shares. Owns that layout; must never know where in a shard a record lies.

use std::sync::Arc;

use super::SequenceNumber;

/// A record as the log keeps it: its place is known from where it lies.
#[derive(Clone)]
pub struct Record {
    /// Keys and data of the records that were put together.
    chunk: Arc<Vec<u8>>,
    /// Where this one's partition key begins; its data follows the key.
    start: u32,
    /// Bytes of key and data.
    length: u32,
    /// The key's length, and [`ENCRYPTED`].
    key: u32,
}

/// Set in a key's length when the stream was encrypted as the record was put. Lengths stay below it.
const ENCRYPTED: u32 = 1 << 31;

/// Records share a chunk up to this size: until the last of them expires, all of them stay in memory.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a record costs in memory beside its payload: its handle and arrival in a queue that is three
/// quarters full, and its part of the chunk's own cost.
const SHARED_OVERHEAD_BYTES: usize = 48;
/// The same for a record that has a chunk for itself: the counts, the vector and the allocator's
/// rounding of both.
const ALONE_OVERHEAD_BYTES: usize = SHARED_OVERHEAD_BYTES + 64;

impl Record {
    /// A record of `data` under `partition_key`.
    #[must_use]
    pub fn new(partition_key: &str, data: &[u8]) -> Self {
        let mut chunk = Vec::with_capacity(partition_key.len() + data.len());
        chunk.extend_from_slice(partition_key.as_bytes());
        chunk.extend_from_slice(data);
        Self {
            // Keys are at most 256 characters and data 10 MiB, so these never saturate for a
            // validated request.
            key: u32::try_from(partition_key.len()).unwrap_or(!ENCRYPTED),
            length: u32::try_from(chunk.len()).unwrap_or(u32::MAX),
            start: 0,
            chunk: Arc::new(chunk),
        }
    }

    /// A record of each pair of partition key and data, in their order.
    #[must_use]
    pub fn batch(pairs: &[(&str, &[u8])]) -> Vec<Self> {
        let bytes = |(key, data): &(&str, &[u8])| key.len() + data.len();
        let mut records = Vec::with_capacity(pairs.len());
        let mut rest = pairs;
        while !rest.is_empty() {
            let mut length = 0;
            let fits = rest.iter().take_while(|pair| {
                length += bytes(pair);
                length <= CHUNK_BYTES
            });
            let (together, after) = rest.split_at(fits.count().max(1));
            rest = after;
            let mut chunk = Vec::with_capacity(together.iter().map(bytes).sum());
            for (key, data) in together {
                chunk.extend_from_slice(key.as_bytes());
                chunk.extend_from_slice(data);
            }
            let chunk = Arc::new(chunk);
            let mut start = 0;
            for pair in together {
                // As above; starts are below a chunk's size.
                let length = u32::try_from(bytes(pair)).unwrap_or(u32::MAX);
                records.push(Self {
                    chunk: chunk.clone(),
                    start,
                    length,
                    key: u32::try_from(pair.0.len()).unwrap_or(!ENCRYPTED),
                });
                start = start.saturating_add(length);
            }
        }
        records
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
            length: u32::try_from(payload.len()).ok()?,
            start: 0,
            chunk: Arc::new(payload.to_vec()),
            key: stored_key,
        })
    }

    /// The partition key.
    #[must_use]
    pub fn partition_key(&self) -> &str {
        // Every constructor has checked it; an empty key would only show a bug, not hide data.
        std::str::from_utf8(&self.payload()[..self.key_length()]).unwrap_or_default()
    }

    /// The data blob.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.payload()[self.key_length()..]
    }

    /// Partition key, then data.
    pub(crate) fn payload(&self) -> &[u8] {
        let start = self.start as usize;
        &self.chunk[start..start + self.length as usize]
    }

    /// The key's length and whether the record counts as encrypted, in the form that is stored.
    pub(crate) fn stored_key(&self) -> u32 {
        self.key
    }

    /// Bytes of key and data together.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.length as usize
    }

    /// Bytes this record takes in memory, overhead included.
    pub(crate) fn memory_bytes(&self) -> usize {
        let alone = self.payload_bytes() == self.chunk.len();
        let overhead = if alone {
            ALONE_OVERHEAD_BYTES
        } else {
            SHARED_OVERHEAD_BYTES
        };
        self.payload_bytes() + overhead
    }
}

impl PartialEq for Record {
    /// By key, data and encryption, whatever they share a chunk with.
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.payload() == other.payload()
    }
}

impl Eq for Record {}

impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Record")
            .field("partition_key", &self.partition_key())
            .field("data", &self.data())
            .field("encryption_type", &self.encryption_type())
            .finish()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_put_together_are_the_same_as_each_alone(
            pairs in prop::collection::vec(("\\PC{0,20}", prop::collection::vec(any::<u8>(), 0..20_000)), 0..20)
        ) {
            let pairs: Vec<(&str, &[u8])> = pairs.iter().map(|(key, data)| (&key[..], &data[..])).collect();
            let alone: Vec<Record> = pairs.iter().map(|(key, data)| Record::new(key, data)).collect();
            let together = Record::batch(&pairs);
            prop_assert_eq!(&together, &alone);
            for record in together {
                prop_assert!(record.chunk.len() <= CHUNK_BYTES);
                prop_assert_eq!(record.chunk.len(), record.chunk.capacity());
            }
        }
    }

    #[test]
    fn a_record_above_a_chunks_size_has_one_for_itself() {
        let large = vec![1; CHUNK_BYTES + 1];
        let records = Record::batch(&[("a", b"1"), ("b", &large), ("c", b"2"), ("d", b"3")]);
        let chunks: Vec<usize> = records.iter().map(|record| record.chunk.len()).collect();
        assert_eq!(chunks, [2, CHUNK_BYTES + 2, 4, 4]);
        assert_eq!(records[1].data(), large);
        assert_eq!(records[3], Record::new("d", b"3"));
    }
}
