//! Where a pipeline's output lies: a directory, or a bucket of a server that speaks S3.
//!
//! Owns listing and reading it as any reader would. Must never use the worker's own storage code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Runtime;

use super::reader::files_below;
use crate::servers::BUCKET;

/// A place with files.
#[derive(Clone, Debug)]
pub enum Lake {
    /// A directory.
    Folder(PathBuf),
    /// Everything below a prefix of a bucket; paths begin with the prefix.
    Bucket(Bucket),
}

/// A prefix of [`BUCKET`].
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    runtime: Arc<Runtime>,
    prefix: PathBuf,
}

/// A file as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub path: PathBuf,
    /// What the server says its content is, where it says so: another tag means other content.
    pub tag: Option<String>,
}

impl Lake {
    /// Everything below a prefix, asked for at this endpoint.
    ///
    /// # Errors
    /// When the endpoint is none.
    pub fn bucket(endpoint: &str, prefix: &str) -> anyhow::Result<Self> {
        let store = AmazonS3Builder::new()
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_endpoint(endpoint)
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Lake::Bucket(Bucket {
            store: Arc::new(store),
            runtime: Arc::new(runtime),
            prefix: PathBuf::from(prefix),
        }))
    }

    /// What every path begins with.
    #[must_use]
    pub fn root(&self) -> &Path {
        match self {
            Lake::Folder(folder) => folder,
            Lake::Bucket(bucket) => &bucket.prefix,
        }
    }

    /// Every file, hidden ones included, in the order of their paths; none when nothing is there yet.
    ///
    /// # Errors
    /// When it can't be listed.
    pub fn list(&self) -> anyhow::Result<Vec<Listed>> {
        let mut listed = match self {
            Lake::Folder(folder) => files_below(folder)?
                .into_iter()
                .map(|path| Listed { path, tag: None })
                .collect::<Vec<_>>(),
            Lake::Bucket(bucket) => bucket.list()?,
        };
        listed.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(listed)
    }

    /// A file's content.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&self, path: &Path) -> anyhow::Result<Vec<u8>> {
        match self {
            Lake::Folder(_) => std::fs::read(path).with_context(|| path.display().to_string()),
            Lake::Bucket(bucket) => bucket.read(path),
        }
    }
}

impl Bucket {
    fn list(&self) -> anyhow::Result<Vec<Listed>> {
        let prefix = object_store::path::Path::parse(self.prefix.to_string_lossy())?;
        let objects = self.store.list(Some(&prefix)).try_collect::<Vec<_>>();
        let objects = self.runtime.block_on(objects)?;
        let listed = objects.into_iter().map(|object| Listed {
            path: PathBuf::from(object.location.as_ref()),
            tag: object.e_tag,
        });
        Ok(listed.collect())
    }

    fn read(&self, path: &Path) -> anyhow::Result<Vec<u8>> {
        // Parsed, not made from text: the keys are escaped already.
        let key = object_store::path::Path::parse(path.to_string_lossy())?;
        let read = async { self.store.get(&key).await?.bytes().await };
        let content = self.runtime.block_on(read);
        Ok(content.with_context(|| key.to_string())?.to_vec())
    }
}
