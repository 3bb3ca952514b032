//! NDJSON: a line is a tick.
//!
//! Owns where lines end. Empty lines are none; a line's end is `\n` or `\r\n`, and the last may lack it. Of a line that is
//! too long for a tick no more is kept than tells so.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use stockstream_core::plan::MAX_TICK_BYTES;

use super::blob::Blob;
use super::error::FilesError;
use super::records::{Record, Records};
use super::text::{BYTE_ORDER_MARK, Text};

/// A line that is longer than this is too long for a tick, or has a `\r` before its end.
const KEPT: usize = MAX_TICK_BYTES + 2;

/// A line without its end, and cut.
fn trimmed(mut line: Bytes) -> Bytes {
    if line.last() == Some(&b'\r') && line.len() <= KEPT {
        line.truncate(line.len() - 1);
    }
    line.truncate(MAX_TICK_BYTES + 1);
    line
}

/// Where the line that begins at `at` stands in a text, without its end and cut, and where the next one begins. The text ends
/// with a line's end or the file's.
pub(super) fn line_at(text: &[u8], at: usize) -> (Range<usize>, usize) {
    let rest = text.get(at..).unwrap_or_default();
    let mut length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let next = at + length + 1;
    if length > 0 && rest[length - 1] == b'\r' && length <= KEPT {
        length -= 1;
    }
    (at..at + length.min(MAX_TICK_BYTES + 1), next)
}

/// The lines of a file that isn't packed: slices of what was read, which aren't copied. Its marks are byte offsets.
pub(super) struct PlainLines {
    blob: Arc<Blob>,
    buffer_size: usize,
    /// From the next line's begin on.
    buffer: Bytes,
    /// Where that stands in the file.
    offset: u64,
}

impl PlainLines {
    pub(super) fn open(
        blob: &Arc<Blob>,
        mark: u64,
        buffer_size: usize,
    ) -> Result<Self, FilesError> {
        let mut lines = PlainLines {
            blob: blob.clone(),
            buffer_size,
            buffer: blob.read_at(mark, buffer_size)?,
            offset: mark,
        };
        if mark == 0 && lines.buffer.starts_with(&BYTE_ORDER_MARK) {
            lines.take(BYTE_ORDER_MARK.len());
        }
        Ok(lines)
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.offset += length as u64;
        self.buffer.split_to(length)
    }

    /// The next line without its `\n`; `None` at the end.
    fn line(&mut self) -> Result<Option<Bytes>, FilesError> {
        if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
            return Ok(Some(self.take_line(end)));
        }
        if self.ends_here() {
            let rest = self.buffer.len();
            return Ok((rest > 0).then(|| self.take(rest)));
        }
        // Once more from the line's begin: it is all but never longer than the buffer.
        self.buffer = self.blob.read_at(self.offset, self.buffer_size)?;
        match memchr::memchr(b'\n', &self.buffer) {
            Some(end) => Ok(Some(self.take_line(end))),
            None => self.long_line().map(Some),
        }
    }

    fn take_line(&mut self, end: usize) -> Bytes {
        let line = self.take(end);
        self.buffer.advance(1);
        self.offset += 1;
        line
    }

    fn ends_here(&self) -> bool {
        self.offset + self.buffer.len() as u64 >= self.blob.entry.size
    }

    /// A line that the buffer doesn't hold, or the last one, which nothing ends.
    fn long_line(&mut self) -> Result<Bytes, FilesError> {
        let mut line = Vec::new();
        loop {
            let end = memchr::memchr(b'\n', &self.buffer);
            let part = self.take(end.unwrap_or(self.buffer.len()));
            // One byte more than is passed on is kept, for it may be a `\r`; and one more tells that others follow.
            let kept = part.len().min(KEPT + 1 - line.len());
            line.extend_from_slice(&part[..kept]);
            if end.is_some() {
                self.buffer.advance(1);
                self.offset += 1;
                break;
            }
            if self.ends_here() {
                break;
            }
            self.buffer = self.blob.read_at(self.offset, self.buffer_size)?;
        }
        Ok(Bytes::from(line))
    }
}

impl Records for PlainLines {
    fn next(&mut self) -> Result<Option<Record>, FilesError> {
        while let Some(line) = self.line()? {
            let data = trimmed(line);
            if !data.is_empty() {
                let after = self.offset;
                return Ok(Some(Record { data, after }));
            }
        }
        Ok(None)
    }

    fn memory(&self) -> usize {
        self.buffer_size
    }
}

/// The lines of a packed file. Its marks are numbers of lines.
pub(super) struct Lines {
    text: Text,
    line: Vec<u8>,
    /// Lines taken.
    rows: u64,
}

impl Lines {
    pub(super) fn open(
        blob: &Arc<Blob>,
        mark: u64,
        buffer_size: usize,
    ) -> Result<Self, FilesError> {
        let mut lines = Lines {
            text: Text::open(blob, 0, buffer_size)?,
            line: Vec::new(),
            rows: 0,
        };
        while lines.rows < mark {
            if !lines.advance()? {
                return Err(FilesError::Marks {
                    why: format!(
                        "{} goes on after line {mark}, but has fewer",
                        blob.entry.path
                    ),
                });
            }
        }
        Ok(lines)
    }

    /// Reads the next line that isn't empty; false at the end.
    fn advance(&mut self) -> Result<bool, FilesError> {
        loop {
            if !self.read_line()? {
                return Ok(false);
            }
            if !self.line.is_empty() {
                self.rows += 1;
                return Ok(true);
            }
        }
    }

    /// Reads a line without its end, keeping no more than one byte above the limit; false at the file's end.
    fn read_line(&mut self) -> Result<bool, FilesError> {
        self.line.clear();
        let mut length = 0;
        loop {
            let available = self.text.fill()?;
            if available.is_empty() {
                if length == 0 {
                    return Ok(false);
                }
                break;
            }
            let end = memchr::memchr(b'\n', available);
            let part = &available[..end.unwrap_or(available.len())];
            let kept = part.len().min(KEPT - self.line.len());
            self.line.extend_from_slice(&part[..kept]);
            let taken = part.len() + usize::from(end.is_some());
            length += taken;
            self.text.consume(taken);
            if end.is_some() {
                break;
            }
        }
        // With exactly KEPT bytes more may have followed: then what is last isn't the line's end, and is cut anyway.
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        self.line.truncate(MAX_TICK_BYTES + 1);
        Ok(true)
    }
}

impl Records for Lines {
    fn next(&mut self) -> Result<Option<Record>, FilesError> {
        if !self.advance()? {
            return Ok(None);
        }
        // A copy, so that a tick that is kept (a dead letter) never keeps the whole buffer with it.
        let data = Bytes::copy_from_slice(&self.line);
        if self.line.capacity() > 1 << 20 {
            self.line = Vec::new();
        }
        Ok(Some(Record {
            data,
            after: self.rows,
        }))
    }

    fn memory(&self) -> usize {
        self.text.memory() + self.line.capacity()
    }
}
