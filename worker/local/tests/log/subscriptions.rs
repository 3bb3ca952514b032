//! SubscribeToShard without HTTP: what is pushed, when, and what ends a subscription. The clock stands
//! still unless a test moves it, so nothing but a wake-up can bring an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use stockstream_local::api::*;
use stockstream_local::log::Continuation;
use stockstream_local::{Kinesis, ManualClock, Storage};

use crate::consumers::{by_arn, register, slow};
use crate::harness::*;

type Event = Result<SubscribeToShardEvent, KinesisError>;

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counter {
    fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn poll(subscription: &mut Subscription, counter: &Arc<Counter>) -> Poll<Option<Event>> {
    let waker = Waker::from(counter.clone());
    subscription.poll_next(&mut Context::from_waker(&waker))
}

/// The next event, which must be there.
fn next(subscription: &mut Subscription) -> SubscribeToShardEvent {
    match poll(subscription, &Arc::default()) {
        Poll::Ready(Some(Ok(event))) => event,
        other => panic!("an event is expected, not {other:?}"),
    }
}

fn error(subscription: &mut Subscription) -> KinesisError {
    match poll(subscription, &Arc::default()) {
        Poll::Ready(Some(Err(error))) => error,
        other => panic!("an error is expected, not {other:?}"),
    }
}

#[track_caller]
fn assert_pending(subscription: &mut Subscription) {
    let polled = poll(subscription, &Arc::default());
    assert!(polled.is_pending(), "{polled:?}");
}

#[track_caller]
fn assert_ended(subscription: &mut Subscription) {
    for _ in 0..2 {
        let polled = poll(subscription, &Arc::default());
        assert!(matches!(polled, Poll::Ready(None)), "{polled:?}");
    }
}

fn texts(event: &SubscribeToShardEvent) -> Vec<String> {
    let records: Vec<_> = event
        .records
        .iter()
        .map(|record| record.0.clone())
        .collect();
    data(&records)
}

fn request(consumer: &Consumer, kind: &str) -> SubscribeToShardRequest {
    SubscribeToShardRequest {
        consumer_arn: Some(consumer.consumer_arn.clone()),
        shard_id: Some(S0.to_owned()),
        starting_position: Some(StartingPosition {
            r#type: Some(kind.to_owned()),
            ..Default::default()
        }),
        dry_run: None,
    }
}

fn from_sequence(
    consumer: &Consumer,
    kind: &str,
    sequence: impl ToString,
) -> SubscribeToShardRequest {
    let mut request = request(consumer, kind);
    if let Some(starting) = &mut request.starting_position {
        starting.sequence_number = Some(sequence.to_string());
    }
    request
}

fn subscribe(kinesis: &Kinesis, consumer: &Consumer, kind: &str) -> Subscription {
    kinesis
        .subscribe_to_shard(&request(consumer, kind))
        .unwrap()
}

/// The first event of a new subscription, of a consumer of its own.
fn first(
    kinesis: &Kinesis,
    make: impl FnOnce(&Consumer) -> SubscribeToShardRequest,
) -> Result<Vec<String>, KinesisError> {
    let consumer = register(kinesis, "probe");
    let subscribed = kinesis.subscribe_to_shard(&make(&consumer));
    let event = subscribed.map(|mut subscription| texts(&next(&mut subscription)));
    kinesis
        .deregister_stream_consumer(&by_arn(&consumer.consumer_arn))
        .unwrap();
    event
}

#[test]
fn records_are_pushed_in_order_from_before_and_after_the_call() {
    let (kinesis, _clock) = memory(1);
    let consumer = register(&kinesis, "c");
    put(&kinesis, "k", b"a");
    put(&kinesis, "k", b"b");
    let mut subscription = subscribe(&kinesis, &consumer, "TRIM_HORIZON");
    let event = next(&mut subscription);
    assert_eq!(texts(&event), ["a", "b"]);
    assert_eq!(event.millis_behind_latest, 0);
    assert!(event.continuation_sequence_number.is_some() && event.child_shards.is_none());
    assert_pending(&mut subscription);
    put(&kinesis, "k", b"c");
    assert_eq!(texts(&next(&mut subscription)), ["c"]);
    assert_pending(&mut subscription);
}

#[test]
fn an_append_wakes_who_waits_and_only_then() {
    let (kinesis, _clock) = memory(1);
    let (one, other) = (register(&kinesis, "one"), register(&kinesis, "other"));
    let mut one = subscribe(&kinesis, &one, "LATEST");
    let mut other = subscribe(&kinesis, &other, "LATEST");
    let (first, second) = (Arc::<Counter>::default(), Arc::<Counter>::default());
    assert!(poll(&mut one, &first).is_ready() && poll(&mut other, &second).is_ready());
    put(&kinesis, "k", b"a");
    assert_eq!((first.woken(), second.woken()), (0, 0), "nobody waited yet");
    assert!(poll(&mut one, &first).is_ready() && poll(&mut other, &second).is_ready());
    assert!(poll(&mut one, &first).is_pending() && poll(&mut other, &second).is_pending());
    assert!(poll(&mut one, &first).is_pending());
    put(&kinesis, "k", b"b");
    put(&kinesis, "k", b"c");
    assert_eq!(
        (first.woken(), second.woken()),
        (1, 1),
        "once until they look"
    );
    assert_eq!(texts(&next(&mut one)), ["b", "c"]);
    assert!(poll(&mut one, &first).is_pending());
    drop(one);
    put(&kinesis, "k", b"d");
    assert_eq!(first.woken(), 1, "who went away isn't woken");
    assert_eq!(Arc::strong_count(&first), 1, "and nothing of him is kept");
}

#[test]
fn all_five_positions_are_those_of_an_iterator() {
    let (kinesis, clock) = memory(1);
    let a = put(&kinesis, "k", b"a").sequence_number;
    clock.advance(Duration::from_secs(1));
    let b = put(&kinesis, "k", b"b").sequence_number;
    put(&kinesis, "k", b"c");
    let at = |kind: &'static str| move |consumer: &Consumer| request(consumer, kind);
    assert_eq!(
        first(&kinesis, at("TRIM_HORIZON")).unwrap(),
        ["a", "b", "c"]
    );
    assert!(first(&kinesis, at("LATEST")).unwrap().is_empty());
    let from = |kind: &'static str, sequence: String| {
        move |consumer: &Consumer| from_sequence(consumer, kind, sequence)
    };
    let events = first(&kinesis, from("AT_SEQUENCE_NUMBER", b.to_string()));
    assert_eq!(events.unwrap(), ["b", "c"]);
    let events = first(&kinesis, from("AFTER_SEQUENCE_NUMBER", a.to_string()));
    assert_eq!(events.unwrap(), ["b", "c"]);
    let since = |millis: u64| {
        move |consumer: &Consumer| {
            let mut request = request(consumer, "AT_TIMESTAMP");
            let starting = request.starting_position.as_mut().unwrap();
            starting.timestamp = Some(Timestamp(millis));
            request
        }
    };
    assert_eq!(first(&kinesis, since(START + 1)).unwrap(), ["b", "c"]);
    assert_eq!(first(&kinesis, since(0)).unwrap(), ["a", "b", "c"]);
    let error = first(&kinesis, since(START + 1001)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    for (kind, sequence) in [("AT_SEQUENCE_NUMBER", "17"), ("LATEST", "17")] {
        let error = first(&kinesis, from(kind, sequence.to_owned())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        assert!(!error.message.contains("Starting"), "{error}");
    }
    for kind in ["AT_SEQUENCE_NUMBER", "AT_TIMESTAMP"] {
        let error = first(&kinesis, at(kind)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
    }
    let error = first(&kinesis, at("SOMEWHERE")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Validation);
}

#[test]
fn a_continuation_neither_skips_nor_repeats_with_either_type() {
    let (kinesis, clock) = memory(1);
    let consumer = register(&kinesis, "c");
    for kind in ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"] {
        // On a shard without records at first, then after each record.
        let mut subscription = subscribe(&kinesis, &consumer, "LATEST");
        for text in [&b"x"[..], b"y", b"z"] {
            let continuation = next(&mut subscription).continuation_sequence_number;
            put(&kinesis, "k", text);
            clock.advance(Duration::from_secs(5));
            let request = from_sequence(&consumer, kind, continuation.unwrap());
            subscription = kinesis.subscribe_to_shard(&request).unwrap();
            let event = next(&mut subscription);
            assert_eq!(texts(&event), [String::from_utf8_lossy(text)]);
            // An iterator takes it as well.
            let continuation = continuation.unwrap().to_string();
            let iterator = iterator_from(&kinesis, S0, kind, &continuation).unwrap();
            assert_eq!(
                data(&drain(&kinesis, iterator, None)),
                [String::from_utf8_lossy(text)]
            );
            clock.advance(Duration::from_secs(5));
            let request =
                from_sequence(&consumer, kind, event.continuation_sequence_number.unwrap());
            subscription = kinesis.subscribe_to_shard(&request).unwrap();
        }
        clock.advance(Duration::from_secs(5));
    }
}

#[test]
fn continuations_grow_and_lie_between_the_records() {
    let (kinesis, _clock) = memory(1);
    let consumer = register(&kinesis, "c");
    let mut subscription = subscribe(&kinesis, &consumer, "TRIM_HORIZON");
    let mut last = String::new();
    for _ in 0..12 {
        let event = next(&mut subscription);
        let continuation = event.continuation_sequence_number.unwrap().to_string();
        assert!(continuation > last);
        let record = put(&kinesis, "k", b"x").sequence_number.to_string();
        assert!(record > continuation);
        last = continuation;
    }
}

#[test]
fn a_continuation_of_another_shard_or_stream_is_refused() {
    let (kinesis, clock) = memory(2);
    let consumer = register(&kinesis, "c");
    let continuation = |subscription: &mut Subscription| -> Continuation {
        next(subscription).continuation_sequence_number.unwrap()
    };
    let of_the_other = SubscribeToShardRequest {
        shard_id: Some(S1.to_owned()),
        ..request(&consumer, "LATEST")
    };
    let mut other = kinesis.subscribe_to_shard(&of_the_other).unwrap();
    let request = from_sequence(&consumer, "AFTER_SEQUENCE_NUMBER", continuation(&mut other));
    let error = kinesis.subscribe_to_shard(&request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    let mine = continuation(&mut subscribe(&kinesis, &consumer, "LATEST"));
    let delete = DeleteStreamRequest {
        stream: stream(),
        enforce_consumer_deletion: None,
    };
    kinesis
        .deregister_stream_consumer(&by_arn(&consumer.consumer_arn))
        .unwrap();
    kinesis.delete_stream(&delete).unwrap();
    clock.advance(Duration::from_secs(1));
    create(&kinesis, 2);
    let consumer = register(&kinesis, "c");
    let request = from_sequence(&consumer, "AFTER_SEQUENCE_NUMBER", mine);
    let error = kinesis.subscribe_to_shard(&request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
}

#[test]
fn without_records_an_event_comes_at_once_and_every_five_seconds() {
    let (kinesis, clock) = memory(1);
    let consumer = register(&kinesis, "c");
    let mut subscription = subscribe(&kinesis, &consumer, "LATEST");
    for _ in 0..3 {
        assert_eq!(subscription.due_in(), Duration::ZERO);
        let event = next(&mut subscription);
        assert!(event.records.is_empty() && event.continuation_sequence_number.is_some());
        assert_eq!(event.millis_behind_latest, 0);
        assert_eq!(subscription.due_in(), Duration::from_secs(5));
        clock.advance(Duration::from_millis(4999));
        assert_pending(&mut subscription);
        clock.advance(Duration::from_millis(1));
    }
    put(&kinesis, "k", b"a");
    assert_eq!(texts(&next(&mut subscription)), ["a"]);
    clock.advance(Duration::from_millis(4999));
    assert_pending(&mut subscription);
}

#[test]
fn a_subscription_ends_after_five_minutes() {
    let (kinesis, clock) = memory(1);
    let consumer = register(&kinesis, "c");
    let mut subscription = subscribe(&kinesis, &consumer, "LATEST");
    clock.advance(Duration::from_millis(299_999));
    next(&mut subscription);
    assert_eq!(subscription.due_in(), Duration::from_millis(1));
    put(&kinesis, "k", b"a");
    assert_eq!(texts(&next(&mut subscription)), ["a"]);
    // Wall time doesn't count.
    clock.set_wall_millis(START);
    clock.advance(Duration::from_millis(1));
    put(&kinesis, "k", b"b");
    assert_ended(&mut subscription);
    // It can be renewed at once.
    let mut subscription = subscribe(&kinesis, &consumer, "TRIM_HORIZON");
    assert_eq!(texts(&next(&mut subscription)), ["a", "b"]);
}

#[test]
fn at_the_end_of_a_shard_the_last_event_names_its_children() {
    let (kinesis, clock) = memory(1);
    let consumer = register(&kinesis, "c");
    put(&kinesis, "k", b"a");
    let mut subscription = subscribe(&kinesis, &consumer, "TRIM_HORIZON");
    next(&mut subscription);
    let counter = Arc::<Counter>::default();
    assert!(poll(&mut subscription, &counter).is_pending());
    split(&kinesis, S0, 1 << 127).unwrap();
    assert_eq!(counter.woken(), 1, "the end wakes");
    let last = next(&mut subscription);
    assert!(last.records.is_empty());
    assert_eq!(last.continuation_sequence_number, None);
    assert_eq!(last.millis_behind_latest, 0);
    let children = last.child_shards.unwrap();
    let ids: Vec<_> = children
        .iter()
        .map(|child| child.shard_id.as_str())
        .collect();
    assert_eq!(ids, [S1, S2]);
    assert_eq!(children[0].parent_shards, [S0]);
    assert_ended(&mut subscription);
    // Records and the end together.
    clock.advance(Duration::from_secs(5));
    let last = next(&mut subscribe(&kinesis, &consumer, "TRIM_HORIZON"));
    assert_eq!(texts(&last), ["a"]);
    assert_eq!(last.continuation_sequence_number, None);
    assert_eq!(last.child_shards.unwrap().len(), 2);
    let json = serde_json::to_value(next(&mut {
        clock.advance(Duration::from_secs(5));
        subscribe(&kinesis, &consumer, "LATEST")
    }));
    let keys: Vec<_> = json.unwrap().as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["ChildShards", "MillisBehindLatest", "Records"]);
}

#[test]
fn deleting_the_stream_ends_a_subscription_with_not_found() {
    let (kinesis, _clock) = memory(1);
    let consumer = register(&kinesis, "c");
    let mut subscription = subscribe(&kinesis, &consumer, "LATEST");
    next(&mut subscription);
    let counter = Arc::<Counter>::default();
    assert!(poll(&mut subscription, &counter).is_pending());
    delete_with_consumers(&kinesis);
    assert_eq!(counter.woken(), 1);
    assert_eq!(error(&mut subscription).kind, ErrorKind::ResourceNotFound);
    assert_ended(&mut subscription);
}

fn delete_with_consumers(kinesis: &Kinesis) {
    let request = serde_json::json!({"StreamName": STREAM, "EnforceConsumerDeletion": true});
    kinesis
        .delete_stream(&serde_json::from_value(request).unwrap())
        .unwrap();
}

#[test]
fn deregistering_ends_a_subscription_with_not_found_even_when_the_name_is_taken_again() {
    let (kinesis, _clock) = memory(1);
    let consumer = register(&kinesis, "c");
    let mut subscription = subscribe(&kinesis, &consumer, "LATEST");
    next(&mut subscription);
    let counter = Arc::<Counter>::default();
    assert!(poll(&mut subscription, &counter).is_pending());
    kinesis
        .deregister_stream_consumer(&by_arn(&consumer.consumer_arn))
        .unwrap();
    assert_eq!(counter.woken(), 1);
    let anew = register(&kinesis, "c");
    let mut fresh = subscribe(&kinesis, &anew, "LATEST");
    assert_eq!(error(&mut subscription).kind, ErrorKind::ResourceNotFound);
    assert_ended(&mut subscription);
    next(&mut fresh);
}

#[test]
fn a_second_call_is_refused_for_five_seconds_and_then_takes_over() {
    let (kinesis, clock) = memory(2);
    let consumer = register(&kinesis, "c");
    let mut old = subscribe(&kinesis, &consumer, "LATEST");
    next(&mut old);
    clock.advance(Duration::from_millis(4999));
    let again = request(&consumer, "LATEST");
    let refused = kinesis.subscribe_to_shard(&again).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ResourceInUse);
    assert_pending(&mut old);
    // Another shard and another consumer are free.
    let other_shard = SubscribeToShardRequest {
        shard_id: Some(S1.to_owned()),
        ..again.clone()
    };
    let mut other_shard = kinesis.subscribe_to_shard(&other_shard).unwrap();
    let mut other = subscribe(&kinesis, &register(&kinesis, "other"), "LATEST");
    let counter = Arc::<Counter>::default();
    assert!(poll(&mut old, &counter).is_pending());
    clock.advance(Duration::from_millis(1));
    let mut new = kinesis.subscribe_to_shard(&again).unwrap();
    assert_eq!(counter.woken(), 1);
    assert_eq!(error(&mut old).kind, ErrorKind::ResourceInUse);
    assert_ended(&mut old);
    for kept in [&mut new, &mut other_shard, &mut other] {
        next(kept);
    }
    // Five seconds count from the last successful call, whether or not its subscription lives.
    drop(new);
    clock.advance(Duration::from_millis(4999));
    kinesis.maintain().unwrap();
    let refused = kinesis.subscribe_to_shard(&again).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ResourceInUse);
    clock.advance(Duration::from_millis(1));
    kinesis.maintain().unwrap();
    let mut new = kinesis.subscribe_to_shard(&again).unwrap();
    next(&mut new);
}

#[test]
fn a_consumer_reads_only_when_active() {
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = slow(Storage::default(), clock.clone());
    create(&kinesis, 1);
    clock.advance(Duration::from_secs(60));
    let consumer = register(&kinesis, "c");
    let again = request(&consumer, "LATEST");
    let refused = kinesis.subscribe_to_shard(&again).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ResourceInUse);
    assert!(refused.message.contains("CREATING"), "{refused}");
    clock.advance(Duration::from_secs(2));
    let mut subscription = kinesis.subscribe_to_shard(&again).unwrap();
    next(&mut subscription);
    kinesis
        .deregister_stream_consumer(&by_arn(&consumer.consumer_arn))
        .unwrap();
    assert_eq!(error(&mut subscription).kind, ErrorKind::ResourceNotFound);
    let refused = kinesis.subscribe_to_shard(&again).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ResourceInUse);
    assert!(refused.message.contains("DELETING"), "{refused}");
    clock.advance(Duration::from_secs(3));
    let refused = kinesis.subscribe_to_shard(&again).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ResourceNotFound);
}

#[test]
fn a_call_that_is_wrong_is_refused_with_awss_error() {
    let (kinesis, _clock) = memory(1);
    let consumer = register(&kinesis, "c");
    let right = || request(&consumer, "LATEST");
    let unknown = |from: &str, to: &str| Some(consumer.consumer_arn.replace(from, to));
    let cases = [
        (SubscribeToShardRequest::default(), ErrorKind::Validation),
        (
            SubscribeToShardRequest {
                consumer_arn: Some("c".to_owned()),
                ..right()
            },
            ErrorKind::Validation,
        ),
        (
            SubscribeToShardRequest {
                starting_position: Some(StartingPosition::default()),
                ..right()
            },
            ErrorKind::Validation,
        ),
        (
            SubscribeToShardRequest {
                shard_id: Some("a b".to_owned()),
                ..right()
            },
            ErrorKind::Validation,
        ),
        (
            from_sequence(&consumer, "AT_SEQUENCE_NUMBER", "x"),
            ErrorKind::Validation,
        ),
        (
            SubscribeToShardRequest {
                shard_id: Some("shardId-000000000009".to_owned()),
                ..right()
            },
            ErrorKind::ResourceNotFound,
        ),
        (
            SubscribeToShardRequest {
                consumer_arn: unknown("consumer/c", "consumer/d"),
                ..right()
            },
            ErrorKind::ResourceNotFound,
        ),
        (
            SubscribeToShardRequest {
                consumer_arn: unknown("stream/ticks", "stream/tocks"),
                ..right()
            },
            ErrorKind::ResourceNotFound,
        ),
    ];
    for (request, expected) in cases {
        let error = kinesis.subscribe_to_shard(&request).unwrap_err();
        assert_eq!(error.kind, expected, "{request:?}: {error}");
    }
    subscribe(&kinesis, &consumer, "LATEST");
}

#[test]
fn a_dry_run_checks_and_subscribes_nobody() {
    let (kinesis, clock) = memory(1);
    let consumer = register(&kinesis, "c");
    let dry = SubscribeToShardRequest {
        dry_run: Some(true),
        ..request(&consumer, "LATEST")
    };
    for _ in 0..2 {
        let error = kinesis.subscribe_to_shard(&dry).unwrap_err();
        assert_eq!(error.kind, ErrorKind::DryRunOperation);
    }
    let mut subscription = subscribe(&kinesis, &consumer, "LATEST");
    let error = kinesis.subscribe_to_shard(&dry).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceInUse);
    clock.advance(Duration::from_secs(5));
    let error = kinesis.subscribe_to_shard(&dry).unwrap_err();
    assert_eq!(error.kind, ErrorKind::DryRunOperation);
    next(&mut subscription);
    let wrong = SubscribeToShardRequest {
        shard_id: Some("shardId-000000000009".to_owned()),
        ..dry
    };
    let error = kinesis.subscribe_to_shard(&wrong).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceNotFound);
}

fn an_event_has_at_most_a_mebibyte_and_ten_thousand_records(kinesis: &Kinesis) {
    create(kinesis, 1);
    let consumer = register(kinesis, "c");
    let large = vec![b'x'; 400 * 1024];
    for _ in 0..5 {
        put(kinesis, "k", &large);
    }
    put(kinesis, "k", &vec![b'y'; 3 * 1024 * 1024]);
    let small: Vec<_> = (0..500).map(|_| ("k".to_owned(), b"z".to_vec())).collect();
    for _ in 0..21 {
        put_many(kinesis, &small);
    }
    let mut subscription = subscribe(kinesis, &consumer, "TRIM_HORIZON");
    let mut counts = Vec::new();
    loop {
        let event = next(&mut subscription);
        counts.push(event.records.len());
        if event.millis_behind_latest == 0 {
            break;
        }
    }
    assert_eq!(counts, [2, 2, 1, 1, 10_000, 500]);
    assert_pending(&mut subscription);
}

#[test]
fn in_memory_an_event_has_at_most_a_mebibyte_and_ten_thousand_records() {
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = open(Storage::default(), clock);
    an_event_has_at_most_a_mebibyte_and_ten_thousand_records(&kinesis);
}

#[test]
fn on_disk_an_event_has_at_most_a_mebibyte_and_ten_thousand_records() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = open(disk(directory.path()), clock);
    an_event_has_at_most_a_mebibyte_and_ten_thousand_records(&kinesis);
}

#[test]
fn records_that_expire_before_they_are_read_are_left_out() {
    let (kinesis, clock) = memory(1);
    let consumer = register(&kinesis, "c");
    put(&kinesis, "k", b"old");
    clock.advance(Duration::from_secs(3600));
    put(&kinesis, "k", b"young");
    clock.advance(Duration::from_secs(24 * 3600 - 60));
    let mut subscription = subscribe(&kinesis, &consumer, "TRIM_HORIZON");
    assert_eq!(texts(&next(&mut subscription)), ["young"]);
}

/// Wakes a thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn no_record_is_missed_while_threads_append_and_the_shard_is_closed() {
    const WRITERS: usize = 3;
    const RECORDS: usize = 2000;
    let (kinesis, _clock) = memory(1);
    let kinesis = Arc::new(kinesis);
    let readers: Vec<_> = (0..3)
        .map(|number| {
            let consumer = register(&kinesis, &format!("c{number}"));
            let mut subscription = subscribe(&kinesis, &consumer, "TRIM_HORIZON");
            std::thread::spawn(move || {
                let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
                let mut seen = Vec::new();
                loop {
                    match subscription.poll_next(&mut Context::from_waker(&waker)) {
                        Poll::Ready(Some(event)) => {
                            let event = event.unwrap();
                            let numbers = event.records.iter();
                            seen.extend(numbers.map(|record| record.0.sequence_number));
                        }
                        Poll::Ready(None) => return seen,
                        // The clock stands still: without a wake-up this never ends.
                        Poll::Pending => std::thread::park(),
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let kinesis = kinesis.clone();
            std::thread::spawn(move || {
                for _ in 0..RECORDS {
                    put(&kinesis, "k", b"x");
                }
            })
        })
        .collect();
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    split(&kinesis, S0, 1 << 127).unwrap();
    for reader in readers {
        let seen = reader.join().unwrap();
        assert_eq!(seen.len(), WRITERS * RECORDS);
        assert!(seen.is_sorted_by(|one, next| one < next));
    }
}
