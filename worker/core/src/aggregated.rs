//! Records that hold many: the format of Kinesis' producer library (KPL).
//!
//! Owns telling them from plain ones, their sub-records and each one's hash key. Must never know what a sub-record
//! holds, nor which shard it was read from.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `F3 89 9A C2` |
//! | … | `AggregatedRecord`, a protobuf: a table of partition keys, one of explicit hash keys, and the records |
//! | 16 | MD5 of the protobuf |
//!
//! Source: "KPL Aggregated Record Format" (`aggregation-format.md` of awslabs' amazon-kinesis-producer). What begins
//! with the magic bytes but isn't such a record is a plain one, as Kinesis' client library (KCL) has it.

use bytes::Bytes;
use md5::{Digest, Md5};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use crate::hash::key_hash;

/// What an aggregated record begins with.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// The most sub-records that one record may hold: the smallest useful tick has some 40 bytes, so that Kinesis' 10 MiB
/// can hold twice as many; producers make a few hundred. Bounds what decoding allocates.
pub const MAX_SUB_RECORDS: usize = 100_000;

const DIGEST_BYTES: usize = 16;

/// One of the records in an aggregated one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubRecord {
    /// Where its producer meant it to go: its explicit hash key, else the hash of its partition key.
    pub hash_key: u128,
    /// Its bytes; a part of the whole record's memory.
    pub data: Bytes,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Itself.
    Plain,
    /// These, in order.
    Aggregated(Vec<SubRecord>),
    /// More than [`MAX_SUB_RECORDS`], so that it isn't taken apart.
    TooMany {
        /// Entries of its largest table.
        found: usize,
    },
}

#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_keys: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_keys: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Record>,
}

/// Its tags (4) are of no use to anybody here.
#[derive(Clone, PartialEq, Message)]
struct Record {
    // Required by the format, which prost would not ask for.
    #[prost(uint64, optional, tag = "1")]
    partition_key: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}

/// Takes a record apart, if it is an aggregated one.
pub fn content(record: &Bytes) -> Content {
    let Some(body) = body(record) else {
        return Content::Plain;
    };
    match largest_table(&body) {
        None => return Content::Plain,
        Some(found) if found > MAX_SUB_RECORDS => return Content::TooMany { found },
        Some(_) => {}
    }
    match AggregatedRecord::decode(body) {
        Ok(aggregated) => sub_records(aggregated).map_or(Content::Plain, Content::Aggregated),
        Err(_) => Content::Plain,
    }
}

/// The protobuf of a record whose magic bytes and MD5 are right.
fn body(record: &Bytes) -> Option<Bytes> {
    let end = record.len().checked_sub(DIGEST_BYTES)?;
    if end <= MAGIC.len() || !record.starts_with(&MAGIC) {
        return None;
    }
    let body = record.slice(MAGIC.len()..end);
    let digest: [u8; DIGEST_BYTES] = Md5::digest(&body).into();
    (record[end..] == digest).then_some(body)
}

/// How many entries the largest of the three tables has, before anything is allocated for them; `None` when it's no
/// protobuf.
fn largest_table(body: &Bytes) -> Option<usize> {
    let mut rest = body.clone();
    let mut entries = [0usize; 3];
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest).ok()?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).ok()?;
        if let 1..=3 = tag {
            entries[tag as usize - 1] += 1;
        }
    }
    entries.into_iter().max()
}

/// The sub-records with their hash keys; `None` when one names a key that isn't there.
fn sub_records(aggregated: AggregatedRecord) -> Option<Vec<SubRecord>> {
    let hashes: Vec<u128> = aggregated
        .partition_keys
        .iter()
        .map(|key| key_hash(key))
        .collect();
    let at = |index: u64| usize::try_from(index).ok();
    aggregated
        .records
        .into_iter()
        .map(|record| {
            let by_partition_key = *hashes.get(at(record.partition_key?)?)?;
            let hash_key = match record.explicit_hash_key {
                Some(index) => {
                    let text = aggregated.explicit_hash_keys.get(at(index)?)?;
                    text.parse().ok()?
                }
                None => by_partition_key,
            };
            let data = record.data?;
            Some(SubRecord { hash_key, data })
        })
        .collect()
}

/// For tests: the record that KPL would make of these (partition key, explicit hash key, data).
#[cfg(test)]
pub(crate) fn aggregate(records: &[(String, Option<u128>, Bytes)]) -> Bytes {
    fn index_of(table: &mut Vec<String>, key: String) -> Option<u64> {
        let index = table.iter().position(|known| *known == key);
        let index = index.unwrap_or_else(|| {
            table.push(key);
            table.len() - 1
        });
        u64::try_from(index).ok()
    }
    let mut whole = AggregatedRecord::default();
    for (partition_key, explicit, data) in records {
        whole.records.push(Record {
            partition_key: index_of(&mut whole.partition_keys, partition_key.clone()),
            explicit_hash_key: explicit
                .and_then(|key| index_of(&mut whole.explicit_hash_keys, key.to_string())),
            data: Some(data.clone()),
        });
    }
    framed(&whole.encode_to_vec())
}

#[cfg(test)]
fn framed(body: &[u8]) -> Bytes {
    let digest: [u8; DIGEST_BYTES] = Md5::digest(body).into();
    Bytes::from([&MAGIC[..], body, &digest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Vec<(String, Option<u128>, Bytes)>> {
        let data = proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let explicit = prop::option::of(any::<u128>());
        proptest::collection::vec(("[A-D]{1,2}|ü", explicit, data), 1..20)
    }

    proptest! {
        #[test]
        fn what_was_aggregated_comes_out_in_order_with_its_hash_keys(records in records()) {
            let expected: Vec<SubRecord> = records
                .iter()
                .map(|(key, explicit, data)| SubRecord {
                    hash_key: explicit.unwrap_or_else(|| key_hash(key)),
                    data: data.clone(),
                })
                .collect();
            prop_assert_eq!(content(&aggregate(&records)), Content::Aggregated(expected));
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(content(&Bytes::from(bytes)), Content::Plain);
        }

        #[test]
        fn any_protobuf_with_a_right_digest_is_answered(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            // Whatever comes out: nothing panics, and nothing is made up.
            if let Content::Aggregated(records) = content(&framed(&body)) {
                prop_assert!(records.iter().all(|record| record.data.len() <= body.len()));
            }
        }

        #[test]
        fn a_changed_bit_makes_it_a_plain_record(
            records in records(), at in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut bytes = aggregate(&records).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(content(&Bytes::from(bytes)), Content::Plain);
        }
    }

    #[test]
    fn the_magic_bytes_alone_make_no_aggregated_record() {
        for record in [
            &MAGIC[..],
            &MAGIC[..3],
            b"",
            &[&MAGIC[..], b"tick"].concat(),
        ] {
            let record = Bytes::copy_from_slice(record);
            assert_eq!(content(&record), Content::Plain);
        }
    }

    #[test]
    fn a_sub_record_without_its_key_or_data_makes_the_record_plain() {
        let whole = |record: Record| AggregatedRecord {
            partition_keys: vec!["A".into()],
            explicit_hash_keys: vec!["12x".into()],
            records: vec![record],
        };
        let good = Record {
            partition_key: Some(0),
            explicit_hash_key: None,
            data: Some(Bytes::from_static(b"x")),
        };
        let of = |record| content(&framed(&whole(record).encode_to_vec()));
        assert!(matches!(of(good.clone()), Content::Aggregated(_)));
        for bad in [
            Record {
                partition_key: None,
                ..good.clone()
            },
            Record {
                partition_key: Some(1),
                ..good.clone()
            },
            Record {
                partition_key: Some(u64::MAX),
                ..good.clone()
            },
            Record {
                explicit_hash_key: Some(0),
                ..good.clone()
            },
            Record {
                explicit_hash_key: Some(1),
                ..good.clone()
            },
            Record { data: None, ..good },
        ] {
            assert_eq!(of(bad.clone()), Content::Plain, "{bad:?}");
        }
    }

    #[test]
    fn more_sub_records_than_the_limit_are_counted_not_decoded() {
        // An empty partition key, over and over: two bytes each.
        let body = [0x0A, 0x00].repeat(MAX_SUB_RECORDS + 1);
        let found = MAX_SUB_RECORDS + 1;
        assert_eq!(content(&framed(&body)), Content::TooMany { found });
    }
}
