//! Text files as a stream of bytes, unpacked, without their byte order mark.

use std::io::{self, BufRead, BufReader, Cursor, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::blob::{Blob, BlobReader};
use super::error::FilesError;
use super::list::Compression;

/// What may stand at the begin of a text file.
pub(super) const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Bytes that a decoder hands out at once.
const DECODED: usize = 64 * 1024;

/// zstd's largest window, as a power of two: 8 MiB, which all levels up to 19 keep to.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The bytes of a text file from some place on, and where they stand in the unpacked text.
pub(super) struct Text {
    input: Box<dyn BufRead + Send>,
    offset: u64,
    fetched: Arc<AtomicU64>,
    path: String,
    memory: usize,
}

impl Text {
    /// Opens a file at `offset`, which must be 0 for a packed one.
    pub(super) fn open(
        blob: &Arc<Blob>,
        offset: u64,
        buffer_size: usize,
    ) -> Result<Self, FilesError> {
        let reader = BlobReader::new(blob.clone(), offset, buffer_size);
        let fetched = reader.fetched();
        let path = blob.entry.path.clone();
        // A file without any bytes is a file without ticks, packed or not.
        let packed = if blob.entry.size == 0 {
            Compression::None
        } else {
            blob.entry.compression
        };
        let (input, extra): (Box<dyn BufRead + Send>, usize) = match packed {
            Compression::None => (Box::new(reader), 0),
            Compression::Gzip => {
                let decoder = MultiGzDecoder::new(reader);
                (
                    Box::new(BufReader::with_capacity(DECODED, decoder)),
                    2 * DECODED,
                )
            }
            Compression::Zstd => {
                let decoder =
                    zstd::stream::read::Decoder::with_buffer(reader).and_then(|mut decoder| {
                        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                        Ok(decoder)
                    });
                let decoder = decoder.map_err(|error| FilesError::from_decoder(error, &path, 0))?;
                let window = (1 << ZSTD_WINDOW_LOG).min(blob.entry.size.saturating_mul(16));
                let window = usize::try_from(window).unwrap_or(usize::MAX);
                (
                    Box::new(BufReader::with_capacity(DECODED, decoder)),
                    window + 2 * DECODED,
                )
            }
        };
        let mut text = Text {
            input,
            offset,
            fetched,
            path,
            memory: buffer_size + extra,
        };
        if offset == 0 {
            text.skip_byte_order_mark()?;
        }
        Ok(text)
    }

    fn skip_byte_order_mark(&mut self) -> Result<(), FilesError> {
        let mut head = Vec::with_capacity(BYTE_ORDER_MARK.len());
        let read = self.input.by_ref().take(3).read_to_end(&mut head);
        read.map_err(|error| self.fault(error))?;
        if head == BYTE_ORDER_MARK {
            self.offset = 3;
        } else {
            let rest = std::mem::replace(&mut self.input, Box::new(io::empty()));
            self.input = Box::new(Cursor::new(head).chain(rest));
        }
        Ok(())
    }

    /// The next bytes; none at the end.
    pub(super) fn fill(&mut self) -> Result<&[u8], FilesError> {
        loop {
            match self.input.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fault(error)),
            }
        }
        // Twice, because a borrow that is returned can't be given up in a loop; the second call only hands it out.
        let (path, fetched) = (&self.path, &self.fetched);
        self.input
            .fill_buf()
            .map_err(|error| FilesError::from_decoder(error, path, fetched.load(Ordering::Relaxed)))
    }

    /// Takes bytes that [`Text::fill`] gave.
    pub(super) fn consume(&mut self, amount: usize) {
        self.input.consume(amount);
        self.offset += amount as u64;
    }

    /// Where the next byte stands in the unpacked text.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What this takes, roughly, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    fn fault(&self, error: io::Error) -> FilesError {
        FilesError::from_decoder(error, &self.path, self.fetched.load(Ordering::Relaxed))
    }
}
