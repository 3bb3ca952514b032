#![allow(clippy::unwrap_used, clippy::panic)]
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object_store::memory::InMemory;
use serde_json::json;

use super::receipts::INTERVAL;
use super::*;

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/ticks";

fn options() -> DeadLetterOptions {
    DeadLetterOptions {
        url: "file:///rejects".into(),
        stream: "ticks".into(),
        mapping: RecordMapping::default(),
        reasons: BTreeSet::new(),
        tickers: BTreeSet::new(),
        rate: Rate::Max,
        limit: None,
        create_shards: None,
        dry_run: false,
        again: false,
        unusable: false,
        retry: RetryPolicy::default(),
        store: StoreOptions::default(),
    }
}

fn letter(ticker: &str, second: u32, reason: &str) -> String {
    let data = json!({"ticker": ticker, "timestamp": format!("2024-01-02T14:30:{second:02}Z"), "close": second});
    raw(&data.to_string(), second, reason)
}

fn raw(data: &str, second: u32, reason: &str) -> String {
    let line = json!({
        "reason": reason,
        "detail": "",
        "shard": "shardId-000000000003",
        "sequence_number": second.to_string(),
        "arrival_time": format!("2024-01-02T14:31:{second:02}Z"),
        "data_base64": STANDARD.encode(data),
    });
    format!("{line}\n")
}

fn select(options: &DeadLetterOptions, sent: &Sent, files: &[(&str, String)]) -> Selection {
    let mut selector = Selector::new(options, sent);
    for (name, text) in files {
        selector
            .add(name, name, &Bytes::from(text.clone()))
            .unwrap();
    }
    selector.finish()
}

/// Key and second of each letter to send.
fn order(selection: &Selection) -> Vec<(String, i64)> {
    let letters = selection.letters.iter();
    letters
        .map(|letter| {
            let key = selection.keys[letter.lane as usize].clone();
            (key, letter.time.as_second() % 60)
        })
        .collect()
}

#[test]
fn letters_go_in_the_order_of_arrival_and_never_out_of_their_shards_order() {
    // Version 10 comes after version 9, though not by name; the second letter of version 9 arrived "before" its first.
    let files = [
        ("s-k1-shardId-0-10.ndjson", letter("C", 30, "wrong_shard")),
        (
            "s-k1-shardId-0-9.ndjson",
            letter("A", 20, "wrong_shard") + &letter("A", 10, "wrong_shard"),
        ),
        ("s-k1-shardId-1-4.ndjson", letter("B", 15, "wrong_shard")),
    ];
    let found = order(&select(&options(), &Sent::default(), &files));
    let wanted = [("B", 15), ("A", 20), ("A", 10), ("C", 30)];
    assert_eq!(found, wanted.map(|(key, at)| (key.to_owned(), at)));
}

#[test]
fn what_the_mapping_cannot_use_is_held_back_by_the_reason_of_now() {
    let files = [(
        "a.ndjson",
        letter("A", 1, "missing_field")
            + &raw("{}", 2, "missing_field")
            + &raw("no JSON", 3, "malformed"),
    )];
    let selection = select(&options(), &Sent::default(), &files);
    assert_eq!(order(&selection), [("A".to_owned(), 1)]);
    assert_eq!(
        selection.unusable,
        [("malformed", 1), ("missing_field", 1)].into()
    );
    let all = DeadLetterOptions {
        unusable: true,
        ..options()
    };
    let selection = select(&all, &Sent::default(), &files);
    assert_eq!(selection.letters.len(), 3);
    // The shard's name, so that they keep its order.
    assert_eq!(selection.keys, ["A", "shardId-000000000003"]);
    assert_eq!(selection.letters[2].data, "no JSON");
}

#[test]
fn reasons_tickers_and_the_limit_choose() {
    let files = [(
        "a.ndjson",
        letter("A", 1, "wrong_shard")
            + &letter("A", 2, "ahead_of_time")
            + &letter("B", 3, "wrong_shard")
            + &letter("A", 4, "wrong_shard"),
    )];
    let asked = DeadLetterOptions {
        reasons: [DeadReason::WrongShard].into(),
        tickers: ["A".to_owned()].into(),
        limit: Some(1),
        ..options()
    };
    let selection = select(&asked, &Sent::default(), &files);
    assert_eq!(order(&selection), [("A".to_owned(), 1)]);
    assert_eq!(selection.passed_over, 3);
    assert_eq!(selection.to_send, [("wrong_shard", 1)].into());
}

#[test]
fn malformed_lines_are_told_with_file_and_line_and_hide_no_other() {
    let bad = raw("x", 1, "bored");
    let cut = &letter("A", 1, "wrong_shard")[..40];
    let base64 = letter("A", 1, "wrong_shard").replace("\"data_base64\":\"", "\"data_base64\":\"!");
    let files = [(
        "a.ndjson",
        format!("\n{bad}{cut}\n{base64}{}", letter("A", 9, "wrong_shard")),
    )];
    let selection = select(&options(), &Sent::default(), &files);
    assert_eq!(order(&selection), [("A".to_owned(), 9)]);
    assert_eq!(selection.malformed, 3);
    let told: Vec<_> = selection
        .told
        .iter()
        .map(|line| (line.line, line.problem.as_str()))
        .collect();
    assert_eq!(told[0], (2, "\"bored\" is no reason for a dead letter"));
    assert_eq!((told[1].0, told[2].0), (3, 4));
    assert!(told[2].1.contains("base64"), "{told:?}");
}

fn store() -> Store {
    Store::from_object_store(Arc::new(InMemory::new()), "rejects/dead-letters")
}

fn receipts(store: &Store, arn: &str) -> Receipts {
    Receipts::new(store.clone(), "_replayed/ticks/k1".into(), arn.into())
}

/// Writes receipts of these lines of the file `a.ndjson`.
async fn write(store: &Store, arn: &str, lines: &[u32]) {
    let files = select(
        &options(),
        &Sent::default(),
        &[("a.ndjson", "x".repeat(90))],
    )
    .files;
    let writer = receipts(store, arn).begin(&files).await.unwrap();
    let (marks, delivered) = mpsc::unbounded_channel();
    for line in lines {
        let mark = Mark {
            file: 0,
            line: *line,
        };
        marks.send(mark).unwrap();
    }
    drop(marks);
    writer.write(delivered).await.unwrap();
}

#[tokio::test]
async fn receipts_of_all_runs_into_a_stream_count_and_those_of_others_do_not() {
    let store = store();
    write(&store, ARN, &[3, 1, 2]).await;
    write(&store, ARN, &[7]).await;
    write(&store, &format!("{ARN}-of-another"), &[5]).await;
    let sent = receipts(&store, ARN).read().await.unwrap();
    let known: Vec<u32> = (0..10)
        .filter(|line| sent.contains("a.ndjson", *line))
        .collect();
    assert_eq!(known, [1, 2, 3, 7]);
    assert_eq!(sent.size("a.ndjson"), Some(90));
}

#[tokio::test]
async fn a_receipt_is_written_while_the_run_goes_on() {
    let store = store();
    let files = select(
        &options(),
        &Sent::default(),
        &[("a.ndjson", "x".repeat(90))],
    )
    .files;
    let writer = receipts(&store, ARN).begin(&files).await.unwrap();
    let (marks, delivered) = mpsc::unbounded_channel();
    marks.send(Mark { file: 0, line: 4 }).unwrap();
    // The channel stays open: the run goes on.
    let seen = async {
        let reader = receipts(&store, ARN);
        while !reader.read().await.unwrap().contains("a.ndjson", 4) {
            tokio::time::sleep(INTERVAL / 100).await;
        }
    };
    tokio::select! {
        _ = writer.write(delivered) => panic!("the writer ended"),
        () = seen => {}
    }
}

#[tokio::test]
async fn a_damaged_receipt_is_an_error_that_names_it() {
    for damage in [
        "{",
        r#"{"format":2,"stream_arn":"","files":{}}"#,
        r#"{"format":1,"stream_arn":"","files":{"a":{"bytes":10,"lines":[[0,4000000000]]}}}"#,
    ] {
        let store = store();
        let key = "_replayed/ticks/k1/1-0-000000.json";
        store.create(key, damage.into()).await.unwrap();
        let error = receipts(&store, ARN).read().await.unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("--again"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_sent_is_refused() {
    let store = store();
    write(&store, ARN, &[0]).await;
    let sent = receipts(&store, ARN).read().await.unwrap();
    let options = options();
    let mut selector = Selector::new(&options, &sent);
    let error = selector.add("file:///a.ndjson", "a.ndjson", &Bytes::from_static(b"{}"));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("2 bytes, but had 90"), "{error}");
}
