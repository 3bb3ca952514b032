//! Plain operations: keys, listings, retries, messages.

use std::time::Duration;

use bytes::Bytes;

use super::super::faults::{Fault, On};
use super::super::{Store, StoreError, StoreOptions};
use super::faulty;

/// Keys that must survive exactly as they are.
pub(super) const ODD_KEYS: [&str; 8] = [
    "ticker=%5EGSPC/trade_date=2024-01-02/a.parquet",
    "ticker=BRK%2FB/a.parquet",
    "ticker=a b/a.parquet",
    "ticker=a+b/a.parquet",
    "ticker=100%25/a.parquet",
    "ticker=../a.parquet",
    "ticker=ÄÖ €/a.parquet",
    "ticker=~!$&()@,;|<>`/a.parquet",
];

pub(super) async fn assert_odd_keys_survive(store: &Store) {
    for key in ODD_KEYS {
        store.create(key, Bytes::from(key)).await.unwrap();
    }
    for key in ODD_KEYS {
        assert_eq!(store.get(key).await.unwrap().unwrap(), key);
        assert_eq!(store.head(key).await.unwrap().unwrap().key, key);
        let folder = key.rsplit_once('/').unwrap().0;
        let listed = store.list(folder).await.unwrap();
        assert_eq!(
            listed
                .iter()
                .map(|info| info.key.as_str())
                .collect::<Vec<_>>(),
            [key]
        );
    }
    let mut expected = ODD_KEYS.to_vec();
    expected.sort_unstable();
    let listed = store.list("").await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|info| info.key.as_str())
            .collect::<Vec<_>>(),
        expected
    );
    let after = store.list_after("", expected[3]).await.unwrap();
    assert_eq!(
        after
            .iter()
            .map(|info| info.key.as_str())
            .collect::<Vec<_>>(),
        &expected[4..]
    );
    for key in ODD_KEYS {
        store.delete(key).await.unwrap();
        store.delete(key).await.unwrap();
    }
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn odd_keys_survive_in_memory() {
    assert_odd_keys_survive(&faulty().1).await;
}

#[tokio::test]
async fn absence_is_an_outcome() {
    let (_, store) = faulty();
    assert_eq!(store.get("none").await.unwrap(), None);
    assert_eq!(store.head("none").await.unwrap(), None);
    assert_eq!(store.list("none").await.unwrap(), []);
    store.delete("none").await.unwrap();
}

#[tokio::test]
async fn the_end_of_an_object_is_read_alone() {
    let (_, store) = faulty();
    store
        .put_overwrite("k", Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    let (end, info) = store.get_end("k", 3).await.unwrap().unwrap();
    assert_eq!((&end[..], info.size), (&b"789"[..], 10));
    assert_eq!(
        store.get_end("k", 99).await.unwrap().unwrap().0,
        "0123456789"
    );
}

#[tokio::test]
async fn faults_of_every_operation_are_tried_again_and_then_reported() {
    let (faulty, store) = faulty();
    store
        .put_overwrite("k", Bytes::from_static(b"1"))
        .await
        .unwrap();
    for on in [On::Get, On::List, On::Delete, On::Put] {
        faulty.fail(on, "", 2, Fault::Break);
    }
    assert!(store.get("k").await.unwrap().is_some());
    assert_eq!(store.list("").await.unwrap().len(), 1);
    store
        .put_overwrite("k", Bytes::from_static(b"2"))
        .await
        .unwrap();
    store.delete("k").await.unwrap();
    faulty.fail(On::Get, "", 100, Fault::Hang);
    let error = store.get("k").await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unavailable { attempts: 6, .. }),
        "{error}"
    );
    faulty.fail(On::List, "", 100, Fault::Denied);
    let error = store.list("").await.unwrap_err();
    assert_eq!(error.reason(), "AccessDenied");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn the_overall_limit_ends_retries() {
    let (faulty, store) = faulty();
    faulty.fail(On::Get, "", 1_000_000, Fault::Break);
    let policy = super::super::Policy {
        overall: Duration::from_millis(20),
        attempts: 1_000_000,
        ..super::quick()
    };
    let error = store.with_policy(policy).get("k").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(faulty.seen(On::Get).len() < 1000);
}

#[tokio::test]
async fn s3_is_opened_without_a_request() {
    let options = StoreOptions {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        region: Some("us-east-1".to_owned()),
        aws: Some(aws_config::SdkConfig::builder().build()),
        ..StoreOptions::default()
    };
    let store = Store::open("s3://lake/out/", &options).await.unwrap();
    assert_eq!(store.url_of("a"), "s3://lake/out/a");
}

#[tokio::test]
async fn keys_outside_the_root_are_refused() {
    let (_, store) = faulty();
    let error = store.get("../secret").await.unwrap_err();
    assert!(matches!(error, StoreError::BadKey { .. }), "{error}");
}
