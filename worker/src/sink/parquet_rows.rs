//! Rows of one partition as a Parquet file.
//!
//! Owns the columns of the output table's files. Partition columns stand in the path and not in the file.

use bytes::Bytes;
use stockstream_core::layout::BatchName;
use stockstream_core::row::{
    Column, ColumnKind, PartitionColumn, PartitionRows, Value, row_digest,
};
use stockstream_core::rows::RowView;

use super::parquet_file::{Compression, Data, EncodeError, NamedData, encode};
use super::provenance::Provenance;

/// The file of a partition's rows: `window_start`, `window_end`, the figures, then `ticker` and `trade_date` unless they
/// are partition columns. The same rows make the same bytes in one release.
///
/// # Errors
/// [`EncodeError`].
pub fn rows_parquet(
    name: &BatchName,
    columns: &[Column],
    rows: &PartitionRows<'_>,
    partition_by: &[PartitionColumn],
    compression: Compression,
) -> Result<Bytes, EncodeError> {
    let digest = row_digest(columns, rows.iter());
    let provenance = Provenance::new(
        name,
        digest,
        rows.iter().map(RowView::first_sequence),
        rows.iter().map(RowView::last_sequence),
        rows.iter().map(RowView::ticks).sum(),
    );
    let starts = rows.iter().map(|row| row.window_start().0).collect();
    let ends = rows.iter().map(|row| row.window_end().0).collect();
    let mut data = vec![
        NamedData::new("window_start", Data::Timestamps(starts)),
        NamedData::new("window_end", Data::Timestamps(ends)),
    ];
    for (index, column) in columns.iter().enumerate() {
        data.push(NamedData::new(&column.name, figures(column, index, rows)?));
    }
    for column in [PartitionColumn::Ticker, PartitionColumn::TradeDate] {
        if !partition_by.contains(&column) {
            let texts = match column {
                PartitionColumn::Ticker => {
                    texts(rows, RowView::ticker_index, |row| row.ticker().to_string())
                }
                PartitionColumn::TradeDate => texts(rows, RowView::trade_date, |row| {
                    row.trade_date().to_string()
                }),
            };
            data.push(NamedData::new(column.name(), Data::Texts(texts)));
        }
    }
    encode(&data, &provenance, compression)
}

/// A text of each row. It is made anew where its key is another than in the row before.
fn texts<'a, K: PartialEq>(
    rows: &PartitionRows<'a>,
    key: impl Fn(RowView<'a>) -> K,
    text: impl Fn(RowView<'a>) -> String,
) -> Vec<Bytes> {
    let mut last: Option<(K, Bytes)> = None;
    let mut text_of = |row: RowView<'a>| match &last {
        Some((known, text)) if *known == key(row) => text.clone(),
        _ => {
            let text = Bytes::from(text(row));
            last = Some((key(row), text.clone()));
            text
        }
    };
    rows.iter().map(&mut text_of).collect()
}

fn figures(column: &Column, index: usize, rows: &PartitionRows<'_>) -> Result<Data, EncodeError> {
    let wrong = |kind, value: Value| EncodeError::WrongKind {
        column: column.name.clone(),
        kind,
        value: format!("{value:?}"),
    };
    let values = rows.iter().map(|row| row.value(index));
    Ok(match column.kind {
        ColumnKind::Double => Data::Doubles(
            values
                .map(|value| match value {
                    Value::Null => Ok(None),
                    Value::Double(value) => Ok(Some(value)),
                    Value::Long(_) => Err(wrong("double", value)),
                })
                .collect::<Result<_, _>>()?,
        ),
        ColumnKind::Long => Data::Longs(
            values
                .map(|value| match value {
                    Value::Null => Ok(None),
                    Value::Long(value) => Ok(Some(value)),
                    Value::Double(_) => Err(wrong("long", value)),
                })
                .collect::<Result<_, _>>()?,
        ),
    })
}
