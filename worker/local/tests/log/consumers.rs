//! Registered consumers: names, states, pages, and what a restart keeps of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stockstream_local::api::*;
use stockstream_local::{Delays, Kinesis, KinesisOptions, ManualClock, Storage};

use crate::harness::*;

pub const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/ticks";

pub fn try_register(kinesis: &Kinesis, name: &str) -> Result<Consumer, KinesisError> {
    let request = RegisterStreamConsumerRequest {
        stream_arn: Some(STREAM_ARN.to_owned()),
        consumer_name: Some(name.to_owned()),
        tags: None,
    };
    let registered = kinesis.register_stream_consumer(&Caller::default(), &request);
    registered.map(|outcome| outcome.consumer)
}

pub fn register(kinesis: &Kinesis, name: &str) -> Consumer {
    try_register(kinesis, name).unwrap()
}

pub fn by_arn(arn: &str) -> ConsumerRequest {
    ConsumerRequest {
        consumer_arn: Some(arn.to_owned()),
        ..Default::default()
    }
}

fn by_name(name: &str) -> ConsumerRequest {
    ConsumerRequest {
        stream_arn: Some(STREAM_ARN.to_owned()),
        consumer_name: Some(name.to_owned()),
        consumer_arn: None,
    }
}

fn describe(
    kinesis: &Kinesis,
    request: &ConsumerRequest,
) -> Result<ConsumerDescription, KinesisError> {
    let described = kinesis.describe_stream_consumer(&Caller::default(), request);
    described.map(|outcome| outcome.consumer_description)
}

fn status(kinesis: &Kinesis, name: &str) -> &'static str {
    describe(kinesis, &by_name(name)).map_or("none", |described| described.consumer.consumer_status)
}

fn list_request() -> ListStreamConsumersRequest {
    ListStreamConsumersRequest {
        stream_arn: Some(STREAM_ARN.to_owned()),
        ..Default::default()
    }
}

fn list(
    kinesis: &Kinesis,
    request: &ListStreamConsumersRequest,
) -> Result<ListStreamConsumersOutcome, KinesisError> {
    kinesis.list_stream_consumers(&Caller::default(), request)
}

fn names(outcome: &ListStreamConsumersOutcome) -> Vec<&str> {
    let consumers = outcome.consumers.iter();
    consumers
        .map(|consumer| consumer.consumer_name.as_str())
        .collect()
}

fn count(kinesis: &Kinesis) -> usize {
    let request = StreamRequest { stream: stream() };
    let described = kinesis.describe_stream_summary(&Caller::default(), &request);
    described.unwrap().stream_description_summary.consumer_count
}

/// Creating takes 2 seconds and deleting 3.
const DELAYS: Delays = Delays {
    creating: Duration::from_secs(2),
    updating: Duration::ZERO,
    deleting: Duration::from_secs(3),
};

pub fn slow(storage: Storage, clock: Arc<ManualClock>) -> Kinesis {
    Kinesis::open(KinesisOptions {
        storage,
        clock,
        delays: DELAYS,
        ..KinesisOptions::default()
    })
    .unwrap()
}

#[test]
fn a_consumer_is_registered_described_listed_counted_and_deregistered() {
    let (kinesis, _clock) = memory(1);
    let consumer = register(&kinesis, "reader");
    assert_eq!(
        consumer,
        Consumer {
            consumer_name: "reader".to_owned(),
            consumer_arn: format!("{STREAM_ARN}/consumer/reader:{}", START / 1000),
            consumer_status: "ACTIVE",
            consumer_creation_timestamp: Timestamp(START),
        }
    );
    let expected = ConsumerDescription {
        consumer: consumer.clone(),
        stream_arn: STREAM_ARN.to_owned(),
    };
    let all_three = ConsumerRequest {
        consumer_arn: Some(consumer.consumer_arn.clone()),
        ..by_name("reader")
    };
    for request in [
        by_arn(&consumer.consumer_arn),
        by_name("reader"),
        all_three.clone(),
    ] {
        assert_eq!(describe(&kinesis, &request), Ok(expected.clone()));
    }
    assert_eq!(
        list(&kinesis, &list_request()).unwrap().consumers,
        [consumer]
    );
    assert_eq!(count(&kinesis), 1);
    kinesis.deregister_stream_consumer(&all_three).unwrap();
    let error = describe(&kinesis, &by_name("reader")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceNotFound);
    let error = kinesis.deregister_stream_consumer(&all_three).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceNotFound);
    assert!(error.message.contains("reader"), "{error}");
    assert_eq!(count(&kinesis), 0);
    assert!(
        list(&kinesis, &list_request())
            .unwrap()
            .consumers
            .is_empty()
    );
}

#[test]
fn a_consumer_that_is_named_wrongly_is_refused_with_awss_error() {
    let (kinesis, _clock) = memory(1);
    let arn = register(&kinesis, "reader").consumer_arn;
    let base = ConsumerRequest::default;
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (base(), ErrorKind::InvalidArgument),
        (
            ConsumerRequest {
                consumer_name: text("reader"),
                ..base()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ConsumerRequest {
                stream_arn: text(STREAM_ARN),
                ..base()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ConsumerRequest {
                consumer_name: text("other"),
                ..by_arn(&arn)
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ConsumerRequest {
                stream_arn: text(&STREAM_ARN.replace("ticks", "other")),
                ..by_arn(&arn)
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ConsumerRequest {
                stream_arn: text("ticks"),
                consumer_name: text("reader"),
                ..base()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ConsumerRequest {
                consumer_name: text("a b"),
                ..by_arn(&arn)
            },
            ErrorKind::Validation,
        ),
        (by_arn("reader"), ErrorKind::Validation),
        (by_arn(&"a".repeat(2049)), ErrorKind::Validation),
        (by_name("other"), ErrorKind::ResourceNotFound),
        (
            by_arn(&arn.replace("stream/ticks", "stream/other")),
            ErrorKind::ResourceNotFound,
        ),
        (
            by_arn(&arn.replace("consumer/reader", "consumer/other")),
            ErrorKind::ResourceNotFound,
        ),
        (
            by_arn(&arn.replace("000000000000", "111111111111")),
            ErrorKind::ResourceNotFound,
        ),
        (by_arn(&format!("{arn}0")), ErrorKind::ResourceNotFound),
    ];
    for (request, expected) in cases {
        let error = describe(&kinesis, &request).unwrap_err();
        assert_eq!(error.kind, expected, "{request:?}: {error}");
        let error = kinesis.deregister_stream_consumer(&request).unwrap_err();
        assert_eq!(error.kind, expected, "{request:?}: {error}");
    }
    assert_eq!(count(&kinesis), 1);
}

#[test]
fn registering_checks_stream_name_and_tags() {
    let (kinesis, _clock) = memory(1);
    let tags = |count: usize, key: usize, value: usize| -> Option<BTreeMap<String, String>> {
        let tag = |number| (format!("{number:0>key$}"), "é".repeat(value));
        Some((0..count).map(tag).collect())
    };
    let request = |arn: &str, name: &str, tags| RegisterStreamConsumerRequest {
        stream_arn: Some(arn.to_owned()),
        consumer_name: Some(name.to_owned()),
        tags,
    };
    let unknown = STREAM_ARN.replace("ticks", "other");
    let cases = [
        (
            RegisterStreamConsumerRequest::default(),
            ErrorKind::Validation,
        ),
        (request(STREAM_ARN, "", None), ErrorKind::Validation),
        (
            request(STREAM_ARN, &"n".repeat(129), None),
            ErrorKind::Validation,
        ),
        (
            request(STREAM_ARN, "c", tags(0, 1, 1)),
            ErrorKind::Validation,
        ),
        (
            request(STREAM_ARN, "c", tags(51, 1, 1)),
            ErrorKind::InvalidArgument,
        ),
        (
            request(STREAM_ARN, "c", tags(201, 1, 1)),
            ErrorKind::Validation,
        ),
        (
            request(STREAM_ARN, "c", tags(1, 129, 1)),
            ErrorKind::Validation,
        ),
        (
            request(STREAM_ARN, "c", tags(1, 1, 257)),
            ErrorKind::Validation,
        ),
        (
            request(
                STREAM_ARN,
                "c",
                Some(BTreeMap::from([(String::new(), String::new())])),
            ),
            ErrorKind::Validation,
        ),
        (request("ticks", "c", None), ErrorKind::InvalidArgument),
        (request(&unknown, "c", None), ErrorKind::ResourceNotFound),
    ];
    for (request, expected) in cases {
        let error = kinesis
            .register_stream_consumer(&Caller::default(), &request)
            .unwrap_err();
        assert_eq!(error.kind, expected, "{request:?}: {error}");
    }
    assert_eq!(count(&kinesis), 0);
    for (name, tags) in [("most", tags(50, 128, 256)), ("least", tags(1, 1, 0))] {
        let request = request(STREAM_ARN, name, tags);
        let registered = kinesis.register_stream_consumer(&Caller::default(), &request);
        assert!(registered.is_ok(), "{name}");
    }
}

#[test]
fn a_stream_has_twenty_consumers_of_different_names() {
    let (kinesis, _clock) = memory(1);
    for number in 0..20 {
        register(&kinesis, &format!("c{number}"));
    }
    let error = try_register(&kinesis, "c7").unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceInUse, "{error}");
    let error = try_register(&kinesis, "more").unwrap_err();
    assert_eq!(error.kind, ErrorKind::LimitExceeded, "{error}");
    assert_eq!(count(&kinesis), 20);
    kinesis.deregister_stream_consumer(&by_name("c7")).unwrap();
    register(&kinesis, "more");
}

#[test]
fn states_last_as_long_as_configured() {
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = slow(Storage::default(), clock.clone());
    create(&kinesis, 1);
    clock.advance(Duration::from_secs(60));
    assert_eq!(register(&kinesis, "c").consumer_status, "CREATING");
    clock.advance(Duration::from_millis(1999));
    assert_eq!(status(&kinesis, "c"), "CREATING");
    clock.advance(Duration::from_millis(1));
    assert_eq!(status(&kinesis, "c"), "ACTIVE");
    kinesis.deregister_stream_consumer(&by_name("c")).unwrap();
    clock.advance(Duration::from_millis(2999));
    assert_eq!(status(&kinesis, "c"), "DELETING");
    // Once more is no error, and doesn't begin anew.
    kinesis.deregister_stream_consumer(&by_name("c")).unwrap();
    let error = try_register(&kinesis, "c").unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceInUse);
    assert_eq!(
        (
            count(&kinesis),
            list(&kinesis, &list_request()).unwrap().consumers.len()
        ),
        (1, 1)
    );
    clock.advance(Duration::from_millis(1));
    assert_eq!(status(&kinesis, "c"), "none");
    assert_eq!(
        (
            count(&kinesis),
            list(&kinesis, &list_request()).unwrap().consumers.len()
        ),
        (0, 0)
    );
    assert_eq!(register(&kinesis, "c").consumer_status, "CREATING");
}

#[test]
fn five_consumers_may_be_creating_at_once() {
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = slow(Storage::default(), clock.clone());
    create(&kinesis, 1);
    clock.advance(DELAYS.creating);
    for number in 0..5 {
        register(&kinesis, &format!("c{number}"));
    }
    let error = try_register(&kinesis, "c5").unwrap_err();
    assert_eq!(error.kind, ErrorKind::LimitExceeded, "{error}");
    clock.advance(DELAYS.creating);
    register(&kinesis, "c5");
}

#[test]
fn a_clock_set_back_strands_no_consumer() {
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = slow(Storage::default(), clock.clone());
    create(&kinesis, 1);
    clock.advance(DELAYS.creating);
    register(&kinesis, "made");
    register(&kinesis, "ended");
    kinesis
        .deregister_stream_consumer(&by_name("ended"))
        .unwrap();
    clock.set_wall_millis(START - 3_600_000);
    assert_eq!(
        (status(&kinesis, "made"), status(&kinesis, "ended")),
        ("ACTIVE", "none")
    );
}

#[test]
fn a_consumer_made_anew_has_another_arn_even_in_the_same_second() {
    let (kinesis, clock) = memory(1);
    let mut arns = vec![register(&kinesis, "c").consumer_arn];
    for step in [0, 0, 400, 0, 3000, 0] {
        clock.advance(Duration::from_millis(step));
        kinesis.deregister_stream_consumer(&by_name("c")).unwrap();
        let consumer = register(&kinesis, "c");
        assert_eq!(consumer.consumer_status, "ACTIVE");
        assert!(!arns.contains(&consumer.consumer_arn), "{arns:?}");
        for old in &arns {
            let error = describe(&kinesis, &by_arn(old)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::ResourceNotFound);
        }
        arns.push(consumer.consumer_arn);
    }
}

#[test]
fn consumers_are_listed_in_pages_by_name() {
    let (kinesis, clock) = memory(1);
    for name in ["d", "b", "a", "c", "e"] {
        register(&kinesis, name);
    }
    let mut request = ListStreamConsumersRequest {
        max_results: Some(2),
        ..list_request()
    };
    let first = list(&kinesis, &request).unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    request.next_token = first.next_token.clone();
    let second = list(&kinesis, &request).unwrap();
    assert_eq!(names(&second), ["c", "d"]);
    request.next_token = second.next_token;
    // The one a page ended with may be gone.
    kinesis.deregister_stream_consumer(&by_name("d")).unwrap();
    let third = list(&kinesis, &request).unwrap();
    assert_eq!(names(&third), ["e"]);
    assert_eq!(third.next_token, None);
    request.next_token = first.next_token;
    clock.advance(Duration::from_secs(300));
    assert!(list(&kinesis, &request).is_ok());
    clock.advance(Duration::from_millis(1));
    let error = list(&kinesis, &request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ExpiredNextToken);
}

#[test]
fn a_list_that_is_asked_for_wrongly_is_refused() {
    let (kinesis, _clock) = memory(2);
    register(&kinesis, "a");
    register(&kinesis, "b");
    kinesis
        .create_stream(&CreateStreamRequest {
            stream_name: Some("other".to_owned()),
            shard_count: Some(1),
            ..Default::default()
        })
        .unwrap();
    let base = list_request;
    let page = list(
        &kinesis,
        &ListStreamConsumersRequest {
            max_results: Some(1),
            ..base()
        },
    );
    let token = page.unwrap().next_token;
    let shards = kinesis.list_shards(&ListShardsRequest {
        stream: stream(),
        max_results: Some(1),
        ..Default::default()
    });
    let other_token = shards.unwrap().next_token;
    let cases = [
        (ListStreamConsumersRequest::default(), ErrorKind::Validation),
        (
            ListStreamConsumersRequest {
                max_results: Some(0),
                ..base()
            },
            ErrorKind::Validation,
        ),
        (
            ListStreamConsumersRequest {
                max_results: Some(10_001),
                ..base()
            },
            ErrorKind::Validation,
        ),
        (
            ListStreamConsumersRequest {
                next_token: Some("garbage".to_owned()),
                ..base()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ListStreamConsumersRequest {
                next_token: other_token,
                ..base()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ListStreamConsumersRequest {
                next_token: token.clone(),
                stream_creation_timestamp: Some(Timestamp(START)),
                ..base()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ListStreamConsumersRequest {
                stream_arn: Some(STREAM_ARN.replace("ticks", "other")),
                next_token: token.clone(),
                ..base()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ListStreamConsumersRequest {
                stream_creation_timestamp: Some(Timestamp(START + 1)),
                ..base()
            },
            ErrorKind::ResourceNotFound,
        ),
        (
            ListStreamConsumersRequest {
                stream_arn: Some(STREAM_ARN.replace("ticks", "none")),
                ..base()
            },
            ErrorKind::ResourceNotFound,
        ),
    ];
    for (request, expected) in cases {
        let error = list(&kinesis, &request).unwrap_err();
        assert_eq!(error.kind, expected, "{request:?}: {error}");
    }
    let this_one = ListStreamConsumersRequest {
        stream_creation_timestamp: Some(Timestamp(START)),
        max_results: Some(10_000),
        ..base()
    };
    assert_eq!(names(&list(&kinesis, &this_one).unwrap()), ["a", "b"]);
}

#[test]
fn consumers_and_their_states_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = slow(disk(directory.path()), clock.clone());
    create(&kinesis, 1);
    clock.advance(DELAYS.creating);
    register(&kinesis, "early");
    register(&kinesis, "ended");
    clock.advance(DELAYS.creating);
    register(&kinesis, "late");
    kinesis
        .deregister_stream_consumer(&by_name("ended"))
        .unwrap();
    let before = list(&kinesis, &list_request()).unwrap().consumers;
    drop(kinesis);
    let kinesis = slow(disk(directory.path()), clock.clone());
    assert_eq!(list(&kinesis, &list_request()).unwrap().consumers, before);
    let states: Vec<_> = before
        .iter()
        .map(|consumer| consumer.consumer_status)
        .collect();
    assert_eq!(states, ["ACTIVE", "DELETING", "CREATING"]);
    clock.advance(DELAYS.deleting);
    assert_eq!(
        names(&list(&kinesis, &list_request()).unwrap()),
        ["early", "late"]
    );
}
