//! Where data lies: `s3://bucket/prefix`, `file:///absolute`, `file://./relative`.
//!
//! Owns the syntax of storage paths and the question whether one lies within another. It must never
//! touch a file system: relative paths are resolved against a directory the caller gives.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The pattern of a storage path. Each segment is neither empty nor `.` nor `..`, so that "lies
/// within" is a plain comparison of prefixes, which CEL can do too. One trailing slash is allowed.
pub const STORAGE_PATH_PATTERN: &str = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|file://\.?)(/([^/.\x00-\x1f][^/\x00-\x1f]*|\.[^/.\x00-\x1f][^/\x00-\x1f]*|\.\.[^/\x00-\x1f]+))+/?$";

/// The longest storage path, in characters (S3's own limit for a key is 1,024 bytes).
pub const STORAGE_PATH_MAX_LENGTH: u32 = 512;

/// The shape in words, for messages.
pub const STORAGE_PATH_ALLOWED: &str = "s3://bucket/prefix, file:///absolute/path or file://./path/relative/to/the/working/directory (no empty, `.` or `..` segments)";

/// A parsed storage path in its normal form: without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoragePath {
    root: Root,
    /// Segments joined by `/`, never empty, no slash at either end.
    key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Root {
    S3 { bucket: String },
    FileAbsolute,
    FileRelative,
}

/// The rule about buckets, in words.
const BUCKET_RULE: &str = "s3://bucket/prefix, where the bucket's name has 3 to 63 characters, all of them lower-case letters, digits, `.` or `-`, the first and the last a letter or a digit";
/// The rule about prefixes, in words.
const PREFIX_RULE: &str =
    "s3://bucket/prefix: a bucket alone isn't enough, a prefix must follow it";
/// The rule about segments, in words.
const SEGMENT_RULE: &str =
    "a path without empty, `.` or `..` segments and without control characters after its root";
/// The rule about the length, in words ([`STORAGE_PATH_MAX_LENGTH`]).
const LENGTH_RULE: &str = "at most 512 characters";

/// Why a string is not a storage path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a storage path; allowed: {rule}")]
pub struct StoragePathError {
    text: String,
    rule: &'static str,
}

impl StoragePathError {
    /// The rule that the text breaks, in words: what is allowed.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

impl StoragePath {
    /// The bucket, for `s3://` paths.
    pub fn bucket(&self) -> Option<&str> {
        match &self.root {
            Root::S3 { bucket } => Some(bucket),
            Root::FileAbsolute | Root::FileRelative => None,
        }
    }

    /// The part after the root: the key prefix in the bucket, or the path below `/` or below the
    /// working directory. No slash at either end.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the path is on the local file system.
    pub fn is_file(&self) -> bool {
        !matches!(self.root, Root::S3 { .. })
    }

    /// Whether the path is relative to the working directory.
    pub fn is_relative(&self) -> bool {
        self.root == Root::FileRelative
    }

    /// The path in the local file system, with relative paths taken below `working_directory`.
    /// `None` for `s3://`.
    pub fn to_file_path(&self, working_directory: &Path) -> Option<PathBuf> {
        match self.root {
            Root::S3 { .. } => None,
            Root::FileAbsolute => Some(Path::new("/").join(&self.key)),
            Root::FileRelative => Some(working_directory.join(&self.key)),
        }
    }

    /// The same path with a relative one made absolute below `working_directory`.
    ///
    /// # Errors
    /// When the directory is not absolute, not UTF-8, or makes a path that is not allowed.
    pub fn resolve(&self, working_directory: &Path) -> Result<Self, StoragePathError> {
        if !self.is_relative() {
            return Ok(self.clone());
        }
        let joined = working_directory.join(&self.key);
        let fail = || StoragePathError {
            text: joined.display().to_string(),
            rule: STORAGE_PATH_ALLOWED,
        };
        let text = joined.to_str().ok_or_else(fail)?;
        format!("file://{text}").parse()
    }

    /// Whether this path is `other` or lies below it. A relative and an absolute path are never
    /// within each other: resolve both first.
    pub fn is_within(&self, other: &Self) -> bool {
        self.root == other.root
            && self
                .key
                .strip_prefix(&other.key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path with text put directly behind its last segment: `…/avg_1min` and `-rejects` make
    /// `…/avg_1min-rejects`.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        Self {
            root: self.root.clone(),
            key: format!("{}{suffix}", self.key),
        }
    }
}

impl FromStr for StoragePath {
    type Err = StoragePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let breaks = |rule| StoragePathError {
            text: text.to_owned(),
            rule,
        };
        if text.chars().count() > STORAGE_PATH_MAX_LENGTH as usize {
            return Err(breaks(LENGTH_RULE));
        }
        let (root, key) = if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            if !is_bucket(bucket) {
                return Err(breaks(BUCKET_RULE));
            }
            if key.is_empty() {
                return Err(breaks(PREFIX_RULE));
            }
            let bucket = bucket.to_owned();
            (Root::S3 { bucket }, key)
        } else if let Some(key) = text.strip_prefix("file://./") {
            (Root::FileRelative, key)
        } else if let Some(key) = text.strip_prefix("file:///") {
            (Root::FileAbsolute, key)
        } else {
            return Err(breaks(STORAGE_PATH_ALLOWED));
        };
        let key = key.strip_suffix('/').unwrap_or(key);
        let segment = |s: &str| !matches!(s, "" | "." | "..") && !s.chars().any(|c| c < ' ');
        if !key.split('/').all(segment) {
            return Err(breaks(SEGMENT_RULE));
        }
        let key = key.to_owned();
        Ok(Self { root, key })
    }
}

/// S3's naming rules as far as a pattern can hold them: 3 to 63 of a-z, 0-9, `.` and `-`.
fn is_bucket(name: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|&b| alphanumeric(b) || b == b'.' || b == b'-')
        && bytes.first().is_some_and(|&b| alphanumeric(b))
        && bytes.last().is_some_and(|&b| alphanumeric(b))
}

impl fmt::Display for StoragePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::S3 { bucket } => write!(f, "s3://{bucket}/{}", self.key),
            Root::FileAbsolute => write!(f, "file:///{}", self.key),
            Root::FileRelative => write!(f, "file://./{}", self.key),
        }
    }
}

impl Serialize for StoragePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoragePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for StoragePath {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StoragePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": STORAGE_PATH_PATTERN,
            "maxLength": STORAGE_PATH_MAX_LENGTH,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> StoragePath {
        text.parse().unwrap()
    }

    #[test]
    fn takes_the_three_forms_apart() {
        let s3 = path("s3://my-lake/streaming/avg_1min/");
        assert_eq!(
            (s3.bucket(), s3.key()),
            (Some("my-lake"), "streaming/avg_1min")
        );
        assert_eq!(s3.to_string(), "s3://my-lake/streaming/avg_1min");
        let directory = Path::new("/home/data");
        assert_eq!(
            path("file:///tmp/x").to_file_path(directory),
            Some(PathBuf::from("/tmp/x"))
        );
        let relative = path("file://./.stockstream/rows");
        assert!(relative.is_relative());
        assert_eq!(
            relative.resolve(directory).unwrap(),
            path("file:///home/data/.stockstream/rows")
        );
        assert!(relative.resolve(Path::new("not/absolute")).is_err());
    }

    #[test]
    fn a_refusal_names_the_rule_that_is_broken() {
        for (text, rule) in [
            ("s3://b/rows", "3 to 63 characters"),
            ("s3://My_Lake/rows", "lower-case"),
            ("s3://my-lake", "a prefix must follow"),
            ("s3://my-lake//rows", "`..` segments"),
            ("file:///../rows", "`..` segments"),
            ("gs://my-lake/rows", "file:///absolute/path"),
        ] {
            let refused = text.parse::<StoragePath>().unwrap_err();
            assert!(refused.rule().contains(rule), "{text}: {refused}");
        }
        let long = format!(
            "s3://my-lake/{}",
            "x".repeat(STORAGE_PATH_MAX_LENGTH as usize)
        );
        let refused = long.parse::<StoragePath>().unwrap_err();
        assert!(
            refused
                .rule()
                .contains(&STORAGE_PATH_MAX_LENGTH.to_string())
        );
    }

    #[test]
    fn within_compares_whole_segments() {
        assert!(path("s3://lake/a/b").is_within(&path("s3://lake/a")));
        assert!(path("s3://lake/a/").is_within(&path("s3://lake/a")));
        assert!(!path("s3://lake/ab").is_within(&path("s3://lake/a")));
        assert!(!path("s3://lake/a-rejects").is_within(&path("s3://lake/a")));
        assert!(!path("s3://lake2/a/b").is_within(&path("s3://lake/a")));
        assert!(!path("file://./a/b").is_within(&path("file:///a")));
    }

    #[test]
    fn refuses_what_has_more_than_one_spelling() {
        let pattern = regex::Regex::new(STORAGE_PATH_PATTERN).unwrap();
        for text in [
            "",
            "s3://",
            "s3://bucket",
            "s3://bucket/",
            "s3://Bucket/a",
            "s3://b/a",
            "s3://bucket//a",
            "s3://bucket/a//",
            "s3://bucket/../a",
            "s3://bucket/a/./b",
            "file://a/b",
            "file://",
            "file:///",
            "file://./",
            "file://./../x",
            "/tmp/x",
            "./x",
            "gs://bucket/a",
            "S3://bucket/a",
            "s3://bucket/a\nb",
        ] {
            assert!(text.parse::<StoragePath>().is_err(), "{text}");
            assert!(!pattern.is_match(text), "{text}");
        }
        for text in [
            "s3://bucket/..a",
            "s3://bucket/.a",
            "s3://bucket/a b/ü",
            "file:///...",
        ] {
            assert!(text.parse::<StoragePath>().is_ok(), "{text}");
            assert!(pattern.is_match(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_pattern_accepts_exactly_what_parses(
            root in "(s3://bucket|s3://|file://|file://\\.|file:)", rest in "[a./ \\n]{0,12}"
        ) {
            let text = format!("{root}{rest}");
            let pattern = regex::Regex::new(STORAGE_PATH_PATTERN).unwrap();
            prop_assert_eq!(pattern.is_match(&text), text.parse::<StoragePath>().is_ok(), "{}", text);
        }
    }
}
