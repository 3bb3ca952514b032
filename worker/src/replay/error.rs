//! What can go wrong in a replay, one variant per thing the caller or the user does about it.

use crate::storage::StoreError;

/// Why a replay did not start, or did not run to its end.
///
/// Every row is read and checked before the first record is sent, so an error about the input
/// means that nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The input names nothing.
    #[error(
        "there is no file, directory or object at `{input}`; check the spelling and the working directory"
    )]
    MissingInput {
        /// The input as the user wrote it.
        input: String,
    },
    /// The input names a place that holds no file of a known format.
    #[error(
        "`{input}` holds no file to replay: files ending in .csv, .ndjson, .jsonl or .parquet (text also with .gz or .zst) \
         are read, names that begin with `_` or `.` are not; `--format` reads a file of any name"
    )]
    NothingToRead {
        /// The input as the user wrote it.
        input: String,
    },
    /// The input is not a path or URL that can be read from.
    #[error("`{input}` can't be used as input: {problem}")]
    UnusableInput {
        /// The input as the user wrote it.
        input: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file could not be opened, listed, fetched or decompressed.
    #[error("can't read `{path}`: {problem}")]
    Unreadable {
        /// The file or object.
        path: String,
        /// What the store, the decompressor or the decoder said.
        problem: String,
    },
    /// A file's columns do not hold what a tick needs.
    #[error(
        "`{path}` has no column for {missing} (columns found: {found}); a row needs ticker, date and close: \
         name the column with `--column {field}=NAME`, or put the file under a directory like `ticker=AAPL`"
    )]
    UnknownLayout {
        /// The file or object.
        path: String,
        /// The missing field with the column names that would have been taken.
        missing: String,
        /// The missing field's name, as `--column` takes it.
        field: &'static str,
        /// The columns the file and its path have.
        found: String,
    },
    /// A row holds something that is not what its column is for.
    #[error("`{path}`, line {line}: {problem}; correct the row or remove it (nothing was sent)")]
    BadRow {
        /// The file or object.
        path: String,
        /// The line in text, counted from 1; the row counted from 1 in Parquet.
        line: u64,
        /// The field, what was found and what is allowed.
        problem: String,
    },
    /// The input does not fit in the memory set aside for it.
    #[error(
        "the input has more than {limit} rows, of which each takes {bytes_per_row} bytes of memory; \
         replay a part of it: fewer files, or `--ticker` to keep some tickers only"
    )]
    TooManyRows {
        /// The largest number of rows held.
        limit: usize,
        /// Memory per row.
        bytes_per_row: usize,
    },
    /// The files were read, but nothing is left to send.
    #[error("`{input}` has no rows to send{hint}")]
    NoRows {
        /// The input as the user wrote it.
        input: String,
        /// What may have taken the rows away; empty or starting with a separator.
        hint: String,
    },
    /// `--start-time` lies ahead of the clock.
    #[error(
        "the start time {start} is ahead of the clock ({now}): event time may not run ahead of a tick's arrival; give an earlier one"
    )]
    StartAhead {
        /// The asked start.
        start: jiff::Timestamp,
        /// The clock.
        now: jiff::Timestamp,
    },
    /// The stream is not there.
    #[error(
        "there is no stream `{stream}` in this region and account, or it is not ready yet; create it first, \
         or let `--create-stream SHARDS` do it ({message})"
    )]
    MissingStream {
        /// The stream.
        stream: String,
        /// What the service said.
        message: String,
    },
    /// The service refused a call in a way that trying again does not mend.
    #[error(
        "{operation} on stream `{stream}` was refused: {message}; allow `kinesis:{operation}`, or correct the region, endpoint or credentials"
    )]
    Refused {
        /// The API operation.
        operation: &'static str,
        /// The stream.
        stream: String,
        /// What the service or the SDK said.
        message: String,
    },
    /// One record was refused or unanswered as often as it may be tried.
    #[error(
        "gave up on a record of `{ticker}` after {attempts} attempts ({delivered} records were delivered before): {message}; \
         check that the stream is reachable, and give it more shards or lower `--rate` if it is throttled"
    )]
    GaveUp {
        /// The record's ticker.
        ticker: String,
        /// How often it was sent.
        attempts: u32,
        /// Records delivered until then.
        delivered: u64,
        /// The last answer.
        message: String,
    },
    /// A created stream did not become active in time.
    #[error(
        "stream `{stream}` did not become active within {seconds} s (status {status}); look at it and try again"
    )]
    StreamNotActive {
        /// The stream.
        stream: String,
        /// How long it was waited for.
        seconds: u64,
        /// Its last status.
        status: String,
    },
    /// No file of dead letters.
    #[error(
        "there are no dead letters under {url}: give the pipeline's rejects path, its folder `dead-letters`, or one .ndjson file of it"
    )]
    NoDeadLetters {
        /// Where they were looked for.
        url: String,
    },
    /// The store of dead letters and receipts.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A receipt that can't be read would let letters be sent twice.
    #[error(
        "the receipt {url} can't be read: {problem}; it says which dead letters were sent. Restore it, or send all again with `--again`"
    )]
    BadReceipt {
        /// The receipt.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file isn't what it was when its letters were sent.
    #[error(
        "{url} has {found} bytes, but had {expected} when letters of it were sent: which of its lines were sent can't be told any more; \
         put it back as it was, or send all again with `--again`"
    )]
    LettersChanged {
        /// The file.
        url: String,
        /// Bytes now.
        found: u64,
        /// Bytes then.
        expected: u64,
    },
    /// The letters don't fit in memory.
    #[error(
        "the dead letters to send have more than {limit} bytes; send a part of them: one file, `--reason`, or `--ticker`"
    )]
    TooManyLetters {
        /// The largest size held, in bytes.
        limit: usize,
    },
    /// A receipt's JSON could not be written.
    #[error("a receipt of what was sent can't be encoded: {0}")]
    Encode(String),
    /// The operating system gave no random bytes for the retry jitter.
    #[error("the operating system gave no random bytes: {0}")]
    NoRandomness(String),
}
