//! The codec of a block: the records that one append wrote to one shard, as one value of the store.
//!
//! Version 1, little endian: `u8` version, `u64` arrival, `u64` bytes in the segment after this
//! block, `u32` count, then per record `u32` key length (its highest bit: encrypted),
//! `u32` payload length, payload (key, data).

use crate::log::Record;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + 8 + 4;
const RECORD_HEADER_BYTES: usize = 8;

/// Blocks are cut at this size, so that reading one record doesn't load a 10 MiB call.
pub(super) const MAX_BLOCK_BYTES: usize = 256 * 1024;

/// The head of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub arrival_millis: u64,
    /// Bytes in the segment once this block was written.
    pub segment_bytes: u64,
    pub count: u32,
}

/// Bytes that `records` take as a block.
pub(super) fn encoded_bytes(records: &[Record]) -> usize {
    HEADER_BYTES
        + records
            .iter()
            .map(|record| RECORD_HEADER_BYTES + record.payload_bytes())
            .sum::<usize>()
}

/// Cuts `records` into runs that fit a block; a larger record gets a block of its own.
pub(super) fn cut(records: &[Record]) -> Vec<&[Record]> {
    let mut blocks = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (index, record) in records.iter().enumerate() {
        if index > start && bytes + record.payload_bytes() > MAX_BLOCK_BYTES {
            blocks.push(&records[start..index]);
            start = index;
            bytes = 0;
        }
        bytes += record.payload_bytes() + RECORD_HEADER_BYTES;
    }
    if start < records.len() {
        blocks.push(&records[start..]);
    }
    blocks
}

pub(super) fn encode(arrival_millis: u64, segment_bytes: u64, records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(encoded_bytes(records));
    bytes.push(VERSION);
    bytes.extend_from_slice(&arrival_millis.to_le_bytes());
    bytes.extend_from_slice(&segment_bytes.to_le_bytes());
    // A call has at most 500 records.
    bytes.extend_from_slice(
        &u32::try_from(records.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    for record in records {
        let length = u32::try_from(record.payload_bytes()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&record.stored_key().to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(record.payload());
    }
    bytes
}

/// The header of a block; none when it is damaged or of another version.
pub(super) fn decode_header(bytes: &[u8]) -> Option<Header> {
    if *bytes.first()? != VERSION {
        return None;
    }
    Some(Header {
        arrival_millis: u64::from_le_bytes(bytes.get(1..9)?.try_into().ok()?),
        segment_bytes: u64::from_le_bytes(bytes.get(9..17)?.try_into().ok()?),
        count: u32::from_le_bytes(bytes.get(17..HEADER_BYTES)?.try_into().ok()?),
    })
}

/// Hands each record with its place in the block to `each` until that returns false. None when
/// the block is damaged.
pub(super) fn decode_records(
    bytes: &[u8],
    skip: u64,
    mut each: impl FnMut(u64, Record) -> bool,
) -> Option<()> {
    let header = decode_header(bytes)?;
    let mut rest = bytes.get(HEADER_BYTES..)?;
    for place in 0..u64::from(header.count) {
        let stored_key = u32::from_le_bytes(rest.get(0..4)?.try_into().ok()?);
        let length = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?) as usize;
        let payload = rest.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES.checked_add(length)?)?;
        rest = rest.get(RECORD_HEADER_BYTES + length..)?;
        if place >= skip && !each(place, Record::from_parts(payload, stored_key)?) {
            return Some(());
        }
    }
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn any_records() -> impl Strategy<Value = Vec<Record>> {
        prop::collection::vec(
            (
                "\\PC{1,20}",
                prop::collection::vec(any::<u8>(), 0..200),
                any::<bool>(),
            ),
            1..20,
        )
        .prop_map(|pairs| {
            pairs
                .iter()
                .map(|(key, data, encrypted)| Record::new(key, data).encrypted(*encrypted))
                .collect()
        })
    }

    fn decode_all(bytes: &[u8]) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        decode_records(bytes, 0, |_, record| {
            records.push(record);
            true
        })?;
        Some(records)
    }

    proptest! {
        #[test]
        fn a_block_round_trips(records in any_records(), arrival in any::<u64>(), total in any::<u64>()) {
            let bytes = encode(arrival, total, &records);
            prop_assert_eq!(bytes.len(), encoded_bytes(&records));
            let header = decode_header(&bytes).unwrap();
            prop_assert_eq!(header, Header { arrival_millis: arrival, segment_bytes: total, count: records.len() as u32 });
            prop_assert_eq!(decode_all(&bytes).unwrap(), records);
        }

        #[test]
        fn a_shortened_block_is_refused(records in any_records(), cut in 0.0..1.0_f64) {
            let bytes = encode(1, 1, &records);
            let length = (bytes.len() as f64 * cut) as usize;
            prop_assert_eq!(decode_all(&bytes[..length]), None);
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let records = decode_all(&bytes);
            prop_assert!(records.is_none_or(|records| records.len() <= bytes.len()));
        }
    }

    #[test]
    fn a_future_version_is_refused() {
        let mut bytes = encode(1, 1, &[Record::new("k", b"v")]);
        bytes[0] = VERSION + 1;
        assert_eq!(decode_header(&bytes), None);
    }

    #[test]
    fn blocks_are_cut_at_their_size_and_lose_nothing() {
        let records: Vec<Record> = (0..50).map(|_| Record::new("k", &[0; 20_000])).collect();
        let blocks = cut(&records);
        assert!(blocks.len() >= 4);
        assert_eq!(blocks.iter().map(|block| block.len()).sum::<usize>(), 50);
        assert!(
            blocks
                .iter()
                .all(|block| encoded_bytes(block) <= MAX_BLOCK_BYTES + 1024)
        );
        assert_eq!(cut(&[Record::new("k", &[0; 1_000_000])]).len(), 1);
    }
}
