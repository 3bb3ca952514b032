#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn claimant(name: &str, created: i64, stream: &str, lake: &str, more: &str) -> Claimant {
    let yaml = format!(
        "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: {name}, namespace: team}}
spec:
  source: {{kinesis: {{streamName: {stream}}}}}
  output: {{path: \"s3://{lake}/rows\"}}
  state: {{path: \"s3://{lake}/state\"}}
{more}"
    );
    Claimant {
        pipeline: Arc::new(stockstream_crds::parse(&yaml).expect("a sound pipeline")),
        created: Some(Timestamp::from_second(created).unwrap()),
    }
}

#[test]
fn the_older_one_has_it_whatever_the_order() {
    let old = claimant("old", 1, "a", "lake", "");
    let new = claimant("new", 2, "b", "lake", "");
    let both = [new.clone(), old.clone()];
    let found = conflict(&new, &both).expect("both write below one path");
    assert_eq!(found.holder, "team/old");
    assert_eq!(found.field, "spec.output.path");
    assert!(
        found.message().contains("s3://lake/rows"),
        "{}",
        found.message()
    );
    assert_eq!(conflict(&old, &both), None);
    assert_eq!(conflict(&old, &[old.clone(), new]), None);
}

/// The API server's stamps have whole seconds.
#[test]
fn names_decide_between_those_of_one_second() {
    let a = claimant("a", 1, "x", "lake", "");
    let b = claimant("b", 1, "y", "lake", "");
    assert_eq!(conflict(&a, std::slice::from_ref(&b)), None);
    assert!(conflict(&b, &[a]).is_some());
}

#[test]
fn many_may_read_one_stream_unless_they_would_change_it_to_different_ends() {
    let one = claimant("one", 1, "s", "lake-one", "");
    let same = claimant("two", 2, "s", "lake-two", "");
    assert_eq!(conflict(&same, std::slice::from_ref(&one)), None);
    let yaml = "  deletionPolicy: Retain";
    let mut other = claimant("three", 3, "s", "lake-three", yaml);
    let text = "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {name: three, namespace: team}
spec:
  source: {kinesis: {streamName: s, mode: {provisioned: {shards: 9}}, management: MANAGEMENT}}
  output: {path: s3://lake-three/rows}
  state: {path: s3://lake-three/state}";
    let parsed = |management: &str| {
        stockstream_crds::parse(&text.replace("MANAGEMENT", management)).unwrap()
    };
    other.pipeline = Arc::new(parsed("Managed"));
    let found = conflict(&other, std::slice::from_ref(&one)).expect("9 shards, or 2");
    assert_eq!(found.field, "spec.source.kinesis.streamName");
    other.pipeline = Arc::new(parsed("External"));
    assert_eq!(conflict(&other, &[one]), None);
}

#[test]
fn one_table_belongs_to_one() {
    let glue = "  catalog: {glue: {database: db, table: rows}}";
    let one = claimant("one", 1, "a", "lake-one", glue);
    let two = claimant("two", 2, "b", "lake-two", glue);
    let found = conflict(&two, &[one]).expect("the same table");
    assert_eq!(found.field, "spec.catalog.glue.table");
}

#[test]
fn a_path_within_another_is_claimed_and_one_that_only_begins_like_it_is_not() {
    let one = claimant("one", 1, "a", "lake", "");
    let within = claimant("two", 2, "b", "lake/rows", "");
    assert!(conflict(&within, std::slice::from_ref(&one)).is_some());
    let beside = claimant("two", 2, "b", "lake/rows2", "");
    assert_eq!(conflict(&beside, &[one]), None);
}
