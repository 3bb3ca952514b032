//! Where a store lies: its URL taken apart.
//!
//! Owns the reading of storage URLs and the making of object paths. Must never escape or unescape anything: a URL's
//! path and every key are taken as they are written, `%` included.

use std::path::PathBuf;

use object_store::path::Path;

use super::error::StoreError;

/// A store's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// As people write it, without a trailing slash.
    pub(crate) url: String,
    /// What kind of store.
    pub(crate) place: Place,
    /// Prepended to every key; empty or without slashes at its ends.
    pub(crate) prefix: String,
}

/// What kind of store a root lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An S3 bucket.
    Bucket(String),
    /// A directory.
    Directory(PathBuf),
    /// A store handed in by a test or simulation.
    Given,
}

impl Root {
    /// Reads `s3://BUCKET[/PREFIX]`, `file:///ABSOLUTE` or `file://./RELATIVE` (to the working directory).
    pub(crate) fn parse(url: &str) -> Result<Root, StoreError> {
        let bad = |reason: &str| StoreError::BadUrl {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let trimmed = url.trim_end_matches('/');
        if let Some(rest) = url.strip_prefix("file://") {
            return Self::directory(rest).map_err(|reason| bad(&reason));
        }
        if let Some(rest) = trimmed.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(bad("the bucket is missing"));
            }
            if !bucket
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            {
                return Err(bad(
                    "a bucket's name has letters, digits, dots and hyphens only",
                ));
            }
            Path::parse(prefix).map_err(|error| bad(&error.to_string()))?;
            return Ok(Root {
                url: trimmed.to_owned(),
                place: Place::Bucket(bucket.to_owned()),
                prefix: prefix.to_owned(),
            });
        }
        if url.starts_with("s3a://") || url.starts_with("s3n://") {
            return Err(bad("write s3:// in its place"));
        }
        Err(bad("its scheme is neither s3 nor file"))
    }

    fn directory(rest: &str) -> Result<Root, String> {
        let relative =
            rest == "." || rest.starts_with("./") || rest == ".." || rest.starts_with("../");
        if rest.is_empty() {
            return Err("the path is missing".to_owned());
        }
        if !relative && !rest.starts_with('/') {
            return Err("a file URL has no host: three slashes, or two and a dot".to_owned());
        }
        if rest.contains('\0') {
            return Err("it holds a NUL character".to_owned());
        }
        let path = std::path::absolute(rest).map_err(|error| error.to_string())?;
        Ok(Root {
            url: format!("file://{}", path.display())
                .trim_end_matches('/')
                .to_owned(),
            place: Place::Directory(path),
            prefix: String::new(),
        })
    }

    /// A root in a store that was handed in.
    pub(crate) fn given(name: &str, prefix: &str) -> Root {
        let prefix = prefix.trim_matches('/').to_owned();
        Root {
            url: format!("{name}://{prefix}")
                .trim_end_matches('/')
                .to_owned(),
            place: Place::Given,
            prefix,
        }
    }

    /// A key's URL, for messages.
    pub(crate) fn url_of(&self, key: &str) -> String {
        if key.is_empty() {
            self.url.clone()
        } else {
            format!("{}/{key}", self.url)
        }
    }

    /// A key's full path in the store. The key is taken as it is.
    pub(crate) fn path_of(&self, key: &str) -> Result<Path, StoreError> {
        let full = match (self.prefix.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}/{key}", self.prefix),
        };
        let bad = |reason: String| StoreError::BadKey {
            url: self.url.clone(),
            key: key.to_owned(),
            reason,
        };
        if key.starts_with('/') || key.ends_with('/') {
            return Err(bad("it begins or ends with a slash".to_owned()));
        }
        if full.len() > MAX_KEY_BYTES {
            return Err(bad(format!(
                "it has more than {MAX_KEY_BYTES} bytes with the prefix"
            )));
        }
        if matches!(self.place, Place::Directory(_))
            && full.split('/').any(|part| part.len() > MAX_NAME_BYTES)
        {
            return Err(bad(format!(
                "a part of it has more than {MAX_NAME_BYTES} bytes"
            )));
        }
        Path::parse(&full).map_err(|error| bad(error.to_string()))
    }

    /// The key of a path in the store; `None` when it lies outside this root.
    pub(crate) fn key_of(&self, path: &Path) -> Option<String> {
        let raw: &str = path.as_ref();
        if self.prefix.is_empty() {
            return Some(raw.to_owned());
        }
        let rest = raw.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        Some(rest.to_owned())
    }
}

/// The longest key: S3's limit.
const MAX_KEY_BYTES: usize = 1024;

/// The longest name of a file: the limit of Linux's usual file systems (NAME_MAX).
const MAX_NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn buckets_and_prefixes_are_taken_as_written() {
        let root = Root::parse("s3://my-lake/stream ing/ä%20/").unwrap();
        assert_eq!(root.place, Place::Bucket("my-lake".into()));
        assert_eq!(root.prefix, "stream ing/ä%20");
        assert_eq!(
            root.path_of("ticker=%5EGSPC/x").unwrap().as_ref(),
            "stream ing/ä%20/ticker=%5EGSPC/x"
        );
        assert_eq!(root.url_of("a"), "s3://my-lake/stream ing/ä%20/a");
    }

    #[test]
    fn relative_directories_lie_under_the_working_directory() {
        let root = Root::parse("file://./state/x").unwrap();
        let expected = std::env::current_dir().unwrap().join("state/x");
        assert_eq!(root.place, Place::Directory(expected));
        assert_eq!(
            Root::parse("file:///tmp/a b/").unwrap().url,
            "file:///tmp/a b"
        );
    }

    #[test]
    fn what_is_no_location_is_refused_with_a_hint() {
        for url in [
            "",
            "my-lake/x",
            "s3://",
            "s3:///x",
            "s3a://b/x",
            "file://",
            "file://host/x",
            "gs://b",
            "s3://b/a//b",
            "s3://b/../c",
        ] {
            let message = Root::parse(url).unwrap_err().to_string();
            assert!(message.contains("s3://BUCKET/PREFIX"), "{message}");
        }
    }

    #[test]
    fn keys_that_leave_their_root_are_refused() {
        let root = Root::parse("s3://b/p").unwrap();
        for key in [
            "../x",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            "a\nb",
            &"x".repeat(2000),
        ] {
            assert!(root.path_of(key).is_err(), "{key}");
        }
        for key in ["ticker=..", "ticker=a b", "ticker=ÄÖ", "ticker=%2F"] {
            assert_eq!(root.path_of(key).unwrap().as_ref(), format!("p/{key}"));
        }
    }
}
