#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::*;

fn wish(more: &str) -> KinesisSettings {
    let yaml = format!(
        "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: p}}
spec:
  source: {{kinesis: {{streamName: s{more}}}}}
  output: {{path: s3://lake/rows}}
  state: {{path: s3://lake/state}}"
    );
    stockstream_crds::parse(&yaml)
        .expect("a sound pipeline")
        .kinesis()
        .unwrap()
        .clone()
}

fn shards(shards: u32) -> KinesisSettings {
    wish(&format!(", mode: {{provisioned: {{shards: {shards}}}}}"))
}

fn found(open_shards: u32) -> StreamFacts {
    StreamFacts {
        arn: "arn:aws:kinesis:us-east-1:1:stream/s".to_owned(),
        status: "ACTIVE".to_owned(),
        open_shards,
        is_on_demand: false,
        retention_hours: 24,
        key: None,
        tags: BTreeMap::from([(OWNER_TAG.to_owned(), "team/p".to_owned())]),
    }
}

fn step(wish: &KinesisSettings, found: Option<&StreamFacts>) -> Step {
    next_step(wish, "team/p", found, &[], Timestamp::UNIX_EPOCH)
}

#[test]
fn what_isn_t_there_is_made_by_whoever_manages_it() {
    assert_eq!(step(&shards(2), None), Step::Create);
    assert_eq!(step(&wish(", management: External"), None), Step::Missing);
}

#[test]
fn a_stream_that_is_being_changed_is_left_alone() {
    for status in ["CREATING", "UPDATING", "DELETING"] {
        let found = StreamFacts {
            status: status.to_owned(),
            ..found(7)
        };
        assert_eq!(step(&shards(2), Some(&found)), Step::Wait, "{status}");
    }
}

#[test]
fn a_stream_that_was_there_is_tagged_first_and_then_changed_step_by_step() {
    let wish = wish(", retention: 48h, encryption: {}, mode: {provisioned: {shards: 3}}");
    let mut stream = StreamFacts {
        tags: BTreeMap::new(),
        is_on_demand: true,
        ..found(4)
    };
    let mut steps = Vec::new();
    loop {
        let step = step(&wish, Some(&stream));
        match &step {
            Step::None => break,
            Step::Tag => {
                stream
                    .tags
                    .insert(OWNER_TAG.to_owned(), "team/p".to_owned());
            }
            Step::IncreaseRetention(hours) => stream.retention_hours = *hours,
            Step::Encrypt(key) => stream.key = Some(key.clone()),
            Step::SetMode { on_demand } => stream.is_on_demand = *on_demand,
            Step::SetShards(shards) => stream.open_shards = *shards,
            other => panic!("{other:?}"),
        }
        steps.push(step);
        assert!(steps.len() < 10, "{steps:?}");
    }
    assert_eq!(
        steps,
        [
            Step::Tag,
            Step::IncreaseRetention(48),
            Step::Encrypt("alias/aws/kinesis".to_owned()),
            Step::SetMode { on_demand: false },
            Step::SetShards(3),
        ]
    );
}

#[test]
fn what_somebody_else_manages_is_only_looked_at() {
    let external = wish(", management: External, retention: 48h");
    match step(&external, Some(&found(9))) {
        Step::Differs(what) => assert!(what.contains("24 hours"), "{what}"),
        other => panic!("{other:?}"),
    }
    let external = wish(", management: External");
    assert_eq!(step(&external, Some(&found(9))), Step::None);
}

/// Two operators that don't see each other's pipelines would change it to and fro.
#[test]
fn the_stream_of_another_pipeline_is_read_and_never_changed() {
    let as_other = |wish: &KinesisSettings| {
        next_step(wish, "other/q", Some(&found(2)), &[], Timestamp::UNIX_EPOCH)
    };
    assert_eq!(as_other(&shards(2)), Step::None);
    let belongs = Step::BelongsToAnother("team/p".to_owned());
    assert_eq!(as_other(&shards(4)), belongs);
    assert_eq!(as_other(&wish(", retention: 48h")), belongs);
}

#[test]
fn ten_changes_a_day_and_not_one_more() {
    let hour = |hours: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
    let ten: Vec<Timestamp> = (0..10).map(hour).collect();
    let at = |now| next_step(&shards(4), "team/p", Some(&found(2)), &ten, now);
    assert_eq!(at(hour(10)), Step::QuotaUsedUp { open: 2, target: 4 });
    assert_eq!(scalings_left(&ten, hour(10)), 0);
    assert_eq!(at(hour(24)), Step::SetShards(4), "the first is a day old");
    assert_eq!(scalings_left(&ten, hour(26)), 3);
}

#[test]
fn a_key_is_the_same_by_id_arn_or_alias() {
    let arn = "arn:aws:kms:us-east-1:1:key/1234";
    assert!(is_key(Some(arn), "1234"));
    assert!(is_key(Some("1234"), arn));
    assert!(is_key(
        Some("arn:aws:kms:us-east-1:1:alias/mine"),
        "alias/mine"
    ));
    assert!(!is_key(Some(arn), "234"));
    assert!(!is_key(None, "1234"));
}

#[test]
fn only_what_was_made_for_this_very_stock_stream_is_ours() {
    let owner = Owner {
        name: "team/p".to_owned(),
        uid: "1".to_owned(),
    };
    let mut stream = found(2);
    assert!(!is_ours(&stream, &owner), "it was adopted");
    stream.tags.insert(MADE_FOR_TAG.to_owned(), "2".to_owned());
    assert!(
        !is_ours(&stream, &owner),
        "it was made for a former one of this name"
    );
    stream.tags.insert(MADE_FOR_TAG.to_owned(), "1".to_owned());
    assert!(is_ours(&stream, &owner));
}

proptest! {
    /// However far away the target is: it is reached, by steps that AWS takes.
    #[test]
    fn big_changes_go_in_steps_that_kinesis_takes(from in 1u32..10_000, target in 1u32..10_000) {
        let wish = shards(target);
        let (mut open, mut steps) = (from, 0);
        loop {
            match step(&wish, Some(&found(open))) {
                Step::None => break,
                Step::SetShards(next) => {
                    prop_assert!(next <= open * 2 && next >= open.div_ceil(2) && next != open);
                    open = next;
                }
                other => prop_assert!(false, "{other:?}"),
            }
            steps += 1;
            prop_assert!(steps <= 14);
        }
        prop_assert_eq!(open, target);
    }
}
