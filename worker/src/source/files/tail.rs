//! The last file of a merge: nothing is left to be merged with it, so its text is taken in pieces that are parsed on
//! several threads.
//!
//! Owns how plain NDJSON is cut into pieces at the ends of lines. Must never change what a line is ([`super::lines`]), nor
//! the order: pieces come out as they stand in the file, whoever parses them.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use stockstream_core::tick::{TickBlock, TickParser};
use stockstream_core::time::Micros;
use tokio::sync::{mpsc, oneshot};

use super::END_MARK;
use super::blob::Blob;
use super::error::FilesError;
use super::lines::{PlainLines, line_at};
use super::records::Records as _;
use super::text::BYTE_ORDER_MARK;

/// Threads that parse, at most. Counting takes about as long as parsing on two.
const MOST_THREADS: usize = 4;

/// A piece of the file that has been parsed.
#[derive(Debug)]
pub(super) struct ParsedPiece {
    pub(super) block: TickBlock,
    pub(super) arrival: Micros,
    pub(super) marks: Vec<u64>,
}

/// What a thread that reads says, in the order of the ticks.
pub(super) enum Parsing {
    /// This piece is being parsed.
    Piece(oneshot::Receiver<ParsedPiece>),
    /// There is no more, or why.
    Ended(Result<(), FilesError>),
}

/// A file that is read to its end.
pub(super) struct Tail {
    blob: Arc<Blob>,
    buffer_size: usize,
    offset: u64,
    marks: Vec<u64>,
    /// Where the file stands among the marks.
    index: usize,
    is_over: bool,
}

/// Whole lines.
struct Piece {
    text: Bytes,
    /// The text is one line, without its end.
    is_line: bool,
    arrival: Micros,
    marks: Vec<u64>,
}

impl Tail {
    /// The file at `index` of the list, from its mark on; every other file has been read.
    pub(super) fn new(blob: Arc<Blob>, buffer_size: usize, marks: Vec<u64>, index: usize) -> Self {
        Tail {
            offset: marks[index],
            blob,
            buffer_size,
            marks,
            index,
            is_over: false,
        }
    }

    fn next_piece(&mut self) -> Result<Option<Piece>, FilesError> {
        let size = self.blob.entry.size;
        if self.is_over || self.offset >= size {
            return Ok(None);
        }
        let mut text = self.blob.read_at(self.offset, self.buffer_size)?;
        let reaches_end = self.offset + text.len() as u64 >= size;
        let end = match memchr::memrchr(b'\n', &text) {
            _ if reaches_end => text.len(),
            Some(end) => end + 1,
            None => return self.long_line(),
        };
        text.truncate(end);
        let begins_with_mark = self.offset == 0 && text.starts_with(&BYTE_ORDER_MARK);
        self.offset += end as u64;
        if begins_with_mark {
            text = text.slice(BYTE_ORDER_MARK.len()..);
        }
        Ok(Some(self.piece(text, false)))
    }

    /// A line that is longer than what is read at once.
    fn long_line(&mut self) -> Result<Option<Piece>, FilesError> {
        let mut lines = PlainLines::open(&self.blob, self.offset, self.buffer_size)?;
        let Some(line) = lines.next()? else {
            return Ok(None); // nothing but empty lines
        };
        self.offset = line.after;
        Ok(Some(self.piece(line.data, true)))
    }

    fn piece(&mut self, text: Bytes, is_line: bool) -> Piece {
        self.marks[self.index] = match self.offset < self.blob.entry.size {
            true => self.offset,
            false => END_MARK,
        };
        Piece {
            text,
            is_line,
            arrival: self.blob.entry.last_modified,
            marks: self.marks.clone(),
        }
    }
}

impl Piece {
    fn parse(self, parser: &mut TickParser) -> ParsedPiece {
        let text = self.text.clone();
        let block = match self.is_line {
            true => TickBlock::parse(parser, text, |line, at| (at..line.len(), line.len())),
            false => TickBlock::parse(parser, text, line_at),
        };
        ParsedPiece {
            block,
            arrival: self.arrival,
            marks: self.marks,
        }
    }
}

/// Reads the file to its end, on this thread and others, or until nobody listens.
pub(super) fn read(tail: Tail, parser: &TickParser, sender: &mpsc::Sender<Parsing>) {
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
    let tail = Mutex::new(tail);
    thread::scope(|scope| {
        for number in 1..threads {
            let work = || work(&tail, parser.anew(), sender);
            // One thread fewer is slower, and nothing else.
            let _ = thread::Builder::new()
                .name(format!("files-{number}"))
                .spawn_scoped(scope, work);
        }
        work(&tail, parser.anew(), sender);
    });
}

fn work(tail: &Mutex<Tail>, mut parser: TickParser, sender: &mpsc::Sender<Parsing>) {
    loop {
        let (piece, parsed) = {
            // Held while the piece is announced, so that pieces are announced in their order.
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            if tail.is_over {
                return;
            }
            let ended = match tail.next_piece() {
                Ok(Some(piece)) => {
                    let (parsed, receiver) = oneshot::channel();
                    tail.is_over = sender.blocking_send(Parsing::Piece(receiver)).is_err();
                    Ok((piece, parsed))
                }
                Ok(None) => Err(Ok(())),
                Err(error) => Err(Err(error)),
            };
            match ended {
                Ok(next) => next,
                Err(ended) => {
                    tail.is_over = true;
                    let _ = sender.blocking_send(Parsing::Ended(ended)); // nobody may listen any more
                    return;
                }
            }
        };
        let _ = parsed.send(piece.parse(&mut parser)); // as above
    }
}
