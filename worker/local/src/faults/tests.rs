#![allow(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;

use super::*;

const S0: &str = "shardId-000000000000";

fn script(text: &str) -> Script {
    Script::parse(text).unwrap()
}

fn call<'a>(operation: Operation, stream: &'a str, shards: &'a [Option<String>]) -> Call<'a> {
    Call {
        subject: Subject::Call(operation),
        stream: Some(stream),
        shards,
    }
}

/// Which of many GetRecords are struck.
fn struck(script: &mut Script, calls: usize) -> Vec<bool> {
    (0..calls)
        .map(|_| {
            !script
                .decide(&call(Operation::GetRecords, "s", &[]))
                .is_empty()
        })
        .collect()
}

#[test]
fn a_rule_strikes_what_it_names_and_nothing_else() {
    let mut script = script(&format!(
        r#"[{{"operation":"GetRecords","stream":"s","shard":"{S0}","fault":{{"throttle":{{}}}}}}]"#
    ));
    let (here, there) = (
        [Some(S0.to_owned())],
        [Some("shardId-000000000001".to_owned())],
    );
    let both = [None, here[0].clone()];
    for (operation, stream, shards, expected) in [
        (Operation::GetRecords, "s", &here[..], 1),
        (Operation::GetRecords, "s", &both[..], 1),
        (Operation::GetRecords, "s", &there[..], 0),
        (Operation::GetRecords, "s", &[][..], 0),
        (Operation::GetRecords, "t", &here[..], 0),
        (Operation::PutRecords, "s", &here[..], 0),
    ] {
        assert_eq!(
            script.decide(&call(operation, stream, shards)).len(),
            expected
        );
    }
}

#[test]
fn skip_lets_the_first_through_and_count_ends_it() {
    let mut script = script(r#"[{"skip":2,"count":3,"fault":{"close":{}}}]"#);
    let expected = [false, false, true, true, true, false, false];
    assert_eq!(struck(&mut script, 7), expected);
    assert_eq!(script.report()[0]["matched"], 7);
    assert_eq!(script.report()[0]["hits"], 3);
}

#[test]
fn delays_go_with_what_follows_and_an_end_is_the_end() {
    let mut script = script(
        r#"[{"fault":{"delay":{"millis":5}}},{"fault":{"drop_reply":{}}},
            {"fault":{"error":{"type":"KMSAccessDeniedException"}}},{"fault":{"close":{}}}]"#,
    );
    let hits = script.decide(&call(Operation::PutRecord, "s", &[]));
    let faults: Vec<_> = hits.into_iter().map(|hit| hit.fault).collect();
    let error = Fault::Error {
        kind: ErrorKind::KmsAccessDenied,
        message: None,
    };
    let delay = Fault::Delay(Duration::from_millis(5));
    assert_eq!(faults, [delay, Fault::DropReply, error]);
    assert_eq!(script.report()[3]["matched"], 0);
}

#[test]
fn events_must_be_named_and_iterators_expire_for_get_records_only() {
    let mut script = script(
        r#"[{"fault":{"close":{}}, "count": 0},
            {"operation":"SubscribeToShardEvent","fault":{"close":{}}},
            {"fault":{"expire_iterator":{}}}]"#,
    );
    let faults = Faults::new(script.clone());
    assert_eq!(faults.decide_event("s", S0).len(), 1);
    assert_eq!(faults.report()[0]["matched"], 0);
    let put = script.decide(&call(Operation::PutRecord, "s", &[]));
    assert_eq!(put, []);
    let get = script.decide(&call(Operation::GetRecords, "s", &[]));
    assert_eq!(get[0].fault, Fault::ExpireIterator);
}

#[test]
fn replacing_the_rules_begins_anew() {
    let faults = Faults::new(script(r#"[{"count":1,"fault":{"close":{}}}]"#));
    let get = call(Operation::GetRecords, "s", &[]);
    assert_eq!(faults.decide(&get).len(), 1);
    assert_eq!(faults.decide(&get).len(), 0);
    faults.replace(script(r#"[{"count":1,"fault":{"throttle":{}}}]"#));
    assert_eq!(faults.report()[0]["hits"], 0);
    assert_eq!(faults.decide(&get)[0].fault, Fault::Throttle);
}

proptest! {
    #[test]
    fn a_seed_gives_the_same_decisions_again(seed: u64, probability in 0.0..=1.0) {
        let text = format!(r#"[{{"seed":{seed},"probability":{probability},"fault":{{"close":{{}}}}}}]"#);
        let first = struck(&mut script(&text), 200);
        prop_assert_eq!(&first, &struck(&mut script(&text), 200));
        // The rule as it is reported is the rule.
        let mut reported = script(&text).report();
        let fields = reported[0].as_object_mut().unwrap();
        prop_assert!(fields.remove("hits").is_some() && fields.remove("matched").is_some());
        prop_assert_eq!(first, struck(&mut script(&reported.to_string()), 200));
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(text in ".{0,200}") {
        let _ = Script::parse(&text);
    }
}

#[test]
fn probability_is_about_kept_and_its_ends_are_exact() {
    let hits = |probability: f64| {
        let text =
            format!(r#"[{{"seed":1,"probability":{probability},"fault":{{"close":{{}}}}}}]"#);
        let struck = struck(&mut script(&text), 10_000);
        struck.into_iter().filter(|struck| *struck).count()
    };
    assert_eq!((hits(0.0), hits(1.0)), (0, 10_000));
    assert!((2_300..2_700).contains(&hits(0.25)), "{}", hits(0.25));
}

#[test]
fn errors_name_rule_field_what_was_found_and_what_is_allowed() {
    let message = |text: &str| Script::parse(text).unwrap_err().to_string();
    for (rule, expected) in [
        (
            r#"{"fault":{"close":{}},"oops":1}"#,
            "rule 2: oops is 1; allowed is no other field than operation",
        ),
        (
            r#"{"operation":"Put","fault":{"close":{}}}"#,
            "rule 2: operation is \"Put\"; allowed is one of AddTags",
        ),
        (
            r#"{"stream":"","fault":{"close":{}}}"#,
            "rule 2: stream is \"\"; allowed is a stream's name",
        ),
        (
            r#"{"shard":"0","fault":{"close":{}}}"#,
            "rule 2: shard is \"0\"; allowed is a shard's id",
        ),
        (
            r#"{"skip":-1,"fault":{"close":{}}}"#,
            "rule 2: skip is -1; allowed is a whole number from 0",
        ),
        (
            r#"{"count":1.5,"fault":{"close":{}}}"#,
            "rule 2: count is 1.5; allowed",
        ),
        (
            r#"{"probability":1.1,"fault":{"close":{}}}"#,
            "rule 2: probability is 1.1; allowed is a number from 0 to 1",
        ),
        (
            r#"{"seed":"x","fault":{"close":{}}}"#,
            "rule 2: seed is \"x\"; allowed",
        ),
        (
            r#"{}"#,
            "rule 2: fault is missing; allowed is one of {\"throttle\":{}}",
        ),
        (r#"{"fault":{}}"#, "rule 2: fault is {}; allowed is one of"),
        (
            r#"{"fault":{"close":{},"throttle":{}}}"#,
            "rule 2: fault is {",
        ),
        (
            r#"{"fault":{"close":{"a":1}}}"#,
            "rule 2: fault.close.a is 1; allowed is no field here",
        ),
        (
            r#"{"fault":{"delay":{}}}"#,
            "rule 2: fault.delay.millis is missing; allowed is a whole number from 0 to 3600000",
        ),
        (
            r#"{"fault":{"delay":{"millis":3600001}}}"#,
            "rule 2: fault.delay.millis is 3600001; allowed",
        ),
        (
            r#"{"fault":{"error":{"type":"Oops"}}}"#,
            "rule 2: fault.error.type is \"Oops\"; allowed is one of Validation",
        ),
        (
            r#"{"fault":{"error":{"type":"KMSDisabledException","message":1}}}"#,
            "rule 2: fault.error.message is 1; allowed is a text",
        ),
        (
            r#"{"operation":"PutRecord","fault":{"expire_iterator":{}}}"#,
            "rule 2: fault is {\"expire_iterator\":{}}; allowed is any other",
        ),
        (
            r#"{"operation":"SubscribeToShardEvent","fault":{"throttle":{}}}"#,
            "rule 2: fault is {\"throttle\":{}}; allowed is error, delay or close",
        ),
        (
            "7",
            "rule 2: the rule is 7; allowed is an object of operation",
        ),
    ] {
        let text = format!(r#"[{{"fault":{{"close":{{}}}}}}, {rule}]"#);
        let message = message(&text);
        assert!(
            message.starts_with(expected),
            "{message}\nisn't\n{expected}"
        );
    }
    assert!(message("{").starts_with("the rules aren't JSON: "));
    assert!(message("{}").contains("must be a JSON list"));
    let many = format!("[{}1]", "1,".repeat(MAX_RULES));
    assert!(message(&many).contains("a list of 1001"));
    assert!(message(&format!("[{}]", "9".repeat(300))).len() < 300);
}
