#![allow(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::{ChildShard, HashKeyRangeView, PutRecordsRequest};
use crate::log::Record;

fn any_sequence() -> impl Strategy<Value = SequenceNumber> {
    let birth = 0..100_000_000_000_000_u64;
    (birth, any::<u64>(), any::<u32>()).prop_map(|(birth, index, shard)| SequenceNumber {
        birth,
        index,
        shard,
    })
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

/// Keys as they are, of any characters, and of those that JSON escapes.
fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Z]{1,8}",
        any::<String>(),
        "[\"\\\\/\u{0}-\u{20}\u{7f}\u{e9}\u{2028}\u{1f600}]{0,12}",
    ]
}

fn any_view() -> impl Strategy<Value = RecordView> {
    // A millisecond more and seconds with three decimals are no doubles any more.
    let arrival = prop_oneof![0..10_000_000_000_000_u64, Just(0), Just((1 << 53) / 1000)];
    let record = (any_key(), any_bytes(), any::<bool>());
    (any_sequence(), arrival, record).prop_map(
        |(sequence_number, arrival_millis, (key, data, encrypted))| {
            RecordView(StoredRecord {
                sequence_number,
                arrival_millis,
                record: Record::new(&key, &data).encrypted(encrypted),
            })
        },
    )
}

fn any_children() -> impl Strategy<Value = Option<Vec<ChildShard>>> {
    let child = ChildShard {
        shard_id: "shardId-000000000001".to_owned(),
        parent_shards: vec!["shardId-000000000000".to_owned()],
        hash_key_range: HashKeyRangeView {
            starting_hash_key: "0".to_owned(),
            ending_hash_key: "1".to_owned(),
        },
    };
    prop::option::of(Just(vec![child]))
}

fn any_result() -> impl Strategy<Value = Result<SequenceNumber, KinesisError>> {
    let kind = prop::sample::select(ErrorKind::ALL);
    prop_oneof![
        any_sequence().prop_map(Ok),
        (kind, any::<String>()).prop_map(|(kind, message)| Err(KinesisError { kind, message })),
    ]
}

/// A member of a body: nearly always as it should be.
fn any_member(usual: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    let odd = prop::sample::select(vec![
        Value::Null,
        json!(7),
        json!([]),
        json!("QQ"),
        json!("QQ==\n"),
        json!("%"),
        json!(""),
        json!("a\"b"),
        json!("\u{e9}\u{1f600}"),
    ]);
    prop_oneof![20 => usual, 1 => odd]
}

/// Bodies of PutRecords: plain ones, and ones with anything wrong or unusual in them.
fn any_body() -> impl Strategy<Value = String> {
    let data = any_member(any_bytes().prop_map(|data| json!(STANDARD.encode(data))));
    let key = any_member(any_key().prop_map(Value::from));
    let name = prop::sample::select(vec!["Data", "PartitionKey", "ExplicitHashKey", "Other"]);
    let spare = prop::option::weighted(0.2, (name, any_member(Just(json!("12")))));
    let entry = (data, key, spare).prop_map(|(data, key, spare)| {
        // By hand: a map of serde_json's would hold no name twice.
        let spare = spare.map_or(String::new(), |(name, value)| {
            format!(r#","{name}":{value}"#)
        });
        format!(r#"{{"Data":{data},"PartitionKey":{key}{spare}}}"#)
    });
    let names = prop::sample::select(vec![
        r#""StreamName":"ticks""#,
        r#""StreamName":"t\u0069cks""#,
        r#""StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/ticks","DryRun":true"#,
        r#""StreamName":null,"DryRun":null,"Records":[]"#,
        r#""DryRun":1"#,
        r#""Unknown":{"Records":[1]}"#,
    ]);
    let end = prop_oneof![20 => Just("}"), 1 => Just("}}"), 1 => Just(""), 1 => Just(",}")];
    (prop::collection::vec(entry, 0..6), names, end).prop_map(|(entries, names, end)| {
        format!(r#"{{"Records":[{}],{names}{end}"#, entries.join(","))
    })
}

fn parsed(answer: Vec<u8>) -> Value {
    serde_json::from_slice(&answer).unwrap()
}

proptest! {
    #[test]
    fn an_answer_of_get_records_is_what_serde_writes(
        records in prop::collection::vec(any_view(), 0..20),
        next_shard_iterator in prop::option::of(any::<String>()),
        millis_behind_latest: u64,
        child_shards in any_children(),
    ) {
        let outcome = GetRecordsOutcome { records, next_shard_iterator, millis_behind_latest, child_shards };
        let expected = serde_json::to_value(&outcome).unwrap();
        prop_assert_eq!(parsed(records_answer(outcome).unwrap()), expected);
    }

    #[test]
    fn an_answer_of_put_records_is_what_serde_writes(
        results in prop::collection::vec(any_result(), 0..20),
        encryption_type in prop::sample::select(vec!["KMS", "NONE"]),
    ) {
        let failed_record_count = results.iter().filter(|result| result.is_err()).count();
        let outcome = PutsOutcome { failed_record_count, results, encryption_type };
        let answer = parsed(puts_answer(&outcome).unwrap());
        prop_assert_eq!(answer, serde_json::to_value(PutRecordsOutcome::from(outcome)).unwrap());
    }

    #[test]
    fn a_plain_body_means_what_serde_reads_in_it(body in any_body()) {
        let mut decoded = Vec::new();
        if let Some(puts) = plain_puts(body.as_bytes(), &mut decoded) {
            let request: PutRecordsRequest = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(puts, Puts::from(&request));
        }
    }

    #[test]
    fn what_clients_send_is_plain(
        entries in prop::collection::vec((any_bytes(), "[A-Za-z0-9 /\u{e9}-]{1,20}", prop::option::of(any::<u128>())), 0..20),
    ) {
        let entry = |(data, key, hash): &(Vec<u8>, String, Option<u128>)| {
            json!({"Data": STANDARD.encode(data), "PartitionKey": key, "ExplicitHashKey": hash.map(|hash| hash.to_string())})
        };
        let records: Vec<Value> = entries.iter().map(entry).collect();
        let body = json!({"StreamName": "ticks", "Records": records}).to_string();
        let mut decoded = Vec::new();
        let puts = plain_puts(body.as_bytes(), &mut decoded).unwrap();
        let data: Vec<_> = puts.entries.unwrap().iter().map(|entry| entry.data.unwrap().to_vec()).collect();
        prop_assert_eq!(data, entries.into_iter().map(|(data, ..)| data).collect::<Vec<_>>());
    }
}
