//! What a published file says about itself, for `stockstream inspect file URI`.
//!
//! Owns the reading of footers. Reads a Parquet file's end only, never its rows.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use parquet::basic::LogicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;
use serde::Serialize;
use stockstream_core::time::Micros;

use super::provenance::Provenance;
use crate::storage::{Store, StoreError, StoreOptions};

/// How much of a file's end is read at first: the whole footer of nearly every file.
const FIRST_READ: u64 = 64 << 10;

/// The largest footer that is read.
const MAX_FOOTER: u64 = 256 << 20;

/// A file can't be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The store's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such file.
    #[error("there is no file {0}; list the folder and give a file's full URL")]
    NotFound(String),
    /// The URL doesn't name a file in a folder.
    #[error("{0:?} names no file: give s3://BUCKET/KEY, file:///PATH or a path")]
    BadUri(String),
    /// It is another kind of file, or damaged.
    #[error("{url} is no sound Parquet file: {source}")]
    NotParquet {
        /// The file.
        url: String,
        /// What Parquet's reader said.
        source: ParquetError,
    },
}

/// What a Parquet file says about itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileSummary {
    /// The file.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// Row groups.
    pub row_groups: usize,
    /// Who wrote it and what from; absent in files of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Partition columns and their values, unescaped, from the path; in the path's order.
    pub partition: Vec<(String, String)>,
    /// The columns in the file.
    pub columns: Vec<ColumnSummary>,
    /// Other key-value metadata.
    pub metadata: BTreeMap<String, String>,
    /// The encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// A column of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnSummary {
    /// The name.
    pub name: String,
    /// The type as people write it.
    #[serde(rename = "type")]
    pub kind: String,
    /// It may hold nulls.
    pub nullable: bool,
    /// The codec.
    pub compression: String,
    /// Bytes in the file.
    pub compressed_bytes: i64,
    /// The smallest value, when the file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The greatest value, when the file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// Nulls, when the file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nulls: Option<u64>,
}

/// Reads a file's summary. `uri` is `s3://BUCKET/KEY`, `file:///PATH`, `file://./PATH` or a plain path.
///
/// # Errors
/// [`InspectError`].
pub async fn inspect_file(uri: &str, options: &StoreOptions) -> Result<FileSummary, InspectError> {
    let bad = || InspectError::BadUri(uri.to_owned());
    let url = if uri.contains("://") {
        uri.to_owned()
    } else {
        let path = std::path::absolute(uri).map_err(|_| bad())?;
        format!("file://{}", path.display())
    };
    let (folder, name) = url.rsplit_once('/').ok_or_else(bad)?;
    if name.is_empty() || folder.ends_with("s3:/") {
        return Err(bad());
    }
    let folder = if folder == "file://" {
        "file:///"
    } else {
        folder
    };
    let options = StoreOptions {
        create_directory: false,
        ..options.clone()
    };
    let store = Store::open(folder, &options).await?;
    let (metadata, size) = read_footer(&store, name).await?;
    Ok(summarise(store.url_of(name), size, &metadata))
}

async fn read_footer(store: &Store, key: &str) -> Result<(ParquetMetaData, u64), InspectError> {
    let url = store.url_of(key);
    let mut wanted = FIRST_READ;
    loop {
        let Some((end, info)) = store.get_end(key, wanted).await? else {
            return Err(InspectError::NotFound(url));
        };
        let mut reader = ParquetMetaDataReader::new();
        let source = match reader
            .try_parse_sized(&end, info.size)
            .and_then(|()| reader.finish())
        {
            Ok(metadata) => return Ok((metadata, info.size)),
            Err(ParquetError::NeedMoreData(more)) if wanted < info.size && wanted < MAX_FOOTER => {
                wanted = (more as u64).max(wanted.saturating_mul(2));
                continue;
            }
            Err(error) => error,
        };
        return Err(InspectError::NotParquet { url, source });
    }
}

fn summarise(url: String, size: u64, metadata: &ParquetMetaData) -> FileSummary {
    let file = metadata.file_metadata();
    let entries = file.key_value_metadata().map_or(&[][..], Vec::as_slice);
    let foreign = entries
        .iter()
        .filter(|entry| !entry.key.starts_with("stockstream."));
    let columns = file.schema_descr().columns().iter().enumerate();
    FileSummary {
        size,
        rows: u64::try_from(file.num_rows()).unwrap_or(0),
        row_groups: metadata.num_row_groups(),
        provenance: Provenance::from_metadata(entries),
        partition: partition_of(&url),
        columns: columns
            .map(|(index, column)| column_summary(metadata, index, column))
            .collect(),
        metadata: foreign
            .map(|entry| (entry.key.clone(), entry.value.clone().unwrap_or_default()))
            .collect(),
        created_by: file.created_by().map(str::to_owned),
        url,
    }
}

fn column_summary(
    metadata: &ParquetMetaData,
    index: usize,
    column: &ColumnDescriptor,
) -> ColumnSummary {
    let chunks: Vec<_> = metadata
        .row_groups()
        .iter()
        .map(|group| group.column(index))
        .collect();
    let logical = column.logical_type_ref();
    let of_chunks = |pick: fn(&Statistics) -> Option<Limit>| {
        chunks
            .iter()
            .map(|chunk| chunk.statistics().and_then(pick))
            .collect::<Option<Vec<_>>>()
    };
    let lowest = of_chunks(|statistics| Limit::of(statistics, true));
    let highest = of_chunks(|statistics| Limit::of(statistics, false));
    let first = |limits: Option<Vec<Limit>>, lower: bool| {
        limits?
            .into_iter()
            .reduce(|a, b| if a.is_below(&b) == lower { a } else { b })
    };
    let nulls = chunks
        .iter()
        .map(|chunk| chunk.statistics().and_then(Statistics::null_count_opt));
    ColumnSummary {
        name: column.name().to_owned(),
        kind: kind_of(column),
        nullable: column.self_type().is_optional(),
        compression: chunks
            .first()
            .map_or_else(String::new, |chunk| format!("{:?}", chunk.compression())),
        compressed_bytes: chunks.iter().map(|chunk| chunk.compressed_size()).sum(),
        min: first(lowest, true).map(|limit| limit.text(logical)),
        max: first(highest, false).map(|limit| limit.text(logical)),
        nulls: nulls.sum(),
    }
}

fn kind_of(column: &ColumnDescriptor) -> String {
    match column.logical_type_ref() {
        Some(LogicalType::Timestamp(timestamp)) => {
            let zone = if timestamp.is_adjusted_to_u_t_c {
                "UTC"
            } else {
                "no zone"
            };
            format!("timestamp({:?}, {zone})", timestamp.unit)
                .to_lowercase()
                .replace("utc", "UTC")
        }
        Some(LogicalType::String) => "string".to_owned(),
        Some(other) => format!("{other:?}").to_lowercase(),
        None => format!("{}", column.physical_type()).to_lowercase(),
    }
}

/// A smallest or greatest value.
enum Limit {
    Long(i64),
    Double(f64),
    Bytes(Vec<u8>),
}

impl Limit {
    fn of(statistics: &Statistics, lowest: bool) -> Option<Limit> {
        match statistics {
            Statistics::Int64(values) => {
                let value = if lowest {
                    values.min_opt()
                } else {
                    values.max_opt()
                };
                value.copied().map(Limit::Long)
            }
            Statistics::Double(values) => {
                let value = if lowest {
                    values.min_opt()
                } else {
                    values.max_opt()
                };
                value.copied().map(Limit::Double)
            }
            Statistics::ByteArray(values) => {
                let value = if lowest {
                    values.min_opt()
                } else {
                    values.max_opt()
                };
                value.map(|bytes| Limit::Bytes(bytes.data().to_vec()))
            }
            _ => None,
        }
    }

    fn is_below(&self, other: &Limit) -> bool {
        match (self, other) {
            (Limit::Long(a), Limit::Long(b)) => a < b,
            (Limit::Double(a), Limit::Double(b)) => a < b,
            (Limit::Bytes(a), Limit::Bytes(b)) => a < b,
            _ => false,
        }
    }

    fn text(&self, logical: Option<&LogicalType>) -> String {
        match self {
            Limit::Long(value) if matches!(logical, Some(LogicalType::Timestamp(_))) => {
                Micros(*value).to_string()
            }
            Limit::Long(value) => value.to_string(),
            Limit::Double(value) => value.to_string(),
            Limit::Bytes(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                text.chars().take(MAX_LIMIT_CHARS).collect()
            }
        }
    }
}

/// The longest printed smallest or greatest value.
const MAX_LIMIT_CHARS: usize = 64;

/// `column=value` parts of a path, their values unescaped.
fn partition_of(url: &str) -> Vec<(String, String)> {
    let folders = url.rsplit_once('/').map_or("", |(folders, _)| folders);
    let parts = folders.split('/').filter_map(|part| part.split_once('='));
    parts
        .map(|(name, value)| (name.to_owned(), hive_unescape(value)))
        .collect()
}

fn hive_unescape(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&Bytes::from(bytes)).into_owned()
}

impl fmt::Display for FileSummary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.url)?;
        writeln!(
            out,
            "  {} rows, {} bytes, {} row group(s)",
            self.rows, self.size, self.row_groups
        )?;
        for (name, value) in &self.partition {
            writeln!(out, "  {name} = {value}")?;
        }
        match &self.provenance {
            Some(from) => {
                writeln!(out, "Written by stockstream {}", from.writer)?;
                writeln!(out, "  state         {}", from.state_id)?;
                writeln!(out, "  incarnation   {}", from.incarnation)?;
                writeln!(out, "  shard         {}", from.shard)?;
                writeln!(out, "  version       {}", from.version)?;
                writeln!(out, "  ticks         {}", from.ticks)?;
                writeln!(
                    out,
                    "  sequence      {} … {}",
                    from.first_sequence, from.last_sequence
                )?;
                writeln!(out, "  row digest    {}", from.row_digest)?;
            }
            None => writeln!(out, "Not written by stockstream")?,
        }
        writeln!(out, "Columns")?;
        let width = self
            .columns
            .iter()
            .map(|column| column.name.chars().count())
            .max()
            .unwrap_or(0);
        for column in &self.columns {
            let null = if column.nullable {
                "nullable"
            } else {
                "required"
            };
            write!(out, "  {:width$}  {:24} {null}", column.name, column.kind)?;
            match (&column.min, &column.max) {
                (Some(min), Some(max)) => writeln!(out, "  {min} … {max}")?,
                _ => writeln!(out)?,
            }
        }
        for (key, value) in &self.metadata {
            let value: String = value.chars().take(MAX_LIMIT_CHARS).collect();
            writeln!(out, "  {key} = {value}")?;
        }
        Ok(())
    }
}
