//! A log with a clock that the test moves, and short forms of its operations.

use std::path::Path;
use std::sync::Arc;

use stockstream_local::api::*;
use stockstream_local::log::StoredRecord;
use stockstream_local::{
    Caller, Clock, DiskOptions, Kinesis, KinesisError, KinesisOptions, ManualClock, Storage,
};

/// 2024-01-02T00:00:00Z.
pub const START: u64 = 1_704_153_600_000;
pub const STREAM: &str = "ticks";

pub fn stream() -> StreamRef {
    StreamRef::named(STREAM)
}

pub fn open(storage: Storage, clock: Arc<dyn Clock>) -> Kinesis {
    try_open(storage, clock).unwrap()
}

pub fn try_open(
    storage: Storage,
    clock: Arc<dyn Clock>,
) -> Result<Kinesis, stockstream_local::StoreError> {
    Kinesis::open(KinesisOptions {
        storage,
        clock,
        ..KinesisOptions::default()
    })
}

pub fn disk(path: &Path) -> Storage {
    Storage::Directory(DiskOptions {
        reserve_bytes: 0,
        ..DiskOptions::new(path, 1 << 30)
    })
}

pub fn delete_request() -> DeleteStreamRequest {
    DeleteStreamRequest {
        stream: stream(),
        ..Default::default()
    }
}

/// A log in memory with one stream of `shards` shards.
pub fn memory(shards: i64) -> (Kinesis, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = open(Storage::default(), clock.clone());
    create(&kinesis, shards);
    (kinesis, clock)
}

pub fn create(kinesis: &Kinesis, shards: i64) {
    let request = CreateStreamRequest {
        stream_name: Some(STREAM.to_owned()),
        shard_count: Some(shards),
        // The most that there is.
        max_record_size_in_kib: Some(10_240),
        ..Default::default()
    };
    kinesis.create_stream(&request).unwrap();
}

pub fn put(kinesis: &Kinesis, key: &str, data: &[u8]) -> PutRecordOutcome {
    try_put(kinesis, key, data).unwrap()
}

pub fn try_put(
    kinesis: &Kinesis,
    key: &str,
    data: &[u8],
) -> Result<PutRecordOutcome, KinesisError> {
    kinesis.put_record(&PutRecordRequest {
        stream_name: Some(STREAM.to_owned()),
        data: Some(Blob(data.to_vec())),
        partition_key: Some(key.to_owned()),
        ..Default::default()
    })
}

pub fn put_many(kinesis: &Kinesis, pairs: &[(String, Vec<u8>)]) -> Vec<PutRecordsResult> {
    let entry = |(key, data): &(String, Vec<u8>)| PutRecordsEntry {
        data: Some(Blob(data.clone())),
        partition_key: Some(key.clone()),
        explicit_hash_key: None,
    };
    let request = PutRecordsRequest {
        stream_name: Some(STREAM.to_owned()),
        stream_arn: None,
        records: Some(pairs.iter().map(entry).collect()),
        dry_run: None,
    };
    let outcome = kinesis.put_records(&request).unwrap();
    assert_eq!(outcome.failed_record_count, 0);
    outcome.records
}

pub fn iterator_request(shard: &str, kind: &str) -> GetShardIteratorRequest {
    GetShardIteratorRequest {
        stream: stream(),
        shard_id: Some(shard.to_owned()),
        shard_iterator_type: Some(kind.to_owned()),
        ..Default::default()
    }
}

pub fn iterator(kinesis: &Kinesis, shard: &str, kind: &str) -> String {
    kinesis
        .get_shard_iterator(&iterator_request(shard, kind))
        .unwrap()
        .shard_iterator
}

pub fn iterator_at(kinesis: &Kinesis, shard: &str, millis: u64) -> Result<String, KinesisError> {
    let request = GetShardIteratorRequest {
        timestamp: Some(Timestamp(millis)),
        ..iterator_request(shard, "AT_TIMESTAMP")
    };
    kinesis
        .get_shard_iterator(&request)
        .map(|outcome| outcome.shard_iterator)
}

pub fn iterator_from(
    kinesis: &Kinesis,
    shard: &str,
    kind: &str,
    sequence: &str,
) -> Result<String, KinesisError> {
    let request = GetShardIteratorRequest {
        starting_sequence_number: Some(sequence.to_owned()),
        ..iterator_request(shard, kind)
    };
    kinesis
        .get_shard_iterator(&request)
        .map(|outcome| outcome.shard_iterator)
}

pub fn get(
    kinesis: &Kinesis,
    iterator: &str,
    limit: Option<i64>,
) -> Result<GetRecordsOutcome, KinesisError> {
    kinesis.get_records(&GetRecordsRequest {
        shard_iterator: Some(iterator.to_owned()),
        limit,
        dry_run: None,
    })
}

/// Reads from an iterator until the tip or the shard's end.
pub fn drain(kinesis: &Kinesis, iterator: String, limit: Option<i64>) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    let mut next = Some(iterator);
    while let Some(iterator) = next {
        let outcome = get(kinesis, &iterator, limit).unwrap();
        records.extend(outcome.records.into_iter().map(|record| record.0));
        if outcome.millis_behind_latest == 0 {
            break;
        }
        next = outcome.next_shard_iterator;
    }
    records
}

pub fn drain_shard(kinesis: &Kinesis, shard: &str) -> Vec<StoredRecord> {
    drain(kinesis, iterator(kinesis, shard, "TRIM_HORIZON"), None)
}

pub fn shards(kinesis: &Kinesis) -> Vec<ShardView> {
    let request = ListShardsRequest {
        stream: stream(),
        ..Default::default()
    };
    kinesis.list_shards(&request).unwrap().shards
}

pub fn data(records: &[StoredRecord]) -> Vec<String> {
    let text = |record: &StoredRecord| String::from_utf8(record.record.data().to_vec()).unwrap();
    records.iter().map(text).collect()
}

pub fn split(kinesis: &Kinesis, shard: &str, key: u128) -> Result<Done, KinesisError> {
    kinesis.split_shard(&SplitShardRequest {
        stream: stream(),
        shard_to_split: Some(shard.to_owned()),
        new_starting_hash_key: Some(key.to_string()),
    })
}

pub fn merge(kinesis: &Kinesis, one: &str, other: &str) -> Result<Done, KinesisError> {
    kinesis.merge_shards(&MergeShardsRequest {
        stream: stream(),
        shard_to_merge: Some(one.to_owned()),
        adjacent_shard_to_merge: Some(other.to_owned()),
    })
}

pub const S0: &str = "shardId-000000000000";
pub const S1: &str = "shardId-000000000001";
pub const S2: &str = "shardId-000000000002";

/// The open shards by hash range.
pub fn open_shards(kinesis: &Kinesis) -> Vec<ShardView> {
    let mut open = shards(kinesis);
    open.retain(|shard| shard.sequence_number_range.ending_sequence_number.is_none());
    open.sort_by_key(|shard| {
        shard
            .hash_key_range
            .starting_hash_key
            .parse::<u128>()
            .unwrap()
    });
    open
}

/// Open shards cover the key space once, and a child's numbers are above its parents'.
pub fn check_lineage(kinesis: &Kinesis) {
    let open = open_shards(kinesis);
    let mut next = Some(0_u128);
    for shard in &open {
        assert_eq!(
            Some(shard.hash_key_range.starting_hash_key.parse().unwrap()),
            next
        );
        next = shard
            .hash_key_range
            .ending_hash_key
            .parse::<u128>()
            .unwrap()
            .checked_add(1);
    }
    assert_eq!(next, None, "the last range ends at 2^128 - 1");
    let all = shards(kinesis);
    for child in &all {
        for parent in [&child.parent_shard_id, &child.adjacent_parent_shard_id]
            .into_iter()
            .flatten()
        {
            let parent = all.iter().find(|shard| shard.shard_id == *parent).unwrap();
            let end = parent.sequence_number_range.ending_sequence_number.unwrap();
            assert!(child.sequence_number_range.starting_sequence_number > end);
        }
    }
}

pub fn scale(kinesis: &Kinesis, target: i64) -> Result<UpdateShardCountOutcome, KinesisError> {
    let request = UpdateShardCountRequest {
        stream: stream(),
        target_shard_count: Some(target),
        scaling_type: Some("UNIFORM_SCALING".to_owned()),
    };
    kinesis.update_shard_count(&Caller::default(), &request)
}
