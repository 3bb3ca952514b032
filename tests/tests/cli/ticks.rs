//! Ticks that can't be used: each is a dead letter with its reason, as it came, and the others count.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stockstream_tests::{python_json, scratch};

use crate::support::{Kinesis, Running, Spec, condition, dead_letters, run_files, text};

const MIB: usize = 1 << 20;

fn tick(ticker: &str, time: &str, close: f64) -> Value {
    json!({"ticker": ticker, "date": "2024-01-02", "timestamp": time, "close": close, "volume": 1})
}

/// Raw bytes of one record, and the reason for which it must be refused.
fn bad_records() -> Vec<(Vec<u8>, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let with = |field: &str, value: Value| {
        let mut tick = tick("AAPL", "2024-01-02T14:30:10Z", 1.0);
        tick[field] = value;
        tick.to_string().into_bytes()
    };
    let without = |field: &str| {
        let mut tick = tick("AAPL", "2024-01-02T14:30:10Z", 1.0);
        tick.as_object_mut().unwrap().remove(field);
        tick.to_string().into_bytes()
    };
    let raw = |close: &str| {
        format!(r#"{{"ticker":"AAPL","timestamp":"2024-01-02T14:30:10Z","close":{close}}}"#)
            .into_bytes()
    };
    let large = with("note", json!("x".repeat(10 * MIB)));
    vec![
        (text("{"), "malformed"),
        (text("no JSON"), "malformed"),
        (text("[1, 2]"), "malformed"),
        (text("null"), "malformed"),
        (text(r#"{"ticker":"AAPL"} {"ticker":"AAPL"}"#), "malformed"),
        (b"\xff\xfe\x00".to_vec(), "malformed"),
        (raw("NaN"), "malformed"),
        (raw("Infinity"), "malformed"),
        (raw("-Infinity"), "malformed"),
        (raw("01"), "malformed"),
        (raw("1e999"), "malformed"),
        (without("ticker"), "missing_field"),
        (without("timestamp"), "missing_field"),
        (without("close"), "missing_field"),
        (with("ticker", Value::Null), "missing_field"),
        (with("timestamp", Value::Null), "missing_field"),
        (with("close", Value::Null), "missing_field"),
        (with("ticker", json!(7)), "invalid_field"),
        (with("ticker", json!("")), "invalid_field"),
        (with("ticker", json!("T".repeat(10_000))), "invalid_field"),
        (with("ticker", json!("T".repeat(65))), "invalid_field"),
        (with("close", json!("12.5")), "invalid_field"),
        (with("close", json!("NaN")), "invalid_field"),
        (with("close", json!([1])), "invalid_field"),
        (with("volume", json!(1.5)), "invalid_field"),
        (with("volume", json!(true)), "invalid_field"),
        (with("timestamp", json!(1_704_205_800)), "invalid_field"),
        (with("timestamp", json!("yesterday")), "invalid_field"),
        (with("timestamp", json!("2024-01-02")), "invalid_field"),
        (
            with("timestamp", json!("0001-01-01T00:00:00Z")),
            "invalid_field",
        ),
        (
            with("timestamp", json!("9999-12-31T23:59:59Z")),
            "invalid_field",
        ),
        (with("date", json!("02.01.2024")), "invalid_field"),
        (with("date", json!(20_240_102)), "invalid_field"),
        (large, "too_large"),
    ]
}

/// Asserts that the letters are exactly the refused records, each with its reason and its bytes.
fn assert_letters(letters: &[Value], wanted: &[(Vec<u8>, &str)]) {
    let found: Vec<(Vec<u8>, &str)> = letters
        .iter()
        .map(|letter| {
            let data = STANDARD
                .decode(letter["data_base64"].as_str().unwrap())
                .unwrap();
            (data, letter["reason"].as_str().unwrap())
        })
        .collect();
    let short = |(data, reason): &(Vec<u8>, &str)| {
        let start: String = String::from_utf8_lossy(data).chars().take(120).collect();
        format!("{reason}, {} bytes: {start}", data.len())
    };
    assert_eq!(
        found.iter().map(short).collect::<Vec<_>>(),
        wanted.iter().map(short).collect::<Vec<_>>()
    );
    assert!(found == wanted, "the raw bytes differ");
}

#[test]
fn every_unusable_line_of_a_file_is_a_dead_letter_and_the_others_count() {
    let directory = scratch().unwrap();
    // Lines can't hold a bare new line, and a record of 10 MiB is too large for a tick.
    let bad = bad_records();
    let mut lines = Vec::new();
    for (number, (data, _)) in bad.iter().enumerate() {
        lines.extend_from_slice(data);
        lines.push(b'\n');
        let good = tick(
            "MSFT",
            &format!("2024-01-02T14:30:{:02}Z", number % 60),
            2.0,
        );
        lines.extend_from_slice(good.to_string().as_bytes());
        lines.push(b'\n');
    }
    let path = directory.path().join("ticks.ndjson");
    std::fs::write(&path, lines).unwrap();
    let spec = Spec::of_files(directory.path(), &[text(&path).unwrap()])
        .window("aggregates: [{name: ticks, function: count}]");
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let summary = run_files(&yaml).unwrap();
    assert_eq!(summary["ticks"], bad.len(), "{summary:#}");
    assert_eq!(summary["rows"], 1);
    let mut counts = serde_json::Map::new();
    for (_, reason) in &bad {
        let count = counts.entry(*reason).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap() + 1);
    }
    assert_eq!(summary["deadLetters"], Value::Object(counts));
    // A line above the limit isn't kept whole: only as much as shows that it is too large.
    let mut letters = dead_letters(&spec.rejects_path()).unwrap();
    letters.sort_by_key(|letter| {
        letter["sequence_number"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    });
    let large = letters.pop().unwrap();
    assert_eq!(large["reason"], "too_large");
    let kept = STANDARD
        .decode(large["data_base64"].as_str().unwrap())
        .unwrap();
    assert!(
        bad.last().unwrap().0.starts_with(&kept),
        "{} bytes are another record's",
        kept.len()
    );
    assert!(kept.len() > 10 * MIB, "{} bytes", kept.len());
    assert_letters(&letters, &bad[..bad.len() - 1]);
    for letter in &letters {
        assert_eq!(letter["shard"], "files");
        assert!(!letter["detail"].as_str().unwrap().is_empty(), "{letter}");
    }
}

#[test]
fn every_unusable_record_of_a_stream_is_a_dead_letter_that_names_its_record() {
    let directory = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "bad", "1"]).unwrap();
    // The largest record that Kinesis takes is data and key together: a tick of 10 MiB can't come this way.
    let bad: Vec<_> = bad_records()
        .into_iter()
        .filter(|(_, reason)| *reason != "too_large")
        .collect();
    let records: String = bad
        .iter()
        .map(|(data, _)| {
            format!(
                "{}\n",
                json!({"key": "AAPL", "data_base64": STANDARD.encode(data)})
            )
        })
        .collect();
    let path = directory.path().join("records.ndjson");
    std::fs::write(&path, records).unwrap();
    let replies = kinesis
        .boto3(&["put", "bad", &text(&path).unwrap()])
        .unwrap();

    let spec = Spec::of_stream(directory.path(), "bad");
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let mut worker = Running::worker(&yaml, &kinesis.endpoint).unwrap();
    worker
        .wait_for_state("every dead letter", |state| {
            let counts = state["totals"]["deadLetters"].as_object().unwrap();
            counts.values().filter_map(Value::as_u64).sum::<u64>() == bad.len() as u64
        })
        .unwrap();
    worker.interrupt().unwrap().success().unwrap();
    let letters = dead_letters(&spec.rejects_path()).unwrap();
    assert_letters(&letters, &bad);
    for (letter, reply) in letters.iter().zip(replies.as_array().unwrap()) {
        assert_eq!(letter["sequence_number"], reply["sequence_number"]);
        assert_eq!(letter["shard"], reply["shard"]);
    }
}

#[test]
fn a_tick_of_ten_mebibytes_through_the_stream_is_kept_or_refused_in_words() {
    let directory = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "large", "1", "10240"]).unwrap();
    let path = directory.path().join("records.ndjson");
    let data = vec![b'x'; 10 * MIB];
    std::fs::write(
        &path,
        json!({"key": "A", "data_base64": STANDARD.encode(&data)}).to_string(),
    )
    .unwrap();
    // Data and key together are above Kinesis' 10 MiB.
    let error = kinesis
        .boto3(&["put", "large", &text(&path).unwrap()])
        .unwrap_err();
    assert!(format!("{error:#}").contains("10485760"), "{error:#}");

    let fits = &data[..10 * MIB - 1];
    std::fs::write(
        &path,
        json!({"key": "A", "data_base64": STANDARD.encode(fits)}).to_string(),
    )
    .unwrap();
    kinesis
        .boto3(&["put", "large", &text(&path).unwrap()])
        .unwrap();
    let spec = Spec::of_stream(directory.path(), "large");
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let mut worker = Running::worker(&yaml, &kinesis.endpoint).unwrap();
    worker
        .wait_for_state("the dead letter", |state| {
            state["totals"]["deadLetters"]["malformed"] == 1
        })
        .unwrap();
    worker.interrupt().unwrap().success().unwrap();
    assert_letters(
        &dead_letters(&spec.rejects_path()).unwrap(),
        &[(fits.to_vec(), "malformed")],
    );
}

#[test]
fn a_timestamp_without_zone_is_utc_and_the_far_past_is_late() {
    let directory = scratch().unwrap();
    let path = directory.path().join("ticks.ndjson");
    let late = tick("AAPL", "1999-12-31T23:59:59.999999Z", 7.0);
    let ticks = [
        tick("AAPL", "2024-01-02T14:30:10", 1.0),
        tick("AAPL", "2024-01-02 14:30:20.5", 2.0),
        tick("AAPL", "2024-01-02T15:30:30+01:00", 3.0),
        late.clone(),
    ];
    let lines: String = ticks.iter().map(|tick| format!("{tick}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    let spec = Spec::of_files(directory.path(), &[text(&path).unwrap()]);
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let summary = run_files(&yaml).unwrap();
    assert_eq!(
        (&summary["rows"], &summary["late"]),
        (&json!(1), &json!(1)),
        "{summary:#}"
    );

    let read = python_json("golden.py", ["parquet", &text(&spec.output_path).unwrap()]).unwrap();
    let row = &read["duckdb"][0];
    assert_eq!(row["window_start"], "2024-01-02T14:30:00.000000Z");
    assert_eq!(
        (&row["avg_close"], &row["last_close"]),
        (&json!(2.0), &json!(3.0))
    );

    let found = python_json("late.py", [text(&spec.rejects_path()).unwrap()]).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found:#}");
    let found = &found[0];
    assert_eq!(found["ticker"], "AAPL");
    assert_eq!(found["trade_date"], "2024-01-02");
    assert_eq!(found["event_time"], "1999-12-31T23:59:59.999999Z");
    assert_eq!(found["watermark"], "2024-01-02T14:28:30.000000Z");
    assert_eq!(found["shard"], "files");
    let data = STANDARD
        .decode(found["data_base64"].as_str().unwrap())
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&data).unwrap(),
        late,
        "as it came"
    );
}

#[test]
fn one_tick_from_2099_and_one_on_a_foreign_shard_stop_nothing() {
    let directory = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "mixed", "2"]).unwrap();
    // md5("AAPL") lies in the lower or the upper half: the other half's hash key is the wrong shard.
    let ticks = text(&directory.path().join("one.ndjson")).unwrap();
    std::fs::write(
        &ticks,
        tick("AAPL", "2024-01-02T14:30:00Z", 1.0).to_string(),
    )
    .unwrap();
    let own = kinesis.boto3(&["produce", "mixed", &ticks]).unwrap();
    let own = own["shards"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let foreign_key = match own.ends_with('0') {
        true => "340282366920938463463374607431768211455",
        false => "0",
    };
    let record = |tick: &Value, hash_key: Option<&str>| {
        let mut record = json!({"key": "AAPL", "data_base64": STANDARD.encode(tick.to_string())});
        if let Some(hash_key) = hash_key {
            record["hash_key"] = json!(hash_key);
        }
        format!("{record}\n")
    };
    let future = tick("AAPL", "2099-01-01T00:00:00Z", 9.0);
    let foreign = tick("AAPL", "2024-01-02T14:30:20Z", 8.0);
    let records = [
        record(&future, None),
        record(&tick("AAPL", "2024-01-02T14:30:30Z", 2.0), None),
        record(&foreign, Some(foreign_key)),
        record(&tick("AAPL", "2024-01-02T14:33:00Z", 3.0), None),
    ];
    let path = text(&directory.path().join("records.ndjson")).unwrap();
    std::fs::write(&path, records.concat()).unwrap();
    let replies = kinesis.boto3(&["put", "mixed", &path]).unwrap();
    assert_ne!(replies[2]["shard"], json!(own));

    let spec = Spec::of_stream(directory.path(), "mixed");
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let mut worker = Running::worker(&yaml, &kinesis.endpoint).unwrap();
    let state = worker
        .wait_for_state("one row and two dead letters", |state| {
            let totals = &state["totals"];
            totals["rowsPublished"] == 1
                && totals["deadLetters"] == json!({"ahead_of_time": 1, "wrong_shard": 1})
        })
        .unwrap();
    let keyed = condition(&state, "KeyedByTicker").unwrap();
    assert_eq!(keyed["status"], "False", "{keyed}");
    assert_eq!(keyed["reason"], "WrongPartitionKey");
    assert!(
        keyed["message"].as_str().unwrap().contains("PartitionKey"),
        "{keyed}"
    );
    assert_eq!(
        state["totals"]["late"], 0,
        "2099 closed a window: {state:#}"
    );
    worker.interrupt().unwrap().success().unwrap();

    let letters = dead_letters(&spec.rejects_path()).unwrap();
    let mut found: Vec<(&str, Value)> = letters
        .iter()
        .map(|letter| {
            let data = STANDARD
                .decode(letter["data_base64"].as_str().unwrap())
                .unwrap();
            (
                letter["reason"].as_str().unwrap(),
                serde_json::from_slice(&data).unwrap(),
            )
        })
        .collect();
    found.sort_by_key(|(reason, _)| *reason);
    assert_eq!(found, [("ahead_of_time", future), ("wrong_shard", foreign)]);
    let read = python_json("golden.py", ["parquet", &text(&spec.output_path).unwrap()]).unwrap();
    let rows = read["duckdb"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["avg_close"], &rows[0]["last_close"]),
        (&json!(1.5), &json!(2.0))
    );
}
