//! CREATING, UPDATING and DELETING with delays, and what is refused meanwhile.

use std::sync::Arc;
use std::time::Duration;

use stockstream_local::api::*;
use stockstream_local::{Delays, ErrorKind, Kinesis, KinesisOptions, ManualClock, Storage};

use crate::harness::*;

const DELAY: Duration = Duration::from_secs(10);

fn slow(storage: Storage) -> (Kinesis, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = Kinesis::open(KinesisOptions {
        storage,
        clock: clock.clone(),
        delays: Delays {
            creating: DELAY,
            updating: DELAY,
            deleting: DELAY,
        },
        ..KinesisOptions::default()
    });
    (kinesis.unwrap(), clock)
}

fn status(kinesis: &Kinesis) -> String {
    let request = StreamRequest { stream: stream() };
    let summary = kinesis.describe_stream_summary(&Caller::default(), &request);
    let status = summary
        .unwrap()
        .stream_description_summary
        .basics
        .stream_status;
    status.name().to_owned()
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, KinesisError>, kind: ErrorKind, message: &str) {
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (kind, message));
}

/// Each operation that only an active stream takes says which state it is in instead.
fn only_when_active(kinesis: &Kinesis, state: &str) {
    let message =
        format!("Stream ticks under account 000000000000 not ACTIVE, instead in state {state}");
    let in_use = ErrorKind::ResourceInUse;
    refused(split(kinesis, S0, 1 << 100), in_use, &message);
    refused(merge(kinesis, S0, S1), in_use, &message);
    refused(scale(kinesis, 2), in_use, &message);
    refused(kinesis.delete_stream(&delete_request()), in_use, &message);
    let retention = RetentionRequest {
        stream: stream(),
        retention_period_hours: Some(24),
    };
    refused(
        kinesis.increase_stream_retention_period(&retention),
        in_use,
        &message,
    );
    refused(
        kinesis.decrease_stream_retention_period(&retention),
        in_use,
        &message,
    );
    let encryption = EncryptionRequest {
        stream: stream(),
        encryption_type: Some("KMS".to_owned()),
        key_id: Some("alias/aws/kinesis".to_owned()),
    };
    refused(
        kinesis.start_stream_encryption(&encryption),
        in_use,
        &message,
    );
    refused(
        kinesis.stop_stream_encryption(&encryption),
        in_use,
        &message,
    );
    let tags = AddTagsRequest {
        stream: stream(),
        tags: Some([("a".to_owned(), "b".to_owned())].into()),
    };
    refused(kinesis.add_tags_to_stream(&tags), in_use, &message);
    let keys = RemoveTagsRequest {
        stream: stream(),
        tag_keys: Some(vec!["a".to_owned()]),
    };
    refused(kinesis.remove_tags_from_stream(&keys), in_use, &message);
}

#[test]
fn a_stream_being_created_shows_itself_but_takes_no_records() {
    let (kinesis, clock) = slow(Storage::default());
    create(&kinesis, 2);
    assert_eq!(status(&kinesis), "CREATING");
    only_when_active(&kinesis, "CREATING");
    let described = kinesis.describe_stream(
        &Caller::default(),
        &DescribeStreamRequest {
            stream: stream(),
            ..Default::default()
        },
    );
    assert!(described.unwrap().stream_description.shards.is_empty());
    let not_found = "Stream ticks under account 000000000000 not found.";
    refused(
        try_put(&kinesis, "k", b"x"),
        ErrorKind::ResourceNotFound,
        not_found,
    );
    refused(
        kinesis.get_shard_iterator(&iterator_request(S0, "LATEST")),
        ErrorKind::ResourceNotFound,
        not_found,
    );
    let list = ListShardsRequest {
        stream: stream(),
        ..Default::default()
    };
    refused(
        kinesis.list_shards(&list),
        ErrorKind::ResourceInUse,
        "Stream ticks under account 000000000000 not ACTIVE, instead in state CREATING",
    );
    clock.advance(DELAY);
    assert_eq!(status(&kinesis), "ACTIVE");
    put(&kinesis, "k", b"x");
    assert_eq!(shards(&kinesis).len(), 2);
}

#[test]
fn no_sixth_stream_is_created_while_five_are_being_created() {
    let (kinesis, clock) = slow(Storage::default());
    let create = |name: &str| {
        kinesis.create_stream(&CreateStreamRequest {
            stream_name: Some(name.to_owned()),
            shard_count: Some(1),
            ..Default::default()
        })
    };
    for name in ["a", "b", "c", "d", "e"] {
        create(name).unwrap();
    }
    assert_eq!(create("f").unwrap_err().kind, ErrorKind::LimitExceeded);
    clock.advance(DELAY);
    kinesis.maintain().unwrap();
    create("f").unwrap();
}

#[test]
fn while_a_shard_is_being_split_the_parent_takes_and_gives_records() {
    let (kinesis, clock) = slow(Storage::default());
    create(&kinesis, 1);
    clock.advance(DELAY);
    put(&kinesis, "k", b"before");
    split(&kinesis, S0, 1 << 127).unwrap();
    assert_eq!(status(&kinesis), "UPDATING");
    only_when_active(&kinesis, "UPDATING");
    assert_eq!(put(&kinesis, "k", b"meanwhile").shard_id, S0);
    assert_eq!(shards(&kinesis).len(), 1);
    assert_eq!(data(&drain_shard(&kinesis, S0)), ["before", "meanwhile"]);
    clock.advance(DELAY);
    assert_ne!(put(&kinesis, "k", b"after").shard_id, S0);
    assert_eq!(status(&kinesis), "ACTIVE");
    assert_eq!(shards(&kinesis).len(), 3);
    assert_eq!(data(&drain_shard(&kinesis, S0)), ["before", "meanwhile"]);
}

#[test]
fn what_cannot_be_split_is_refused_at_once_and_nothing_changes() {
    let (kinesis, clock) = slow(Storage::default());
    create(&kinesis, 1);
    clock.advance(DELAY);
    let error = split(&kinesis, S0, 1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    assert_eq!(status(&kinesis), "ACTIVE");
}

#[test]
fn a_stream_being_deleted_serves_records_until_it_is_gone_and_its_name_is_free() {
    let (kinesis, clock) = slow(Storage::default());
    create(&kinesis, 2);
    clock.advance(DELAY);
    put(&kinesis, "k", b"x");
    kinesis.delete_stream(&delete_request()).unwrap();
    assert_eq!(status(&kinesis), "DELETING");
    only_when_active(&kinesis, "DELETING");
    put(&kinesis, "k", b"y");
    let again = CreateStreamRequest {
        stream_name: Some(STREAM.to_owned()),
        shard_count: Some(1),
        ..Default::default()
    };
    refused(
        kinesis.create_stream(&again),
        ErrorKind::ResourceInUse,
        "Stream ticks under account 000000000000 already exists.",
    );
    clock.advance(DELAY);
    refused(
        try_put(&kinesis, "k", b"z"),
        ErrorKind::ResourceNotFound,
        "Stream ticks under account 000000000000 not found.",
    );
    let listed = kinesis.list_streams(&Caller::default(), &ListStreamsRequest::default());
    assert!(listed.unwrap().stream_names.is_empty());
    kinesis.create_stream(&again).unwrap();
}

#[test]
fn a_clock_set_back_holds_no_change_up() {
    let (kinesis, clock) = slow(Storage::default());
    create(&kinesis, 1);
    clock.set_wall_millis(START - 3_600_000);
    assert_eq!(status(&kinesis), "ACTIVE");
}

#[test]
fn changes_under_way_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let opened = || slow(disk(directory.path()));
    {
        let (kinesis, _clock) = opened();
        create(&kinesis, 1);
    }
    {
        let (kinesis, clock) = opened();
        assert_eq!(status(&kinesis), "CREATING");
        clock.advance(DELAY);
        put(&kinesis, "k", b"x");
        split(&kinesis, S0, 1 << 127).unwrap();
    }
    {
        let (kinesis, clock) = opened();
        clock.advance(DELAY);
        // The split was asked for ten seconds after the start.
        assert_eq!(status(&kinesis), "UPDATING");
        clock.advance(DELAY);
        assert_eq!(shards(&kinesis).len(), 3);
        assert_eq!(data(&drain_shard(&kinesis, S0)), ["x"]);
        kinesis.delete_stream(&delete_request()).unwrap();
    }
    let (kinesis, clock) = opened();
    clock.advance(DELAY * 2);
    assert_eq!(status(&kinesis), "DELETING");
    clock.advance(DELAY);
    kinesis.maintain().unwrap();
    drop(kinesis);
    let (kinesis, _clock) = opened();
    let listed = kinesis.list_streams(&Caller::default(), &ListStreamsRequest::default());
    assert!(listed.unwrap().stream_names.is_empty());
}
