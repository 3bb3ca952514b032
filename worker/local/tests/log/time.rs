//! What depends on the clock: arrival, iterators' age, retention, timestamps, lag.

use std::sync::Arc;
use std::time::Duration;

use stockstream_local::api::*;
use stockstream_local::{Clock as _, Kinesis, ManualClock, Storage};

use crate::harness::*;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn an_iterator_is_taken_for_five_minutes_and_then_expired() {
    let (kinesis, clock) = memory(1);
    let iterator = iterator(&kinesis, S0, "TRIM_HORIZON");
    clock.advance(Duration::from_secs(300));
    assert!(get(&kinesis, &iterator, None).is_ok());
    clock.advance(Duration::from_millis(1));
    let error = get(&kinesis, &iterator, None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ExpiredIterator);
    assert!(
        error.message.starts_with("Iterator expired."),
        "{}",
        error.message
    );
}

#[test]
fn an_iterator_from_before_the_clock_was_set_back_still_works() {
    let (kinesis, clock) = memory(1);
    let iterator = iterator(&kinesis, S0, "TRIM_HORIZON");
    clock.set_wall_millis(START - 3_600_000);
    assert!(get(&kinesis, &iterator, None).is_ok());
}

#[test]
fn arrival_never_goes_back_when_the_clock_is_set_back() {
    let (kinesis, clock) = memory(1);
    put(&kinesis, "k", b"before");
    clock.set_wall_millis(START - 60_000);
    put(&kinesis, "k", b"after");
    clock.set_wall_millis(START + 5);
    put(&kinesis, "k", b"later");
    let arrivals: Vec<_> = drain_shard(&kinesis, S0)
        .iter()
        .map(|record| record.arrival_millis)
        .collect();
    assert_eq!(arrivals, [START, START, START + 5]);
}

#[test]
fn with_the_clock_set_back_a_timestamp_up_to_the_newest_arrival_is_no_future() {
    let (kinesis, clock) = memory(1);
    put(&kinesis, "k", b"a");
    clock.set_wall_millis(START - 60_000);
    let at = iterator_at(&kinesis, S0, START).unwrap();
    assert_eq!(data(&drain(&kinesis, at, None)), ["a"]);
    let error = iterator_at(&kinesis, S0, START + 1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
}

#[test]
fn a_timestamp_from_the_future_is_refused_as_aws_does() {
    let (kinesis, clock) = memory(1);
    let error = iterator_at(&kinesis, S0, clock.wall_millis() + 1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    assert_eq!(
        error.message,
        format!(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: {}, \
             currentTimestampInMillis: {START}",
            START + 1
        )
    );
}

fn records_older_than_the_retention_are_gone(storage: Storage) {
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = open(storage.clone(), clock.clone());
    create(&kinesis, 1);
    let old = put(&kinesis, "k", b"old").sequence_number.to_string();
    clock.advance(12 * HOUR);
    put(&kinesis, "k", b"young");
    let before = iterator(&kinesis, S0, "TRIM_HORIZON");
    clock.advance(12 * HOUR);
    assert_eq!(
        data(&drain_shard(&kinesis, S0)),
        ["old", "young"],
        "kept for 24 hours"
    );
    clock.advance(Duration::from_millis(1));
    assert_eq!(data(&drain_shard(&kinesis, S0)), ["young"]);
    assert_eq!(
        get(&kinesis, &before, None).unwrap_err().kind,
        ErrorKind::ExpiredIterator
    );
    // Before the trim point AWS goes on at the oldest record.
    let after = iterator_from(&kinesis, S0, "AFTER_SEQUENCE_NUMBER", &old).unwrap();
    assert_eq!(data(&drain(&kinesis, after, None)), ["young"]);
    let at = iterator_at(&kinesis, S0, START).unwrap();
    assert_eq!(data(&drain(&kinesis, at, None)), ["young"]);
    kinesis.maintain().unwrap();
    clock.advance(24 * HOUR);
    kinesis.maintain().unwrap();
    assert_eq!(data(&drain_shard(&kinesis, S0)), Vec::<String>::new());
    let last = put(&kinesis, "k", b"new").sequence_number.to_string();
    assert!(last > old, "numbers grow on when everything was trimmed");
    assert_eq!(data(&drain_shard(&kinesis, S0)), ["new"]);
    if let Storage::Directory(_) = storage {
        kinesis.maintain().unwrap();
        drop(kinesis);
        let kinesis = open(storage, clock);
        assert_eq!(data(&drain_shard(&kinesis, S0)), ["new"], "after a restart");
        assert!(put(&kinesis, "k", b"newer").sequence_number.to_string() > last);
    }
}

#[test]
fn in_memory_records_older_than_the_retention_are_gone() {
    records_older_than_the_retention_are_gone(Storage::default());
}

#[test]
fn on_disk_records_older_than_the_retention_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    records_older_than_the_retention_are_gone(disk(directory.path()));
}

fn retention(hours: i64) -> RetentionRequest {
    RetentionRequest {
        stream: stream(),
        retention_period_hours: Some(hours),
    }
}

#[test]
fn a_longer_retention_keeps_records_longer() {
    let (kinesis, clock) = memory(1);
    kinesis
        .increase_stream_retention_period(&retention(48))
        .unwrap();
    put(&kinesis, "k", b"old");
    clock.advance(48 * HOUR);
    assert_eq!(data(&drain_shard(&kinesis, S0)), ["old"]);
    let error = kinesis
        .increase_stream_retention_period(&retention(24))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    kinesis
        .decrease_stream_retention_period(&retention(24))
        .unwrap();
    assert_eq!(data(&drain_shard(&kinesis, S0)), Vec::<String>::new());
    for hours in [23, 8761] {
        let error = kinesis
            .increase_stream_retention_period(&retention(hours))
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
    }
}

#[test]
fn a_closed_shard_is_listed_until_its_records_have_expired() {
    let (kinesis, clock) = memory(1);
    put(&kinesis, "k", b"old");
    split(&kinesis, S0, 1 << 127).unwrap();
    clock.advance(24 * HOUR);
    kinesis.maintain().unwrap();
    assert_eq!(shards(&kinesis).len(), 3);
    clock.advance(Duration::from_millis(1));
    assert_eq!(shards(&kinesis).len(), 2, "also before upkeep");
    kinesis.maintain().unwrap();
    let left: Vec<_> = shards(&kinesis)
        .into_iter()
        .map(|shard| shard.shard_id)
        .collect();
    assert_eq!(left, [S1, S2]);
    let error = kinesis
        .get_shard_iterator(&iterator_request(S0, "TRIM_HORIZON"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceNotFound);
}

#[test]
fn lag_is_the_age_of_what_was_read_and_zero_only_at_the_tip() {
    let (kinesis, clock) = memory(1);
    for place in 0..3 {
        put(&kinesis, "k", place.to_string().as_bytes());
        clock.advance(Duration::from_secs(10));
    }
    let mut iterator = iterator(&kinesis, S0, "TRIM_HORIZON");
    let mut lags = Vec::new();
    for _ in 0..4 {
        let outcome = get(&kinesis, &iterator, Some(1)).unwrap();
        lags.push(outcome.millis_behind_latest);
        iterator = outcome.next_shard_iterator.unwrap();
    }
    assert_eq!(lags, [30_000, 20_000, 0, 0]);
    // Two in the same millisecond: not 0 between them.
    put(&kinesis, "k", b"a");
    put(&kinesis, "k", b"b");
    assert_eq!(
        get(&kinesis, &iterator, Some(1))
            .unwrap()
            .millis_behind_latest,
        1
    );
}

#[test]
fn a_page_of_shards_can_be_continued_for_five_minutes() {
    let (kinesis, clock) = memory(5);
    let first = ListShardsRequest {
        stream: stream(),
        max_results: Some(2),
        ..Default::default()
    };
    let token = kinesis.list_shards(&first).unwrap().next_token;
    let next = ListShardsRequest {
        next_token: token,
        max_results: Some(2),
        ..Default::default()
    };
    clock.advance(Duration::from_secs(300));
    assert_eq!(kinesis.list_shards(&next).unwrap().shards[0].shard_id, S2);
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        kinesis.list_shards(&next).unwrap_err().kind,
        ErrorKind::ExpiredNextToken
    );
}

fn filtered(kinesis: &Kinesis, kind: &str, shard: Option<&str>, millis: Option<u64>) -> Vec<u32> {
    let request = ListShardsRequest {
        stream: stream(),
        shard_filter: Some(ShardFilter {
            r#type: Some(kind.to_owned()),
            shard_id: shard.map(str::to_owned),
            timestamp: millis.map(Timestamp),
        }),
        ..Default::default()
    };
    let shards = kinesis.list_shards(&request).unwrap().shards;
    shards
        .iter()
        .map(|shard| shard.shard_id[8..].parse().unwrap())
        .collect()
}

#[test]
fn a_split_in_the_millisecond_of_the_horizon_came_after_it() {
    let (kinesis, _clock) = memory(2);
    split(&kinesis, S0, 1 << 126).unwrap();
    assert_eq!(filtered(&kinesis, "AT_TRIM_HORIZON", None, None), [0, 1]);
    let long_before = filtered(&kinesis, "AT_TIMESTAMP", None, Some(START - 1));
    assert_eq!(long_before, [0, 1]);
}

#[test]
fn shard_filters_select_by_id_and_by_time() {
    let (kinesis, clock) = memory(2);
    clock.advance(HOUR);
    split(&kinesis, S0, 1 << 126).unwrap();
    clock.advance(HOUR);
    assert_eq!(filtered(&kinesis, "AT_LATEST", None, None), [1, 2, 3]);
    assert_eq!(filtered(&kinesis, "AT_TRIM_HORIZON", None, None), [0, 1]);
    assert_eq!(
        filtered(&kinesis, "FROM_TRIM_HORIZON", None, None),
        [0, 1, 2, 3]
    );
    assert_eq!(filtered(&kinesis, "AFTER_SHARD_ID", Some(S1), None), [2, 3]);
    assert_eq!(
        filtered(&kinesis, "AT_TIMESTAMP", None, Some(START + 1)),
        [0, 1]
    );
    assert_eq!(
        filtered(&kinesis, "AT_TIMESTAMP", None, Some(START + 3_600_001)),
        [1, 2, 3]
    );
    assert_eq!(
        filtered(&kinesis, "FROM_TIMESTAMP", None, Some(START + 1)),
        [0, 1, 2, 3]
    );
    assert_eq!(
        filtered(&kinesis, "FROM_TIMESTAMP", None, Some(START + 3_600_001)),
        [1, 2, 3]
    );
}

#[test]
fn a_stream_made_anew_in_the_same_millisecond_is_another_stream() {
    let (kinesis, _clock) = memory(1);
    let old = put(&kinesis, "k", b"old").sequence_number;
    let stale = iterator(&kinesis, S0, "TRIM_HORIZON");
    let created = |kinesis: &Kinesis| {
        let request = StreamRequest { stream: stream() };
        let summary = kinesis
            .describe_stream_summary(&Default::default(), &request)
            .unwrap();
        summary
            .stream_description_summary
            .basics
            .stream_creation_timestamp
    };
    let before = created(&kinesis);
    kinesis.delete_stream(&delete_request()).unwrap();
    assert_eq!(
        get(&kinesis, &stale, None).unwrap_err().kind,
        ErrorKind::ResourceNotFound
    );
    assert_eq!(
        try_put(&kinesis, "k", b"x").unwrap_err().kind,
        ErrorKind::ResourceNotFound
    );
    create(&kinesis, 1);
    assert!(created(&kinesis) > before);
    assert_eq!(
        get(&kinesis, &stale, None).unwrap_err().kind,
        ErrorKind::InvalidArgument
    );
    let error = iterator_from(&kinesis, S0, "AFTER_SEQUENCE_NUMBER", &old.to_string()).unwrap_err();
    assert!(
        error.message.contains("did not come from this stream"),
        "{}",
        error.message
    );
    assert_eq!(data(&drain_shard(&kinesis, S0)), Vec::<String>::new());
}
