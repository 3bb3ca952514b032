//! Create-if-absent under every fault.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::faults::{Fault, On};
use super::super::{CreateOptions, Created, Deadline, Expired, StoreError};
use super::faulty;

fn ours() -> Bytes {
    Bytes::from_static(b"ours")
}

#[tokio::test]
async fn the_first_create_is_new_and_others_see_its_bytes() {
    let (_, store) = faulty();
    assert_eq!(store.create("k", ours()).await.unwrap(), Created::New);
    assert_eq!(
        store.create("k", ours()).await.unwrap(),
        Created::AlreadyOurs
    );
    let theirs = store
        .create("k", Bytes::from_static(b"theirs"))
        .await
        .unwrap();
    assert_eq!(theirs, Created::Exists(ours()));
    assert_eq!(store.get("k").await.unwrap(), Some(ours()));
}

#[tokio::test]
async fn a_lost_reply_is_recognised_as_our_own_write() {
    for fault in [Fault::LoseReply, Fault::NoReply] {
        let (faulty, store) = faulty();
        faulty.fail(On::Create, "k", 1, fault);
        assert_eq!(
            store.create("k", ours()).await.unwrap(),
            Created::AlreadyOurs
        );
    }
}

#[tokio::test]
async fn transient_faults_are_tried_again() {
    for fault in [
        Fault::Break,
        Fault::Throttle,
        Fault::Hang,
        Fault::Delay(Duration::from_secs(60)),
    ] {
        let (faulty, store) = faulty();
        faulty.fail(On::Create, "k", 2, fault.clone());
        assert_eq!(
            store.create("k", ours()).await.unwrap(),
            Created::New,
            "{fault:?}"
        );
        assert_eq!(faulty.seen(On::Create).len(), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn exists_without_an_object_sends_the_same_bytes_again() {
    let (faulty, store) = faulty();
    faulty.fail(On::Create, "k", 3, Fault::Exists);
    assert_eq!(store.create("k", ours()).await.unwrap(), Created::New);
    assert_eq!(faulty.seen(On::Get).len(), 3);
    assert_eq!(store.get("k").await.unwrap(), Some(ours()));
}

#[tokio::test]
async fn exists_counts_only_once_a_read_returned_the_object() {
    let (faulty, store) = faulty();
    store
        .create("k", Bytes::from_static(b"theirs"))
        .await
        .unwrap();
    faulty.fail(On::Get, "k", 2, Fault::NotFound);
    let created = store.create("k", ours()).await.unwrap();
    assert_eq!(created, Created::Exists(Bytes::from_static(b"theirs")));
    assert_eq!(faulty.seen(On::Get).len(), 3);
}

#[tokio::test]
async fn when_attempts_run_out_the_outcome_is_unknown_if_one_may_have_landed() {
    let (faulty, store) = faulty();
    faulty.fail(On::Create, "k", 100, Fault::LoseReply);
    faulty.fail(On::Get, "k", 100, Fault::Break);
    let error = store.create("k", ours()).await.unwrap_err();
    assert!(error.is_unknown() && error.is_transient(), "{error}");
    assert!(
        error
            .to_string()
            .contains("the same bytes must be sent again"),
        "{error}"
    );
}

#[tokio::test]
async fn throttling_alone_is_no_unknown_outcome() {
    let (faulty, store) = faulty();
    faulty.fail(On::Create, "k", 100, Fault::Throttle);
    let error = store.create("k", ours()).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Throttled { attempts: 6, .. }),
        "{error}"
    );
    assert_eq!(faulty.seen(On::Create).len(), 6);
}

#[tokio::test]
async fn a_refusal_is_certain_only_when_nothing_was_sent_before() {
    for (fault, reason) in [(Fault::Denied, "AccessDenied"), (Fault::Full, "DiskFull")] {
        let (faulty, store) = faulty();
        faulty.fail(On::Create, "a", 1, fault.clone());
        let error = store.create("a", ours()).await.unwrap_err();
        assert_eq!(error.reason(), reason);
        faulty.fail(On::Create, "b", 1, Fault::Break);
        faulty.fail(On::Create, "b", 1, fault);
        let error = store.create("b", ours()).await.unwrap_err();
        assert!(error.is_unknown(), "{error}");
    }
}

#[tokio::test]
async fn no_attempt_starts_once_the_guard_or_the_deadline_says_no() {
    let (faulty, store) = faulty();
    let refuse = || Err(Expired);
    let options = CreateOptions {
        before_attempt: Some(&refuse),
        ..CreateOptions::default()
    };
    let error = store.create_with("k", ours(), options).await.unwrap_err();
    assert!(matches!(error, StoreError::Expired { .. }), "{error}");
    let deadline = Some(Deadline::after(Duration::ZERO));
    let options = CreateOptions {
        deadline,
        ..CreateOptions::default()
    };
    let error = store.create_with("k", ours(), options).await.unwrap_err();
    assert!(matches!(error, StoreError::Expired { .. }), "{error}");
    assert_eq!(faulty.seen(On::Create).len(), 0);
}

#[tokio::test]
async fn a_guard_that_refuses_later_leaves_the_outcome_unknown() {
    let (faulty, store) = faulty();
    faulty.fail(On::Create, "k", 1, Fault::LoseReply);
    let asked = AtomicU32::new(0);
    let once = || match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(()),
        _ => Err(Expired),
    };
    let options = CreateOptions {
        before_attempt: Some(&once),
        ..CreateOptions::default()
    };
    let error = store.create_with("k", ours(), options).await.unwrap_err();
    assert!(error.is_unknown(), "{error}");
    assert_eq!(faulty.seen(On::Create).len(), 1);
}

#[tokio::test]
async fn a_deadline_ends_an_attempt_that_hangs() {
    let (faulty, store) = faulty();
    faulty.fail(On::Create, "k", 1, Fault::NoReply);
    let deadline = Some(Deadline::after(Duration::from_millis(5)));
    let options = CreateOptions {
        deadline,
        ..CreateOptions::default()
    };
    let error = store.create_with("k", ours(), options).await.unwrap_err();
    assert!(error.is_unknown(), "{error}");
    assert_eq!(
        store.create("k", ours()).await.unwrap(),
        Created::AlreadyOurs
    );
}

#[tokio::test]
async fn content_can_be_compared_in_another_way_than_by_bytes() {
    let (_, store) = faulty();
    store
        .create("k", Bytes::from_static(b"OURS"))
        .await
        .unwrap();
    let same = |found: &Bytes| found.eq_ignore_ascii_case(b"ours");
    let options = CreateOptions {
        same: Some(&same),
        ..CreateOptions::default()
    };
    let created = store.create_with("k", ours(), options).await.unwrap();
    assert_eq!(created, Created::AlreadyOurs);
}

fn any_fault() -> impl Strategy<Value = (On, Fault)> {
    prop_oneof![
        Just((On::Create, Fault::LoseReply)),
        Just((On::Create, Fault::Break)),
        Just((On::Create, Fault::Throttle)),
        Just((On::Create, Fault::Exists)),
        Just((On::Get, Fault::Break)),
        Just((On::Get, Fault::NotFound)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two writers with different bytes, any faults, each repeating until its outcome is known: exactly one owns the object.
    #[test]
    fn of_two_writers_exactly_one_ends_as_owner(script in prop::collection::vec(any_fault(), 0..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (faulty, store) = faulty();
            for (on, fault) in script {
                faulty.fail(on, "k", 1, fault);
            }
            let write = async |bytes: &'static [u8]| loop {
                match store.create("k", Bytes::from_static(bytes)).await {
                    Ok(created) => break created,
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            };
            let (a, b) = tokio::join!(write(b"a"), write(b"b"));
            let owns = |created: &Created| !matches!(created, Created::Exists(_));
            assert!(owns(&a) != owns(&b), "{a:?} {b:?}");
            let winner: &[u8] = if owns(&a) { b"a" } else { b"b" };
            assert_eq!(store.get("k").await.unwrap().unwrap(), winner);
        });
    }
}
