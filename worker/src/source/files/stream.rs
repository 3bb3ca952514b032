//! The bounded source, as the runtime sees it.

use std::sync::Arc;
use std::thread;

use stockstream_core::plan::RecordMapping;
use stockstream_core::tick::{TickBlock, TickParser};
use stockstream_core::time::Micros;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::blob::Blob;
use super::error::FilesError;
use super::list::FileList;
use super::merge::{Block, BlockLimits, Merge, OpenLimits, Resume};
use super::stores::Stores;
use super::tail::{self, Parsing};

/// Blocks that are read ahead of the one that was asked for.
const BLOCKS_AHEAD: usize = 2;

/// Pieces of the last file that are read or parsed ahead: enough for each thread that parses.
const PIECES_AHEAD: usize = 4;

/// A list of files as one shard: blocks of ticks in the order of the merge.
///
/// Threads of its own read ahead, at most a few blocks; they end when the source is dropped.
#[derive(Debug)]
pub struct FileSource {
    blocks: mpsc::Receiver<Result<Option<Block>, FilesError>>,
    pieces: mpsc::Receiver<Parsing>,
    /// Merged blocks have come to their end.
    merged: bool,
    ended: bool,
    /// Ticks taken.
    ordinal: u64,
}

/// Ticks in the order of the merge.
#[derive(Debug)]
pub enum Taken {
    /// As they were read.
    Block(Block),
    /// Parsed ahead.
    Parsed(ParsedBlock),
}

/// A block of ticks that were parsed ahead.
#[derive(Debug)]
pub struct ParsedBlock {
    /// The ticks.
    pub block: TickBlock,
    /// The first one's place in the merge; the others follow.
    pub first: u64,
    /// Their file's last change.
    pub arrival: Micros,
    /// As [`Block::marks`].
    pub marks: Vec<u64>,
}

impl FileSource {
    /// Begins to read, at the beginning or where `resume` says. Blocks are within `limits`; where they are cut never
    /// changes the ticks or their order. Errors of reading come with the first block. What is parsed ahead is parsed
    /// as `parser` would. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`FilesError::Marks`] when `resume` isn't for this list; [`FilesError::BadPattern`] when a file lies in a
    /// bucket that `stores` lacks; [`FilesError::ReaderGone`] when the system gives no thread.
    pub fn open(
        list: &FileList,
        stores: &Stores,
        mapping: &RecordMapping,
        parser: &TickParser,
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
        let ordinal = resume.as_ref().map_or(0, |resume| resume.ordinal);
        let (mapping, parser) = (mapping.clone(), parser.anew());
        let (block_sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let (piece_sender, pieces) = mpsc::channel(PIECES_AHEAD);
        thread::Builder::new()
            .name("files".to_owned())
            .spawn(move || {
                let rest = read(&blobs, &mapping, resume, limits, &block_sender);
                drop(block_sender);
                if let Some(rest) = rest {
                    tail::read(rest, &parser, &piece_sender);
                }
            })
            .map_err(|_| FilesError::ReaderGone)?;
        Ok(FileSource {
            blocks,
            pieces,
            merged: false,
            ended: false,
            ordinal,
        })
    }

    /// The next block; `None` once every file has been read to its end. Losing this future loses no block but one that
    /// is being parsed: after that the source must be opened anew.
    ///
    /// A checkpoint may stand only between blocks: marks are those after a block's last tick.
    ///
    /// # Errors
    /// Whatever kept the threads from reading on. It ends with the first error; later calls give
    /// [`FilesError::ReaderGone`].
    pub async fn next_block(&mut self) -> Result<Option<Taken>, FilesError> {
        if self.ended {
            return Ok(None);
        }
        if !self.merged {
            match self.blocks.recv().await {
                Some(Ok(Some(block))) => {
                    self.ordinal += block.ticks.len() as u64;
                    return Ok(Some(Taken::Block(block)));
                }
                Some(Ok(None)) => {
                    self.ended = true;
                    return Ok(None);
                }
                Some(Err(error)) => return Err(error),
                None => self.merged = true,
            }
        }
        loop {
            let parsing = match self.pieces.recv().await {
                Some(Parsing::Piece(parsing)) => parsing,
                Some(Parsing::Ended(ended)) => {
                    self.ended = ended.is_ok();
                    return ended.map(|()| None);
                }
                None => return Err(FilesError::ReaderGone),
            };
            let piece = parsing.await.map_err(|_| FilesError::ReaderGone)?;
            if piece.block.is_empty() {
                continue; // nothing but empty lines
            }
            let first = self.ordinal + 1;
            self.ordinal += piece.block.len() as u64;
            return Ok(Some(Taken::Parsed(ParsedBlock {
                block: piece.block,
                first,
                arrival: piece.arrival,
                marks: piece.marks,
            })));
        }
    }
}

/// Merges until a single file is left that can be read on without; gives that one.
fn read(
    blobs: &[Arc<Blob>],
    mapping: &RecordMapping,
    resume: Option<Resume>,
    limits: BlockLimits,
    sender: &mpsc::Sender<Result<Option<Block>, FilesError>>,
) -> Option<tail::Tail> {
    let mut merge = match Merge::open(blobs.to_vec(), mapping, resume, OpenLimits::default()) {
        Ok(merge) => merge,
        Err(error) => {
            let _ = sender.blocking_send(Err(error)); // nobody waits any more: nothing to say
            return None;
        }
    };
    loop {
        if let Some(tail) = merge.tail() {
            return Some(tail);
        }
        let block = merge.next_block(limits);
        let is_last = !matches!(block, Ok(Some(_)));
        if sender.blocking_send(block).is_err() || is_last {
            return None;
        }
    }
}
