//! What a row of CSV and Parquet is as a tick.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use stockstream_core::tick::TickParser;

use super::*;

/// The file's ticks.
fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<String>, FilesError> {
    let folder = Folder::new();
    folder.put(name, bytes);
    folder.read()
}

pub(super) fn parquet(columns: Vec<(&str, ArrayRef)>, group: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn csv_rows_become_objects_by_the_header_whatever_its_order() {
    let text = "close,ticker,note,timestamp,volume,open,date\n\
                1.5e0,0700,\"a \"\"b\"\", c\nd\",2024-01-02 09:30:00,12,,2024-01-02\n\
                01,\"X,Y\",,2024-01-02T09:30:01Z,-3.0,NaN,\n";
    assert_eq!(
        read("a.csv", text).unwrap(),
        [
            r#"{"close":1.5e0,"ticker":"0700","note":"a \"b\", c\u000ad","timestamp":"2024-01-02 09:30:00","volume":12,"date":"2024-01-02"}"#,
            r#"{"close":"01","ticker":"X,Y","timestamp":"2024-01-02T09:30:01Z","volume":-3.0,"open":"NaN"}"#,
        ]
    );
}

#[test]
fn csv_rows_that_do_not_fit_the_header_are_never_ticks() {
    let time = "2024-01-02T09:30:00Z";
    let text = format!("ticker,timestamp,close\nA,{time},1\nA,{time}\nA,{time},1,2\nA,{time},1");
    let ticks = read("a.csv", text).unwrap();
    let mut parser = TickParser::new(&RecordMapping::default(), &[]);
    let usable: Vec<_> = ticks
        .iter()
        .map(|tick| parser.parse(tick.as_bytes()).is_ok())
        .collect();
    assert_eq!(usable, [true, false, false, true]);
    assert_eq!(ticks[1], format!(r#"["A","{time}"]"#));
}

#[test]
fn a_csv_without_a_mapped_column_gives_ticks_without_it() {
    assert_eq!(
        read("a.csv", "close,ticker\n1,A\n").unwrap(),
        [r#"{"close":1,"ticker":"A"}"#]
    );
    assert_eq!(read("a.csv", "ticker,close\n").unwrap(), [""; 0]);
    assert_eq!(read("a.csv", "").unwrap(), [""; 0]);
}

#[test]
fn csv_headers_that_cannot_be_told_apart_are_refused() {
    for (text, part) in [
        (&b"a,b,a\n1,2,3\n"[..], "\"a\" stands twice"),
        (b"a,\xff\n1,2\n", "isn't UTF-8"),
        ("a,".repeat(5_000).as_bytes(), "more than 4096"),
    ] {
        let error = read("a.csv", text).unwrap_err();
        assert!(matches!(error, FilesError::Columns { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains("a.csv"), "{error}");
    }
}

#[test]
fn damaged_utf8_in_csv_is_not_repaired_into_another_ticker() {
    let folder = Folder::new();
    folder.put("a.csv", b"ticker,timestamp\nA\xff,2024-01-02T09:30:00Z\n");
    let mut merge = folder
        .merge(&folder.list(), None, OpenLimits::default())
        .unwrap();
    let block = merge.next_block(BlockLimits::default()).unwrap().unwrap();
    let mut parser = TickParser::new(&RecordMapping::default(), &[]);
    assert!(parser.parse(&block.ticks[0].1).is_err());
}

#[test]
fn each_parquet_type_has_its_json() {
    let micros = 1_704_187_800_123_456i64; // 2024-01-02T09:30:00.123456Z
    let strings = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
    let dictionary: DictionaryArray<Int32Type> = ["AAPL"].into_iter().collect();
    let decimal = |value: i128, scale| {
        Arc::new(
            Decimal128Array::from(vec![value])
                .with_precision_and_scale(20, scale)
                .unwrap(),
        )
    };
    let cases: Vec<(ArrayRef, &str)> = vec![
        (strings("a\"b"), r#""a\"b""#),
        (Arc::new(StringViewArray::from(vec!["view"])), r#""view""#),
        (Arc::new(dictionary), r#""AAPL""#),
        (Arc::new(BinaryArray::from(vec![&b"raw"[..]])), r#""raw""#),
        (Arc::new(BooleanArray::from(vec![true])), "true"),
        (Arc::new(Int64Array::from(vec![-7])), "-7"),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            "18446744073709551615",
        ),
        (Arc::new(Float64Array::from(vec![185.64])), "185.64"),
        (Arc::new(Float64Array::from(vec![1e300])), "1e300"),
        (Arc::new(Float64Array::from(vec![3.0])), "3.0"),
        (Arc::new(Float64Array::from(vec![f64::NAN])), "NaN"),
        (
            Arc::new(Float64Array::from(vec![f64::NEG_INFINITY])),
            "-Infinity",
        ),
        (Arc::new(Float32Array::from(vec![1.1])), "1.1"),
        (decimal(1_234_500, 4), "123.4500"),
        (decimal(-5, 2), "-0.05"),
        (Arc::new(Date32Array::from(vec![19_724])), r#""2024-01-02""#),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![micros])),
            r#""2024-01-02T09:30:00.123456Z""#,
        ),
        (
            Arc::new(
                TimestampMicrosecondArray::from(vec![micros]).with_timezone("America/New_York"),
            ),
            r#""2024-01-02T09:30:00.123456Z""#,
        ),
        (
            Arc::new(TimestampNanosecondArray::from(vec![micros * 1_000 + 789])),
            r#""2024-01-02T09:30:00.123456789Z""#,
        ),
        (
            Arc::new(TimestampMillisecondArray::from(vec![-1])),
            r#""1969-12-31T23:59:59.999Z""#,
        ),
        (Arc::new(list), r#""[1, ]""#),
    ];
    for (array, expected) in cases {
        let kind = array.data_type().clone();
        let bytes = parquet(vec![("value", array)], 10);
        let ticks = read("a.parquet", bytes).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(ticks, [format!(r#"{{"value":{expected}}}"#)], "{kind}");
    }
}

#[test]
fn parquet_nulls_are_absent_and_a_trade_date_is_a_date_even_as_a_timestamp() {
    let day = TimestampNanosecondArray::from(vec![Some(1_704_187_800_000_000_000), None]);
    let bytes = parquet(
        vec![
            ("date", Arc::new(day)),
            ("close", Arc::new(Float64Array::from(vec![None, Some(2.5)]))),
        ],
        10,
    );
    assert_eq!(
        read("a.parquet", bytes).unwrap(),
        [r#"{"date":"2024-01-02"}"#, r#"{"close":2.5}"#]
    );
}

#[test]
fn parquet_rows_are_resumed_by_number_across_groups_and_batches() {
    let folder = Folder::new();
    let rows = 5_000;
    let times: Vec<_> = (0..rows)
        .map(|row| 1_704_187_800_000_000 + row * 1_000_000)
        .collect();
    let bytes = parquet(
        vec![
            (
                "ticker",
                Arc::new(StringArray::from(vec!["A"; rows as usize])),
            ),
            (
                "timestamp",
                Arc::new(TimestampMicrosecondArray::from(times)),
            ),
            ("close", Arc::new(Int64Array::from_iter_values(0..rows))),
        ],
        1_300,
    );
    folder.put("a.parquet", bytes);
    let list = folder.list();
    let mut merge = folder.merge(&list, None, OpenLimits::default()).unwrap();
    let whole = texts(&rest(&mut merge, BlockLimits::default()).unwrap());
    assert_eq!(whole.len(), 5_000);
    assert!(whole[4_999].contains(r#""close":4999"#));
    for cut in [1u64, 1_024, 1_299, 1_300, 2_601, 4_999] {
        let resume = Resume {
            ordinal: cut,
            marks: vec![cut],
        };
        let mut merge = folder
            .merge(&list, Some(resume), OpenLimits::default())
            .unwrap();
        let left = texts(&rest(&mut merge, BlockLimits::default()).unwrap());
        assert_eq!(left, whole[cut as usize..], "{cut}");
    }
}

/// What the core reads of each tick: ticker, event time, trade date, close and volume.
fn parsed(ticks: &[String]) -> Vec<String> {
    let keys = ["close".to_owned(), "volume".to_owned()];
    let mut parser = TickParser::new(&RecordMapping::default(), &keys);
    let mut parse = |tick: &String| {
        let found = parser.parse(tick.as_bytes()).map(|tick| {
            let date = tick.trade_date.map(|date| date.to_string());
            format!("{} {} {date:?}", tick.ticker, tick.event_time)
        });
        let numbers = parser.numbers().collect::<Vec<_>>();
        found.map_or_else(
            |dead| dead.reason.to_string(),
            |text| format!("{text} {numbers:?}"),
        )
    };
    ticks.iter().map(&mut parse).collect()
}

#[test]
fn the_same_ticks_are_the_same_to_the_core_in_every_format() {
    let micros = |row: i64| 1_704_187_800_000_000 + row * 1_500_000;
    let time = |row| stockstream_core::time::Micros(micros(row)).to_string();
    let close = |row: i64| (row % 4 != 3).then_some(100.0 + row as f64 / 8.0);
    let rows = 0..20i64;
    let mut ndjson = String::new();
    let mut csv = "volume,close,date,timestamp,ticker\n".to_owned();
    for row in rows.clone() {
        let price = close(row).map_or("null".to_owned(), |close| close.to_string());
        ndjson += &format!(
            r#"{{"ticker":"A","date":"2024-01-02","timestamp":"{}","close":{price},"volume":{row}}}"#,
            time(row)
        );
        ndjson.push('\n');
        let price = price.replace("null", "");
        csv += &format!("{row},{price},2024-01-02,{},A\n", time(row));
    }
    let table = parquet(
        vec![
            (
                "ticker",
                Arc::new(StringArray::from(vec!["A"; 20])) as ArrayRef,
            ),
            ("date", Arc::new(Date32Array::from(vec![19_724; 20]))),
            (
                "timestamp",
                Arc::new(TimestampMicrosecondArray::from_iter_values(
                    rows.clone().map(micros),
                )),
            ),
            (
                "close",
                Arc::new(rows.clone().map(close).collect::<Float64Array>()),
            ),
            ("volume", Arc::new(Int64Array::from_iter_values(rows))),
        ],
        7,
    );
    let expected = parsed(&read("a.ndjson", ndjson).unwrap());
    assert!(
        expected[1].starts_with("A 2024-01-02T09:30:01.5Z Some(\"2024-01-02\")"),
        "{expected:?}"
    );
    assert_eq!(parsed(&read("a.csv", csv).unwrap()), expected);
    assert_eq!(parsed(&read("a.parquet", table).unwrap()), expected);
}
