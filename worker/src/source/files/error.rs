//! What can go wrong with files.

use std::io;

use super::MAX_FILES;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why files can't be listed or read. Every variant names the pattern or the file.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A path of the spec isn't one.
    #[error("spec.source.files.paths: {pattern:?} {why}")]
    BadPattern {
        /// As the spec writes it.
        pattern: String,
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// Nothing is there.
    #[error(
        "spec.source.files.paths: no file matches {pattern:?}. \
         `*` stays within one folder, `**/` goes through any number of them; names that begin with a dot don't match"
    )]
    NoMatch {
        /// As the spec writes it.
        pattern: String,
    },
    /// More files than a list may have.
    #[error(
        "spec.source.files.paths: {pattern:?} brings the list above {MAX_FILES} files. \
         Join small files, or run the backfill in several pipelines"
    )]
    TooManyFiles {
        /// As the spec writes it.
        pattern: String,
    },
    /// A file's extension says nothing.
    #[error(
        "the format of {path} isn't known from its name: set spec.source.files.format to ndjson, csv or parquet, or \
         name files .ndjson, .jsonl, .csv (each also .gz or .zst) or .parquet"
    )]
    UnknownFormat {
        /// The file.
        path: String,
    },
    /// Listing failed.
    #[error("can't list {pattern:?}: {cause}")]
    List {
        /// As the spec writes it.
        pattern: String,
        /// The store's answer.
        cause: Cause,
    },
    /// A read failed.
    #[error("can't read {path} at byte {offset}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// Where reading stopped, in the file as it lies there.
        offset: u64,
        /// The store's answer.
        cause: Cause,
    },
    /// The file is another one than when it was listed.
    #[error(
        "{path} changed while it was read ({what}): files of a bounded source must stay as they are until it ends"
    )]
    Changed {
        /// The file.
        path: String,
        /// What was expected and found.
        what: String,
    },
    /// The file's bytes don't follow its format.
    #[error("{path} is damaged or cut off near byte {offset}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// Where, in the file as it lies there; 0 when the decoder can't tell.
        offset: u64,
        /// What the decoder found.
        what: String,
    },
    /// The columns can't be told apart.
    #[error("the columns of {path} can't be used: {why}")]
    Columns {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The marks don't belong to the list.
    #[error("can't resume: {why}. The state belongs to another list of files")]
    Marks {
        /// What doesn't fit.
        why: String,
    },
    /// The reading thread is gone.
    #[error(
        "the thread that reads the files ended without a word; its panic, if any, is on the error output"
    )]
    ReaderGone,
}

impl FilesError {
    /// As an I/O error, to pass through decoders.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// From what came out of a decoder: our own error as it went in, anything else as damage.
    pub(super) fn from_decoder(error: io::Error, path: &str, offset: u64) -> Self {
        match error.downcast::<FilesError>() {
            Ok(own) => own,
            Err(error) => FilesError::Damaged {
                path: path.to_owned(),
                offset,
                what: error.to_string(),
            },
        }
    }
}
