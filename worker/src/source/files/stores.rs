//! Which object store holds a bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

use super::error::FilesError;
use super::pattern::Root;

/// The object stores that a list of files lies in, by root (`s3://bucket`). Local files need none.
#[derive(Clone, Default)]
pub struct Stores {
    by_root: BTreeMap<String, Arc<dyn ObjectStore>>,
}

/// Where a file lies.
#[derive(Clone)]
pub(super) enum Place {
    /// In the local file system.
    Local(PathBuf),
    /// In an object store.
    Remote(Arc<dyn ObjectStore>, Path),
}

impl Stores {
    /// The roots (`s3://bucket`) of the patterns, each to be given to [`Stores::with`].
    ///
    /// # Errors
    /// [`FilesError::BadPattern`] for a path that isn't one.
    pub fn needed(patterns: &[String]) -> Result<BTreeSet<String>, FilesError> {
        let mut needed = BTreeSet::new();
        for pattern in patterns {
            if let (Root::Bucket(root), _) = Root::split(pattern)? {
                needed.insert(root);
            }
        }
        Ok(needed)
    }

    /// Adds the store of a root. The store's keys begin at the bucket, without a prefix.
    #[must_use]
    pub fn with(mut self, root: &str, store: Arc<dyn ObjectStore>) -> Self {
        self.by_root.insert(root.to_owned(), store);
        self
    }

    pub(super) fn get(&self, root: &str, asked: &str) -> Result<&Arc<dyn ObjectStore>, FilesError> {
        self.by_root
            .get(root)
            .ok_or_else(|| FilesError::BadPattern {
                pattern: asked.to_owned(),
                why: format!("lies in {root}, which was not opened"),
            })
    }

    /// The place that a listed path names.
    pub(super) fn place(&self, path: &str) -> Result<Place, FilesError> {
        match Root::split(path)? {
            (Root::Local, rest) => Ok(Place::Local(PathBuf::from(rest))),
            (Root::Bucket(root), key) => {
                let key = Path::parse(key).map_err(|error| FilesError::BadPattern {
                    pattern: path.to_owned(),
                    why: error.to_string(),
                })?;
                Ok(Place::Remote(self.get(&root, path)?.clone(), key))
            }
        }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.by_root.keys()).finish()
    }
}
