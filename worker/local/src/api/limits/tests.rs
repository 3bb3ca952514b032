#![allow(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;

use super::*;
use crate::api::*;
use crate::clock::ManualClock;

const NAME: &str = "ticks";
const MILLI: Duration = Duration::from_millis(1);

fn open(enforce_limits: bool) -> (Kinesis, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(1_704_153_600_000));
    let options = KinesisOptions {
        clock: clock.clone(),
        enforce_limits,
        ..KinesisOptions::default()
    };
    (Kinesis::open(options).unwrap(), clock)
}

fn with_stream(shards: i64) -> (Kinesis, Arc<ManualClock>) {
    let (kinesis, clock) = open(true);
    create(&kinesis, NAME, shards).unwrap();
    (kinesis, clock)
}

fn create(kinesis: &Kinesis, name: &str, shards: i64) -> Result<Done, KinesisError> {
    kinesis.create_stream(&CreateStreamRequest {
        stream_name: Some(name.to_owned()),
        shard_count: Some(shards),
        max_record_size_in_kib: Some(10_240),
        ..Default::default()
    })
}

fn put(kinesis: &Kinesis, bytes: usize) -> Result<PutRecordOutcome, KinesisError> {
    kinesis.put_record(&PutRecordRequest {
        stream_name: Some(NAME.to_owned()),
        data: Some(Blob(vec![b'x'; bytes - 1])),
        partition_key: Some("k".to_owned()),
        ..Default::default()
    })
}

/// One record of `bytes` for each hash key.
fn put_many(kinesis: &Kinesis, records: &[(u128, usize)]) -> PutRecordsOutcome {
    let entry = |(key, bytes): &(u128, usize)| PutRecordsEntry {
        data: Some(Blob(vec![b'x'; bytes - 1])),
        partition_key: Some("k".to_owned()),
        explicit_hash_key: Some(key.to_string()),
    };
    let request = PutRecordsRequest {
        stream_name: Some(NAME.to_owned()),
        stream_arn: None,
        records: Some(records.iter().map(entry).collect()),
        dry_run: None,
    };
    kinesis.put_records(&request).unwrap()
}

fn iterator(kinesis: &Kinesis) -> Result<String, KinesisError> {
    let request = GetShardIteratorRequest {
        stream: StreamRef::named(NAME),
        shard_id: Some(shard_id(0)),
        shard_iterator_type: Some("TRIM_HORIZON".to_owned()),
        ..Default::default()
    };
    (kinesis.get_shard_iterator(&request)).map(|outcome| outcome.shard_iterator)
}

fn get(kinesis: &Kinesis, iterator: &str) -> Result<GetRecordsOutcome, KinesisError> {
    kinesis.get_records(&GetRecordsRequest {
        shard_iterator: Some(iterator.to_owned()),
        limit: None,
        dry_run: None,
    })
}

fn throughput() -> KinesisError {
    KinesisError::new(
        ErrorKind::ProvisionedThroughputExceeded,
        "Rate exceeded for shard shardId-000000000000 in stream ticks under account 000000000000.",
    )
}

fn limit(message: &str) -> KinesisError {
    KinesisError::new(ErrorKind::LimitExceeded, message)
}

/// How many of many attempts at once are admitted.
fn at_once<T>(mut attempt: impl FnMut() -> Result<T, KinesisError>) -> usize {
    (0..2_000).take_while(|_| attempt().is_ok()).count()
}

#[test]
fn a_shard_takes_a_thousand_records_a_second() {
    let (kinesis, clock) = with_stream(1);
    assert_eq!(at_once(|| put(&kinesis, 10)), 1_000);
    assert_eq!(put(&kinesis, 10), Err(throughput()));
    clock.advance(100 * MILLI);
    assert_eq!(at_once(|| put(&kinesis, 10)), 100);
}

#[test]
fn a_shard_takes_a_mebibyte_a_second_keys_included() {
    let (kinesis, clock) = with_stream(1);
    assert_eq!(at_once(|| put(&kinesis, 64 * 1024)), 16);
    assert_eq!(put(&kinesis, 1024), Err(throughput()));
    clock.advance(500 * MILLI);
    assert_eq!(at_once(|| put(&kinesis, 64 * 1024)), 8);
    // A large record passes when nothing else has; then the shard pays for it.
    clock.advance(Duration::from_secs(1));
    put(&kinesis, 4 << 20).unwrap();
    clock.advance(3 * Duration::from_secs(1));
    assert_eq!(put(&kinesis, 1), Err(throughput()));
    clock.advance(MILLI);
    put(&kinesis, 1).unwrap();
}

#[test]
fn put_records_refuses_entries_one_by_one_and_writes_the_others() {
    let (kinesis, _clock) = with_stream(2);
    let upper = u128::MAX;
    let half = 512 * 1024;
    let outcome = put_many(
        &kinesis,
        &[
            (0, half),
            (0, half + 1),
            (upper, half),
            (0, half),
            (upper, half + 1),
        ],
    );
    assert_eq!(outcome.failed_record_count, 2);
    let failed: Vec<bool> = (outcome.records.iter())
        .map(|result| matches!(result, PutRecordsResult::Failed { .. }))
        .collect();
    assert_eq!(failed, [false, true, false, false, true]);
    let expected = PutRecordsResult::Failed {
        error_code: "ProvisionedThroughputExceededException",
        error_message: throughput().message,
    };
    assert_eq!(outcome.records[1], expected);
}

#[test]
fn put_records_answers_even_when_every_entry_is_refused() {
    let (kinesis, _clock) = with_stream(1);
    put(&kinesis, 1 << 20).unwrap();
    let outcome = put_many(&kinesis, &[(0, 10), (0, 10), (0, 10)]);
    assert_eq!((outcome.failed_record_count, outcome.records.len()), (3, 3));
}

#[test]
fn a_shard_gives_five_iterators_and_five_reads_a_second() {
    let (kinesis, clock) = with_stream(1);
    let from = iterator(&kinesis).unwrap();
    assert_eq!(at_once(|| iterator(&kinesis)), 4);
    assert_eq!(iterator(&kinesis), Err(throughput()));
    assert_eq!(at_once(|| get(&kinesis, &from)), 5);
    assert_eq!(get(&kinesis, &from).unwrap_err(), throughput());
    clock.advance(200 * MILLI);
    assert_eq!(at_once(|| get(&kinesis, &from)), 1);
}

#[test]
fn ten_mebibytes_block_a_shards_reads_for_five_seconds() {
    let (kinesis, clock) = with_stream(1);
    put(&kinesis, 10 << 20).unwrap();
    let from = iterator(&kinesis).unwrap();
    assert_eq!(get(&kinesis, &from).unwrap().records.len(), 1);
    clock.advance(Duration::from_secs(5));
    assert_eq!(get(&kinesis, &from).unwrap_err(), throughput());
    clock.advance(MILLI);
    get(&kinesis, &from).unwrap();
}

#[test]
fn readers_of_a_shard_share_two_mebibytes_a_second() {
    let (kinesis, clock) = with_stream(1);
    put(&kinesis, 1 << 20).unwrap();
    let from = iterator(&kinesis).unwrap();
    assert_eq!(at_once(|| get(&kinesis, &from)), 2);
    clock.advance(MILLI);
    get(&kinesis, &from).unwrap();
    clock.advance(400 * MILLI);
    assert_eq!(get(&kinesis, &from).unwrap_err(), throughput());
}

#[test]
fn shards_have_limits_of_their_own() {
    let (kinesis, _clock) = with_stream(2);
    let outcome = put_many(&kinesis, &[(0, 1 << 20), (u128::MAX, 1 << 20)]);
    assert_eq!(outcome.failed_record_count, 0);
}

#[test]
fn control_calls_have_their_documented_rates() {
    let (kinesis, clock) = with_stream(1);
    let account = limit("Rate exceeded for account 000000000000.");
    let stream = limit("Rate exceeded for stream ticks under account 000000000000.");
    let reference = StreamRef::named(NAME);
    let list = || kinesis.list_streams(&Caller::default(), &ListStreamsRequest::default());
    assert_eq!(at_once(list), 5);
    assert_eq!(list().unwrap_err(), account);
    for (operation, rate) in [
        (Operation::DescribeStream, 10),
        (Operation::DescribeStreamSummary, 20),
        (Operation::DescribeLimits, 1),
        (Operation::ListShards, 1_000),
        (Operation::UpdateShardCount, 10),
        (Operation::SplitShard, 5),
        (Operation::AddTagsToStream, 5),
        (Operation::DescribeStreamConsumer, 20),
        (Operation::ListStreamConsumers, 5),
    ] {
        let admit = || kinesis.admit(operation, &reference);
        assert_eq!(at_once(admit), rate, "{operation}");
        assert_eq!(admit(), Err(stream.clone()), "{operation}");
    }
    clock.advance(200 * MILLI);
    assert_eq!(at_once(list), 1);
    // The stream was made before, so four were left, and one has come back.
    let mut number = 0;
    let made = at_once(|| {
        number += 1;
        create(&kinesis, &format!("s{number}"), 1)
    });
    assert_eq!(made, 5);
}

#[test]
fn rates_of_a_stream_and_of_a_subscription_are_counted_apart() {
    let (kinesis, _clock) = open(true);
    let consumers = Operation::ListStreamConsumers;
    assert_eq!(at_once(|| kinesis.admit(consumers, "a")), 5);
    assert_eq!(at_once(|| kinesis.admit(consumers, "b")), 5);
    let subscribe = |consumer, shard_uid| {
        let scope = Scope::Subscription {
            stream: NAME,
            consumer,
            shard_uid,
        };
        at_once(|| kinesis.admit(Operation::SubscribeToShard, scope))
    };
    assert_eq!(subscribe("c", 0), 1);
    assert_eq!(subscribe("c", 0), 0);
    assert_eq!(subscribe("c", 1), 1);
    assert_eq!(subscribe("d", 0), 1);
}

#[test]
fn keys_and_modes_change_only_so_often_a_day_and_only_changes_count() {
    let (kinesis, clock) = open(true);
    create(&kinesis, NAME, 1).unwrap();
    create(&kinesis, "another", 1).unwrap();
    let encrypt = |name: &str, key: &str| {
        clock.advance(Duration::from_secs(60));
        kinesis.start_stream_encryption(&EncryptionRequest {
            stream: StreamRef::named(name),
            encryption_type: Some("KMS".to_owned()),
            key_id: Some(key.to_owned()),
        })
    };
    let switch = |mode: &str| {
        clock.advance(Duration::from_secs(60));
        kinesis.update_stream_mode(&UpdateStreamModeRequest {
            stream_arn: Some(kinesis.arn(&Caller::default(), NAME)),
            stream_mode_details: Some(StreamModeDetails {
                stream_mode: Some(mode.to_owned()),
            }),
        })
    };
    for _ in 0..30 {
        let error = encrypt(NAME, "no key").unwrap_err();
        assert_eq!(error.kind, ErrorKind::KmsNotFound);
        assert!(switch("PROVISIONED").is_ok());
    }
    let keys = (0..30).filter(|_| encrypt(NAME, "alias/key").is_ok());
    assert_eq!(keys.count(), 25);
    assert!(encrypt("another", "alias/key").is_ok());
    let modes = ["ON_DEMAND", "PROVISIONED", "ON_DEMAND"].map(|mode| switch(mode).is_ok());
    assert_eq!(modes, [true, true, false]);
    clock.advance(DAY);
    assert!(switch("ON_DEMAND").is_ok() && encrypt(NAME, "alias/key").is_ok());
}

#[test]
fn fan_out_is_paced_to_two_mebibytes_a_second() {
    let (kinesis, clock) = open(true);
    let mut waited = Duration::ZERO;
    for _ in 0..20 {
        let delay = kinesis.fan_out_delay("c", 0, || 1 << 20);
        clock.advance(delay);
        waited += delay;
    }
    assert_eq!(waited, Duration::from_secs(9), "18 MiB after the first two");
    assert_eq!(kinesis.fan_out_delay("d", 0, || 1 << 20), Duration::ZERO);
}

#[test]
fn without_the_flag_nothing_is_refused_and_nothing_is_kept() {
    let (kinesis, _clock) = open(false);
    create(&kinesis, NAME, 1).unwrap();
    assert_eq!(at_once(|| put(&kinesis, 1024)), 2_000);
    assert_eq!(at_once(|| iterator(&kinesis)), 2_000);
    assert_eq!(
        at_once(|| kinesis.admit(Operation::DescribeLimits, Scope::Account)),
        2_000
    );
    assert_eq!(kinesis.fan_out_delay("c", 0, || 1 << 30), Duration::ZERO);
}

#[test]
fn buckets_that_are_full_again_are_dropped() {
    let (kinesis, clock) = open(true);
    for number in 0..10_000 {
        let _ = kinesis.admit(Operation::ListShards, format!("s{number}").as_str());
        kinesis.fan_out_delay("c", number, || 1);
        clock.advance(100 * MILLI);
    }
    let counts = kinesis.limits.counts.as_ref().unwrap().lock().unwrap();
    assert!(counts.buckets.entries.len() <= PRUNE_FROM);
}

#[test]
fn a_stream_is_found_in_every_kind_of_arn() {
    for arn in [
        "arn:aws:kinesis:us-east-1:000000000000:stream/ticks",
        "arn:aws:kinesis:us-east-1:000000000000:stream/ticks/consumer/c:1",
    ] {
        assert_eq!(Scope::from_arn(arn).stream(), Some("ticks"));
    }
    assert_eq!(Scope::from_arn("nonsense").stream(), None);
}
