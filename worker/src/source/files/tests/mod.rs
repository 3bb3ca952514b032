//! What the parts do together: lists, formats, the merge, resuming, hostile input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod formats;
mod hostile;
mod listing;
mod merging;
mod tail;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use stockstream_core::plan::RecordMapping;
use stockstream_core::tick::TickParser;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::blob::Blob;
use super::merge::{Block, BlockLimits, Merge, OpenLimits, Resume};
use super::{FileList, FileSource, FilesError, Format, Stores, Taken};

/// Every tick of a source, in its order; places must follow one another.
pub(super) async fn all_texts(source: &mut FileSource) -> Result<Vec<String>, FilesError> {
    let mut texts = Vec::new();
    while let Some(taken) = source.next_block().await? {
        let (first, own): (_, Vec<_>) = match &taken {
            Taken::Block(block) => {
                let own = block.ticks.iter().map(|(_, data)| data.clone());
                (block.ticks[0].0.sequence.clone(), own.collect())
            }
            Taken::Parsed(parsed) => {
                let own = (0..parsed.block.len()).map(|index| parsed.block.data(index));
                (parsed.first.into(), own.collect())
            }
        };
        assert_eq!(first, (texts.len() as u64 + 1).into());
        texts.extend(
            own.iter()
                .map(|data| String::from_utf8(data.to_vec()).unwrap()),
        );
    }
    Ok(texts)
}

/// A folder of files and the runtime that lists it.
pub(super) struct Folder {
    pub(super) dir: TempDir,
    pub(super) runtime: Runtime,
}

impl Folder {
    pub(super) fn new() -> Self {
        Folder {
            dir: TempDir::new().unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
        }
    }

    pub(super) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(super) fn url(&self, pattern: &str) -> String {
        format!("file://{}/{pattern}", self.dir.path().display())
    }

    pub(super) fn list_as(
        &self,
        patterns: &[&str],
        format: Option<Format>,
    ) -> Result<FileList, FilesError> {
        let patterns: Vec<String> = patterns.iter().map(|pattern| self.url(pattern)).collect();
        self.runtime
            .block_on(FileList::expand(&patterns, format, &Stores::default()))
    }

    pub(super) fn list(&self) -> FileList {
        self.list_as(&["**/*"], None).unwrap()
    }

    pub(super) fn merge(
        &self,
        list: &FileList,
        resume: Option<Resume>,
        limits: OpenLimits,
    ) -> Result<Merge, FilesError> {
        self.merge_from(list, &Stores::default(), resume, limits)
    }

    pub(super) fn merge_from(
        &self,
        list: &FileList,
        stores: &Stores,
        resume: Option<Resume>,
        limits: OpenLimits,
    ) -> Result<Merge, FilesError> {
        let blobs = list
            .files()
            .iter()
            .map(|entry| Arc::new(Blob::new(entry, stores, self.runtime.handle().clone()).unwrap()))
            .collect();
        Merge::open(blobs, &RecordMapping::default(), resume, limits)
    }

    /// Every tick of the folder's files, in the order of the merge.
    pub(super) fn read(&self) -> Result<Vec<String>, FilesError> {
        let mut merge = self.merge(&self.list(), None, OpenLimits::default())?;
        Ok(texts(&rest(&mut merge, BlockLimits::default())?))
    }
}

/// What is left of a merge.
pub(super) fn rest(merge: &mut Merge, limits: BlockLimits) -> Result<Vec<Block>, FilesError> {
    let mut blocks = Vec::new();
    while let Some(block) = merge.next_block(limits)? {
        blocks.push(block);
    }
    Ok(blocks)
}

pub(super) fn texts(blocks: &[Block]) -> Vec<String> {
    let ticks = blocks.iter().flat_map(|block| &block.ticks);
    ticks
        .map(|(_, data)| String::from_utf8_lossy(data).into_owned())
        .collect()
}

/// A tick of `ticker` at `second` of a day.
pub(super) fn tick(ticker: &str, second: u32, close: u32) -> String {
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        r#"{{"ticker":"{ticker}","timestamp":"2024-01-02T{hour:02}:{minute:02}:{second:02}Z","close":{close}}}"#
    )
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn set_modified(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}
