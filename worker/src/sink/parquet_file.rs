//! Writing small Parquet files column by column.
//!
//! Owns the properties that all of our Parquet shares. Must never put anything into a file that differs between two
//! writes of the same content by the same release: no times, no random ids.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{
    Compression as Codec, GzipLevel, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
};
use parquet::column::writer::{ColumnWriter, get_typed_column_writer_mut};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::provenance::Provenance;
use super::zstd_pages;

/// Rows in a row group, at most.
const ROWS_IN_GROUP: usize = 1 << 20;

/// Compression of Parquet files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard, level 1 (Parquet's default).
    #[default]
    Zstd,
    /// Snappy.
    Snappy,
    /// LZ4 in Parquet's own framing (LZ4_RAW).
    Lz4,
    /// Gzip, level 6.
    Gzip,
    /// None.
    None,
}

impl Compression {
    fn codec(self) -> Codec {
        match self {
            Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
            Compression::Snappy => Codec::SNAPPY,
            Compression::Lz4 => Codec::LZ4_RAW,
            Compression::Gzip => Codec::GZIP(GzipLevel::default()),
            Compression::None => Codec::UNCOMPRESSED,
        }
    }
}

/// A batch can't be written: a mistake of the program, not of its input.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A figure doesn't fit its column.
    #[error("column {column:?} can't hold {value}: its type is {kind}")]
    WrongKind {
        /// The column.
        column: String,
        /// The column's type.
        kind: &'static str,
        /// The figure.
        value: String,
    },
    /// Two columns of a file have one name.
    #[error("two columns are named {0:?}; give the aggregate another name")]
    DuplicateColumn(String),
    /// JSON's own.
    #[error("writing JSON failed: {0}")]
    Json(serde_json::Error),
    /// Parquet's own.
    #[error("writing Parquet failed: {0}")]
    Parquet(#[from] ParquetError),
}

/// One column with all its values.
pub(super) enum Data {
    /// Microseconds since the epoch, UTC, required.
    Timestamps(Vec<i64>),
    /// Required. Few differ from each other.
    Texts(Vec<Bytes>),
    /// Required.
    Binaries(Vec<Bytes>),
    /// Nullable.
    Doubles(Vec<Option<f64>>),
    /// Nullable.
    Longs(Vec<Option<i64>>),
}

pub(super) struct NamedData {
    pub(super) name: String,
    pub(super) data: Data,
}

impl NamedData {
    pub(super) fn new(name: &str, data: Data) -> Self {
        NamedData {
            name: name.to_owned(),
            data,
        }
    }

    fn schema(&self) -> Result<TypePtr, ParquetError> {
        let (physical, logical, repetition) = match &self.data {
            Data::Timestamps(_) => (
                Physical::INT64,
                Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
                Repetition::REQUIRED,
            ),
            Data::Texts(_) => (
                Physical::BYTE_ARRAY,
                Some(LogicalType::String),
                Repetition::REQUIRED,
            ),
            Data::Binaries(_) => (Physical::BYTE_ARRAY, None, Repetition::REQUIRED),
            Data::Doubles(_) => (Physical::DOUBLE, None, Repetition::OPTIONAL),
            Data::Longs(_) => (Physical::INT64, None, Repetition::OPTIONAL),
        };
        let field = Type::primitive_type_builder(&self.name, physical)
            .with_logical_type(logical)
            .with_repetition(repetition)
            .build()?;
        Ok(Arc::new(field))
    }

    /// True when few values differ, so that a dictionary makes the file smaller. Instants and doubles of one file hardly repeat:
    /// a dictionary of them was longer than they are, and took a third of the time of writing small files.
    fn repeats(&self) -> bool {
        match &self.data {
            Data::Texts(_) | Data::Binaries(_) | Data::Longs(_) => true,
            Data::Timestamps(_) | Data::Doubles(_) => false,
        }
    }

    fn len(&self) -> usize {
        match &self.data {
            Data::Timestamps(values) => values.len(),
            Data::Texts(values) => values.len(),
            Data::Binaries(values) => values.len(),
            Data::Doubles(values) => values.len(),
            Data::Longs(values) => values.len(),
        }
    }
}

/// A whole file.
pub(super) fn encode(
    columns: &[NamedData],
    provenance: &Provenance,
    compression: Compression,
) -> Result<Bytes, EncodeError> {
    encode_by(
        columns,
        provenance,
        compression,
        compression == Compression::Zstd,
    )
}

/// As [`encode`], by our own use of Zstandard or by Parquet's.
fn encode_by(
    columns: &[NamedData],
    provenance: &Provenance,
    compression: Compression,
    by_own_zstd: bool,
) -> Result<Bytes, EncodeError> {
    for (index, column) in columns.iter().enumerate() {
        if columns[..index]
            .iter()
            .any(|other| other.name == column.name)
        {
            return Err(EncodeError::DuplicateColumn(column.name.clone()));
        }
    }
    let fields = columns
        .iter()
        .map(NamedData::schema)
        .collect::<Result<_, _>>()?;
    let schema = Arc::new(
        Type::group_type_builder("stockstream")
            .with_fields(fields)
            .build()?,
    );
    let properties = |codec| {
        let mut properties = WriterProperties::builder()
            .set_compression(codec)
            .set_dictionary_enabled(false)
            // Files are small: statistics of the column chunks say all that those of pages would.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_key_value_metadata(Some(provenance.to_metadata()));
        for column in columns.iter().filter(|column| column.repeats()) {
            let path = ColumnPath::from(column.name.as_str());
            properties = properties.set_column_dictionary_enabled(path, true);
        }
        Arc::new(properties.build())
    };
    let plain = properties(Codec::UNCOMPRESSED);
    let mut writer =
        SerializedFileWriter::new(Vec::new(), schema, properties(compression.codec()))?;
    let described = writer.schema_descr().columns().to_vec();
    let rows = columns.first().map_or(0, NamedData::len);
    for start in (0..rows).step_by(ROWS_IN_GROUP) {
        let mut group = writer.next_row_group()?;
        let rows = start..rows.min(start + ROWS_IN_GROUP);
        for (column, described) in columns.iter().zip(&described) {
            let write =
                |writer: &mut ColumnWriter<'_>| write_values(writer, &column.data, rows.clone());
            if by_own_zstd {
                zstd_pages::write_column(&mut group, described.clone(), plain.clone(), write)?;
            } else {
                write_column(&mut group, write)?;
            }
        }
        group.close()?;
    }
    Ok(Bytes::from(writer.into_inner()?))
}

fn write_column(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    write: impl FnOnce(&mut ColumnWriter<'_>) -> Result<(), ParquetError>,
) -> Result<(), ParquetError> {
    let Some(mut writer) = group.next_column()? else {
        return Err(ParquetError::General(
            "more columns than the schema has".to_owned(),
        ));
    };
    write(writer.untyped())?;
    writer.close()
}

fn write_values(
    writer: &mut ColumnWriter<'_>,
    data: &Data,
    rows: Range<usize>,
) -> Result<(), ParquetError> {
    match data {
        Data::Timestamps(values) => {
            get_typed_column_writer_mut::<Int64Type>(writer).write_batch(
                &values[rows],
                None,
                None,
            )?;
        }
        Data::Texts(values) => {
            let values: Vec<ByteArray> =
                values[rows].iter().cloned().map(ByteArray::from).collect();
            get_typed_column_writer_mut::<ByteArrayType>(writer)
                .write_batch(&values, None, None)?;
        }
        Data::Binaries(values) => {
            let values: Vec<ByteArray> =
                values[rows].iter().cloned().map(ByteArray::from).collect();
            get_typed_column_writer_mut::<ByteArrayType>(writer)
                .write_batch(&values, None, None)?;
        }
        Data::Doubles(values) => {
            let (values, levels) = without_nulls(&values[rows]);
            get_typed_column_writer_mut::<DoubleType>(writer).write_batch(
                &values,
                Some(&levels),
                None,
            )?;
        }
        Data::Longs(values) => {
            let (values, levels) = without_nulls(&values[rows]);
            get_typed_column_writer_mut::<Int64Type>(writer).write_batch(
                &values,
                Some(&levels),
                None,
            )?;
        }
    }
    Ok(())
}

/// Parquet's form of nullable values: those that are there, and a level per row (1 = there).
fn without_nulls<T: Copy>(values: &[Option<T>]) -> (Vec<T>, Vec<i16>) {
    let present = values.iter().copied().flatten().collect();
    let levels = values
        .iter()
        .map(|value| i16::from(value.is_some()))
        .collect();
    (present, levels)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use stockstream_core::layout::{BatchName, Incarnation};

    use super::*;

    #[test]
    fn our_use_of_zstandard_gives_parquets_own_bytes() {
        let name = BatchName {
            state_id: "5f2c".to_owned(),
            incarnation: Incarnation::of_stream(17),
            shard: "files".to_owned(),
            version: 3,
        };
        let provenance = Provenance::new(
            &name,
            String::new(),
            std::iter::empty(),
            std::iter::empty(),
            0,
        );
        for rows in [0u32, 1, 390, 30_000] {
            let every = |n: u32| move |row: u32| (!row.is_multiple_of(n)).then_some(row);
            let texts = (0..rows)
                .map(|row| Bytes::from(format!("T{}", row % 7)))
                .collect();
            let columns = [
                NamedData::new("at", Data::Timestamps((0..i64::from(rows)).collect())),
                NamedData::new("text", Data::Texts(texts)),
                NamedData::new(
                    "raw",
                    Data::Binaries(vec![Bytes::from_static(b"{}"); rows as usize]),
                ),
                NamedData::new(
                    "close",
                    Data::Doubles(
                        (0..rows)
                            .map(every(3))
                            .map(|row| row.map(f64::from))
                            .collect(),
                    ),
                ),
                NamedData::new(
                    "ticks",
                    Data::Longs(
                        (0..rows)
                            .map(every(5))
                            .map(|row| row.map(i64::from))
                            .collect(),
                    ),
                ),
            ];
            let own = encode_by(&columns, &provenance, Compression::Zstd, true).unwrap();
            let parquets = encode_by(&columns, &provenance, Compression::Zstd, false).unwrap();
            assert_eq!(own, parquets, "{rows} rows");
        }
    }
}
