//! The bounded source, as the runtime sees it.

use std::sync::Arc;
use std::thread;

use stockstream_core::plan::RecordMapping;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::blob::Blob;
use super::error::FilesError;
use super::list::FileList;
use super::merge::{Block, BlockLimits, Merge, OpenLimits, Resume};
use super::stores::Stores;

/// Blocks that are read ahead of the one that was asked for.
const BLOCKS_AHEAD: usize = 2;

/// A list of files as one shard: blocks of ticks in the order of the merge.
///
/// A thread of its own reads ahead, at most a few blocks; it ends when the source is dropped.
#[derive(Debug)]
pub struct FileSource {
    blocks: mpsc::Receiver<Result<Option<Block>, FilesError>>,
    ended: bool,
}

impl FileSource {
    /// Begins to read, at the beginning or where `resume` says. Blocks are within `limits`; where they are cut never
    /// changes the ticks or their order. Errors of reading come with the first block. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`FilesError::Marks`] when `resume` isn't for this list; [`FilesError::BadPattern`] when a file lies in a
    /// bucket that `stores` lacks; [`FilesError::ReaderGone`] when the system gives no thread.
    pub fn open(
        list: &FileList,
        stores: &Stores,
        mapping: &RecordMapping,
        resume: Option<Resume>,
        limits: BlockLimits,
    ) -> Result<Self, FilesError> {
        let runtime = Handle::current();
        let blobs = list
            .files()
            .iter()
            .map(|entry| Blob::new(entry, stores, runtime.clone()).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(resume) = &resume
            && resume.marks.len() != blobs.len()
        {
            return Err(FilesError::Marks {
                why: format!(
                    "there are marks for {} files, the list has {}",
                    resume.marks.len(),
                    blobs.len()
                ),
            });
        }
        let mapping = mapping.clone();
        let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        thread::Builder::new()
            .name("files".to_owned())
            .spawn(move || read(&blobs, &mapping, resume, limits, &sender))
            .map_err(|_| FilesError::ReaderGone)?;
        Ok(FileSource {
            blocks,
            ended: false,
        })
    }

    /// The next block; `None` once every file has been read to its end. Losing this future loses no block.
    ///
    /// A checkpoint may stand only between blocks: marks are those after a block's last tick.
    ///
    /// # Errors
    /// Whatever kept the thread from reading on. It ends with the first error; later calls give
    /// [`FilesError::ReaderGone`].
    pub async fn next_block(&mut self) -> Result<Option<Block>, FilesError> {
        if self.ended {
            return Ok(None);
        }
        let answer = self
            .blocks
            .recv()
            .await
            .unwrap_or(Err(FilesError::ReaderGone))?;
        self.ended = answer.is_none();
        Ok(answer)
    }
}

fn read(
    blobs: &[Arc<Blob>],
    mapping: &RecordMapping,
    resume: Option<Resume>,
    limits: BlockLimits,
    sender: &mpsc::Sender<Result<Option<Block>, FilesError>>,
) {
    let mut merge = match Merge::open(blobs.to_vec(), mapping, resume, OpenLimits::default()) {
        Ok(merge) => merge,
        Err(error) => {
            let _ = sender.blocking_send(Err(error)); // nobody waits any more: nothing to say
            return;
        }
    };
    loop {
        let block = merge.next_block(limits);
        let is_last = !matches!(block, Ok(Some(_)));
        if sender.blocking_send(block).is_err() || is_last {
            return;
        }
    }
}
