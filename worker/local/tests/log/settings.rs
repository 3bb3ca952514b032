//! What can be changed about a stream: number of shards, encryption, mode, tags; and the account's limits.

use std::time::Duration;

use proptest::prelude::*;
use stockstream_local::api::*;
use stockstream_local::{ErrorKind, Kinesis};

use crate::harness::*;

fn range(shard: &ShardView) -> (u128, u128) {
    let range = &shard.hash_key_range;
    (
        range.starting_hash_key.parse().unwrap(),
        range.ending_hash_key.parse().unwrap(),
    )
}

fn open_ranges(kinesis: &Kinesis) -> Vec<(u128, u128)> {
    open_shards(kinesis).iter().map(range).collect()
}

fn even(count: u32) -> Vec<(u128, u128)> {
    let ranges = stockstream_local::log::HashKeyRange::even(count);
    ranges
        .into_iter()
        .map(|range| (range.start, range.end))
        .collect()
}

#[test]
fn doubling_splits_every_shard_and_halving_merges_pairs() {
    let (kinesis, _clock) = memory(2);
    let outcome = scale(&kinesis, 4).unwrap();
    assert_eq!(
        (outcome.current_shard_count, outcome.target_shard_count),
        (2, 4)
    );
    assert_eq!(open_ranges(&kinesis), even(4));
    assert_eq!(shards(&kinesis).len(), 6, "no shard more than needed");
    scale(&kinesis, 2).unwrap();
    assert_eq!(open_ranges(&kinesis), even(2));
    assert_eq!(shards(&kinesis).len(), 8);
    check_lineage(&kinesis);
}

#[test]
fn records_put_before_a_scaling_are_read_from_the_parents_and_later_ones_from_their_children() {
    let (kinesis, _clock) = memory(2);
    let keys: Vec<String> = (0..50).map(|key| format!("key-{key}")).collect();
    for round in ["a", "b"] {
        for key in &keys {
            put(&kinesis, key, format!("{key} {round}").as_bytes());
        }
        if round == "a" {
            scale(&kinesis, 3).unwrap();
        }
    }
    check_lineage(&kinesis);
    assert_eq!(open_ranges(&kinesis), even(3));
    let mut read = Vec::new();
    for shard in shards(&kinesis) {
        read.extend(data(&drain_shard(&kinesis, &shard.shard_id)));
    }
    // By number, parents come before their children.
    for key in &keys {
        let of_key: Vec<_> = read
            .iter()
            .filter(|record| record.split(' ').next() == Some(key))
            .collect();
        assert_eq!(of_key, [&format!("{key} a"), &format!("{key} b")]);
    }
}

#[test]
fn a_shard_that_lived_for_a_moment_only_leads_a_reader_to_its_child() {
    let (kinesis, _clock) = memory(2);
    scale(&kinesis, 3).unwrap();
    let all = shards(&kinesis);
    let short_lived: Vec<_> = all
        .iter()
        .filter(|shard| shard.parent_shard_id.is_some())
        .filter(|shard| shard.sequence_number_range.ending_sequence_number.is_some())
        .collect();
    assert!(!short_lived.is_empty());
    for shard in short_lived {
        let first = iterator(&kinesis, &shard.shard_id, "TRIM_HORIZON");
        let outcome = get(&kinesis, &first, None).unwrap();
        assert!(outcome.records.is_empty() && outcome.next_shard_iterator.is_none());
        assert_eq!(outcome.child_shards.unwrap().len(), 1);
    }
}

#[test]
fn scaling_is_bounded_by_double_half_and_ten_times_a_day() {
    let (kinesis, clock) = memory(4);
    for target in [9, 1] {
        let error = scale(&kinesis, target).unwrap_err();
        assert_eq!(error.kind, ErrorKind::LimitExceeded, "{target}: {error}");
    }
    for round in 0..10 {
        scale(&kinesis, if round % 2 == 0 { 5 } else { 4 }).unwrap();
        clock.advance(Duration::from_secs(3600));
    }
    let error = scale(&kinesis, 5).unwrap_err();
    assert_eq!(error.kind, ErrorKind::LimitExceeded);
    assert!(
        error.message.contains("10 times in the last 24 hours"),
        "{error}"
    );
    clock.advance(Duration::from_secs(14 * 3600));
    scale(&kinesis, 5).unwrap();
}

#[test]
fn an_on_demand_stream_cannot_be_resharded_by_hand() {
    let (kinesis, _clock) = memory(2);
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/ticks".to_owned();
    let mode = |mode: &str| {
        kinesis.update_stream_mode(&UpdateStreamModeRequest {
            stream_arn: Some(arn.clone()),
            stream_mode_details: Some(StreamModeDetails {
                stream_mode: Some(mode.to_owned()),
            }),
        })
    };
    mode("ON_DEMAND").unwrap();
    for error in [
        scale(&kinesis, 3).map(|_| ()).unwrap_err(),
        split(&kinesis, S0, 1 << 100).map(|_| ()).unwrap_err(),
        merge(&kinesis, S0, S1).map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Validation, "{error}");
    }
    mode("PROVISIONED").unwrap();
    scale(&kinesis, 3).unwrap();
}

#[test]
fn records_say_whether_they_were_written_while_the_stream_was_encrypted() {
    let (kinesis, _clock) = memory(1);
    let encryption = EncryptionRequest {
        stream: stream(),
        encryption_type: Some("KMS".to_owned()),
        key_id: Some("alias/aws/kinesis".to_owned()),
    };
    assert_eq!(put(&kinesis, "k", b"plain").encryption_type, "NONE");
    kinesis.start_stream_encryption(&encryption).unwrap();
    assert_eq!(put(&kinesis, "k", b"secret").encryption_type, "KMS");
    let summary = kinesis
        .describe_stream_summary(&Caller::default(), &StreamRequest { stream: stream() })
        .unwrap()
        .stream_description_summary;
    assert_eq!(summary.basics.encryption_type, "KMS");
    assert_eq!(summary.basics.key_id.as_deref(), Some("alias/aws/kinesis"));
    kinesis.stop_stream_encryption(&encryption).unwrap();
    put(&kinesis, "k", b"plain again");
    let read = get(&kinesis, &iterator(&kinesis, S0, "TRIM_HORIZON"), None).unwrap();
    let types: Vec<_> = serde_json::to_value(&read).unwrap()["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["EncryptionType"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types, ["NONE", "KMS", "NONE"]);
}

#[test]
fn a_key_that_cannot_be_one_is_not_found_and_none_is_no_encryption() {
    let (kinesis, _clock) = memory(1);
    let start = |kind: &str, key: &str| {
        let request = EncryptionRequest {
            stream: stream(),
            encryption_type: Some(kind.to_owned()),
            key_id: Some(key.to_owned()),
        };
        kinesis.start_stream_encryption(&request).unwrap_err().kind
    };
    assert_eq!(start("KMS", "my key"), ErrorKind::KmsNotFound);
    assert_eq!(start("NONE", "alias/a"), ErrorKind::InvalidArgument);
    assert_eq!(start("AES", "alias/a"), ErrorKind::Validation);
}

fn tag(kinesis: &Kinesis, key: &str, value: &str) -> Result<Done, KinesisError> {
    kinesis.add_tags_to_stream(&AddTagsRequest {
        stream: stream(),
        tags: Some([(key.to_owned(), value.to_owned())].into()),
    })
}

#[test]
fn tags_are_added_overwritten_listed_in_pages_and_removed() {
    let (kinesis, _clock) = memory(1);
    for (key, value) in [("b", "1"), ("a", "2"), ("c", ""), ("b", "3")] {
        tag(&kinesis, key, value).unwrap();
    }
    let list = |after: Option<&str>, limit: Option<i64>| {
        let request = ListTagsForStreamRequest {
            stream: stream(),
            exclusive_start_tag_key: after.map(str::to_owned),
            limit,
        };
        let listed = kinesis.list_tags_for_stream(&request).unwrap();
        let pairs: Vec<_> = listed
            .tags
            .into_iter()
            .map(|tag| format!("{}={}", tag.key, tag.value))
            .collect();
        (pairs.join(" "), listed.has_more_tags)
    };
    assert_eq!(list(None, None), ("a=2 b=3 c=".to_owned(), false));
    assert_eq!(list(None, Some(2)), ("a=2 b=3".to_owned(), true));
    assert_eq!(list(Some("b"), Some(2)), ("c=".to_owned(), false));
    let remove = RemoveTagsRequest {
        stream: stream(),
        tag_keys: Some(vec!["a".to_owned(), "not there".to_owned()]),
    };
    kinesis.remove_tags_from_stream(&remove).unwrap();
    assert_eq!(list(None, None), ("b=3 c=".to_owned(), false));
}

#[test]
fn tags_are_the_same_by_name_and_by_resource_arn() {
    let (kinesis, _clock) = memory(1);
    let arn = Some("arn:aws:kinesis:us-east-1:000000000000:stream/ticks".to_owned());
    kinesis
        .tag_resource(&TagResourceRequest {
            resource_arn: arn.clone(),
            tags: Some([("team".to_owned(), "data".to_owned())].into()),
        })
        .unwrap();
    tag(&kinesis, "env", "test").unwrap();
    let list = ListTagsForResourceRequest {
        resource_arn: arn.clone(),
    };
    let listed = || kinesis.list_tags_for_resource(&list).unwrap().tags;
    assert_eq!(listed().len(), 2);
    kinesis
        .untag_resource(&UntagResourceRequest {
            resource_arn: arn,
            tag_keys: Some(vec!["team".to_owned()]),
        })
        .unwrap();
    assert_eq!(listed()[0].key, "env");
    let gone = ListTagsForResourceRequest {
        resource_arn: Some("arn:aws:kinesis:us-east-1:000000000000:stream/other".to_owned()),
    };
    let error = kinesis.list_tags_for_resource(&gone).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceNotFound);
}

#[test]
fn fifty_tags_are_the_most_and_odd_characters_are_refused() {
    let (kinesis, _clock) = memory(1);
    for number in 0..50 {
        tag(&kinesis, &format!("key {number}"), "v").unwrap();
    }
    for (key, value) in [
        ("one more", "v"),
        ("semi;colon", "v"),
        ("key 0", "a;b"),
        ("aws:x", "v"),
    ] {
        let error = tag(&kinesis, key, value).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{key}: {error}");
    }
    assert_eq!(
        tag(&kinesis, "", "v").unwrap_err().kind,
        ErrorKind::Validation
    );
    tag(&kinesis, "key 0", "Ünïcode _.:/=+-@").unwrap();
}

#[test]
fn the_accounts_limits_and_their_use_are_told() {
    let (kinesis, _clock) = memory(3);
    split(&kinesis, S0, 1 << 100).unwrap();
    let on_demand = CreateStreamRequest {
        stream_name: Some("other".to_owned()),
        stream_mode_details: Some(StreamModeDetails {
            stream_mode: Some("ON_DEMAND".to_owned()),
        }),
        ..Default::default()
    };
    kinesis.create_stream(&on_demand).unwrap();
    let limits = kinesis
        .describe_limits(&DescribeLimitsRequest::default())
        .unwrap();
    assert_eq!(limits.open_shard_count, 8);
    assert_eq!(limits.on_demand_stream_count, 1);
    assert_eq!(
        (limits.shard_limit, limits.on_demand_stream_count_limit),
        (20_000, 50)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From any splits, every scaling ends at even ranges, keeps the lineage and moves no record.
    #[test]
    fn scaling_from_anywhere_gives_even_shards(
        splits in prop::collection::vec((any::<prop::sample::Index>(), any::<u128>()), 0..6),
        wish in 0.5..2.0_f64,
    ) {
        let (kinesis, _clock) = memory(1);
        for (at, key) in splits {
            let open = open_ranges(&kinesis);
            let (start, end) = open[at.index(open.len())];
            let id = open_shards(&kinesis)[at.index(open.len())].shard_id.clone();
            // Refused where it leaves a child without a range; that's tested elsewhere.
            let _ = split(&kinesis, &id, start + key % (end - start).max(1));
        }
        let before = open_ranges(&kinesis).len();
        let target = ((before as f64 * wish).round() as u32).clamp(before.div_ceil(2) as u32, 2 * before as u32);
        scale(&kinesis, i64::from(target)).unwrap();
        prop_assert_eq!(open_ranges(&kinesis), even(target));
        check_lineage(&kinesis);
    }
}
