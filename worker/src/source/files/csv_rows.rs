//! CSV: a row is a tick, turned into a JSON object by the header.
//!
//! An empty field is an absent key. A field that is a JSON number becomes a number, but for the columns that the
//! mapping says are text (ticker, event time, trade date, id); anything else becomes a string. A row that has not as
//! many fields as the header is passed on as a JSON array of its fields, which is never a tick: a row that was cut
//! off must not be taken for a whole one.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use csv_core::ReadRecordResult;
use stockstream_core::plan::{MAX_TICK_BYTES, RecordMapping};

use super::blob::Blob;
use super::error::FilesError;
use super::json::{is_number, write_string};
use super::list::Compression;
use super::records::{Record, Records};
use super::text::Text;

/// The most columns of a header, and the most fields of a row that are looked at.
pub(super) const MAX_COLUMNS: usize = 4_096;

/// What is kept of a row: enough to be too large.
const KEPT: usize = MAX_TICK_BYTES + 1;

/// The ticks of a CSV file.
pub(super) struct CsvRows {
    text: Text,
    row: RowReader,
    columns: Vec<Column>,
    json: Vec<u8>,
    /// Rows taken, in a packed file; `None` where byte offsets are the marks.
    rows: Option<u64>,
}

struct Column {
    /// `"name":`
    key: Vec<u8>,
    /// True when its values are text even where they look like numbers.
    is_text: bool,
}

/// One row's fields, without their quotes.
struct RowReader {
    parser: csv_core::Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
    length: usize,
    count: usize,
    /// More bytes than are kept.
    too_large: bool,
    /// More fields than are kept.
    too_many: bool,
}

impl CsvRows {
    pub(super) fn open(
        blob: &Arc<Blob>,
        mark: u64,
        mapping: &RecordMapping,
        buffer_size: usize,
    ) -> Result<Self, FilesError> {
        let plain = blob.entry.compression == Compression::None;
        let mut text = Text::open(blob, 0, buffer_size)?;
        let mut row = RowReader::new();
        let columns = if row.read(&mut text)? {
            columns(&row, mapping, &blob.entry.path)?
        } else {
            Vec::new()
        };
        if plain && mark > 0 {
            // The same parser goes on, as if everything between had been read.
            text = Text::open(blob, mark, buffer_size)?;
        }
        let mut rows = CsvRows {
            text,
            row,
            columns,
            json: Vec::new(),
            rows: (!plain).then_some(0),
        };
        while rows.rows.is_some_and(|rows| rows < mark) {
            if !rows.advance()? {
                return Err(FilesError::Marks {
                    why: format!(
                        "{} goes on after row {mark}, but has fewer",
                        blob.entry.path
                    ),
                });
            }
        }
        Ok(rows)
    }

    fn advance(&mut self) -> Result<bool, FilesError> {
        let more = self.row.read(&mut self.text)?;
        if more {
            self.rows = self.rows.map(|rows| rows + 1);
        }
        Ok(more)
    }

    fn write_json(&mut self) {
        self.json.clear();
        let fits =
            self.row.count == self.columns.len() && !self.row.too_large && !self.row.too_many;
        if fits {
            write_object(&self.columns, &self.row, &mut self.json);
        } else {
            write_array(&self.row, &mut self.json);
        }
        self.json.truncate(KEPT);
    }
}

impl Records for CsvRows {
    fn next(&mut self) -> Result<Option<Record>, FilesError> {
        if !self.advance()? {
            return Ok(None);
        }
        self.write_json();
        let data = Bytes::copy_from_slice(&self.json);
        if self.row.fields.len() > 1 << 20 {
            (self.row.fields, self.json) = (vec![0; 1 << 12], Vec::new());
        }
        Ok(Some(Record {
            data,
            after: self.rows.unwrap_or(self.text.offset()),
        }))
    }

    fn memory(&self) -> usize {
        self.text.memory() + self.row.fields.len() + self.json.capacity()
    }
}

fn columns(
    header: &RowReader,
    mapping: &RecordMapping,
    path: &str,
) -> Result<Vec<Column>, FilesError> {
    let bad = |why: String| FilesError::Columns {
        path: path.to_owned(),
        why,
    };
    if header.too_many || header.too_large {
        return Err(bad(format!(
            "the header has more than {MAX_COLUMNS} fields or 10 MiB"
        )));
    }
    let mut seen = BTreeSet::new();
    let mut columns = Vec::with_capacity(header.count);
    for field in header.iter() {
        let name = std::str::from_utf8(field)
            .map_err(|_| bad(format!("the header isn't UTF-8: {}", field.escape_ascii())))?;
        if !seen.insert(name) {
            return Err(bad(format!("{name:?} stands twice in the header")));
        }
        columns.push(Column {
            key: key(name),
            is_text: is_text(name, mapping),
        });
    }
    Ok(columns)
}

/// `"name":`
pub(super) fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    write_string(name.as_bytes(), &mut key);
    key.push(b':');
    key
}

fn is_text(name: &str, mapping: &RecordMapping) -> bool {
    name == mapping.ticker
        || name == mapping.event_time
        || name == mapping.trade_date
        || mapping.id.as_deref() == Some(name)
}

fn write_object(columns: &[Column], row: &RowReader, out: &mut Vec<u8>) {
    out.push(b'{');
    for (column, field) in columns.iter().zip(row.iter()) {
        if field.is_empty() {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(&column.key);
        if !column.is_text && is_number(field) {
            out.extend_from_slice(field);
        } else {
            write_string(field, out);
        }
    }
    out.push(b'}');
}

fn write_array(row: &RowReader, out: &mut Vec<u8>) {
    out.push(b'[');
    for field in row.iter() {
        if out.len() > 1 {
            out.push(b',');
        }
        write_string(field, out);
    }
    out.push(b']');
}

impl RowReader {
    fn new() -> Self {
        RowReader {
            parser: csv_core::Reader::new(),
            fields: vec![0; 1 << 12],
            ends: vec![0; 64],
            length: 0,
            count: 0,
            too_large: false,
            too_many: false,
        }
    }

    /// Reads the next row; false at the end. Never keeps more than [`KEPT`] bytes, whatever stands in quotes.
    fn read(&mut self, text: &mut Text) -> Result<bool, FilesError> {
        (self.length, self.count) = (0, 0);
        (self.too_large, self.too_many) = (false, false);
        let mut rest = [0; 1 << 10];
        let mut rest_ends = [0; 1 << 6];
        loop {
            let input = text.fill()?;
            let output = if self.too_large {
                &mut rest[..]
            } else {
                &mut self.fields[self.length..]
            };
            let ends = if self.too_many {
                &mut rest_ends[..]
            } else {
                &mut self.ends[self.count..]
            };
            let (result, taken, written, ended) = self.parser.read_record(input, output, ends);
            text.consume(taken);
            if !self.too_large {
                self.length += written;
            }
            if !self.too_many {
                self.count += ended;
            }
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => match self.fields.len() {
                    KEPT.. => self.too_large = true,
                    size => self.fields.resize((size * 2).min(KEPT), 0),
                },
                ReadRecordResult::OutputEndsFull => match self.ends.len() {
                    MAX_COLUMNS.. => self.too_many = true,
                    size => self.ends.resize((size * 2).min(MAX_COLUMNS), 0),
                },
                ReadRecordResult::Record => return Ok(true),
                ReadRecordResult::End => return Ok(false),
            }
        }
    }

    /// The fields that were kept. Of a row that is too large the last one is what had been read of it.
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let kept = self.ends[..self.count]
            .iter()
            .map(|end| (*end).min(self.length));
        let cut = self.too_large.then_some(self.length);
        let mut start = 0;
        kept.chain(cut).map(move |end| {
            let field = &self.fields[start..end];
            start = end;
            field
        })
    }
}
