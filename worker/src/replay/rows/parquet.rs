//! Parquet: top-level columns of any type that can hold the field.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use jiff::civil::{Date, Time, date};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;

use super::cell::{self, Moment};
use super::collect::Collector;
use super::layout::{ColumnNames, Field, Layout, Place};
use super::source::Source;
use crate::replay::ReplayError;

const ROWS_PER_BATCH: usize = 8192;

/// Reads every row into `collector`; only the columns needed are decoded.
pub(super) fn read<R: ChunkReader + 'static>(
    source: &Source,
    input: R,
    names: &ColumnNames,
    collector: &mut Collector,
) -> Result<(), ReplayError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(input)
        .map_err(|error| source.unreadable(&error))?;
    let schema = Arc::clone(builder.schema());
    let columns: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let wanted = Layout::find(source, &columns, names)?;
    let roots: Vec<usize> = Field::ALL
        .into_iter()
        .filter_map(|field| match wanted.place(field) {
            Place::Column(index) => Some(*index),
            _ => None,
        })
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder
        .with_projection(mask)
        .with_batch_size(ROWS_PER_BATCH)
        .build()
        .map_err(|error| source.unreadable(&error))?;
    let mut rows_before = 0;
    for batch in reader {
        if collector.is_cancelled() {
            break;
        }
        let batch = batch.map_err(|error| source.unreadable(&error))?;
        read_batch(source, &batch, names, rows_before, collector)?;
        rows_before += batch.num_rows() as u64;
    }
    Ok(())
}

fn read_batch(
    source: &Source,
    batch: &RecordBatch,
    names: &ColumnNames,
    rows_before: u64,
    collector: &mut Collector,
) -> Result<(), ReplayError> {
    let schema = batch.schema();
    let columns: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let layout = Layout::find(source, &columns, names)?;
    let tickers = Column::of(source, batch, &layout, Field::Ticker)?;
    let dates = Column::of(source, batch, &layout, Field::Date)?;
    let price = |field| Column::of(source, batch, &layout, field);
    let prices = [
        price(Field::Open)?,
        price(Field::High)?,
        price(Field::Low)?,
        price(Field::Close)?,
    ];
    let volumes = Column::of(source, batch, &layout, Field::Volume)?;
    for row in 0..batch.num_rows() {
        let bad = |problem| source.bad_row(rows_before + row as u64 + 1, problem);
        let ticker = cell::ticker(tickers.text(row)).map_err(bad)?;
        let moment = dates.moment(row).map_err(bad)?;
        let mut figures = [None; 4];
        for (figure, (column, field)) in
            figures.iter_mut().zip(prices.iter().zip(&Field::ALL[2..6]))
        {
            *figure = column.number(field.name(), row).map_err(bad)?;
        }
        let volume = volumes.integer(Field::Volume.name(), row).map_err(bad)?;
        collector.push(ticker, moment, figures, volume)?;
    }
    Ok(())
}

/// One column of a batch, cast to what its field is read from.
enum Column {
    /// The same text for every row.
    Constant(String),
    Text(ArrayRef),
    /// Days since 1970.
    Days(ArrayRef),
    /// Microseconds since 1970.
    Microseconds(ArrayRef),
    Doubles(ArrayRef),
    Integers(ArrayRef),
}

impl Column {
    fn of(
        source: &Source,
        batch: &RecordBatch,
        layout: &Layout,
        field: Field,
    ) -> Result<Self, ReplayError> {
        let index = match layout.place(field) {
            Place::Column(index) => *index,
            Place::Path(value) => return Ok(Self::Constant(value.clone())),
            Place::Nowhere => return Ok(Self::Constant(String::new())),
        };
        let column = batch.column(index);
        let (kind, make) = target(field, value_type(column.data_type()));
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        cast_with_options(column, &kind, &options)
            .map(make)
            .map_err(|error| ReplayError::Unreadable {
                path: source.name.clone(),
                problem: format!(
                    "column `{}` of type {} can't be read as {}: {error}",
                    batch.schema().field(index).name(),
                    column.data_type(),
                    field.name()
                ),
            })
    }

    fn text(&self, row: usize) -> &str {
        match self {
            Self::Constant(text) => text,
            Self::Text(array) if array.is_valid(row) => array.as_string::<i32>().value(row),
            _ => "",
        }
    }

    fn moment(&self, row: usize) -> Result<Moment, String> {
        let moment = match self {
            Self::Days(array) if array.is_valid(row) => {
                day(array.as_primitive::<Date32Type>().value(row))
            }
            Self::Microseconds(array) if array.is_valid(row) => {
                Moment::of_microsecond(array.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            Self::Days(_) | Self::Microseconds(_) => return cell::date(""),
            _ => return cell::date(self.text(row)),
        };
        moment.ok_or_else(|| "date is out of range; allowed are the years 1 to 9999".to_owned())
    }

    fn number(&self, field: &str, row: usize) -> Result<Option<f64>, String> {
        match self {
            Self::Doubles(array) if array.is_null(row) => Ok(None),
            Self::Doubles(array) => match array.as_primitive::<Float64Type>().value(row) {
                number if number.is_nan() => Ok(None),
                number if number.is_finite() => Ok(Some(number)),
                number => Err(format!(
                    "{field} is `{number}`; allowed are finite numbers, or nothing"
                )),
            },
            _ => cell::number(field, self.text(row)),
        }
    }

    fn integer(&self, field: &str, row: usize) -> Result<Option<i64>, String> {
        match self {
            Self::Integers(array) if array.is_null(row) => Ok(None),
            Self::Integers(array) => Ok(Some(array.as_primitive::<Int64Type>().value(row))),
            Self::Doubles(_) => self
                .number(field, row)?
                .map(|number| cell::whole(field, number))
                .transpose(),
            _ => cell::integer(field, self.text(row)),
        }
    }
}

/// Dictionaries count as what they stand for.
fn value_type(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

fn target(field: Field, kind: &DataType) -> (DataType, fn(ArrayRef) -> Column) {
    let is_text = matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    match field {
        Field::Date => match kind {
            DataType::Date32 | DataType::Date64 => (DataType::Date32, Column::Days),
            DataType::Timestamp(_, zone) => (
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
                Column::Microseconds,
            ),
            _ => (DataType::Utf8, Column::Text),
        },
        Field::Ticker => (DataType::Utf8, Column::Text),
        _ if is_text => (DataType::Utf8, Column::Text),
        Field::Volume if kind.is_integer() => (DataType::Int64, Column::Integers),
        _ => (DataType::Float64, Column::Doubles),
    }
}

fn day(days: i32) -> Option<Moment> {
    const EPOCH: Date = date(1970, 1, 1);
    let date = EPOCH
        .checked_add(jiff::Span::new().try_days(days).ok()?)
        .ok()?;
    Moment::of(date, Time::midnight())
}
