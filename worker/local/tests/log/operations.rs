//! Each operation's answers and errors, without HTTP.

use stockstream_local::api::*;
use stockstream_local::log::hash_key;

use crate::harness::*;

fn create_request(name: &str, shards: Option<i64>, mode: Option<&str>) -> CreateStreamRequest {
    CreateStreamRequest {
        stream_name: Some(name.to_owned()),
        shard_count: shards,
        stream_mode_details: mode.map(|mode| StreamModeDetails {
            stream_mode: Some(mode.to_owned()),
        }),
        ..Default::default()
    }
}

#[test]
fn create_stream_says_what_is_wrong() {
    let (kinesis, _clock) = memory(1);
    let cases = [
        (
            create_request(STREAM, Some(1), None),
            ErrorKind::ResourceInUse,
            "Stream ticks under account 000000000000 already exists.",
        ),
        (
            create_request("", Some(1), None),
            ErrorKind::Validation,
            "2 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: Member must satisfy regular \
             expression pattern: [a-zA-Z0-9_.-]+; Value '' at 'streamName' failed to satisfy constraint: Member must have length \
             greater than or equal to 1",
        ),
        (
            create_request("a", Some(0), None),
            ErrorKind::Validation,
            "1 validation error detected: Value '0' at 'shardCount' failed to satisfy constraint: Member must have value greater \
             than or equal to 1",
        ),
        (
            create_request("a", None, Some("SOMETIMES")),
            ErrorKind::Validation,
            "1 validation error detected: Value 'SOMETIMES' at 'streamModeDetails.streamMode' failed to satisfy constraint: \
             Member must satisfy enum value set: [PROVISIONED, ON_DEMAND]",
        ),
        (
            create_request("a", None, None),
            ErrorKind::InvalidArgument,
            "ShardCount must be specified for a stream in PROVISIONED mode.",
        ),
        (
            create_request("a", Some(1), Some("ON_DEMAND")),
            ErrorKind::InvalidArgument,
            "ShardCount can't be specified for a stream in ON_DEMAND mode.",
        ),
    ];
    for (request, kind, message) in cases {
        let error = kinesis.create_stream(&request).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (kind, message));
    }
    let error = kinesis
        .create_stream(&create_request("big", Some(1_000_000), None))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::LimitExceeded);
}

#[test]
fn an_on_demand_stream_has_four_shards() {
    let (kinesis, _clock) = memory(1);
    kinesis
        .create_stream(&create_request("od", None, Some("ON_DEMAND")))
        .unwrap();
    let request = StreamRequest {
        stream: StreamRef::named("od"),
    };
    let summary = kinesis
        .describe_stream_summary(&Caller::default(), &request)
        .unwrap();
    let summary = serde_json::to_value(summary).unwrap();
    let summary = &summary["StreamDescriptionSummary"];
    assert_eq!(summary["OpenShardCount"], 4);
    assert_eq!(summary["StreamModeDetails"]["StreamMode"], "ON_DEMAND");
    assert_eq!(summary["StreamStatus"], "ACTIVE");
    assert_eq!(
        summary["StreamARN"],
        "arn:aws:kinesis:us-east-1:000000000000:stream/od"
    );
}

#[test]
fn a_stream_is_found_by_name_and_by_arn() {
    let (kinesis, _clock) = memory(1);
    let ask = |name: Option<&str>, arn: Option<&str>| {
        let stream = StreamRef {
            stream_name: name.map(str::to_owned),
            stream_arn: arn.map(str::to_owned),
        };
        kinesis
            .describe_stream_summary(&Caller::default(), &StreamRequest { stream })
            .map(|_| ())
    };
    let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/ticks";
    assert_eq!(ask(Some(STREAM), None), Ok(()));
    assert_eq!(ask(None, Some(arn)), Ok(()));
    assert_eq!(ask(Some(STREAM), Some(arn)), Ok(()));
    assert_eq!(
        ask(Some("other"), Some(arn)).unwrap_err().kind,
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        ask(None, None).unwrap_err().kind,
        ErrorKind::InvalidArgument
    );
    for bad in [
        "ticks",
        "arn:aws:s3:::ticks",
        "arn:aws:kinesis:eu-west-1:000000000000:stream/",
    ] {
        assert_eq!(
            ask(None, Some(bad)).unwrap_err().kind,
            ErrorKind::InvalidArgument,
            "{bad}"
        );
    }
    let other_account = "arn:aws:kinesis:eu-west-1:111111111111:stream/ticks";
    let error = ask(None, Some(other_account)).unwrap_err();
    assert_eq!(
        error.message,
        "Stream ticks under account 111111111111 not found."
    );
}

#[test]
fn shards_and_streams_are_listed_in_pages() {
    let (kinesis, _clock) = memory(5);
    let mut request = ListShardsRequest {
        stream: stream(),
        max_results: Some(2),
        ..Default::default()
    };
    let mut pages = Vec::new();
    loop {
        let outcome = kinesis.list_shards(&request).unwrap();
        pages.push(outcome.shards.len());
        let Some(token) = outcome.next_token else {
            break;
        };
        request = ListShardsRequest {
            next_token: Some(token),
            max_results: Some(2),
            ..Default::default()
        };
    }
    assert_eq!(pages, [2, 2, 1]);
    request.next_token = Some("nonsense".to_owned());
    assert_eq!(
        kinesis.list_shards(&request).unwrap_err().kind,
        ErrorKind::InvalidArgument
    );
    request.stream = stream();
    assert_eq!(
        kinesis.list_shards(&request).unwrap_err().kind,
        ErrorKind::InvalidArgument,
        "token and name together"
    );

    let describe = DescribeStreamRequest {
        stream: stream(),
        limit: Some(2),
        exclusive_start_shard_id: Some(S1.to_owned()),
    };
    let page = kinesis
        .describe_stream(&Caller::default(), &describe)
        .unwrap()
        .stream_description;
    assert_eq!(
        (
            page.shards[0].shard_id.as_str(),
            page.shards.len(),
            page.has_more_shards
        ),
        (S2, 2, true)
    );

    for name in ["a", "b", "c"] {
        kinesis
            .create_stream(&create_request(name, Some(1), None))
            .unwrap();
    }
    let list = |limit: i64, next_token: Option<String>| {
        let request = ListStreamsRequest {
            limit: Some(limit),
            next_token,
            ..Default::default()
        };
        kinesis.list_streams(&Caller::default(), &request).unwrap()
    };
    let first = list(2, None);
    assert_eq!(
        (first.stream_names, first.has_more_streams),
        (vec!["a".to_owned(), "b".to_owned()], true)
    );
    let second = list(2, first.next_token);
    assert_eq!(
        (second.stream_names, second.has_more_streams),
        (vec!["c".to_owned(), STREAM.to_owned()], false)
    );
    assert_eq!(second.stream_summaries[1].stream_name, STREAM);
}

fn put_request(key: &str, data: usize, explicit: Option<&str>) -> PutRecordRequest {
    PutRecordRequest {
        stream_name: Some(STREAM.to_owned()),
        data: Some(Blob(vec![0; data])),
        partition_key: Some(key.to_owned()),
        explicit_hash_key: explicit.map(str::to_owned),
        ..Default::default()
    }
}

#[test]
fn put_record_takes_ten_mebibytes_and_no_more() {
    const LIMIT: usize = 10 * 1024 * 1024;
    let (kinesis, _clock) = memory(1);
    kinesis
        .put_record(&put_request("k", LIMIT - 1, None))
        .unwrap();
    let error = kinesis
        .put_record(&put_request("k", LIMIT, None))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    let error = kinesis
        .put_record(&put_request("k", LIMIT + 1, None))
        .unwrap_err();
    assert_eq!(
        error.message,
        "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=10485761 cap=10485761]' at 'data' failed to satisfy \
         constraint: Member must have length less than or equal to 10485760"
    );
    kinesis.put_record(&put_request("k", 0, None)).unwrap();
    let sizes: Vec<_> = drain_shard(&kinesis, S0)
        .iter()
        .map(|record| record.record.data().len())
        .collect();
    assert_eq!(sizes, [LIMIT - 1, 0], "an empty record is a record");
}

#[test]
fn a_put_is_routed_by_key_or_by_explicit_hash_key() {
    let (kinesis, _clock) = memory(2);
    let shard_of = |explicit: Option<&str>| {
        kinesis
            .put_record(&put_request("AAPL", 1, explicit))
            .unwrap()
            .shard_id
    };
    let expected = if hash_key("AAPL") < 1 << 127 { S0 } else { S1 };
    assert_eq!(shard_of(None), expected);
    assert_eq!(shard_of(Some("0")), S0);
    assert_eq!(shard_of(Some(&u128::MAX.to_string())), S1);
    for (bad, kind) in [
        (
            "340282366920938463463374607431768211456",
            ErrorKind::InvalidArgument,
        ),
        ("-1", ErrorKind::Validation),
        ("01", ErrorKind::Validation),
        ("x", ErrorKind::Validation),
    ] {
        let error = kinesis
            .put_record(&put_request("AAPL", 1, Some(bad)))
            .unwrap_err();
        assert_eq!(error.kind, kind, "{bad}");
    }
    for key in [String::new(), "k".repeat(257)] {
        assert_eq!(
            kinesis
                .put_record(&put_request(&key, 1, None))
                .unwrap_err()
                .kind,
            ErrorKind::Validation
        );
    }
}

#[test]
fn put_records_is_checked_as_a_whole_before_any_is_written() {
    let (kinesis, _clock) = memory(1);
    let entry = |key: &str, size: usize| PutRecordsEntry {
        data: Some(Blob(vec![0; size])),
        partition_key: Some(key.to_owned()),
        explicit_hash_key: None,
    };
    let put = |records: Vec<PutRecordsEntry>| {
        kinesis.put_records(&PutRecordsRequest {
            stream_name: Some(STREAM.to_owned()),
            stream_arn: None,
            records: Some(records),
            dry_run: None,
        })
    };
    assert_eq!(put(Vec::new()).unwrap_err().kind, ErrorKind::Validation);
    assert_eq!(
        put(vec![entry("k", 1); 501]).unwrap_err().kind,
        ErrorKind::Validation
    );
    assert_eq!(
        put(vec![entry("k", 3_000_000); 4]).unwrap_err().kind,
        ErrorKind::InvalidArgument
    );
    let error = put(vec![entry("k", 1), entry("", 1)]).unwrap_err();
    assert!(
        error.message.contains("'records.2.member.partitionKey'"),
        "{}",
        error.message
    );
    assert_eq!(drain_shard(&kinesis, S0), []);
    let outcome = put(vec![entry("k", 1); 500]).unwrap();
    assert_eq!(
        (outcome.failed_record_count, outcome.records.len()),
        (0, 500)
    );
    assert_eq!(drain_shard(&kinesis, S0).len(), 500);
}

#[test]
fn iterators_are_checked() {
    let (kinesis, _clock) = memory(2);
    let first = put(&kinesis, "a", b"1");
    let own = if first.shard_id == S0 { S0 } else { S1 };
    let other = if own == S0 { S1 } else { S0 };
    let sequence = first.sequence_number.to_string();
    let kind =
        |result: Result<String, KinesisError>| result.map(|_| ()).map_err(|error| error.kind);
    let invalid = Err(ErrorKind::InvalidArgument);
    assert_eq!(
        kind(iterator_from(
            &kinesis,
            own,
            "AT_SEQUENCE_NUMBER",
            &sequence
        )),
        Ok(())
    );
    assert_eq!(
        kind(iterator_from(
            &kinesis,
            other,
            "AT_SEQUENCE_NUMBER",
            &sequence
        )),
        invalid
    );
    assert_eq!(
        kind(iterator_from(&kinesis, own, "AT_SEQUENCE_NUMBER", "123")),
        invalid
    );
    assert_eq!(
        kind(iterator_from(&kinesis, own, "AT_SEQUENCE_NUMBER", "abc")),
        Err(ErrorKind::Validation)
    );
    assert_eq!(
        kind(iterator_from(&kinesis, own, "LATEST", &sequence)),
        invalid
    );
    assert_eq!(
        kind(iterator_from(&kinesis, own, "AT_TIMESTAMP", &sequence)),
        invalid
    );
    // A number that this shard hasn't given yet.
    let mut future = first.sequence_number;
    future.index += 1;
    assert_eq!(
        kind(iterator_from(
            &kinesis,
            own,
            "AFTER_SEQUENCE_NUMBER",
            &future.to_string()
        )),
        invalid
    );
    // The shard's own starting number is valid.
    let start = shards(&kinesis)[0]
        .sequence_number_range
        .starting_sequence_number
        .to_string();
    assert_eq!(
        kind(iterator_from(&kinesis, S0, "AT_SEQUENCE_NUMBER", &start)),
        Ok(())
    );
    let error = kinesis
        .get_shard_iterator(&iterator_request("shardId-000000000009", "LATEST"))
        .unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (
            ErrorKind::ResourceNotFound,
            "Shard shardId-000000000009 in stream ticks under account 000000000000 does not exist"
        )
    );
    assert_eq!(
        kinesis
            .get_shard_iterator(&iterator_request("9", "LATEST"))
            .unwrap_err()
            .kind,
        ErrorKind::ResourceNotFound
    );
    assert_eq!(
        kinesis
            .get_shard_iterator(&iterator_request(S0, "SOON"))
            .unwrap_err()
            .kind,
        ErrorKind::Validation
    );
    for garbage in ["AAAA", "not base64!", &"A".repeat(300)] {
        assert_eq!(
            get(&kinesis, garbage, None).unwrap_err().kind,
            ErrorKind::InvalidArgument
        );
    }
    assert_eq!(
        get(&kinesis, "", None).unwrap_err().kind,
        ErrorKind::Validation
    );
    let latest = iterator(&kinesis, S0, "LATEST");
    for (limit, expected) in [
        (0, ErrorKind::Validation),
        (10_001, ErrorKind::InvalidArgument),
    ] {
        let error = get(&kinesis, &latest, Some(limit)).unwrap_err();
        assert_eq!(error.kind, expected, "{limit}");
    }
}

#[test]
fn get_records_stops_at_ten_thousand_records_and_ten_mebibytes() {
    let (kinesis, _clock) = memory(1);
    let pairs: Vec<_> = (0..500).map(|key| (key.to_string(), Vec::new())).collect();
    for _ in 0..21 {
        put_many(&kinesis, &pairs);
    }
    let outcome = get(&kinesis, &iterator(&kinesis, S0, "TRIM_HORIZON"), None).unwrap();
    assert_eq!(outcome.records.len(), 10_000);
    assert!(outcome.millis_behind_latest > 0);
    let rest = get(&kinesis, &outcome.next_shard_iterator.unwrap(), None).unwrap();
    assert_eq!((rest.records.len(), rest.millis_behind_latest), (500, 0));

    let (kinesis, _clock) = memory(1);
    for _ in 0..5 {
        put(&kinesis, "k", &vec![0; 3 * 1024 * 1024]);
    }
    let counts: Vec<_> = {
        let first = get(&kinesis, &iterator(&kinesis, S0, "TRIM_HORIZON"), None).unwrap();
        let second = get(&kinesis, &first.next_shard_iterator.unwrap(), None).unwrap();
        vec![first.records.len(), second.records.len()]
    };
    assert_eq!(counts, [3, 2]);
}

#[test]
fn splits_and_merges_say_what_is_wrong() {
    let (kinesis, _clock) = memory(3);
    let kind = |result: Result<Done, KinesisError>| result.map(|_| ()).map_err(|error| error.kind);
    assert_eq!(
        kind(split(&kinesis, S0, 0)),
        Err(ErrorKind::InvalidArgument)
    );
    assert_eq!(
        kind(split(&kinesis, S0, 1)),
        Err(ErrorKind::InvalidArgument)
    );
    assert_eq!(
        kind(split(&kinesis, S0, u128::MAX)),
        Err(ErrorKind::InvalidArgument)
    );
    assert_eq!(
        kind(split(&kinesis, "shardId-000000000007", 5)),
        Err(ErrorKind::ResourceNotFound)
    );
    let error = merge(&kinesis, S0, S2).unwrap_err();
    assert_eq!(
        error.message,
        "Shards shardId-000000000000 and shardId-000000000002 in stream ticks under account 000000000000 are not an adjacent \
         pair of shards eligible for merging"
    );
    assert_eq!(
        kind(merge(&kinesis, S0, S0)),
        Err(ErrorKind::InvalidArgument)
    );
    split(&kinesis, S0, 1 << 100).unwrap();
    assert_eq!(
        kind(split(&kinesis, S0, 1 << 90)),
        Err(ErrorKind::InvalidArgument),
        "closed"
    );
    assert_eq!(
        kind(merge(&kinesis, S0, S1)),
        Err(ErrorKind::InvalidArgument),
        "closed"
    );
    assert_eq!(shards(&kinesis).len(), 5);
}
