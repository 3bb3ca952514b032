//! Tests of the sink: what is written is read back by Parquet's own reader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use stockstream_core::layout::{BatchName, Incarnation};
use stockstream_core::row::{
    Batch, Column, ColumnKind, DeadLetter, DeadReason, LateTick, PartitionColumn, Row, Value,
    row_digest,
};
use stockstream_core::time::{Date, Micros};

use super::*;
use crate::storage::faults::{Fault, FaultyStore, On};
use crate::storage::{Policy, Store, StoreOptions};

const BOTH: [PartitionColumn; 2] = [PartitionColumn::Ticker, PartitionColumn::TradeDate];
const CODECS: [Compression; 5] = [
    Compression::Zstd,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Gzip,
    Compression::None,
];

/// Tickers whose paths need care.
const TICKERS: [&str; 8] = ["AAPL", "^GSPC", "BRK/B", "a b", "ÄÖ", "a+b", "100%", ".."];

fn name() -> BatchName {
    BatchName {
        state_id: "5f2c".into(),
        incarnation: Incarnation::of_stream(17),
        shard: "shardId-000000000001".into(),
        version: 12,
    }
}

fn columns() -> Vec<Column> {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
    };
    vec![
        column("avg_close", ColumnKind::Double),
        column("ticks", ColumnKind::Long),
    ]
}

fn row(ticker: &str, minute: i64, values: Vec<Value>) -> Row {
    let start =
        Date::parse("2024-01-02").unwrap().days() as i64 * 86_400_000_000 + minute * 60_000_000;
    Row {
        ticker: ticker.into(),
        trade_date: Date::parse("2024-01-02").unwrap(),
        window_start: Micros(start),
        window_end: Micros(start + 60_000_000),
        values,
        ticks: 3,
        first_sequence: (100 + minute as u64 * 10).into(),
        last_sequence: (105 + minute as u64 * 10).into(),
    }
}

fn batch() -> Batch {
    let mut rows = Vec::new();
    for minute in 0..2 {
        for (index, ticker) in TICKERS.iter().enumerate() {
            rows.push(row(
                ticker,
                minute,
                vec![Value::Double(index as f64 + 0.5), Value::Long(minute)],
            ));
        }
    }
    let late = LateTick {
        ticker: "AAPL".into(),
        trade_date: Date::parse("2024-01-02").unwrap(),
        event_time: Micros(1_000_000),
        arrival: Micros(2_000_000),
        watermark: Micros(1_500_000),
        sequence: 7.into(),
        sub_sequence: None,
        data: Bytes::from_static(b"{\"ticker\":\"AAPL\"}"),
    };
    let dead = DeadLetter {
        reason: DeadReason::Malformed,
        detail: "not \"JSON\"\n".into(),
        arrival: Micros(2_000_000),
        sequence: 8.into(),
        sub_sequence: Some(3),
        data: Bytes::from_static(b"\xff\x00junk"),
    };
    Batch {
        version: 12,
        columns: columns(),
        rows: rows.into(),
        late: vec![late],
        dead: vec![dead],
    }
}

fn read(bytes: &Bytes) -> Vec<Vec<(String, Field)>> {
    let reader = SerializedFileReader::new(bytes.clone()).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().into_columns()).collect()
}

fn encode(rows: &[&Row], partition_by: &[PartitionColumn], compression: Compression) -> Bytes {
    encode_as(&columns(), rows, partition_by, compression).unwrap()
}

fn encode_as(
    columns: &[Column],
    rows: &[&Row],
    partition_by: &[PartitionColumn],
    compression: Compression,
) -> Result<Bytes, EncodeError> {
    let batch = Batch {
        version: 12,
        columns: columns.to_vec(),
        rows: rows.iter().map(|row| (*row).clone()).collect(),
        late: vec![],
        dead: vec![],
    };
    let all = batch.partitions(&[]).remove(0);
    rows_parquet(&name(), columns, &all, partition_by, compression)
}

/// Two stores in memory that fail by script: output and rejects.
struct Stores {
    faults: Arc<FaultyStore>,
    output: Store,
    rejects: Store,
}

fn stores() -> Stores {
    let faults = Arc::new(FaultyStore::default());
    let policy = Policy {
        attempt: Duration::from_millis(500),
        attempts: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        ..Policy::default()
    };
    let open = |prefix: &str| Store::from_object_store(faults.clone(), prefix).with_policy(policy);
    Stores {
        output: open("out"),
        rejects: open("out-rejects"),
        faults,
    }
}

impl Stores {
    fn target<'a>(&'a self, partition_by: &'a [PartitionColumn]) -> PublishTarget<'a> {
        PublishTarget {
            output: &self.output,
            rejects: &self.rejects,
            partition_by,
            compression: Compression::Zstd,
        }
    }

    async fn everything(&self) -> Vec<(String, Bytes)> {
        let mut all = Vec::new();
        for store in [&self.output, &self.rejects] {
            for info in store.list("").await.unwrap() {
                let bytes = store.get(&info.key).await.unwrap().unwrap();
                all.push((store.url_of(&info.key), bytes));
            }
        }
        all
    }
}

#[test]
fn rows_come_back_in_order_with_every_codec() {
    let rows = [
        row("A", 0, vec![Value::Double(1.5), Value::Long(7)]),
        row("A", 1, vec![Value::Null, Value::Null]),
        row("A", 2, vec![Value::Double(f64::MIN_POSITIVE)]),
    ];
    let rows: Vec<&Row> = rows.iter().collect();
    for codec in CODECS {
        let found = read(&encode(&rows, &BOTH, codec));
        let values: Vec<(Field, Field)> = found
            .iter()
            .map(|row| (row[2].1.clone(), row[3].1.clone()))
            .collect();
        assert_eq!(
            values,
            [
                (Field::Double(1.5), Field::Long(7)),
                (Field::Null, Field::Null),
                (Field::Double(f64::MIN_POSITIVE), Field::Null),
            ],
            "{codec:?}"
        );
        assert_eq!(
            found[1][0].1,
            Field::TimestampMicros(rows[1].window_start.0)
        );
        assert_eq!(found[1][1].1, Field::TimestampMicros(rows[1].window_end.0));
    }
}

#[test]
fn a_column_stands_in_the_file_exactly_when_it_is_not_in_the_path() {
    let only = row("^GSPC", 0, vec![Value::Double(1.0), Value::Long(1)]);
    let names = |partition_by: &[PartitionColumn]| -> Vec<String> {
        let found = read(&encode(&[&only], partition_by, Compression::Zstd));
        found[0].iter().map(|(name, _)| name.clone()).collect()
    };
    let figures = ["window_start", "window_end", "avg_close", "ticks"];
    assert_eq!(names(&BOTH), figures);
    assert_eq!(
        names(&[PartitionColumn::TradeDate]),
        [&figures[..], &["ticker"]].concat()
    );
    assert_eq!(
        names(&[]),
        [&figures[..], &["ticker", "trade_date"]].concat()
    );
    let found = read(&encode(&[&only], &[], Compression::Zstd));
    assert_eq!(found[0][4].1, Field::Str("^GSPC".into()));
    assert_eq!(found[0][5].1, Field::Str("2024-01-02".into()));
}

#[test]
fn the_same_rows_make_the_same_bytes_and_other_codecs_the_same_digest() {
    let batch = batch();
    let all = batch.rows.to_vec();
    let rows: Vec<&Row> = all.iter().collect();
    assert_eq!(
        encode(&rows, &[], Compression::Zstd),
        encode(&rows, &[], Compression::Zstd)
    );
    let digest = row_digest(&columns(), batch.rows.iter());
    for codec in CODECS {
        assert_eq!(digest_of(&encode(&rows, &[], codec)), Some(digest.clone()));
    }
}

#[test]
fn a_figure_of_the_wrong_kind_is_refused_by_name() {
    let wrong = row("A", 0, vec![Value::Long(1)]);
    let error = encode_as(&columns(), &[&wrong], &BOTH, Compression::Zstd).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column \"avg_close\" can't hold Long(1): its type is double"
    );
    let twice = vec![columns().remove(0), columns().remove(0)];
    let error = encode_as(&twice, &[&row("A", 0, vec![])], &BOTH, Compression::Zstd).unwrap_err();
    assert!(matches!(error, EncodeError::DuplicateColumn(_)), "{error}");
}

#[test]
fn late_ticks_and_dead_letters_keep_their_bytes() {
    let batch = batch();
    let found = read(&late_parquet(&name(), &batch.late, Compression::Zstd).unwrap());
    let names: Vec<&str> = found[0].iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "ticker",
            "trade_date",
            "event_time",
            "arrival_time",
            "watermark",
            "sequence_number",
            "sub_sequence_number",
            "shard",
            "data"
        ]
    );
    assert_eq!(
        found[0][8].1,
        Field::Bytes(batch.late[0].data.clone().into())
    );
    let lines = dead_letters_ndjson(&name(), &batch.dead).unwrap();
    assert_eq!(
        std::str::from_utf8(&lines).unwrap(),
        "{\"reason\":\"malformed\",\"detail\":\"not \\\"JSON\\\"\\n\",\"shard\":\"shardId-000000000001\",\
         \"sequence_number\":\"8\",\"sub_sequence_number\":3,\"arrival_time\":\"1970-01-01T00:00:02Z\",\"data_base64\":\"/wBqdW5r\"}\n"
    );
}

#[tokio::test]
async fn a_batch_becomes_one_file_per_partition_and_twice_is_once() {
    let stores = stores();
    let batch = batch();
    let first = publish(&batch, &name(), &stores.target(&BOTH))
        .await
        .unwrap();
    assert_eq!(
        (
            first.files.len(),
            first.rejects.len(),
            first.partitions.len()
        ),
        (8, 2, 8)
    );
    assert!(first.files.iter().all(|file| file.rows == 2 && file.new));
    let keys: Vec<&str> = first.files.iter().map(|file| file.key.as_str()).collect();
    assert!(keys.contains(
        &"ticker=BRK%2FB/trade_date=2024-01-02/5f2c-k17-shardId-000000000001-12.parquet"
    ));
    assert!(
        keys.contains(&"ticker=../trade_date=2024-01-02/5f2c-k17-shardId-000000000001-12.parquet")
    );
    let before = stores.everything().await;
    assert_eq!(before.len(), 10);
    let second = publish(&batch, &name(), &stores.target(&BOTH))
        .await
        .unwrap();
    assert!(
        second
            .files
            .iter()
            .chain(&second.rejects)
            .all(|file| !file.new)
    );
    assert_eq!(second.partitions, first.partitions);
    assert_eq!(stores.everything().await, before);
    assert_eq!(
        stores.faults.seen(On::Put).len() + stores.faults.seen(On::Delete).len(),
        0
    );
}

#[tokio::test]
async fn partitions_follow_the_columns() {
    let batch = batch();
    for (columns, files, partitions) in [(&BOTH[..], 8, 8), (&BOTH[1..], 1, 1), (&BOTH[..0], 1, 0)]
    {
        let stores = stores();
        let published = publish(&batch, &name(), &stores.target(columns))
            .await
            .unwrap();
        assert_eq!(
            (published.files.len(), published.partitions.len()),
            (files, partitions)
        );
        let rows: u64 = published.files.iter().map(|file| file.rows).sum();
        assert_eq!(rows, 16);
    }
}

#[tokio::test]
async fn publishing_after_a_crash_in_the_middle_gives_the_same_files() {
    let whole = stores();
    publish(&batch(), &name(), &whole.target(&BOTH))
        .await
        .unwrap();
    let expected = whole.everything().await;
    for broken in ["100%25", "BRK%2FB", "late", "dead-letters"] {
        let stores = stores();
        stores.faults.fail(On::Create, broken, 3, Fault::LoseReply);
        stores.faults.fail(On::Get, broken, 3, Fault::Break);
        let error = publish(&batch(), &name(), &stores.target(&BOTH))
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{error}");
        publish(&batch(), &name(), &stores.target(&BOTH))
            .await
            .unwrap();
        assert_eq!(stores.everything().await, expected);
    }
}

#[tokio::test]
async fn a_file_of_another_release_counts_when_its_digest_is_this_batchs() {
    let stores = stores();
    let batch = batch();
    let mut target = stores.target(&BOTH);
    target.compression = Compression::Gzip;
    publish(&batch, &name(), &target).await.unwrap();
    let before = stores.everything().await;
    let published = publish(&batch, &name(), &stores.target(&BOTH))
        .await
        .unwrap();
    assert!(published.files.iter().all(|file| !file.new));
    assert_eq!(stores.everything().await, before);
}

#[tokio::test]
async fn other_content_in_its_place_is_a_conflict_that_names_both() {
    let mut other = batch();
    let mut rows = other.rows.to_vec();
    rows[0].values[0] = Value::Double(99.0);
    other.rows = rows.into();
    other.late[0].data = Bytes::from_static(b"other");
    other.dead[0].data = Bytes::from_static(b"other");
    for strip in 0..3 {
        let stores = stores();
        publish(&other, &name(), &stores.target(&BOTH))
            .await
            .unwrap();
        let mut ours = batch();
        if strip > 0 {
            ours.rows.clear();
        }
        if strip > 1 {
            ours.late.clear();
        }
        let before = stores.everything().await;
        let error = publish(&ours, &name(), &stores.target(&BOTH))
            .await
            .unwrap_err();
        let PublishError::Conflict {
            url,
            found,
            expected,
        } = &error
        else {
            panic!("{error}");
        };
        assert!(before.iter().any(|(known, _)| known == url));
        assert_ne!(found, expected);
        assert!(!error.is_transient());
        for (key, bytes) in &before {
            let now = stores.everything().await;
            assert!(now.contains(&(key.clone(), bytes.clone())), "{key} changed");
        }
    }
}

#[tokio::test]
async fn a_foreign_file_in_its_place_is_a_conflict() {
    let stores = stores();
    let key = name().late();
    stores
        .rejects
        .create(&key, Bytes::from_static(b"PAR1 not"))
        .await
        .unwrap();
    let error = publish(&batch(), &name(), &stores.target(&BOTH))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("8 bytes without Stockstream's metadata"),
        "{error}"
    );
}

#[tokio::test]
async fn files_are_told_one_by_one() {
    let stores = stores();
    let seen = std::sync::Mutex::new(Vec::new());
    let note = |count| seen.lock().unwrap().push(count);
    publish_with(&Arc::new(batch()), &name(), &stores.target(&BOTH), &note)
        .await
        .unwrap();
    assert_eq!(*seen.lock().unwrap(), (1..=10).collect::<Vec<usize>>());
}

#[tokio::test]
async fn a_file_says_who_wrote_it_and_what_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}", directory.path().display());
    let options = StoreOptions::default();
    let (output, rejects) = (
        Store::open(&format!("{url}/out"), &options).await.unwrap(),
        Store::open(&format!("{url}/rejects"), &options)
            .await
            .unwrap(),
    );
    let target = PublishTarget {
        output: &output,
        rejects: &rejects,
        partition_by: &BOTH,
        compression: Compression::Snappy,
    };
    let published = publish(&batch(), &name(), &target).await.unwrap();
    let file = published
        .files
        .iter()
        .find(|file| file.key.contains("GSPC"))
        .unwrap();
    let summary = inspect_file(&output.url_of(&file.key), &options)
        .await
        .unwrap();
    assert_eq!((summary.rows, summary.size), (2, file.bytes));
    let expected = [("ticker", "^GSPC"), ("trade_date", "2024-01-02")];
    assert!(
        summary
            .partition
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .eq(expected)
    );
    let from = summary.provenance.as_ref().unwrap();
    assert_eq!(
        (from.shard.as_str(), from.version, from.ticks),
        ("shardId-000000000001", 12, 6)
    );
    assert_eq!(
        (from.first_sequence.as_str(), from.last_sequence.as_str()),
        ("100", "115")
    );
    let start = &summary.columns[0];
    assert_eq!(
        (start.kind.as_str(), start.nullable),
        ("timestamp(micros, UTC)", false)
    );
    assert_eq!(start.min.as_deref(), Some("2024-01-02T00:00:00Z"));
    assert_eq!(start.max.as_deref(), Some("2024-01-02T00:01:00Z"));
    let text = summary.to_string();
    assert!(
        text.contains("version       12") && text.contains("ticker = ^GSPC"),
        "{text}"
    );
    let plain = directory.path().join("out").join(&file.key);
    assert_eq!(
        inspect_file(plain.to_str().unwrap(), &options)
            .await
            .unwrap(),
        summary
    );
    let dead = rejects.url_of(&name().dead_letters());
    let error = inspect_file(&dead, &options).await.unwrap_err();
    assert!(matches!(error, InspectError::NotParquet { .. }), "{error}");
    let error = inspect_file(&format!("{url}/out/none.parquet"), &options)
        .await
        .unwrap_err();
    assert!(matches!(error, InspectError::NotFound(_)), "{error}");
}

#[tokio::test]
async fn damaged_files_never_panic() {
    let directory = tempfile::tempdir().unwrap();
    let whole = late_parquet(&name(), &batch().late, Compression::Zstd).unwrap();
    for length in (0..whole.len()).step_by(7) {
        let path = directory.path().join(length.to_string());
        std::fs::write(&path, &whole[whole.len() - length..]).unwrap();
        let result = inspect_file(path.to_str().unwrap(), &StoreOptions::default()).await;
        assert!(
            matches!(result, Ok(_) | Err(InspectError::NotParquet { .. })),
            "{length}: {result:?}"
        );
        assert_eq!(digest_of(&whole.slice(..length)), None);
    }
}

/// A batch of many partitions, and two of its tickers with two days.
fn many() -> Batch {
    let mut rows = Vec::new();
    for minute in 0..3 {
        for ticker in 0..300 {
            let mut row = row(
                &format!("T{ticker:03}"),
                minute,
                vec![Value::Double(f64::from(ticker)), Value::Long(1)],
            );
            if minute == 2 && ticker < 2 {
                row.trade_date = Date::from_days(19_725);
            }
            rows.push(row);
        }
    }
    Batch {
        rows: rows.into(),
        ..batch()
    }
}

#[tokio::test]
async fn many_files_in_a_directory_are_made_once_whatever_is_there_before() {
    let folder = tempfile::TempDir::new().unwrap();
    let open = |name: &str| {
        let url = format!("file://{}/{name}", folder.path().display());
        async move { Store::open(&url, &StoreOptions::default()).await.unwrap() }
    };
    let (output, rejects) = (open("rows").await, open("rejects").await);
    let target = PublishTarget {
        output: &output,
        rejects: &rejects,
        partition_by: &BOTH,
        compression: Compression::Zstd,
    };
    let batch = many();
    // Of an earlier attempt that was killed: some files are there.
    let one_by_one = batch.partitions(&BOTH);
    assert_eq!(one_by_one.len(), 302);
    for rows in one_by_one.iter().step_by(7) {
        let bytes =
            rows_parquet(&name(), &batch.columns, rows, &BOTH, Compression::Snappy).unwrap();
        let key = name().rows(&BOTH, &rows.parts);
        output.create(&key, bytes).await.unwrap();
    }
    let first = publish(&batch, &name(), &target).await.unwrap();
    let new: Vec<bool> = first.files.iter().map(|file| file.new).collect();
    assert_eq!(
        new.iter().filter(|new| !**new).count(),
        302usize.div_ceil(7)
    );
    let keys: Vec<String> = first.files.iter().map(|file| file.key.clone()).collect();
    let expected = one_by_one
        .iter()
        .map(|rows| name().rows(&BOTH, &rows.parts));
    assert_eq!(keys, expected.collect::<Vec<_>>());
    assert_eq!(first.partitions.len(), 302);
    for file in &first.files {
        let stored = output.get(&file.key).await.unwrap().unwrap();
        assert_eq!(digest_of(&stored).is_some(), file.rows > 0, "{}", file.key);
    }
    // Nothing is left staged, and again nothing is made.
    let staged = folder.path().join("rows").join(".stockstream-staging");
    assert_eq!(std::fs::read_dir(staged).unwrap().count(), 0);
    let again = publish(&batch, &name(), &target).await.unwrap();
    assert!(again.files.iter().all(|file| !file.new));

    // Another's file in one place: everything else is made, and that one is named.
    let other = open("other").await;
    let foreign = name().rows(&BOTH, &one_by_one[5].parts);
    other
        .create(&foreign, Bytes::from_static(b"foreign"))
        .await
        .unwrap();
    let target = PublishTarget {
        output: &other,
        ..target
    };
    let error = publish(&batch, &name(), &target).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Conflict { url, .. } if url.ends_with(&foreign)),
        "{error}"
    );
    assert_eq!(other.get(&foreign).await.unwrap().unwrap(), "foreign");
}
