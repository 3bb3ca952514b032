#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use object_store::memory::InMemory;
use stockstream_core::layout::BatchName;
use stockstream_core::row::{Batch, Column, ColumnKind, PartitionPart, Row, Value};
use stockstream_core::time::{Date, Micros};

use super::*;
use crate::sink::{Compression, rows_parquet};

const DAY: i64 = 86_400_000_000;
/// 2024-01-02T14:00:00Z.
const BEGIN: i64 = 1_704_204_000_000_000;

fn store() -> Store {
    Store::from_object_store(Arc::new(InMemory::new()), "")
}

fn rows(partition_by: &[PartitionColumn]) -> Rows {
    Rows {
        output: store(),
        state: store(),
        partition_by: partition_by.to_vec(),
        plan: Arc::new(Plan::default()),
        aggregates: vec!["avg_close".to_owned()],
    }
}

/// Publishes one row of a ticker at a minute of a day as the sink does.
async fn publish(rows: &Rows, version: u64, ticker: &str, day: i64, close: f64) {
    let start = Micros(BEGIN + day * DAY);
    let date = Date::parse(&iso_date(day)).unwrap();
    let row = Row {
        ticker: ticker.into(),
        trade_date: date,
        window_start: start,
        window_end: Micros(start.0 + 60_000_000),
        values: vec![Value::Double(close)],
        ticks: 1,
        first_sequence: 1.into(),
        last_sequence: 1.into(),
    };
    let name = BatchName {
        state_id: "id".to_owned(),
        incarnation: Incarnation::of_stream(1),
        shard: "s".to_owned(),
        version,
    };
    let columns = [Column {
        name: "avg_close".to_owned(),
        kind: ColumnKind::Double,
    }];
    let parts: Vec<PartitionPart> = rows
        .partition_by
        .iter()
        .map(|column| match column {
            PartitionColumn::Ticker => PartitionPart::Ticker(ticker.into()),
            PartitionColumn::TradeDate => PartitionPart::TradeDate(date),
        })
        .collect();
    let batch = Batch {
        version,
        columns: columns.to_vec(),
        rows: vec![row].into(),
        late: vec![],
        dead: vec![],
    };
    let all = batch.partitions(&[]).remove(0);
    let bytes = rows_parquet(&name, &columns, &all, &rows.partition_by, Compression::Zstd);
    let key = name.rows(&rows.partition_by, &parts);
    rows.output
        .put_overwrite(&key, bytes.unwrap())
        .await
        .unwrap();
}

fn iso_date(day: i64) -> String {
    let first: jiff::civil::Date = "2024-01-02".parse().unwrap();
    (first + jiff::Span::new().days(day)).to_string()
}

fn closes(found: &Found) -> Vec<f64> {
    let mut rows = found.rows.clone();
    rows.sort_by_key(|row| row.window_start);
    rows.iter()
        .map(|row| row.values["avg_close"].unwrap())
        .collect()
}

#[tokio::test]
async fn a_tickers_rows_are_found_in_every_layout_and_no_others() {
    use PartitionColumn::{Ticker, TradeDate};
    let odd = "a/b=c%";
    for layout in [
        vec![Ticker, TradeDate],
        vec![Ticker],
        vec![TradeDate, Ticker],
        vec![TradeDate],
        vec![],
    ] {
        let rows = rows(&layout);
        for (version, (ticker, day, close)) in [
            ("AAPL", 0, 1.0),
            (odd, 0, 2.0),
            ("AAPL", 1, 3.0),
            (odd, 90, 4.0),
        ]
        .into_iter()
        .enumerate()
        {
            publish(&rows, version as u64 + 1, ticker, day, close).await;
        }
        for date in [Some("2024-04-01"), None] {
            let found = rows.published(odd, date, 100).await;
            assert_eq!(
                closes(&found),
                [2.0, 4.0],
                "{layout:?} {date:?} {:?}",
                found.notes
            );
            assert!(found.notes.is_empty() && !found.truncated, "{layout:?}");
        }
        assert_eq!(closes(&rows.published("AAPL", None, 100).await), [1.0, 3.0]);
        assert!(rows.published("NONE", None, 100).await.rows.is_empty());
    }
}

#[tokio::test]
async fn no_more_files_are_read_than_allowed_and_a_damaged_one_is_told() {
    let rows = rows(&[PartitionColumn::Ticker]);
    let most = u64::try_from(MAX_FILES).unwrap();
    for version in 0..most + 10 {
        publish(
            &rows,
            version,
            "AAPL",
            i64::try_from(version).unwrap() % 5,
            1.0,
        )
        .await;
    }
    let found = rows.published("AAPL", None, 100_000).await;
    assert_eq!((found.rows.len(), found.truncated), (MAX_FILES, true));
    let key = "ticker=AAPL/damaged.parquet";
    rows.output
        .put_overwrite(key, Bytes::from_static(b"PAR1 or not"))
        .await
        .unwrap();
    let found = rows.published("AAPL", None, 100_000).await;
    assert_eq!(found.rows.len(), MAX_FILES - 1);
    assert!(
        found.notes[0].contains("damaged.parquet can't be read"),
        "{:?}",
        found.notes
    );
}
