//! Rows read from real files of every format, and what each kind of bad input gets.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn options() -> ReadOptions {
    ReadOptions {
        format: None,
        columns: ColumnNames::default(),
        tickers: BTreeSet::new(),
        max_rows: MAX_ROWS,
    }
}

fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

async fn read_with(path: &Path, options: &ReadOptions) -> Result<Table, ReplayError> {
    read(path.to_str().unwrap(), options).await
}

/// Rows in a form that is easy to compare: ticker, date, open, close, volume.
fn shown(table: &Table) -> Vec<String> {
    let figure = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| figure.to_string());
    table
        .rows
        .iter()
        .map(|row| {
            let volume = row
                .volume
                .map_or("-".to_owned(), |volume| volume.to_string());
            let ticker = &table.tickers[row.ticker as usize];
            format!(
                "{ticker} {} {} {} {volume}",
                row.date,
                figure(row.open),
                figure(row.close)
            )
        })
        .collect()
}

async fn read_shown(path: &Path) -> Vec<String> {
    shown(&read_with(path, &options()).await.unwrap())
}

async fn failure(name: &str, content: impl AsRef<[u8]>) -> ReplayError {
    let folder = TempDir::new().unwrap();
    read_with(&write(&folder, name, content), &options())
        .await
        .unwrap_err()
}

fn bad_row(error: ReplayError) -> (u64, String) {
    match error {
        ReplayError::BadRow { line, problem, .. } => (line, problem),
        other => panic!("not a bad row: {other}"),
    }
}

const CSV: &str = "\u{feff}Date,Open,High,Low,CLOSE,Adj Close,Volume,Symbol\n\
    1/5/2015,1.5,,,2.5,9,100.0,MSFT\n\
    2015-01-02,,,,24.532,,,AAPL\n\
    2015-01-02,NaN,,,\"43.5\",,29962454,MSFT\n";
const CSV_ROWS: [&str; 3] = [
    "AAPL 2015-01-02 - 24.532 -",
    "MSFT 2015-01-02 - 43.5 29962454",
    "MSFT 2015-01-05 1.5 2.5 100",
];

#[tokio::test]
async fn the_example_data_is_read_whole() {
    let path = Path::new("../examples/data/daily.csv");
    let table = read_with(path, &options()).await.unwrap();
    assert_eq!((table.rows.len(), table.tickers.len()), (3610, 5));
    let shown = shown(&table);
    assert_eq!(shown[0], "AAPL 2015-01-02 - 24.532 -");
    assert_eq!(
        shown[3],
        "^GSPC 2015-01-02 2058.899902 2058.199951 2708700000"
    );
    assert_eq!(
        shown[3609],
        "^IXIC 2017-11-10 6736.390137 6750.939941 1973970000"
    );
}

#[tokio::test]
async fn csv_is_read_plain_and_compressed_whatever_the_name_says() {
    let folder = TempDir::new().unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(CSV.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(CSV.as_bytes(), 1).unwrap();
    for (name, content) in [
        ("a.csv", CSV.as_bytes()),
        ("a.csv.gz", &gzip),
        ("a.csv.zst", &zstd),
        ("b.csv", &gzip),
    ] {
        assert_eq!(
            read_shown(&write(&folder, name, content)).await,
            CSV_ROWS,
            "{name}"
        );
    }
}

#[tokio::test]
async fn ndjson_lines_may_have_different_keys_and_holes() {
    let folder = TempDir::new().unwrap();
    let text = r#"{"ticker":"B","date":"2015-01-03","open":1,"close":2.5,"volume":7.0}

{"Symbol":"A","trade_date":"2015-01-02","close":null,"more":{"x":1}}
{"ticker":"A","date":"2015-01-02","close":"3.5"}"#;
    let rows = read_shown(&write(&folder, "x.jsonl", text)).await;
    assert_eq!(
        rows,
        [
            "A 2015-01-02 - - -",
            "A 2015-01-02 - 3.5 -",
            "B 2015-01-03 1 2.5 7"
        ]
    );
}

fn parquet_bytes(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[tokio::test]
async fn parquet_columns_may_have_any_type_that_fits() {
    let folder = TempDir::new().unwrap();
    let days: ArrayRef = Arc::new(Date32Array::from(vec![16437, 16438]));
    let closes: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None]));
    let expected = ["A 2015-01-02 - 1.5 10", "B 2015-01-03 - - -"];
    let typed = parquet_bytes(vec![
        ("unused", Arc::new(Int64Array::from(vec![1, 2]))),
        ("ticker", Arc::new(StringArray::from(vec!["A", "B"]))),
        ("Date", days),
        ("close", closes),
        ("volume", Arc::new(Int64Array::from(vec![Some(10), None]))),
    ]);
    assert_eq!(
        read_shown(&write(&folder, "typed.parquet", typed)).await,
        expected
    );
    let loose = parquet_bytes(vec![
        (
            "date",
            Arc::new(
                TimestampMicrosecondArray::from(vec![
                    16437 * 86_400_000_000,
                    16438 * 86_400_000_000,
                ])
                .with_timezone("UTC"),
            ),
        ),
        (
            "close",
            Arc::new(StringArray::from(vec![Some("1.5"), Some("NaN")])),
        ),
        ("volume", Arc::new(Float64Array::from(vec![10.0, f64::NAN]))),
        ("symbol", Arc::new(StringArray::from(vec!["A", "B"]))),
    ]);
    assert_eq!(
        read_shown(&write(&folder, "loose.parquet", loose)).await,
        expected
    );
    let text_dates = parquet_bytes(vec![
        ("date", Arc::new(StringArray::from(vec!["2015-01-02"]))),
        ("close", Arc::new(Float64Array::from(vec![f64::INFINITY]))),
        ("ticker", Arc::new(StringArray::from(vec!["A"]))),
    ]);
    let error = read_with(&write(&folder, "bad.parquet", text_dates), &options())
        .await
        .unwrap_err();
    assert_eq!(
        bad_row(error),
        (
            1,
            "close is `inf`; allowed are finite numbers, or nothing".to_owned()
        )
    );
}

#[tokio::test]
async fn a_hive_layout_gives_columns_from_its_paths() {
    let folder = TempDir::new().unwrap();
    write(
        &folder,
        "ticker=%5EGSPC/year=2015/a.csv",
        "date,close\n2015-01-03,2\n",
    );
    write(
        &folder,
        "ticker=AAPL/year=2015/a.csv",
        "date,close,ticker\n2015-01-02,1,ignored\n",
    );
    write(
        &folder,
        "ticker=AAPL/year=2016/b.ndjson",
        "{\"date\":\"2016-01-02\",\"close\":3}\n",
    );
    let parquet = parquet_bytes(vec![
        ("date", Arc::new(Date32Array::from(vec![16436]))),
        ("close", Arc::new(Float64Array::from(vec![0.5]))),
    ]);
    write(&folder, "ticker=^GSPC/year=2015/c.parquet", parquet);
    for hidden in [
        "_SUCCESS",
        ".a.csv.crc",
        "_temporary/x.csv",
        "ticker=AAPL/.half.csv",
        "notes.md",
    ] {
        write(&folder, hidden, "not rows");
    }
    let expected = [
        "^GSPC 2015-01-01 - 0.5 -",
        "AAPL 2015-01-02 - 1 -",
        "^GSPC 2015-01-03 - 2 -",
        "AAPL 2016-01-02 - 3 -",
    ];
    assert_eq!(read_shown(folder.path()).await, expected);
    let url = format!("file://{}", folder.path().canonicalize().unwrap().display());
    assert_eq!(shown(&read(&url, &options()).await.unwrap()), expected);
    let one = folder.path().join("ticker=AAPL");
    assert_eq!(
        read_shown(&one).await,
        ["AAPL 2015-01-02 - 1 -", "AAPL 2016-01-02 - 3 -"],
        "named by itself"
    );
}

#[tokio::test]
async fn odd_column_names_and_file_names_can_be_named() {
    let folder = TempDir::new().unwrap();
    let path = write(
        &folder,
        "prices.txt",
        "Day,Instrument,Last\n2015-01-02,A,1\n",
    );
    let mut options = options();
    options.format = Some(Format::Csv);
    for (field, name) in [
        (Field::Date, "day"),
        (Field::Ticker, "Instrument"),
        (Field::Close, "last"),
    ] {
        options.columns.set(field, name);
    }
    assert_eq!(
        shown(&read_with(&path, &options).await.unwrap()),
        ["A 2015-01-02 - 1 -"]
    );
    options.columns.set(Field::Close, "Lst");
    let error = read_with(&path, &options).await.unwrap_err().to_string();
    assert!(
        error.contains("the close (looked for `Lst`)") && error.contains("Day, Instrument, Last"),
        "{error}"
    );
}

#[tokio::test]
async fn tickers_are_filtered_and_rows_are_bounded() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "a.csv", CSV);
    let mut options = options();
    options.tickers.insert("AAPL".to_owned());
    options.max_rows = 1;
    assert_eq!(
        shown(&read_with(&path, &options).await.unwrap()),
        CSV_ROWS[..1]
    );
    options.tickers.insert("MSFT".to_owned());
    let error = read_with(&path, &options).await.unwrap_err();
    assert!(
        matches!(
            error,
            ReplayError::TooManyRows {
                limit: 1,
                bytes_per_row: BYTES_PER_ROW
            }
        ),
        "{error}"
    );
    options.tickers = BTreeSet::from(["TSLA".to_owned()]);
    let error = read_with(&path, &options).await.unwrap_err().to_string();
    assert!(
        error.contains("its 3 rows are all of other tickers"),
        "{error}"
    );
}

#[tokio::test]
async fn input_that_is_not_there_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let missing = read_with(&folder.path().join("no.csv"), &options())
        .await
        .unwrap_err();
    assert!(
        matches!(missing, ReplayError::MissingInput { .. }),
        "{missing}"
    );
    let empty = read_with(folder.path(), &options()).await.unwrap_err();
    assert!(
        matches!(empty, ReplayError::NothingToRead { .. }),
        "{empty}"
    );
    let url = read("ftp://host/x.csv", &options()).await.unwrap_err();
    assert!(matches!(url, ReplayError::UnusableInput { .. }), "{url}");
    let relative = read("file://x.csv", &options()).await.unwrap_err();
    assert!(
        matches!(relative, ReplayError::UnusableInput { .. }),
        "{relative}"
    );
    let header = failure("a.csv", "date,ticker,close\n").await;
    assert!(matches!(header, ReplayError::NoRows { .. }), "{header}");
}

#[tokio::test]
async fn a_layout_without_a_required_field_is_refused_with_what_was_found() {
    for (name, content, field) in [
        ("a.csv", "date,price,ticker\n2015-01-02,1,A\n", "close"),
        ("a.csv", "date,close\n2015-01-02,1\n", "ticker"),
        ("a.csv", "", "ticker"),
        ("a.ndjson", "{\"close\":1,\"ticker\":\"A\"}\n", "date"),
        (
            "a.ndjson",
            "{\"date\":\"2015-01-02\",\"ticker\":\"A\"}\n",
            "close",
        ),
    ] {
        match failure(name, content).await {
            ReplayError::UnknownLayout { field: missing, .. } => {
                assert_eq!(missing, field, "{content}")
            }
            other => panic!("{content}: {other}"),
        }
    }
}

#[tokio::test]
async fn bad_rows_are_named_by_line() {
    const HEADER: &str = "date,ticker,close,volume\n2015-01-02,A,1,1\n";
    for (row, problem) in [
        ("2015-02-30,A,1,1", "date is `2015-02-30`"),
        ("2015-01-02,,1,1", "ticker is empty"),
        ("2015-01-02,A,inf,1", "close is `inf`"),
        ("2015-01-02,A,x,1", "close is `x`"),
        ("2015-01-02,A,1,1.5", "volume is `1.5`"),
        ("2015-01-02,A,1", "it has 3 fields and the header 4"),
    ] {
        let (line, found) = bad_row(failure("a.csv", format!("{HEADER}{row}\n")).await);
        assert_eq!(line, 3, "{row}");
        assert!(found.contains(problem), "{row}: {found}");
    }
    let (line, found) = bad_row(
        failure(
            "a.csv",
            [HEADER.as_bytes(), b"2015-01-02,\xff,1,1\n"].concat(),
        )
        .await,
    );
    assert!(line == 3 && found.contains("UTF-8"), "{found}");

    let open = format!(
        "{HEADER}2015-01-02,\"A,1,1\n{}",
        "2015-01-02,A,1,1\n".repeat(100_000)
    );
    let (line, found) = bad_row(failure("a.csv", open).await);
    assert!(line == 3 && found.contains("quote"), "{line}: {found}");

    const FIRST: &str = "{\"date\":\"2015-01-02\",\"ticker\":\"A\",\"close\":1}\n\n";
    for (row, problem) in [
        (
            "{\"date\":\"2015-01-02\",\"ticker\":\"A\"",
            "it is not a JSON object",
        ),
        ("[1]", "it is not a JSON object"),
        ("{\"date\":\"2015-01-02\",\"close\":1}", "it has no ticker"),
        (
            "{\"date\":\"2015-01-02\",\"ticker\":7,\"close\":1}",
            "ticker is the number 7",
        ),
        (
            "{\"date\":\"2015-01-02\",\"ticker\":\"A\",\"close\":true}",
            "close is `true`",
        ),
        (
            "{\"date\":\"2015-01-02\",\"ticker\":\"A\",\"close\":1,\"volume\":0.5}",
            "volume is `0.5`",
        ),
    ] {
        let (line, found) = bad_row(failure("a.ndjson", format!("{FIRST}{row}\n")).await);
        assert_eq!(line, 3, "{row}");
        assert!(found.contains(problem), "{row}: {found}");
    }
    let (line, found) = bad_row(
        failure(
            "a.ndjson",
            format!("{FIRST}{}", " ".repeat(1024 * 1024 + 1)),
        )
        .await,
    );
    assert!(line == 3 && found.contains("longer than"), "{found}");
}

#[tokio::test]
async fn damaged_files_are_unreadable_with_their_path() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"date,ticker,close\n").unwrap();
    for close in 0..10_000 {
        gzip.write_all(format!("2015-01-02,A,{close}\n").as_bytes())
            .unwrap();
    }
    let mut cut = gzip.finish().unwrap();
    cut.truncate(cut.len() / 2);
    let parquet = parquet_bytes(vec![("close", Arc::new(Float64Array::from(vec![0.5])))]);
    for (name, content) in [
        ("cut.csv.gz", cut),
        ("cut.parquet", parquet[..parquet.len() - 9].to_vec()),
        ("not.parquet", b"date,close\n".to_vec()),
    ] {
        let error = failure(name, content).await;
        assert!(
            matches!(&error, ReplayError::Unreadable { path, .. } if path.ends_with(name)),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_row_takes_the_memory_that_the_documentation_states() {
    assert_eq!(BYTES_PER_ROW, 96);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any rows in any files: ordered by date, rows of one date in the order of the files' paths and lines.
    #[test]
    fn rows_are_ordered_by_date_and_ties_keep_the_order_of_the_input(
        files in prop::collection::vec(prop::collection::vec((1i8..4, 0u8..3), 1..12), 1..5),
    ) {
        let folder = TempDir::new().unwrap();
        let mut expected = Vec::new();
        for (number, rows) in files.iter().enumerate() {
            let mut text = "date,ticker,close,volume\n".to_owned();
            for (day, ticker) in rows {
                text.push_str(&format!("2015-01-{day:02},T{ticker},1,{}\n", expected.len()));
                expected.push((*day, i64::try_from(expected.len()).unwrap(), *ticker));
            }
            write(&folder, &format!("{number}.csv"), text);
        }
        // A plain reference: day, then place in the input.
        expected.sort_by_key(|(day, place, _)| (*day, *place));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let table = runtime.block_on(read_with(folder.path(), &options())).unwrap();
        let found: Vec<_> = table
            .rows
            .iter()
            .map(|row| (row.date.day(), row.volume.unwrap(), table.tickers[row.ticker as usize][1..].parse().unwrap()))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
