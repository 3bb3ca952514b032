//! Publishing a sealed batch, exactly once however often it is tried.
//!
//! Owns the rule when an existing file counts as published. Every file is one create-if-absent; nothing is overwritten
//! or deleted, here or anywhere under the output path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use stockstream_core::layout::BatchName;
use stockstream_core::row::{
    Batch, Column, Partition, PartitionColumn, PartitionPart, PartitionRows,
};
use tokio::time::timeout;

use super::dead_letters::dead_letters_ndjson;
use super::late::late_parquet;
use super::parquet_file::{Compression, EncodeError};
use super::parquet_rows::rows_parquet;
use super::provenance::{Provenance, digest_of};
use crate::parallel;
use crate::storage::{CreateOptions, Created, Store, StoreError};

/// Files written at the same time.
const CONCURRENCY: usize = 16;

/// Fewer files than this aren't many.
const MANY: usize = 16;

/// Files that are made together: each takes a file handle, of which a process may have 1,024.
const MANY_AT_ONCE: usize = 128;

/// Files that are encoded and wait to be made.
const ENCODED_AHEAD: usize = 64;

/// For all of them. A disk that takes longer is left to the way that tries each file by itself, with a deadline.
const MANY_WITHIN: Duration = Duration::from_secs(30);

/// Where and how batches are published.
#[derive(Clone, Copy, Debug)]
pub struct PublishTarget<'a> {
    /// The output path: rows and nothing else.
    pub output: &'a Store,
    /// Late ticks and dead letters.
    pub rejects: &'a Store,
    /// Partition columns, in order.
    pub partition_by: &'a [PartitionColumn],
    /// Compression of Parquet files.
    pub compression: Compression,
}

/// A file that exists now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedFile {
    /// Its key under the output or rejects path.
    pub key: String,
    /// Its size as this release writes it.
    pub bytes: u64,
    /// Rows, late ticks or dead letters in it.
    pub rows: u64,
    /// This call made it; else an earlier attempt did.
    pub new: bool,
}

/// Every file of a batch exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Files of rows, in the order of their partitions.
    pub files: Vec<PublishedFile>,
    /// Files of late ticks and dead letters.
    pub rejects: Vec<PublishedFile>,
    /// The partitions that the rows lie in; empty for a table without partitions. Of a column that the table isn't
    /// partitioned by, the value is that of the partition's first row.
    pub partitions: Vec<Partition>,
}

/// A batch could not be published whole. Publishing it again is always safe.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The store's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place of a file is taken by another's. Nothing was overwritten.
    #[error(
        "{url} exists with other content ({found}), where {expected} belongs; \
         find out who wrote it, move it away, and the shard goes on"
    )]
    Conflict {
        /// The existing object.
        url: String,
        /// What it is.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// The batch can't be written.
    #[error("version {version} of shard {shard} can't be written to {key}: {source}")]
    Encode {
        /// The shard.
        shard: String,
        /// The version that sealed the batch.
        version: u64,
        /// The file.
        key: String,
        /// Why.
        source: EncodeError,
    },
}

impl PublishError {
    /// True when publishing again may succeed without anybody's action.
    pub fn is_transient(&self) -> bool {
        // After an unknown outcome the next attempt finds out: publishing is idempotent.
        matches!(self, PublishError::Store(error) if error.is_transient() || error.is_unknown())
    }

    /// A short stable reason, for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            PublishError::Store(error) => error.reason(),
            PublishError::Conflict { .. } => "PublishConflict",
            PublishError::Encode { .. } => "EncodeFailed",
        }
    }
}

/// Publishes a batch: one file per partition, one of late ticks, one of dead letters, as far as there are any.
///
/// # Errors
/// [`PublishError`]; the files written so far stay, and publishing again completes them.
pub async fn publish(
    batch: &Batch,
    name: &BatchName,
    target: &PublishTarget<'_>,
) -> Result<Published, PublishError> {
    publish_with(&Arc::new(batch.clone()), name, target, &|_| {}).await
}

/// Like [`publish`]; `after_file` is called after each file with the number of files that exist by then.
///
/// # Errors
/// As [`publish`].
pub async fn publish_with(
    batch: &Arc<Batch>,
    name: &BatchName,
    target: &PublishTarget<'_>,
    after_file: &(dyn Fn(usize) + Send + Sync),
) -> Result<Published, PublishError> {
    let many = publish_many(batch, name, target).await;
    let groups = batch.partitions(target.partition_by);
    let mut contents: Vec<Content<'_>> = groups.iter().map(Content::Rows).collect();
    let row_files = contents.len();
    if !batch.late.is_empty() {
        contents.push(Content::Late);
    }
    if !batch.dead.is_empty() {
        contents.push(Content::Dead);
    }
    let done = std::sync::atomic::AtomicUsize::new(0);
    let mut pending = Vec::with_capacity(contents.len());
    let many = many.into_iter().chain(std::iter::repeat_with(|| None));
    for (content, made) in contents.iter().zip(many) {
        pending.push(async {
            let file = match made {
                Some(made) => made,
                None => publish_file(content, batch, name, target).await?,
            };
            after_file(done.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1);
            Ok::<_, PublishError>(file)
        });
    }
    let mut files: Vec<PublishedFile> = stream::iter(pending)
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let rejects = files.split_off(row_files);
    Ok(Published {
        files,
        rejects,
        partitions: partitions(&groups, target.partition_by),
    })
}

/// Publishes the files of rows, as far as that goes without any trouble, where many files are made quicker together.
/// The others are `None`.
async fn publish_many(
    batch: &Arc<Batch>,
    name: &BatchName,
    target: &PublishTarget<'_>,
) -> Vec<Option<PublishedFile>> {
    if !target.output.makes_many() || batch.rows.len() < MANY {
        return Vec::new();
    }
    let (batch, name, output) = (batch.clone(), name.clone(), target.output.clone());
    let (partition_by, compression) = (target.partition_by.to_vec(), target.compression);
    let given_up = Arc::new(AtomicBool::new(false));
    let _dropped = GiveUp(given_up.clone());
    let work = move || {
        let partitions = batch.partitions(&partition_by);
        if partitions.len() < MANY {
            return Vec::new();
        }
        let encode =
            |rows: &PartitionRows<'_>| encode_file(rows, &batch.columns, &name, compression);
        make_files(&partitions, encode, &output, &given_up)
    };
    // What broke down or stands still is left to be made one by one, like everything that wasn't made.
    let made = timeout(MANY_WITHIN, tokio::task::spawn_blocking(work)).await;
    made.map_or_else(|_| Vec::new(), Result::unwrap_or_default)
}

/// A file that is to be made: `None` when it can't be encoded, which is for others to find out.
type Encoded = Option<(PublishedFile, Bytes)>;

fn encode_file(
    rows: &PartitionRows<'_>,
    columns: &[Column],
    name: &BatchName,
    compression: Compression,
) -> Encoded {
    let parts: Vec<PartitionColumn> = rows.parts.iter().map(PartitionPart::column).collect();
    let bytes = rows_parquet(name, columns, rows, &parts, compression).ok()?;
    let file = PublishedFile {
        key: name.rows(&parts, &rows.parts),
        bytes: bytes.len() as u64,
        rows: rows.len() as u64,
        new: true,
    };
    Some((file, bytes))
}

/// Makes a file of each partition, and says which were made.
///
/// The same few threads encode all of them, while the disk is waited for.
fn make_files<'a>(
    partitions: &[PartitionRows<'a>],
    encode: impl Fn(&PartitionRows<'a>) -> Encoded + Sync,
    output: &Store,
    given_up: &AtomicBool,
) -> Vec<Option<PublishedFile>> {
    let mut files = Vec::new();
    files.resize_with(partitions.len(), || None);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, encoded) = mpsc::sync_channel(ENCODED_AHEAD);
        for _ in 0..parallel::threads() {
            let (sender, next, encode) = (sender.clone(), &next, &encode);
            scope.spawn(move || {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(rows) = partitions.get(index)
                    && !given_up.load(Ordering::SeqCst)
                {
                    if sender.send((index, encode(rows))).is_err() {
                        return; // nobody makes files any more
                    }
                }
            });
        }
        drop(sender);
        loop {
            let some: Vec<(usize, Encoded)> = encoded.iter().take(MANY_AT_ONCE).collect();
            if some.is_empty() || given_up.load(Ordering::SeqCst) {
                return;
            }
            for (index, file) in create_some(some, output, given_up) {
                files[index] = file;
            }
        }
    });
    files
}

fn create_some(
    encoded: Vec<(usize, Encoded)>,
    output: &Store,
    given_up: &AtomicBool,
) -> impl Iterator<Item = (usize, Option<PublishedFile>)> {
    let objects = encoded.iter().filter_map(|(_, encoded)| encoded.as_ref());
    let objects: Vec<(String, Bytes)> = objects
        .map(|(file, bytes)| (file.key.clone(), bytes.clone()))
        .collect();
    let mut created = output.create_all(&objects, given_up).into_iter();
    encoded.into_iter().map(move |(index, encoded)| {
        let made = encoded.and_then(|(file, _)| created.next()?.then_some(file));
        (index, made)
    })
}

/// Says, when dropped, that nobody waits any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn partitions(groups: &[PartitionRows<'_>], partition_by: &[PartitionColumn]) -> Vec<Partition> {
    if partition_by.is_empty() {
        return Vec::new();
    }
    let first = groups.iter().filter_map(|rows| rows.iter().next());
    first
        .map(|row| Partition {
            ticker: row.ticker().clone(),
            trade_date: row.trade_date(),
        })
        .collect()
}

/// What one file holds.
enum Content<'a> {
    Rows(&'a PartitionRows<'a>),
    Late,
    Dead,
}

async fn publish_file(
    content: &Content<'_>,
    batch: &Batch,
    name: &BatchName,
    target: &PublishTarget<'_>,
) -> Result<PublishedFile, PublishError> {
    let (store, key, rows) = match content {
        Content::Rows(rows) => (
            target.output,
            name.rows(target.partition_by, &rows.parts),
            rows.len(),
        ),
        Content::Late => (target.rejects, name.late(), batch.late.len()),
        Content::Dead => (target.rejects, name.dead_letters(), batch.dead.len()),
    };
    let bytes = encode(content, batch, name, target).map_err(|source| PublishError::Encode {
        shard: name.shard.clone(),
        version: name.version,
        key: key.clone(),
        source,
    })?;
    // The digest that a file written by any release must carry; NDJSON has no metadata: there the bytes must be equal.
    let digest = digest_of(&bytes);
    let same = |found: &Bytes| digest.is_some() && digest_of(found) == digest;
    let options = CreateOptions {
        same: Some(&same),
        ..CreateOptions::default()
    };
    let size = bytes.len() as u64;
    let created = store.create_with(&key, bytes.clone(), options).await?;
    match created {
        Created::New | Created::AlreadyOurs => Ok(PublishedFile {
            key,
            bytes: size,
            rows: rows as u64,
            new: created == Created::New,
        }),
        Created::Exists(found) => Err(PublishError::Conflict {
            url: store.url_of(&key),
            found: describe(&found),
            expected: describe(&bytes),
        }),
    }
}

fn encode(
    content: &Content<'_>,
    batch: &Batch,
    name: &BatchName,
    target: &PublishTarget<'_>,
) -> Result<Bytes, EncodeError> {
    match content {
        Content::Rows(rows) => rows_parquet(
            name,
            &batch.columns,
            rows,
            target.partition_by,
            target.compression,
        ),
        Content::Late => late_parquet(name, &batch.late, target.compression),
        Content::Dead => dead_letters_ndjson(name, &batch.dead).map_err(EncodeError::Json),
    }
}

/// A file for a message: whose it is, and a digest of what it holds.
fn describe(bytes: &Bytes) -> String {
    match Provenance::of_file(bytes) {
        Some(found) => format!(
            "version {} of shard {} of state {}, rows {}",
            found.version,
            found.shard,
            found.state_id,
            found.row_digest.get(..16).unwrap_or(&found.row_digest)
        ),
        None => format!(
            "{} bytes without Stockstream's metadata, SHA-256 {}",
            bytes.len(),
            short_hash(bytes)
        ),
    }
}

fn short_hash(bytes: &Bytes) -> String {
    use sha2::{Digest, Sha256};
    stockstream_core::row::hex(&Sha256::digest(bytes)[..8])
}
