//! The list of files: what patterns name, as it was when the pipeline began.
//!
//! Owns the list's order, its digest and the answer to "what changed?". Must never open a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::UNIX_EPOCH;

use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stockstream_core::layout::Incarnation;
use stockstream_core::time::Micros;

use super::MAX_FILES;
use super::error::FilesError;
use super::pattern::{KeyPattern, Named, Root, local_files};
use super::stores::Stores;

/// How many differences [`FileList::changes`] names.
const NAMED_CHANGES: usize = 5;

/// How a file's ticks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// A header and rows, as RFC 4180 quotes them.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// How a file's bytes are packed, told by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all (Parquet packs its own pages).
    None,
    /// `.gz`; several members are read as one.
    Gzip,
    /// `.zst`; several frames are read as one.
    Zstd,
}

/// One file as it was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Its URL: `file:///…` with an absolute path, or `s3://bucket/key`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The store's ETag; of a local file, the time of its last change with all digits.
    pub etag: String,
    /// When it last changed: the arrival of its ticks.
    pub last_modified: Micros,
    /// How its ticks are written.
    pub format: Format,
    /// How its bytes are packed.
    pub compression: Compression,
}

/// The files of a source, sorted by path, each once. As a document: JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    files: Vec<FileEntry>,
}

impl Format {
    /// What a file's name says, without `.gz` and `.zst`; upper case counts as lower.
    pub fn of_path(path: &str) -> Option<Self> {
        let (_, plain) = Compression::split(path);
        let name = plain.rsplit('/').next().unwrap_or(plain);
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            "csv" => Some(Format::Csv),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }
}

impl Compression {
    /// What a file's name says, and the name without that.
    fn split(path: &str) -> (Self, &str) {
        for (extension, compression) in [(".gz", Compression::Gzip), (".zst", Compression::Zstd)] {
            if let Some(start) = path.len().checked_sub(extension.len())
                && path.is_char_boundary(start)
                && path[start..].eq_ignore_ascii_case(extension)
            {
                return (compression, &path[..start]);
            }
        }
        (Compression::None, path)
    }
}

impl FileList {
    /// Lists what the patterns name, in `format` or, without one, by each file's extension.
    ///
    /// # Errors
    /// [`FilesError::NoMatch`] for a pattern that names nothing; [`FilesError::BadPattern`],
    /// [`FilesError::UnknownFormat`], [`FilesError::TooManyFiles`], [`FilesError::List`] and [`FilesError::Read`].
    pub async fn expand(
        patterns: &[String],
        format: Option<Format>,
        stores: &Stores,
    ) -> Result<Self, FilesError> {
        let mut files = BTreeMap::new();
        for pattern in patterns {
            let found = match Root::split(pattern)? {
                (Root::Local, path) => {
                    expand_local(path.to_owned(), pattern.clone(), format).await?
                }
                (Root::Bucket(root), key) => {
                    expand_remote(&root, key, pattern, format, stores).await?
                }
            };
            if found.is_empty() {
                return Err(FilesError::NoMatch {
                    pattern: pattern.clone(),
                });
            }
            files.extend(found.into_iter().map(|file| (file.path.clone(), file)));
            if files.len() > MAX_FILES {
                return Err(FilesError::TooManyFiles {
                    pattern: pattern.clone(),
                });
            }
        }
        Ok(FileList {
            files: files.into_values().collect(),
        })
    }

    /// The files, by path.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// True when there is none; [`FileList::expand`] never returns such a list.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The list's name in keys: SHA-256 over (path, size, ETag) of each file, in order.
    pub fn incarnation(&self) -> Incarnation {
        let mut hash = Sha256::new();
        for file in &self.files {
            for text in [&file.path, &file.etag] {
                // Lengths go first, so that no two lists give the same bytes.
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            hash.update(file.size.to_le_bytes());
        }
        let mut hex = String::with_capacity(64);
        for byte in hash.finalize() {
            let _ = write!(hex, "{byte:02x}"); // writing to a String can't fail
        }
        Incarnation::of_files(&hex)
    }

    /// What is different in `now`, for people; `None` when nothing is.
    pub fn changes(&self, now: &FileList) -> Option<String> {
        fn by_path(list: &FileList) -> BTreeMap<&str, &FileEntry> {
            let named = |file| (FileEntry::path_of(file), file);
            list.files.iter().map(named).collect()
        }
        let (before, after) = (by_path(self), by_path(now));
        let mut changes: Vec<String> = Vec::new();
        for (path, old) in &before {
            match after.get(path) {
                None => changes.push(format!("{path} is gone")),
                Some(new) => changes.extend(old.difference(new)),
            }
        }
        let added = after.keys().filter(|path| !before.contains_key(*path));
        changes.extend(added.map(|path| format!("{path} is new")));
        if changes.is_empty() {
            return None;
        }
        let more = changes.len().saturating_sub(NAMED_CHANGES);
        changes.truncate(NAMED_CHANGES);
        if more > 0 {
            changes.push(format!("and {more} more"));
        }
        Some(changes.join("; "))
    }
}

impl FileEntry {
    fn path_of(&self) -> &str {
        &self.path
    }

    fn difference(&self, now: &FileEntry) -> Option<String> {
        let path = &self.path;
        if self.size != now.size {
            Some(format!("{path} had {} bytes, now {}", self.size, now.size))
        } else if self.etag != now.etag {
            Some(format!(
                "{path} was written anew ({}, now {})",
                self.last_modified, now.last_modified
            ))
        } else if (self.format, self.compression) != (now.format, now.compression) {
            Some(format!(
                "{path} was read as {:?}, now as {:?}",
                self.format, now.format
            ))
        } else {
            None
        }
    }
}

/// What a local file's metadata says: size, ETag, last change.
pub(super) fn local_facts(metadata: &fs::Metadata) -> (u64, String, Micros) {
    let since = |time: std::time::SystemTime| match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    };
    // Every platform that we build for has the time of the last change.
    let nanos = metadata.modified().map(since).unwrap_or(0);
    let micros = i64::try_from(nanos.div_euclid(1_000)).unwrap_or(i64::MAX);
    (metadata.len(), format!("mtime:{nanos}"), Micros(micros))
}

/// The format of a found file; `None` for one that only a folder named and that doesn't look like data.
fn format_of(
    path: &str,
    named: Named,
    asked: Option<Format>,
) -> Result<Option<Format>, FilesError> {
    match (asked.or_else(|| Format::of_path(path)), named) {
        (None, Named::Itself) => Err(FilesError::UnknownFormat {
            path: path.to_owned(),
        }),
        (format, _) => Ok(format),
    }
}

fn entry(
    path: String,
    format: Format,
    (size, etag, last_modified): (u64, String, Micros),
) -> FileEntry {
    let compression = match format {
        Format::Parquet => Compression::None,
        Format::Ndjson | Format::Csv => Compression::split(&path).0,
    };
    FileEntry {
        path,
        size,
        etag,
        last_modified,
        format,
        compression,
    }
}

async fn expand_local(
    path: String,
    pattern: String,
    format: Option<Format>,
) -> Result<Vec<FileEntry>, FilesError> {
    let walk = move || {
        let mut files = Vec::new();
        for (found, named) in local_files(&path, &pattern)? {
            let text = found.to_str().ok_or_else(|| FilesError::List {
                pattern: pattern.clone(),
                cause: format!("the name of {found:?} isn't UTF-8").into(),
            })?;
            let url = format!("file://{text}");
            let Some(format) = format_of(&url, named, format)? else {
                continue;
            };
            let metadata = fs::metadata(&found).map_err(|error| FilesError::Read {
                path: url.clone(),
                offset: 0,
                cause: error.into(),
            })?;
            files.push(entry(url, format, local_facts(&metadata)));
        }
        Ok(files)
    };
    tokio::task::spawn_blocking(walk)
        .await
        .unwrap_or(Err(FilesError::ReaderGone))
}

async fn expand_remote(
    root: &str,
    key: &str,
    pattern: &str,
    format: Option<Format>,
    stores: &Stores,
) -> Result<Vec<FileEntry>, FilesError> {
    let store = stores.get(root, pattern)?;
    let keys = KeyPattern::new(key, pattern)?;
    let list_error = |error: object_store::Error| FilesError::List {
        pattern: pattern.to_owned(),
        cause: error.into(),
    };
    let folder =
        object_store::path::Path::parse(keys.folder()).map_err(|error| FilesError::BadPattern {
            pattern: pattern.to_owned(),
            why: error.to_string(),
        })?;
    let mut found: Vec<ObjectMeta> = Vec::new();
    if let KeyPattern::Literal(key) = &keys
        && !key.is_empty()
    {
        match store.head(&folder).await {
            Ok(meta) => found.push(meta),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(list_error(error)),
        }
    }
    if found.is_empty() {
        let mut listing = store.list(Some(&folder));
        while let Some(meta) = listing.try_next().await.map_err(list_error)? {
            if keys.matches(meta.location.as_ref()).is_some() {
                found.push(meta);
            }
            if found.len() > MAX_FILES {
                return Err(FilesError::TooManyFiles {
                    pattern: pattern.to_owned(),
                });
            }
        }
    }
    let mut files = Vec::new();
    for meta in found {
        let path = format!("{root}/{}", meta.location);
        let named = keys
            .matches(meta.location.as_ref())
            .unwrap_or(Named::Itself);
        let Some(format) = format_of(&path, named, format)? else {
            continue;
        };
        let changed = Micros(meta.last_modified.timestamp_micros());
        // A store without ETags: the last change stands in, as for local files.
        let etag = meta.e_tag.unwrap_or_else(|| format!("mtime:{}", changed.0));
        files.push(entry(path, format, (meta.size, etag, changed)));
    }
    Ok(files)
}
