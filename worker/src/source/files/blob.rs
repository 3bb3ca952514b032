//! A listed file's bytes, by range.
//!
//! Owns the promise that every byte comes from the file as it was listed: size and last change (or ETag) are checked
//! at each read. Must never keep a file handle.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf as _, Bytes};
use object_store::{GetOptions, GetRange};
use tokio::runtime::Handle;

use super::error::FilesError;
use super::list::{FileEntry, local_facts};
use super::stores::{Place, Stores};

/// A file that can be read at any place. Blocks: only for threads that the runtime doesn't own.
pub(super) struct Blob {
    pub(super) entry: FileEntry,
    place: Place,
    runtime: Handle,
}

impl Blob {
    pub(super) fn new(
        entry: &FileEntry,
        stores: &Stores,
        runtime: Handle,
    ) -> Result<Self, FilesError> {
        Ok(Blob {
            place: stores.place(&entry.path)?,
            entry: entry.clone(),
            runtime,
        })
    }

    /// True when each read is a request over a network.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self.place, Place::Remote(..))
    }

    /// The bytes from `offset`, at most `length`, fewer only at the file's end.
    pub(super) fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, FilesError> {
        let left = self.entry.size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        if length == 0 {
            return Ok(Bytes::new());
        }
        match &self.place {
            Place::Local(path) => {
                let file = File::open(path).map_err(|error| self.read_error(offset, error))?;
                self.read_local(file, offset, length)
            }
            Place::Remote(store, key) => {
                let end = offset + length as u64; // at most the file's size
                let has_etag = !self.entry.etag.starts_with("mtime:");
                let options = GetOptions {
                    if_match: has_etag.then(|| self.entry.etag.clone()),
                    range: Some(GetRange::Bounded(offset..end)),
                    ..GetOptions::default()
                };
                let answer = self.runtime.block_on(async {
                    let answer = store.get_opts(key, options).await?;
                    let size = answer.meta.size;
                    answer.bytes().await.map(|bytes| (size, bytes))
                });
                match answer {
                    Ok((size, bytes)) if size == self.entry.size && bytes.len() == length => {
                        Ok(bytes)
                    }
                    Ok((size, _)) => {
                        Err(self
                            .changed(format!("{} bytes were listed, now {size}", self.entry.size)))
                    }
                    Err(error @ object_store::Error::Precondition { .. }) => {
                        Err(self.changed(format!("ETag {} was listed: {error}", self.entry.etag)))
                    }
                    Err(object_store::Error::NotFound { .. }) => {
                        Err(self.changed("it was removed".to_owned()))
                    }
                    Err(error) => Err(self.read_error(offset, error)),
                }
            }
        }
    }

    fn read_local(&self, mut file: File, offset: u64, length: usize) -> Result<Bytes, FilesError> {
        let metadata = file
            .metadata()
            .map_err(|error| self.read_error(offset, error))?;
        let (size, etag, changed) = local_facts(&metadata);
        if size != self.entry.size {
            return Err(self.changed(format!("{} bytes were listed, now {size}", self.entry.size)));
        }
        if etag != self.entry.etag {
            return Err(self.changed(format!(
                "last change {} was listed, now {changed}",
                self.entry.last_modified
            )));
        }
        // Not `read_exact`, which wants its target written beforehand.
        let mut bytes = Vec::with_capacity(length);
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(length as u64).read_to_end(&mut bytes))
            .map_err(|error| self.read_error(offset, error))?;
        if bytes.len() < length {
            return Err(self.changed("it became shorter".to_owned()));
        }
        Ok(Bytes::from(bytes))
    }

    fn read_error(
        &self,
        offset: u64,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> FilesError {
        FilesError::Read {
            path: self.entry.path.clone(),
            offset,
            cause: cause.into(),
        }
    }

    pub(super) fn changed(&self, what: String) -> FilesError {
        FilesError::Changed {
            path: self.entry.path.clone(),
            what,
        }
    }
}

/// Reads a blob from front to back through one buffer.
pub(super) struct BlobReader {
    blob: Arc<Blob>,
    buffer: Bytes,
    buffer_size: usize,
    /// Where the buffer ends in the file; shared, so that an error of a decoder above can say where it was.
    fetched: Arc<AtomicU64>,
}

impl BlobReader {
    pub(super) fn new(blob: Arc<Blob>, offset: u64, buffer_size: usize) -> Self {
        BlobReader {
            blob,
            buffer: Bytes::new(),
            buffer_size,
            fetched: Arc::new(AtomicU64::new(offset)),
        }
    }

    /// Where the last fetched byte lies.
    pub(super) fn fetched(&self) -> Arc<AtomicU64> {
        self.fetched.clone()
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffer.is_empty() {
            let offset = self.fetched.load(Ordering::Relaxed);
            self.buffer = self
                .blob
                .read_at(offset, self.buffer_size)
                .map_err(FilesError::into_io)?;
            self.fetched
                .store(offset + self.buffer.len() as u64, Ordering::Relaxed);
        }
        Ok(&self.buffer)
    }

    fn consume(&mut self, amount: usize) {
        self.buffer.advance(amount.min(self.buffer.len()));
    }
}

impl Read for BlobReader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(target.len());
        target[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
