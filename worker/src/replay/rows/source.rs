//! The files behind an input: a path, a `file://` or an `s3://` URL; a file or everything below a directory.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};

use super::Format;
use crate::replay::ReplayError;

/// The largest object that is fetched from a remote store: it is held in memory while it is decoded.
const LARGEST_OBJECT: u64 = 1024 * 1024 * 1024;

/// The most text that one compressed or plain file may hold, against archives that never end.
const LARGEST_TEXT: u64 = 8 * 1024 * 1024 * 1024;

/// The most files of one input.
const MOST_FILES: usize = 100_000;

/// What Hive writes in a path for a missing value.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// One file of the input.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its name for people.
    pub name: String,
    /// Its place in the store.
    pub location: Path,
    /// How to read it.
    pub format: Format,
    /// The `key=value` parts of its path, unescaped.
    pub path_values: Vec<(String, String)>,
}

impl Source {
    pub(super) fn bad_row(&self, line: u64, problem: String) -> ReplayError {
        ReplayError::BadRow {
            path: self.name.clone(),
            line,
            problem,
        }
    }

    pub(super) fn unreadable(&self, error: &dyn Display) -> ReplayError {
        ReplayError::Unreadable {
            path: self.name.clone(),
            problem: error.to_string(),
        }
    }
}

/// A file's content: local files stay on disk.
pub(super) enum Opened {
    File(std::fs::File),
    Bytes(Bytes),
}

/// The files of an input in the order of their paths.
pub(super) async fn find(
    input: &str,
    format: Option<Format>,
) -> Result<(Arc<dyn ObjectStore>, Vec<Source>), ReplayError> {
    let place = Base::parse(input)?;
    let unreadable = |error: &object_store::Error| ReplayError::Unreadable {
        path: input.to_owned(),
        problem: error.to_string(),
    };
    let found = match place.store.head(&place.base).await {
        Ok(meta) => vec![meta.location],
        // A directory, a prefix, or nothing at all: the listing tells.
        Err(object_store::Error::NotFound { .. }) => {
            let mut below = Vec::new();
            let mut listing = place.store.list(Some(&place.base));
            while let Some(meta) = listing
                .try_next()
                .await
                .map_err(|error| unreadable(&error))?
            {
                below.push(meta.location);
                if below.len() > MOST_FILES {
                    let problem =
                        format!("it holds more than {MOST_FILES} files; name a directory below it");
                    return Err(ReplayError::UnusableInput {
                        input: input.to_owned(),
                        problem,
                    });
                }
            }
            if below.is_empty() && !place.exists {
                return Err(ReplayError::MissingInput {
                    input: input.to_owned(),
                });
            }
            below.retain(|location| !is_hidden(&place.base, location));
            below.sort();
            below
        }
        Err(error) => return Err(unreadable(&error)),
    };
    let single = found.len() == 1 && found.first() == Some(&place.base);
    let sources: Vec<Source> = found
        .into_iter()
        .filter_map(|location| {
            // `--format` speaks for a file named by itself, and for files whose names don't tell.
            let format = if single {
                format.or_else(|| named(&location))
            } else {
                named(&location).or(format)
            }?;
            let path_values = location
                .parts()
                .filter_map(|part| path_value(part.as_ref()))
                .collect();
            Some(Source {
                name: format!("{}{location}", place.shown),
                location,
                format,
                path_values,
            })
        })
        .collect();
    if sources.is_empty() {
        return Err(ReplayError::NothingToRead {
            input: input.to_owned(),
        });
    }
    Ok((place.store, sources))
}

/// Whether an input on this machine is there, without reading it. One in an object store is left to the reading.
///
/// # Errors
/// As [`super::read`] for an input that doesn't exist or whose form isn't allowed.
pub fn check_input(input: &str) -> Result<(), ReplayError> {
    if input.starts_with("s3://") {
        return Ok(());
    }
    Base::parse(input).map(|_| ())
}

/// Where an input lies.
struct Base {
    store: Arc<dyn ObjectStore>,
    base: Path,
    /// What stands before a location in names for people.
    shown: String,
    /// It is known to exist, be it empty.
    exists: bool,
}

impl Base {
    fn parse(input: &str) -> Result<Self, ReplayError> {
        let unusable = |problem: String| ReplayError::UnusableInput {
            input: input.to_owned(),
            problem,
        };
        if let Some(rest) = input.strip_prefix("s3://") {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            let base = Path::parse(key).map_err(|error| unusable(error.to_string()))?;
            let store = AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .build()
                .map_err(|error| unusable(error.to_string()))?;
            return Ok(Self {
                store: Arc::new(store),
                base,
                shown: format!("s3://{bucket}/"),
                exists: false,
            });
        }
        let path = match input.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => PathBuf::from(percent_decoded(path)),
            Some(_) => {
                return Err(unusable(
                    "a file URL needs an absolute path: file:///data/ticks.csv".to_owned(),
                ));
            }
            None if input.contains("://") => {
                return Err(unusable(
                    "allowed are paths, file:// and s3:// URLs".to_owned(),
                ));
            }
            None => PathBuf::from(input),
        };
        let absolute = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ReplayError::MissingInput {
                input: input.to_owned(),
            },
            _ => ReplayError::Unreadable {
                path: input.to_owned(),
                problem: error.to_string(),
            },
        })?;
        let base =
            Path::from_absolute_path(&absolute).map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            store: Arc::new(LocalFileSystem::new()),
            base,
            shown: "/".to_owned(),
            exists: true,
        })
    }
}

/// Names that begin with `_` or `.` below the input hold no rows (`_SUCCESS`, `.crc`, half-written files).
fn is_hidden(base: &Path, location: &Path) -> bool {
    location
        .prefix_match(base)
        .is_some_and(|mut parts| parts.any(|part| part.as_ref().starts_with(['_', '.'])))
}

/// The format that a file's name tells.
fn named(location: &Path) -> Option<Format> {
    let name = location.filename()?.to_ascii_lowercase();
    let compressed = [".gz", ".zst", ".zstd"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending));
    match compressed.unwrap_or(&name).rsplit_once('.')?.1 {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "parquet" if compressed.is_none() => Some(Format::Parquet),
        _ => None,
    }
}

/// A Hive path's `key=value`.
fn path_value(part: &str) -> Option<(String, String)> {
    let (key, value) = part.split_once('=')?;
    let value = if value == HIVE_NULL {
        String::new()
    } else {
        percent_decoded(value)
    };
    (!key.is_empty()).then(|| (percent_decoded(key), value))
}

/// Hive and URLs write unusual bytes as `%` and two hexadecimal digits; anything else stays as it is.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let code = (*byte == b'%')
            .then(|| bytes.get(index + 1..index + 3))
            .flatten()
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(code.unwrap_or(*byte));
        index += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

/// Opens a file, or fetches an object whole.
pub(super) async fn open(store: &dyn ObjectStore, source: &Source) -> Result<Opened, ReplayError> {
    let result = store
        .get(&source.location)
        .await
        .map_err(|error| source.unreadable(&error))?;
    if let GetResultPayload::File(file, _) = result.payload {
        return Ok(Opened::File(file));
    }
    if result.meta.size > LARGEST_OBJECT {
        let problem = format!(
            "it has {} bytes; objects up to {LARGEST_OBJECT} are fetched: copy it to disk",
            result.meta.size
        );
        return Err(source.unreadable(&problem));
    }
    result
        .bytes()
        .await
        .map(Opened::Bytes)
        .map_err(|error| source.unreadable(&error))
}

/// A file's text, decompressed by what its first bytes say.
pub(super) fn text(source: &Source, opened: Opened) -> Result<Box<dyn Read>, ReplayError> {
    let mut raw: Box<dyn BufRead> = match opened {
        Opened::File(file) => Box::new(BufReader::new(file)),
        Opened::Bytes(bytes) => Box::new(Cursor::new(bytes)),
    };
    let start = raw.fill_buf().map_err(|error| source.unreadable(&error))?;
    let plain: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(raw))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::Decoder::with_buffer(raw).map_err(|error| source.unreadable(&error))?)
    } else {
        raw
    };
    Ok(Box::new(Bounded {
        inner: plain,
        left: LARGEST_TEXT,
    }))
}

/// A reader that fails, rather than ends, at its limit.
struct Bounded {
    inner: Box<dyn Read>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            std::io::Error::other(format!("it holds more than {LARGEST_TEXT} bytes of text"))
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_format() {
        for (name, format) in [
            ("a/b.csv", Some(Format::Csv)),
            ("B.CSV.GZ", Some(Format::Csv)),
            ("x.jsonl.zst", Some(Format::Ndjson)),
            ("x.ndjson", Some(Format::Ndjson)),
            ("x.parquet", Some(Format::Parquet)),
            ("x.parquet.gz", None),
            ("NOTICE.md", None),
            ("csv", None),
        ] {
            assert_eq!(named(&Path::from(name)), format, "{name}");
        }
    }

    #[test]
    fn hive_paths_are_unescaped() {
        assert_eq!(
            path_value("ticker=%5EGSPC"),
            Some(("ticker".into(), "^GSPC".into()))
        );
        assert_eq!(
            path_value("ticker=A=B"),
            Some(("ticker".into(), "A=B".into()))
        );
        assert_eq!(
            path_value("ticker=100%"),
            Some(("ticker".into(), "100%".into()))
        );
        assert_eq!(
            path_value(&format!("ticker={HIVE_NULL}")),
            Some(("ticker".into(), String::new()))
        );
        assert_eq!(path_value("plain"), None);
        assert_eq!(path_value("=x"), None);
    }

    #[test]
    fn a_reader_fails_at_its_limit() {
        let mut bounded = Bounded {
            inner: Box::new(Cursor::new(vec![0; 10])),
            left: 9,
        };
        assert!(bounded.read_to_end(&mut Vec::new()).is_err());
    }
}
