//! Patterns of paths: what they mean and which local files and keys they match.
//!
//! `*`, `?` and `[…]` stay within one folder; `**` as a whole segment goes through any number of folders. A path
//! that names a file or a folder as it stands is taken literally. There is no percent-decoding.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::error::FilesError;

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The deepest folder that is looked into; deeper ones are an error.
const MAX_DEPTH: usize = 64;

/// Where a path begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// The local file system.
    Local,
    /// A bucket, as `scheme://bucket`.
    Bucket(String),
}

impl Root {
    /// The root of a path and what follows it: an OS path, or a key.
    pub(super) fn split(path: &str) -> Result<(Root, &str), FilesError> {
        let bad = |why: &str| FilesError::BadPattern {
            pattern: path.to_owned(),
            why: why.to_owned(),
        };
        let (scheme, rest) = path
            .split_once("://")
            .ok_or_else(|| bad("has no scheme: write file:///absolute/path, file://./relative/path or s3://bucket/key"))?;
        match scheme {
            "file"
                if rest.starts_with('/')
                    || rest == "."
                    || rest.starts_with("./")
                    || rest.starts_with("../") =>
            {
                Ok((Root::Local, rest))
            }
            "file" => Err(bad(
                "must go on with `/`, `./` or `../` after file:// (a host name can't be given)",
            )),
            "s3" => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() || bucket.contains(['*', '?', '[']) {
                    return Err(bad("needs a bucket's name, without wildcards"));
                }
                // What comes before the key: the scheme, `://` and the bucket.
                Ok((
                    Root::Bucket(path[..scheme.len() + 3 + bucket.len()].to_owned()),
                    key,
                ))
            }
            _ => Err(bad(
                "has a scheme that isn't known: allowed are file:// and s3://",
            )),
        }
    }
}

/// How a matched file was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// By itself or by a pattern: it was meant.
    Itself,
    /// By a folder above it: it counts only if it looks like data.
    ByFolder,
}

/// True for a segment with a wildcard.
fn is_wild(segment: &str) -> bool {
    segment.contains(['*', '?', '['])
}

/// True for names below a named folder that aren't data: hidden files, `_SUCCESS`, `_delta_log`.
fn is_aside(segment: &str) -> bool {
    segment.starts_with(['.', '_'])
}

fn compile(text: &str, pattern: &str) -> Result<Pattern, FilesError> {
    Pattern::new(text).map_err(|error| FilesError::BadPattern {
        pattern: pattern.to_owned(),
        why: format!("isn't a pattern: {}", error.msg),
    })
}

/// The pattern of keys in a bucket.
pub(super) enum KeyPattern {
    /// This key, or all keys below it.
    Literal(String),
    /// All keys below the first that match the second.
    Wild(String, Pattern),
}

impl KeyPattern {
    pub(super) fn new(key: &str, pattern: &str) -> Result<Self, FilesError> {
        let key = key.trim_end_matches('/');
        let segments: Vec<&str> = key.split('/').collect();
        Ok(match segments.iter().position(|segment| is_wild(segment)) {
            None => KeyPattern::Literal(key.to_owned()),
            Some(first) => KeyPattern::Wild(segments[..first].join("/"), compile(key, pattern)?),
        })
    }

    /// The folder to list.
    pub(super) fn folder(&self) -> &str {
        match self {
            KeyPattern::Literal(folder) | KeyPattern::Wild(folder, _) => folder,
        }
    }

    /// How a listed key was named, if it was.
    pub(super) fn matches(&self, key: &str) -> Option<Named> {
        match self {
            KeyPattern::Literal(own) if own == key => Some(Named::Itself),
            KeyPattern::Literal(folder) => {
                let below = if folder.is_empty() {
                    key
                } else {
                    key.strip_prefix(folder.as_str())?.strip_prefix('/')?
                };
                (!below.split('/').any(is_aside)).then_some(Named::ByFolder)
            }
            KeyPattern::Wild(_, pattern) => {
                pattern.matches_with(key, OPTIONS).then_some(Named::Itself)
            }
        }
    }
}

/// Every local file that `path` (what follows `file://`) names, with absolute paths, in no order, perhaps twice.
pub(super) fn local_files(path: &str, pattern: &str) -> Result<Vec<(PathBuf, Named)>, FilesError> {
    let list_error = |error: io::Error| FilesError::List {
        pattern: pattern.to_owned(),
        cause: error.into(),
    };
    let literal = without_dots(&std::path::absolute(path).map_err(list_error)?);
    let mut found = Vec::new();
    match fs::metadata(&literal) {
        Ok(metadata) if metadata.is_file() => {
            found.push((literal, Named::Itself));
            return Ok(found);
        }
        Ok(metadata) if metadata.is_dir() => {
            walk_folder(&literal, 0, &mut found).map_err(list_error)?;
            return Ok(found);
        }
        _ => {}
    }
    let text = literal.to_str().ok_or_else(|| FilesError::BadPattern {
        pattern: pattern.to_owned(),
        why: "lies in a folder whose name isn't UTF-8".to_owned(),
    })?;
    let segments: Vec<&str> = text
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let fixed = segments
        .iter()
        .take_while(|segment| !is_wild(segment))
        .count();
    if fixed == segments.len() {
        return Ok(found); // nothing of that name, and nothing to match
    }
    let base: PathBuf = std::iter::once("/")
        .chain(segments[..fixed].iter().copied())
        .collect();
    let parts = segments[fixed..]
        .iter()
        .map(|segment| compile(segment, pattern))
        .collect::<Result<Vec<_>, _>>()?;
    walk_pattern(&base, &parts, 0, &mut found).map_err(list_error)?;
    Ok(found)
}

/// The path without `.` and `..`, told by its text alone.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// A folder's entries as (name, entry); none when it isn't there.
fn entries(folder: &Path, depth: usize) -> io::Result<Vec<(String, fs::DirEntry)>> {
    if depth > MAX_DEPTH {
        let text = format!(
            "{} lies more than {MAX_DEPTH} folders deep",
            folder.display()
        );
        return Err(io::Error::other(text));
    }
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(named(error)),
    };
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.map_err(named)?;
        // Names that aren't UTF-8 are matched as well as can be, and refused if they match.
        Ok((entry.file_name().to_string_lossy().into_owned(), entry))
    };
    listing.map(entry).collect()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What a path leads to; `None` for a link to nothing and a file that has gone meanwhile.
fn target(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        )),
    }
}

fn is_file(path: &Path) -> io::Result<bool> {
    Ok(target(path)?.is_some_and(|metadata| metadata.is_file()))
}

/// Everything below a folder that looks like data. Linked folders are not entered.
fn walk_folder(folder: &Path, depth: usize, found: &mut Vec<(PathBuf, Named)>) -> io::Result<()> {
    for (name, entry) in entries(folder, depth)? {
        if is_aside(&name) {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk_folder(&path, depth + 1, found)?;
        } else if is_file(&path)? {
            found.push((path, Named::ByFolder));
        }
    }
    Ok(())
}

fn walk_pattern(
    folder: &Path,
    parts: &[Pattern],
    depth: usize,
    found: &mut Vec<(PathBuf, Named)>,
) -> io::Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        return Ok(());
    };
    let recursive = part.as_str() == "**";
    if recursive && !rest.is_empty() {
        walk_pattern(folder, rest, depth, found)?;
    }
    for (name, entry) in entries(folder, depth)? {
        let path = entry.path();
        if recursive {
            // As in a shell, hidden and linked folders are not entered.
            if name.starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                walk_pattern(&path, parts, depth + 1, found)?;
            } else if rest.is_empty() && is_file(&path)? {
                found.push((path, Named::Itself));
            }
        } else if part.matches_with(&name, OPTIONS)
            && let Some(metadata) = target(&path)?
        {
            if rest.is_empty() && metadata.is_file() {
                found.push((path, Named::Itself));
            } else if !rest.is_empty() && metadata.is_dir() {
                walk_pattern(&path, rest, depth + 1, found)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn roots_are_told_apart() {
        assert_eq!(Root::split("file:///a/b").unwrap(), (Root::Local, "/a/b"));
        assert_eq!(Root::split("file://./a").unwrap(), (Root::Local, "./a"));
        let (root, key) = Root::split("s3://bucket/a/*.csv").unwrap();
        assert_eq!((root, key), (Root::Bucket("s3://bucket".into()), "a/*.csv"));
        for bad in [
            "/a/b",
            "file://host/a",
            "gs://b/a",
            "s3:///a",
            "s3://b*/a",
            "",
        ] {
            assert!(Root::split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_match_as_local_files_do() {
        let matches =
            |pattern: &str, key: &str| KeyPattern::new(pattern, pattern).unwrap().matches(key);
        assert_eq!(matches("a/*.csv", "a/b.csv"), Some(Named::Itself));
        assert_eq!(matches("a/*.csv", "a/b/c.csv"), None);
        assert_eq!(matches("a/**/*.csv", "a/b/c.csv"), Some(Named::Itself));
        assert_eq!(matches("a/**/*.csv", "a/c.csv"), Some(Named::Itself));
        assert_eq!(matches("a/*.csv", "a/.hidden.csv"), None);
        assert_eq!(matches("a", "a/b/c.csv"), Some(Named::ByFolder));
        assert_eq!(matches("a", "ab/c.csv"), None);
        assert_eq!(matches("a", "a/_delta_log/c.csv"), None);
        assert_eq!(matches("", "c.csv"), Some(Named::ByFolder));
        assert!(KeyPattern::new("a/[", "a/[").is_err());
    }
}
