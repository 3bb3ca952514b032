//! The faster decoder gives what the SDK's gives, or nothing.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::protocol::decode_by_sdk;
use super::super::{Reply, StreamError};
use super::*;

/// As Kinesis answers (Kinesis API reference, GetRecords), with an exponent in the time.
const PLAIN: &str = r#"{"MillisBehindLatest":2100,"NextShardIterator":"AAAAAAAAAAHsW8zCWf9164uy8Epue6WS3w6wmj4a4USt+CNvMd6uXQ==","Records":[{"ApproximateArrivalTimestamp":1.441215410867E9,"Data":"eyJ0aWNrZXIiOiJBQVBMIn0=","PartitionKey":"AAPL","SequenceNumber":"49590338271490256608559692538361571095921575989136588898"},{"ApproximateArrivalTimestamp":1.441215410871E9,"Data":"","PartitionKey":"ü","SequenceNumber":"7","EncryptionType":"KMS"}]}"#;

/// Holds the two decoders against each other; `None` when the body is left to the SDK's.
fn compared(body: &[u8]) -> Option<Reply> {
    let reply = decode(body)?;
    match decode_by_sdk(body) {
        Ok(expected) => assert_eq!(reply, expected, "{}", String::from_utf8_lossy(body)),
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(body)),
    }
    Some(reply)
}

#[test]
fn a_plain_answer_is_read_and_as_the_sdk_reads_it() {
    let reply = compared(PLAIN.as_bytes()).unwrap();
    assert_eq!(reply.records.len(), 2);
    assert_eq!(reply.records[0].data, r#"{"ticker":"AAPL"}"#);
    for other in [
        PLAIN.replace("2100", "0"),
        PLAIN.replace(",\"PartitionKey\":\"AAPL\"", ""),
        PLAIN.replace(r#""MillisBehindLatest":2100,"#, ""),
        PLAIN.replace("1.441215410867E9", "1441215410.867"),
        PLAIN.replace("1.441215410867E9", "1441215410"),
        PLAIN.replace("1.441215410867E9", "0.1e-400"),
        PLAIN.replace("1.441215410867E9", "14412154108670000000000000000e-19"),
        PLAIN.replace("1.441215410867E9", "1.44121541086712345678901234567e+9"),
        PLAIN.replace("\":", "\" : ").replace('}', " } "),
    ] {
        let _ = compared(other.as_bytes());
    }
    let spaced = PLAIN.replace("\":", "\" :\n").replace('}', "\t}\r ");
    assert!(compared(spaced.as_bytes()).is_some());
    assert!(compared(br#"{"Records":[]}"#).unwrap().records.is_empty());
}

#[test]
fn what_is_not_plain_is_left_to_the_sdk() {
    let children = r#""ChildShards":[{"ShardId":"a","ParentShards":["b"],"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"1"}}],"Records""#;
    for odd in [
        PLAIN.replace("\"Records\"", children),
        PLAIN.replace("AAPL\"", "\\u0041APL\""),
        PLAIN.replace("wmj4", "wmj\\u0034"),
        PLAIN.replace("2100", "null"),
        PLAIN.replace("2100", "-1"),
        PLAIN.replace("2100", "2100.0"),
        PLAIN.replace("2100", "99999999999999999999"),
        PLAIN.replace("1.441215410867E9", "-1"),
        PLAIN.replace("1.441215410867E9", "null"),
        PLAIN.replace("1.441215410867E9", "01.441215410867E9"),
        PLAIN.replace("1.441215410867E9", "1.E9"),
        PLAIN.replace("1.441215410867E9", "\"2015-09-02T17:36:50Z\""),
        PLAIN.replace("1.441215410867E9", "1E300"),
        PLAIN.replace("\"SequenceNumber\":\"7\"", "\"SequenceNumber\":\"7a\""),
        PLAIN.replace("\"SequenceNumber\":\"7\"", "\"SequenceNumber\":7"),
        PLAIN.replace("\"SequenceNumber\":\"7\",", ""),
        PLAIN.replace("\"Data\":\"\"", "\"Data\":null"),
        PLAIN.replace("\"Data\":\"\"", "\"Data\":\"AA=\""),
        PLAIN.replace("\"Data\":\"\"", "\"Data\":\"AB==\""),
        PLAIN.replace("\"Data\":\"\"", "\"Data\":\"AA==AA==\""),
        PLAIN.replace("\"Data\":\"\"", "\"Data\":\"A_-A\""),
        PLAIN.replace("\"Data\":\"\"", "\"Data\":\"\",\"Data\":\"\""),
        PLAIN.replace("\"Data\":\"\"", "\"Data\":\"\",\"Unknown\":1"),
        PLAIN.replace("\"Records\"", "\"MillisBehindLatest\":1,\"Records\""),
        PLAIN.replace("\"Records\"", "\"Unknown\":{},\"Records\""),
        PLAIN.replace("\"Records\"", "\"Records\" \"Records\""),
        PLAIN.replace("\"Data\":\"\"", "\"Data\" \"Data\":\"\""),
        PLAIN.replace("[{", "[null,{"),
        PLAIN.replace("},{", "}{"),
        PLAIN.replace("},{", "},,{"),
        PLAIN.replace("}]", "},]"),
        PLAIN.replace("}]}", "}],}"),
        format!("{PLAIN}x"),
        PLAIN[..PLAIN.len() - 1].to_owned(),
        String::new(),
        "{}".to_owned(),
        r#"{"Records":null}"#.to_owned(),
    ] {
        assert!(decode(odd.as_bytes()).is_none(), "{odd}");
    }
    let not_utf8 = PLAIN.replace('ü', "##").into_bytes();
    let not_utf8: Vec<u8> = not_utf8
        .iter()
        .map(|byte| if *byte == b'#' { 0xff } else { *byte })
        .collect();
    assert!(decode(&not_utf8).is_none());
    assert!(matches!(
        decode_by_sdk(&not_utf8),
        Err(StreamError::Unavailable { .. })
    ));
}

/// What a member may hold. The first few are plain, and most frequent.
fn values(plain: &[&'static str], odd: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    let (plain, odd) = (plain.to_vec(), odd.to_vec());
    prop_oneof![30 => select(plain), 1 => select(odd)].prop_map(str::to_owned)
}

fn arrivals() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => (0u64..5_000_000_000_000).prop_map(|millis| format!("{}.{:03}", millis / 1000, millis % 1000)),
        10 => (1_000_000_000_000u64..2_000_000_000_000)
            .prop_map(|millis| format!("{}.{:012}E9", millis / 1_000_000_000_000, millis % 1_000_000_000_000)),
        3 => any::<u64>().prop_map(|number| number.to_string()),
        3 => "(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?",
        1 => values(&["-1.5", "1.", ".5", "00", "1e", "+1", "null", "\"1\"", "1e999"], &["x"]),
    ]
}

fn base64_texts() -> impl Strategy<Value = String> {
    use base64::Engine as _;
    prop_oneof![
        20 => vec(any::<u8>(), 0..200).prop_map(|data| base64::prelude::BASE64_STANDARD.encode(data)),
        1 => "[A-Za-z0-9+/]{0,9}=?=?",
        1 => "[A-Z_\\-\\\\ü]{0,9}",
    ]
    .prop_map(|text| format!("{text:?}").replace("\\\\", "\\"))
}

fn record() -> impl Strategy<Value = String> {
    let sequence = prop_oneof![
        20 => "\"[0-9]{1,60}\"",
        1 => values(&["\"\"", "null", "7", "\"-1\"", "\"\\u0037\""], &["x"]),
    ];
    let key = values(
        &["\"AAPL\"", "\"\"", "\"ü\"", "\"a\tb\""],
        &["null", "\"\\\"\"", "\"\\x\"", "\"open", "7"],
    );
    let encryption = values(&["\"KMS\"", "\"NONE\"", "\"?\""], &["null", "7"]);
    let members = (
        sequence.prop_map(|value| format!("\"SequenceNumber\":{value}")),
        arrivals().prop_map(|value| format!("\"ApproximateArrivalTimestamp\":{value}")),
        base64_texts().prop_map(|value| format!("\"Data\":{value}")),
        key.prop_map(|value| format!("\"PartitionKey\":{value}")),
        encryption.prop_map(|value| format!("\"EncryptionType\":{value}")),
        values(
            &[""],
            &["\"Unknown\":[1]", "\"Data\":\"\"", "\"__type\":\"a\""],
        ),
    );
    let members = members.prop_map(|(a, b, c, d, e, f)| vec![a, b, c, d, e, f]);
    (members.prop_shuffle(), 0usize..40).prop_map(|(mut members, gone)| {
        if gone < members.len() {
            members.remove(gone);
        }
        object(members)
    })
}

fn object(mut members: Vec<String>) -> String {
    members.retain(|member| !member.is_empty());
    format!("{{{}}}", members.join(","))
}

fn body() -> impl Strategy<Value = String> {
    let members = (
        vec(record(), 0..5).prop_map(|records| format!("\"Records\":[{}]", records.join(","))),
        values(
            &["\"AAA\"", "\"ü+/=\""],
            &["null", "\"\\u0041\"", "\"a\\", "7"],
        )
        .prop_map(|value| format!("\"NextShardIterator\":{value}")),
        values(
            &["0", "2100", "9223372036854775807"],
            &["-5", "1.5", "null", "00"],
        )
        .prop_map(|value| format!("\"MillisBehindLatest\":{value}")),
        values(
            &[""],
            &[
                "\"ChildShards\":[]",
                "\"ChildShards\":null",
                "\"Records\":[]",
            ],
        ),
    );
    let members = members.prop_map(|(a, b, c, d)| vec![a, b, c, d]);
    let space = select(vec!["", " ", "\n", "\u{b}"]);
    (members.prop_shuffle(), space).prop_map(|(members, space)| {
        let text = object(members);
        match space {
            "" => text,
            space => text.replace("\":", &format!("\"{space}:{space}")),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_answer_is_read_as_the_sdk_reads_it_or_not_at_all(body in body()) {
        compared(body.as_bytes());
    }

    #[test]
    fn a_damaged_answer_is_refused_when_the_sdk_refuses_it(
        body in body(),
        damage in vec((any::<Index>(), 0u8..3, select(b"\"\\{}[],:.0e-=A \x00\x80\xff".to_vec())), 1..4),
    ) {
        let mut body = body.into_bytes();
        for (at, kind, byte) in damage {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.remove(at)),
            }
        }
        compared(&body);
    }

    #[test]
    fn a_cut_answer_is_never_taken_for_a_whole_one(cut in 0..PLAIN.len()) {
        prop_assert!(decode(&PLAIN.as_bytes()[..cut]).is_none());
    }

    #[test]
    fn any_bytes_are_answered(body in vec(any::<u8>(), 0..200)) {
        compared(&body);
    }

    /// That the faster decoder is used at all.
    #[test]
    fn what_is_plain_is_read(
        records in vec(("[0-9]{1,60}", 0u64..4_000_000_000_000, vec(any::<u8>(), 0..300), "[A-Zü]{1,9}"), 0..30),
    ) {
        use base64::Engine as _;
        let texts: Vec<String> = records.iter().map(|(sequence, millis, data, key)| {
            let data = base64::prelude::BASE64_STANDARD.encode(data);
            let arrival = format!("{}.{:03}", millis / 1000, millis % 1000);
            format!(r#"{{"SequenceNumber":"{sequence}","ApproximateArrivalTimestamp":{arrival},"Data":"{data}","PartitionKey":"{key}","EncryptionType":"NONE"}}"#)
        }).collect();
        let body = format!(r#"{{"Records":[{}],"NextShardIterator":"AAA","MillisBehindLatest":0}}"#, texts.join(","));
        let reply = compared(body.as_bytes()).unwrap();
        for (record, (sequence, _, data, _)) in reply.records.iter().zip(&records) {
            prop_assert_eq!(&record.data, data);
            prop_assert_eq!(record.sequence.to_string(), sequence.clone());
        }
        prop_assert_eq!(reply.records.len(), records.len());
    }
}
