//! The probe refuses what can't hold exactly-once.

use futures::future::join_all;

use super::super::faults::{Fault, On};
use super::super::{StoreError, probe};
use super::faulty;

#[tokio::test]
async fn a_sound_store_passes_and_is_left_empty() {
    let (_, store) = faulty();
    let report = probe(&store).await.unwrap();
    assert!(report.delete_denied.is_none());
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused() {
    let (faulty, store) = faulty();
    faulty.fail(On::Create, "", 100, Fault::IgnoreCondition);
    let error = probe(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::Unsound { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("ignores create-if-absent") && message.contains("Amazon S3"),
        "{message}"
    );
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_lets_two_racers_win_is_refused() {
    let (faulty, store) = faulty();
    faulty.fail(On::Create, "/race", 100, Fault::IgnoreCondition);
    let message = probe(&store).await.unwrap_err().to_string();
    assert!(
        message.contains("of 16 concurrent creates of one object 16 succeeded"),
        "{message}"
    );
}

#[tokio::test]
async fn a_missing_read_permission_is_named() {
    let (faulty, store) = faulty();
    faulty.fail(On::Get, "", 100, Fault::Denied);
    let error = probe(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::AccessDenied { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_delete_permission_is_reported_but_no_reason_to_refuse() {
    let (faulty, store) = faulty();
    faulty.fail(On::Delete, "", 100, Fault::Denied);
    let report = probe(&store).await.unwrap();
    assert_eq!(report.delete_denied.unwrap().reason(), "AccessDenied");
}

#[tokio::test]
async fn where_nothing_may_be_deleted_probes_leave_two_objects_however_many_there_are() {
    let (faulty, store) = faulty();
    faulty.fail(On::Delete, "", 1_000, Fault::Denied);
    for _ in 0..3 {
        for report in join_all((0..4).map(|_| probe(&store))).await {
            assert!(report.unwrap().delete_denied.is_some());
        }
    }
    let mut left: Vec<String> = store
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|found| found.key)
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            "_stockstream-probe/kept/race",
            "_stockstream-probe/kept/twice"
        ]
    );
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused_although_the_objects_are_there() {
    let (faulty, store) = faulty();
    faulty.fail(On::Delete, "", 1_000, Fault::Denied);
    probe(&store).await.unwrap();
    faulty.fail(On::Create, "", 1_000, Fault::IgnoreCondition);
    let error = probe(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::Unsound { .. }), "{error}");
}

#[tokio::test]
async fn a_probe_survives_lost_replies() {
    let (faulty, store) = faulty();
    faulty.fail(On::Create, "", 3, Fault::LoseReply);
    faulty.fail(On::Get, "", 2, Fault::Break);
    probe(&store).await.unwrap();
}
