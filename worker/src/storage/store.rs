//! The handle on a store, and its plain operations.
//!
//! Owns the retry loop: every attempt has a time limit, every operation an overall one and a number of attempts. Keys
//! are relative to the root and taken as they are.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use stockstream_core::time::Micros;
use stockstream_crds::pipeline::ObjectEncryption;

use super::classify::{Attempt, Failure};
use super::deadline::Deadline;
use super::error::{Operation, StoreError};
use super::file::FileStore;
use super::meter::Meter;
use super::root::{Place, Root};
use super::s3;
use crate::ambient;

/// The largest object that is read whole.
const MAX_OBJECT_BYTES: u64 = 1 << 30;

/// The most objects that one listing returns.
const MAX_LISTED: usize = 2_000_000;

/// How long and how often an operation is tried.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Time for one attempt.
    pub attempt: Duration,
    /// Time for all attempts and the pauses between them.
    pub overall: Duration,
    /// Attempts; at least one is made.
    pub attempts: u32,
    /// The first pause; each further one is twice as long, with jitter.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Policy {
    /// 30 s an attempt, 2 min and 8 attempts in all, pauses from 50 ms to 5 s.
    fn default() -> Self {
        Policy {
            attempt: Duration::from_secs(30),
            overall: Duration::from_secs(120),
            attempts: 8,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
        }
    }
}

impl Policy {
    /// The pauses between attempts: one fewer than attempts.
    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let retries = self.attempts.saturating_sub(1);
        ExponentialBuilder::new()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_max_times(usize::try_from(retries).unwrap_or(usize::MAX))
            .with_jitter()
            .with_jitter_seed(ambient::random_u64().unwrap_or_default())
            .build()
    }
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Make a missing directory and remove leftovers of dead processes (`file://`). Off for readers such as `inspect`.
    pub create_directory: bool,
    /// The region when neither environment nor profile names one.
    pub region: Option<String>,
    /// The S3 endpoint; else AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile's.
    pub endpoint: Option<String>,
    /// A loaded AWS configuration; else it is loaded as the SDKs do.
    pub aws: Option<SdkConfig>,
    /// How S3 encrypts what is written; `None`: as the bucket says.
    pub encryption: Option<ObjectEncryption>,
    /// Limits of every operation.
    pub policy: Policy,
    /// Where requests are counted.
    pub meter: Meter,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            create_directory: true,
            region: None,
            endpoint: None,
            aws: None,
            encryption: None,
            policy: Policy::default(),
            meter: Meter::default(),
        }
    }
}

/// What a listing says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The key under the root.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The store's own stamp.
    pub last_modified: Micros,
    /// Changes with the content; `None` when the store gives none.
    pub etag: Option<String>,
}

/// A handle on a store's root. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The same, when it is a directory.
    pub(super) directory: Option<Arc<FileStore>>,
    pub(super) root: Arc<Root>,
    pub(super) policy: Policy,
    pub(super) meter: Meter,
}

impl Store {
    /// Opens `s3://BUCKET/PREFIX`, `file:///ABSOLUTE` or `file://./RELATIVE`. Paths are taken as written, without
    /// percent-decoding. For S3 nothing is requested yet.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], [`StoreError::Open`], or the file system's fault.
    pub async fn open(url: &str, options: &StoreOptions) -> Result<Store, StoreError> {
        let root = Root::parse(url)?;
        let mut directory = None;
        let objects: Arc<dyn ObjectStore> = match &root.place {
            Place::Bucket(bucket) => s3::open(bucket, &root.url, options).await?,
            Place::Directory(path) => {
                let (path, create) = (path.clone(), options.create_directory);
                let opened =
                    tokio::task::spawn_blocking(move || FileStore::open(&path, create)).await;
                let opened = opened.map_err(object_store::Error::from).flatten();
                let opened = Arc::new(opened.map_err(|error| open_error(&root, &error))?);
                directory = Some(opened.clone());
                opened
            }
            Place::Given => {
                return Err(StoreError::BadUrl {
                    url: url.to_owned(),
                    reason: "it names no store".into(),
                });
            }
        };
        Ok(Store {
            objects,
            directory,
            root: Arc::new(root),
            policy: options.policy,
            meter: options.meter.clone(),
        })
    }

    /// A store that a test or simulation made.
    pub fn from_object_store(objects: Arc<dyn ObjectStore>, prefix: &str) -> Store {
        Store {
            objects,
            directory: None,
            root: Arc::new(Root::given("memory", prefix)),
            policy: Policy::default(),
            meter: Meter::default(),
        }
    }

    /// Where its requests are counted.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The store itself, whose keys begin at the bucket's or the file system's root.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }

    /// The same store with other limits.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Store {
        self.policy = policy;
        self
    }

    /// The root as people write it, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.root.url
    }

    /// An object's URL.
    pub fn url_of(&self, key: &str) -> String {
        self.root.url_of(key)
    }

    /// An object's bytes; `None` when there is no such object.
    ///
    /// # Errors
    /// Any fault but absence.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get_with_info(key).await?.map(|(bytes, _)| bytes))
    }

    /// An object's bytes and stamps; `None` when there is no such object.
    ///
    /// # Errors
    /// Any fault but absence.
    pub async fn get_with_info(
        &self,
        key: &str,
    ) -> Result<Option<(Bytes, ObjectInfo)>, StoreError> {
        self.get_part(key, GetOptions::default()).await
    }

    /// The last `length` bytes of an object (all when it is shorter), and its stamps.
    ///
    /// # Errors
    /// Any fault but absence.
    pub async fn get_end(
        &self,
        key: &str,
        length: u64,
    ) -> Result<Option<(Bytes, ObjectInfo)>, StoreError> {
        let range = Some(GetRange::Suffix(length));
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        self.get_part(key, options).await
    }

    async fn get_part(
        &self,
        key: &str,
        options: GetOptions,
    ) -> Result<Option<(Bytes, ObjectInfo)>, StoreError> {
        let path = self.root.path_of(key)?;
        let found = self
            .retrying(Operation::Get, key, || {
                read(&self.objects, &path, options.clone())
            })
            .await?;
        match found {
            None => Ok(None),
            Some((Some(bytes), meta)) => Ok(Some((bytes, self.info(meta)?))),
            Some((None, meta)) => Err(StoreError::TooLarge {
                url: self.url_of(key),
                operation: Operation::Get,
                found: format!("{} bytes", meta.size),
                limit: MAX_OBJECT_BYTES,
            }),
        }
    }

    /// An object's stamps; `None` when there is no such object.
    ///
    /// # Errors
    /// Any fault but absence.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let path = self.root.path_of(key)?;
        let found = self
            .retrying(Operation::Head, key, || self.objects.head(&path))
            .await?;
        found.map(|meta| self.info(meta)).transpose()
    }

    /// Everything under a folder (a key without its trailing slash; empty for the root), sorted by key.
    ///
    /// # Errors
    /// Any fault; a folder that doesn't exist is empty.
    pub async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.list_from(folder, None).await
    }

    /// Everything under a folder whose key is greater than `after` (a key under the root, in that folder), sorted by key.
    ///
    /// # Errors
    /// Any fault; a folder that doesn't exist is empty.
    pub async fn list_after(
        &self,
        folder: &str,
        after: &str,
    ) -> Result<Vec<ObjectInfo>, StoreError> {
        self.list_from(folder, Some(self.root.path_of(after)?))
            .await
    }

    async fn list_from(
        &self,
        folder: &str,
        after: Option<Path>,
    ) -> Result<Vec<ObjectInfo>, StoreError> {
        let path = self.root.path_of(folder)?;
        let prefix = (!path.is_root()).then_some(&path);
        let listed = self
            .retrying(Operation::List, folder, || {
                list(&self.objects, prefix, after.as_ref())
            })
            .await?
            .unwrap_or_default();
        self.meter.listed(listed.len());
        if listed.len() > MAX_LISTED {
            return Err(StoreError::TooLarge {
                url: self.url_of(folder),
                operation: Operation::List,
                found: format!("more than {MAX_LISTED} objects"),
                limit: MAX_LISTED as u64,
            });
        }
        let mut infos = listed
            .into_iter()
            .map(|meta| self.info(meta))
            .collect::<Result<Vec<_>, _>>()?;
        infos.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(infos)
    }

    /// Deletes an object. One that doesn't exist is no error.
    ///
    /// # Errors
    /// Any fault.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.root.path_of(key)?;
        self.retrying(Operation::Delete, key, || self.objects.delete(&path))
            .await?;
        Ok(())
    }

    /// Writes an object whether it exists or not. Only for documents whose last write may win, such as a member's beat;
    /// never for anything that correctness rests on.
    ///
    /// # Errors
    /// Any fault.
    pub async fn put_overwrite(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let path = self.root.path_of(key)?;
        self.retrying(Operation::Put, key, || {
            self.objects
                .put(&path, PutPayload::from_bytes(bytes.clone()))
        })
        .await?;
        Ok(())
    }

    fn info(&self, meta: ObjectMeta) -> Result<ObjectInfo, StoreError> {
        let key = self
            .root
            .key_of(&meta.location)
            .ok_or_else(|| StoreError::Rejected {
                url: self.url().to_owned(),
                operation: Operation::List,
                detail: format!("it listed {}, which lies outside", meta.location),
            })?;
        Ok(ObjectInfo {
            key,
            size: meta.size,
            last_modified: Micros(meta.last_modified.timestamp_micros()),
            etag: meta.e_tag,
        })
    }

    /// Tries until success, absence (`None`), a permanent fault or the limits. Only for operations that may be repeated.
    async fn retrying<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        operation: Operation,
        key: &str,
        work: impl Fn() -> F,
    ) -> Result<Option<T>, StoreError> {
        let overall = Deadline::after(self.policy.overall);
        let mut pauses = self.policy.pauses();
        let mut number = 1;
        loop {
            let attempt = Attempt {
                root: &self.root,
                operation,
                key,
                number,
            };
            let limit = Deadline::after(self.policy.attempt).min(overall);
            self.meter.sent(operation);
            let failure = match limit.run(work()).await {
                Ok(Ok(done)) => return Ok(Some(done)),
                Ok(Err(error)) => attempt.classify(&error),
                Err(_) => attempt.timed_out(),
            };
            let error = match failure {
                Failure::Absent => return Ok(None),
                Failure::Permanent(error) => return Err(error),
                Failure::Transient { error, .. } => error,
                Failure::Exists => {
                    return Err(StoreError::Rejected {
                        url: self.url_of(key),
                        operation,
                        detail: "it exists".to_owned(),
                    });
                }
            };
            match pauses.next() {
                Some(pause) if pause < overall.remaining() => tokio::time::sleep(pause).await,
                _ => return Err(error),
            }
            number += 1;
        }
    }
}

/// An object's bytes, or only its stamps when it is above the limit.
async fn read(
    objects: &Arc<dyn ObjectStore>,
    path: &Path,
    options: GetOptions,
) -> object_store::Result<(Option<Bytes>, ObjectMeta)> {
    let found = objects.get_opts(path, options).await?;
    let info = found.meta.clone();
    if found.range.end.saturating_sub(found.range.start) > MAX_OBJECT_BYTES {
        return Ok((None, info));
    }
    Ok((Some(found.bytes().await?), info))
}

/// At most one more than the limit.
async fn list(
    objects: &Arc<dyn ObjectStore>,
    prefix: Option<&Path>,
    after: Option<&Path>,
) -> object_store::Result<Vec<ObjectMeta>> {
    let stream = match after {
        Some(after) => objects.list_with_offset(prefix, after),
        None => objects.list(prefix),
    };
    stream.take(MAX_LISTED + 1).try_collect().await
}

fn open_error(root: &Root, error: &object_store::Error) -> StoreError {
    let attempt = Attempt {
        root,
        operation: Operation::Open,
        key: "",
        number: 1,
    };
    match attempt.classify(error) {
        Failure::Permanent(error) | Failure::Transient { error, .. } => error,
        Failure::Absent | Failure::Exists => StoreError::Open {
            url: root.url.clone(),
            detail: "there is no such directory".to_owned(),
        },
    }
}
