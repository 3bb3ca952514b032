//! NDJSON: a line is a tick.

use std::sync::Arc;

use bytes::Bytes;
use stockstream_core::plan::MAX_TICK_BYTES;

use super::blob::Blob;
use super::error::FilesError;
use super::list::Compression;
use super::records::{Record, Records};
use super::text::Text;

/// The ticks of an NDJSON file. Empty lines are none; a line's end is `\n` or `\r\n`, and the last may lack it.
pub(super) struct Lines {
    text: Text,
    line: Vec<u8>,
    /// Lines taken, in a packed file; `None` where byte offsets are the marks.
    rows: Option<u64>,
}

impl Lines {
    pub(super) fn open(
        blob: &Arc<Blob>,
        mark: u64,
        buffer_size: usize,
    ) -> Result<Self, FilesError> {
        let plain = blob.entry.compression == Compression::None;
        let mut lines = Lines {
            text: Text::open(blob, if plain { mark } else { 0 }, buffer_size)?,
            line: Vec::new(),
            rows: (!plain).then_some(0),
        };
        while lines.rows.is_some_and(|rows| rows < mark) {
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
                self.rows = self.rows.map(|rows| rows + 1);
                return Ok(true);
            }
        }
    }

    /// Reads a line without its end, keeping no more than one byte above the limit; false at the file's end.
    fn read_line(&mut self) -> Result<bool, FilesError> {
        // One byte more than is passed on: it may be the `\r` of a line that is just short enough.
        const KEPT: usize = MAX_TICK_BYTES + 2;
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
            after: self.rows.unwrap_or(self.text.offset()),
        }))
    }

    fn memory(&self) -> usize {
        self.text.memory() + self.line.capacity()
    }
}
