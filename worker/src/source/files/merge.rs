//! The k-way merge of the files' ticks.
//!
//! Owns the order. Which files are open is a matter of memory and speed only: a closed file is known by its mark and
//! the event time of its next tick, and is entered again there when its turn comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use stockstream_core::plan::RecordMapping;
use stockstream_core::sequence::SequenceNumber;
use stockstream_core::state::RecordMeta;
use stockstream_core::tick::TickParser;
use stockstream_core::time::Micros;

use super::blob::Blob;
use super::error::FilesError;
use super::list::{Compression, Format};
use super::records::{self, Record, Records};
use super::tail::Tail;
use super::{END_MARK, MAX_OPEN_FILES, OPEN_BYTES};

/// The memory of all read buffers together, in bytes.
const BUFFER_BYTES: usize = 64 << 20;

/// A file's read buffer, in bytes: at least, at most, and at most when each read is a request.
const BUFFER: (usize, usize, usize) = (16 << 10, 256 << 10, 4 << 20);

/// A piece of the last file, in bytes, at least: handing one over takes about as long as parsing a hundred ticks.
const PIECE: usize = 256 << 10;

/// Threads that look for the files' first ticks.
const SCAN_THREADS: usize = 8;

/// When a file's next tick happened; `None` (before everything) when it can't be told.
type Key = Option<Micros>;

/// Where a merge goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Ticks that were taken: the sequence number of the last one.
    pub ordinal: u64,
    /// Where each file of the list goes on, as [`Block::marks`] gave it with that tick.
    pub marks: Vec<u64>,
}

/// How large a block may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// Ticks, at least 1.
    pub ticks: usize,
    /// Bytes of ticks; the tick that passes this is the block's last.
    pub bytes: usize,
}

impl Default for BlockLimits {
    fn default() -> Self {
        BlockLimits {
            ticks: 4_096,
            bytes: 1 << 20,
        }
    }
}

/// Ticks in the order of the merge.
#[derive(Debug)]
pub struct Block {
    /// Each tick's place in the merge (1, 2, …) with its file's last change as arrival, and its bytes as JSON.
    pub ticks: Vec<(RecordMeta, Bytes)>,
    /// Where each file goes on after the block's last tick: the byte offset of the next line of a plain NDJSON or
    /// CSV file, else the number of rows taken; [`END_MARK`] when it has been read to its end.
    pub marks: Vec<u64>,
}

/// How many files may be open, and what they may take. Only tests use other than the usual limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenLimits {
    pub(super) files: usize,
    pub(super) bytes: usize,
    pub(super) buffer: Option<usize>,
}

impl Default for OpenLimits {
    fn default() -> Self {
        OpenLimits {
            files: MAX_OPEN_FILES,
            bytes: OPEN_BYTES,
            buffer: None,
        }
    }
}

/// The merge of a list's files from some place on.
pub(super) struct Merge {
    context: Context,
    slots: Vec<Slot>,
    parser: TickParser,
    heap: BinaryHeap<Reverse<(Key, usize)>>,
    /// The slots that are open, in no order.
    open: Vec<usize>,
    open_bytes: usize,
    ordinal: u64,
}

/// What opening a file needs.
struct Context {
    blobs: Vec<Arc<Blob>>,
    mapping: RecordMapping,
    limits: OpenLimits,
    buffer_size: usize,
}

/// A file in the merge.
struct Slot {
    /// Where its next tick is found.
    mark: u64,
    /// Its reader and next tick, while it is open.
    open: Option<Opened>,
}

struct Opened {
    reader: Box<dyn Records>,
    head: Record,
    key: Key,
    /// What it was reckoned to take when it was last looked at.
    bytes: usize,
}

/// The event time of a tick. The one place that parses for the merge: a reader that knows the time can do without.
fn event_time(parser: &mut TickParser, data: &[u8]) -> Key {
    parser.parse(data).ok().map(|tick| tick.event_time)
}

impl Context {
    /// Opens a file at its mark and reads its next tick; `None` when there is none.
    fn open(
        &self,
        index: usize,
        mark: u64,
        parser: &mut TickParser,
    ) -> Result<Option<Opened>, FilesError> {
        if mark == END_MARK {
            return Ok(None);
        }
        let mut reader = records::open(&self.blobs[index], mark, &self.mapping, self.buffer_size)?;
        Ok(reader.next()?.map(|head| Opened {
            bytes: reader.memory() + head.data.len(),
            key: event_time(parser, &head.data),
            reader,
            head,
        }))
    }

    fn parser(&self) -> TickParser {
        TickParser::new(&self.mapping, &[])
    }
}

/// A file's next tick, found by the scan.
type Scanned = Result<Option<(Key, Option<Opened>)>, FilesError>;

impl Merge {
    /// Finds every file's next tick. Blocks.
    pub(super) fn open(
        blobs: Vec<Arc<Blob>>,
        mapping: &RecordMapping,
        resume: Option<Resume>,
        limits: OpenLimits,
    ) -> Result<Self, FilesError> {
        let count = blobs.len();
        let resume = resume.unwrap_or_else(|| Resume {
            ordinal: 0,
            marks: vec![0; count],
        });
        if resume.marks.len() != count {
            return Err(FilesError::Marks {
                why: format!(
                    "there are marks for {} files, the list has {count}",
                    resume.marks.len()
                ),
            });
        }
        let buffer_size = limits
            .buffer
            .unwrap_or_else(|| buffer_size(&blobs, limits.files));
        let context = Context {
            blobs,
            mapping: mapping.clone(),
            limits,
            buffer_size,
        };
        let mut scanned = scan(&context, &resume.marks);
        scanned.sort_by_key(|(index, _)| *index);
        let mut merge = Merge {
            parser: context.parser(),
            context,
            slots: Vec::with_capacity(count),
            heap: BinaryHeap::with_capacity(count),
            open: Vec::new(),
            open_bytes: 0,
            ordinal: resume.ordinal,
        };
        for ((index, found), mark) in scanned.into_iter().zip(resume.marks) {
            merge.add(index, found?, mark);
        }
        Ok(merge)
    }

    fn add(&mut self, index: usize, found: Option<(Key, Option<Opened>)>, mark: u64) {
        let Some((key, opened)) = found else {
            self.slots.push(Slot {
                mark: END_MARK,
                open: None,
            });
            return;
        };
        if let Some(opened) = &opened {
            self.open.push(index);
            self.open_bytes += opened.bytes;
        }
        self.slots.push(Slot { mark, open: opened });
        self.heap.push(Reverse((key, index)));
    }

    /// The next block; `None` when every file has been read to its end. Blocks.
    pub(super) fn next_block(&mut self, limits: BlockLimits) -> Result<Option<Block>, FilesError> {
        let mut ticks = Vec::new();
        let mut bytes = 0;
        while ticks.len() < limits.ticks.max(1) && (ticks.is_empty() || bytes < limits.bytes) {
            let Some((meta, data)) = self.next_tick()? else {
                break;
            };
            bytes += data.len();
            ticks.push((meta, data));
        }
        Ok((!ticks.is_empty()).then(|| Block {
            ticks,
            marks: self.slots.iter().map(|slot| slot.mark).collect(),
        }))
    }

    fn next_tick(&mut self) -> Result<Option<(RecordMeta, Bytes)>, FilesError> {
        let Some(&Reverse((key, index))) = self.heap.peek() else {
            return Ok(None);
        };
        self.enter(key, index)?;
        let slot = &mut self.slots[index];
        let Some(opened) = &mut slot.open else {
            return Err(self.context.blobs[index].changed("its next tick is gone".to_owned()));
        };
        let next = opened.reader.next()?;
        self.ordinal += 1;
        let meta = RecordMeta {
            sequence: SequenceNumber::from(self.ordinal),
            arrival: self.context.blobs[index].entry.last_modified,
        };
        let data = match next {
            Some(next) => {
                let taken = std::mem::replace(&mut opened.head, next);
                slot.mark = taken.after;
                let bytes = opened.reader.memory() + opened.head.data.len();
                self.open_bytes = self.open_bytes - opened.bytes + bytes;
                opened.bytes = bytes;
                // The last file that is left has nothing to be before or after.
                let key = match self.heap.len() {
                    1 => None,
                    _ => event_time(&mut self.parser, &opened.head.data),
                };
                opened.key = key;
                if let Some(mut top) = self.heap.peek_mut() {
                    *top = Reverse((key, index));
                }
                self.make_room(index);
                taken.data
            }
            None => {
                slot.mark = END_MARK;
                self.heap.pop();
                self.close(index)
                    .map(|closed| closed.head.data)
                    .unwrap_or_default()
            }
        };
        Ok(Some((meta, data)))
    }

    /// Opens a file again whose turn has come.
    fn enter(&mut self, key: Key, index: usize) -> Result<(), FilesError> {
        if self.slots[index].open.is_some() {
            return Ok(());
        }
        let mark = self.slots[index].mark;
        let opened = self.context.open(index, mark, &mut self.parser)?;
        if opened.as_ref().map(|opened| opened.key) != Some(key) {
            let what = "its next tick is another one than before".to_owned();
            return Err(self.context.blobs[index].changed(what));
        }
        self.open_bytes += opened.as_ref().map_or(0, |opened| opened.bytes);
        self.slots[index].open = opened;
        self.open.push(index);
        self.make_room(index);
        Ok(())
    }

    fn close(&mut self, index: usize) -> Option<Opened> {
        let closed = self.slots[index].open.take()?;
        self.open_bytes -= closed.bytes;
        self.open.retain(|own| *own != index);
        Some(closed)
    }

    /// Closes files, those first whose turn comes last, until the limits hold; never `busy`.
    fn make_room(&mut self, busy: usize) {
        let limits = self.context.limits;
        while self.open.len() > limits.files.max(1) || self.open_bytes > limits.bytes {
            let key = |index: &usize| self.slots[*index].open.as_ref().map(|opened| opened.key);
            let others = self.open.iter().copied().filter(|index| *index != busy);
            let last = others.max_by_key(|index| (key(index), *index));
            let Some(last) = last else {
                return; // one file may take what it needs
            };
            self.close(last);
        }
    }

    /// The rest, when it is that of one plain NDJSON file: then nothing is left to merge.
    pub(super) fn tail(&self) -> Option<Tail> {
        let (1, Some(&Reverse((_, index)))) = (self.heap.len(), self.heap.peek()) else {
            return None;
        };
        let blob = &self.context.blobs[index];
        let entry = &blob.entry;
        let is_plain = entry.format == Format::Ndjson && entry.compression == Compression::None;
        is_plain.then(|| {
            let marks = self.slots.iter().map(|slot| slot.mark).collect();
            let buffer_size = match self.context.limits.buffer {
                Some(size) => size,
                None => self.context.buffer_size.max(PIECE),
            };
            Tail::new(blob.clone(), buffer_size, marks, index)
        })
    }

    #[cfg(test)]
    pub(super) fn open_files(&self) -> usize {
        self.open.len()
    }
}

fn buffer_size(blobs: &[Arc<Blob>], most_open: usize) -> usize {
    let (least, local, remote) = BUFFER;
    let most = if blobs.iter().any(|blob| blob.is_remote()) {
        remote
    } else {
        local
    };
    (BUFFER_BYTES / blobs.len().clamp(1, most_open.max(1))).clamp(least, most)
}

/// Every file's next tick, by threads that each take the next file. What they find doesn't depend on who finds it.
fn scan(context: &Context, marks: &[u64]) -> Vec<(usize, Scanned)> {
    let next = AtomicUsize::new(0);
    let open_files = AtomicUsize::new(0);
    let open_bytes = AtomicUsize::new(0);
    let work = || {
        let mut parser = context.parser();
        let mut found = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(&mark) = marks.get(index) else {
                return found;
            };
            let peeked = context.open(index, mark, &mut parser).map(|opened| {
                opened.map(|opened| {
                    let (key, bytes) = (opened.key, opened.bytes);
                    let stays = open_files.fetch_add(1, Ordering::Relaxed) < context.limits.files
                        && open_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
                            <= context.limits.bytes;
                    (key, stays.then_some(opened))
                })
            });
            found.push((index, peeked));
        }
    };
    if marks.len() <= SCAN_THREADS {
        return work();
    }
    thread::scope(|scope| {
        let threads: Vec<_> = (0..SCAN_THREADS).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::with_capacity(marks.len());
        for thread in threads {
            match thread.join() {
                Ok(found) => all.extend(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}
