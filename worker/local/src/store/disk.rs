//! The durable store on fjall: one journal for all, blocks in segments, what streams are in `meta`.
//!
//! fjall rather than redb: an append goes to a journal by one `write`, so it survives the end of the
//! process without an fsync per call, and a segment is dropped by removing its files; redb would need
//! a commit with fsync per append and keeps freed pages in its file.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
};
use serde::{Deserialize, Serialize};

use super::block;
use super::recover::Recovered;
use super::segment::{self, Segment, SegmentMeta};
use super::{Found, RecordStore, StoreError};
use crate::log::{ReadLimits, Record, StreamMeta};

/// Asks how many bytes are free on the file system of a path.
pub type FreeSpace = Arc<dyn Fn(&Path) -> std::io::Result<u64> + Send + Sync>;

/// How to open a store.
#[derive(Clone)]
pub struct DiskOptions {
    /// The directory; made if it isn't there.
    pub path: PathBuf,
    /// Bytes of records kept at most: above it the oldest segment is given up. The journal and
    /// compaction add up to about 256 MiB.
    pub max_bytes: u64,
    /// Bytes that must stay free on the file system, so that journal and compaction never fail for
    /// want of space; below it appends are refused.
    pub reserve_bytes: u64,
    /// How free space is found; tests put a full disk here.
    pub free_space: FreeSpace,
}

impl DiskOptions {
    /// A store in `path` of at most `max_bytes` of records, with a reserve of 256 MiB.
    pub fn new(path: impl Into<PathBuf>, max_bytes: u64) -> Self {
        Self {
            path: path.into(),
            max_bytes,
            reserve_bytes: 256 * 1024 * 1024,
            free_space: Arc::new(|path| {
                let stat = rustix::fs::statvfs(path)?;
                Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
            }),
        }
    }

    /// A sixteenth of the cap, so that giving one up loses little.
    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 16).clamp(1024 * 1024, 256 * 1024 * 1024)
    }
}

impl fmt::Debug for DiskOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DiskOptions")
            .field("path", &self.path)
            .field("max_bytes", &self.max_bytes)
            .field("reserve_bytes", &self.reserve_bytes)
            .finish_non_exhaustive()
    }
}

/// Numbers that are never used twice, not even after a stream was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// The newest birth given to a shard or stream.
    pub last_birth: u64,
    /// The next shard's uid.
    pub next_uid: u64,
    /// How often the log was opened.
    #[serde(default)]
    pub starts: u64,
}

/// Streams and records in a directory.
pub struct DiskStore {
    pub(super) options: DiskOptions,
    pub(super) database: Database,
    pub(super) meta: Keyspace,
    /// By id; the last one is the active one. Never empty.
    pub(super) segments: RwLock<BTreeMap<u64, Arc<Segment>>>,
    pub(super) trimming: Mutex<()>,
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DiskStore")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl DiskStore {
    /// Opens the store, or makes it, and says what it holds.
    ///
    /// # Errors
    /// The directory is in use, can't be written, or holds something else.
    pub fn open(options: DiskOptions) -> Result<(Self, Recovered), StoreError> {
        std::fs::create_dir_all(&options.path).map_err(|source| StoreError::Io {
            action: "making the directory",
            path: options.path.clone(),
            source,
        })?;
        let failed = |source| engine_error("opening the store", &options.path, source);
        let database = Database::builder(&options.path)
            .journal_compression(CompressionType::None)
            .max_journaling_size(64 * 1024 * 1024)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let meta = database
            .keyspace("meta", KeyspaceCreateOptions::default)
            .map_err(failed)?;
        let store = Self {
            options,
            database,
            meta,
            segments: RwLock::default(),
            trimming: Mutex::default(),
        };
        store.check_format()?;
        store.open_segments()?;
        let recovered = store.recover()?;
        Ok((store, recovered))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    pub(super) fn failed(&self, action: &'static str) -> impl Fn(fjall::Error) -> StoreError {
        let path = self.options.path.clone();
        move |source| engine_error(action, &path, source)
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            what: what.into(),
            path: self.options.path.clone(),
        }
    }

    pub(super) fn get_json<T: serde::de::DeserializeOwned>(
        &self,
        key: &[u8],
        what: &str,
    ) -> Result<Option<T>, StoreError> {
        let Some(value) = self.meta.get(key).map_err(self.failed("reading"))? else {
            return Ok(None);
        };
        serde_json::from_slice(&value)
            .map(Some)
            .map_err(|_| self.damaged(what))
    }

    pub(super) fn scan(&self, prefix: &[u8]) -> Result<Vec<fjall::KvPair>, StoreError> {
        self.meta
            .prefix(prefix)
            .map(|guard| guard.into_inner().map_err(self.failed("reading")))
            .collect()
    }

    pub(super) fn open_keyspace(&self, id: u64) -> Result<Keyspace, StoreError> {
        self.database
            .keyspace(&segment::keyspace_name(id), segment::keyspace_options)
            .map_err(self.failed("opening a segment"))
    }

    pub(super) fn active(&self) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments
            .last_key_value()
            .map(|(_, segment)| segment.clone())
    }

    /// The segments that hold records of shard `uid`, oldest first, with the index they begin at.
    pub(super) fn segments_of(&self, uid: u64) -> Vec<(Arc<Segment>, u64)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments
            .values()
            .filter_map(|segment| Some((segment.clone(), segment.start_of(uid)?)))
            .collect()
    }

    pub(super) fn block_at_or_before(
        &self,
        segment: &Segment,
        uid: u64,
        index: u64,
    ) -> Result<Option<(u64, fjall::UserValue)>, StoreError> {
        let range = segment::block_key(uid, 0)..=segment::block_key(uid, index);
        let Some(guard) = segment.keyspace.range(range).next_back() else {
            return Ok(None);
        };
        let (key, value) = guard.into_inner().map_err(self.failed("reading records"))?;
        let first = segment::index_in_key(&key).ok_or_else(|| self.damaged("a block's key"))?;
        Ok(Some((first, value)))
    }

    /// Starts a new active segment and seals the one before.
    pub(super) fn start_segment(&self, before: Option<&Arc<Segment>>) -> Result<(), StoreError> {
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let newest = segments
            .last_key_value()
            .map(|(_, segment)| segment.clone());
        if newest.as_ref().map(|segment| segment.id) != before.map(|segment| segment.id) {
            return Ok(()); // another thread was faster
        }
        let id = newest.as_ref().map_or(0, |segment| segment.id + 1);
        let keyspace = self.open_keyspace(id)?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        if let Some(sealed) = &newest {
            let meta = SegmentMeta {
                sealed_bytes: Some(sealed.size()),
            };
            self.put_json(&mut batch, key::segment(sealed.id), &meta)?;
        }
        self.put_json(&mut batch, key::segment(id), &SegmentMeta::default())?;
        batch.commit().map_err(self.failed("starting a segment"))?;
        segments.insert(id, Arc::new(Segment::new(id, keyspace, 0, HashMap::new())));
        drop(segments);
        if let Some(sealed) = newest {
            // Written to tables, so that the journal files that hold its records can go.
            sealed
                .keyspace
                .rotate_memtable()
                .map_err(self.failed("flushing a segment"))?;
        }
        Ok(())
    }

    pub(super) fn put_json(
        &self,
        batch: &mut OwnedWriteBatch,
        key: Vec<u8>,
        value: &impl Serialize,
    ) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|_| self.damaged("an entry to write"))?;
        batch.insert(&self.meta, key, bytes);
        Ok(())
    }

    /// Writes down what a stream is, and the numbers in use; on disk (fsync) when this returns.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn save_stream(&self, stream: &StreamMeta, ids: Ids) -> Result<(), StoreError> {
        self.check_space(0)?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        self.put_json(&mut batch, key::stream(&stream.name), stream)?;
        self.put_json(&mut batch, key::IDS.to_vec(), &ids)?;
        batch
            .commit()
            .map_err(self.failed("writing a stream's entry"))
    }

    /// Writes down the numbers in use; on disk (fsync) when this returns. A full disk has room for them.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn save_ids(&self, ids: Ids) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        self.put_json(&mut batch, key::IDS.to_vec(), &ids)?;
        batch.commit().map_err(self.failed("writing the counters"))
    }

    /// Forgets a stream; its records go with their segments.
    ///
    /// # Errors
    /// The disk fails.
    pub fn delete_stream(&self, stream: &StreamMeta) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.remove(&self.meta, key::stream(&stream.name));
        for shard in &stream.shards {
            batch.remove(&self.meta, key::floor(shard.uid));
        }
        batch
            .commit()
            .map_err(self.failed("removing a stream's entry"))
    }

    /// Makes all appends so far survive a power failure.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.database
            .persist(PersistMode::SyncData)
            .map_err(self.failed("syncing the journal"))
    }

    fn check_space(&self, bytes: u64) -> Result<(), StoreError> {
        let reserve = self.options.reserve_bytes;
        let free =
            (self.options.free_space)(&self.options.path).map_err(|source| StoreError::Io {
                action: "asking for the free space of",
                path: self.options.path.clone(),
                source,
            })?;
        if free < reserve.saturating_add(bytes) {
            return Err(StoreError::DiskFull {
                path: self.options.path.clone(),
                free,
                reserve,
            });
        }
        Ok(())
    }

    /// Bytes of records in all segments.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.values().map(|segment| segment.size()).sum()
    }

    fn append_to(
        &self,
        segment: &Segment,
        uid: u64,
        first_index: u64,
        arrival: u64,
        records: &[Record],
    ) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        let known = segment.start_of(uid).is_some();
        if !known {
            batch.insert(
                &self.meta,
                key::start(segment.id, uid),
                first_index.to_le_bytes(),
            );
        }
        let mut index = first_index;
        for run in block::cut(records) {
            let bytes = block::encoded_bytes(run) as u64;
            let total = segment.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let value = block::encode(arrival, total, run);
            batch.insert(&segment.keyspace, segment::block_key(uid, index), value);
            index += run.len() as u64;
        }
        // Handed to the operating system before this returns: it survives the process.
        batch
            .durability(Some(PersistMode::Buffer))
            .commit()
            .map_err(self.failed("appending records"))?;
        if !known {
            segment.set_start(uid, first_index);
        }
        Ok(())
    }

    /// Adds a block's records in `range` to `found`; false when the limits are passed.
    fn take_block(
        &self,
        found: &mut Found,
        taken: &mut Taken,
        first: u64,
        value: &[u8],
        range: &Range<u64>,
    ) -> Result<bool, StoreError> {
        let header =
            block::decode_header(value).ok_or_else(|| self.damaged("a block of records"))?;
        let mut room = true;
        block::decode_records(value, range.start.saturating_sub(first), |place, record| {
            let index = first + place;
            if index >= range.end {
                return false; // the rest of the block is in memory
            }
            room = taken.add(&record);
            if room {
                found.records.push((index, header.arrival_millis, record));
            }
            room
        })
        .ok_or_else(|| self.damaged("a block of records"))?;
        Ok(room)
    }
}

/// What one read has taken of its limits.
struct Taken {
    limits: ReadLimits,
    records: usize,
    bytes: usize,
}

impl Taken {
    fn add(&mut self, record: &Record) -> bool {
        if self.records >= self.limits.records || self.bytes > self.limits.bytes {
            return false;
        }
        self.records += 1;
        self.bytes += record.payload_bytes();
        true
    }
}

impl RecordStore for DiskStore {
    fn append(
        &self,
        uid: u64,
        first_index: u64,
        arrival_millis: u64,
        records: &[Record],
    ) -> Result<(), StoreError> {
        self.check_space(block::encoded_bytes(records) as u64)?;
        let full = {
            // Held while writing, so that no shard's blocks go to an older segment after a newer one.
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let Some((_, active)) = segments.last_key_value() else {
                return Err(self.damaged("the list of segments"));
            };
            self.append_to(active, uid, first_index, arrival_millis, records)?;
            (active.size() >= self.options.segment_bytes()).then(|| active.clone())
        };
        if let Some(active) = full
            && let Err(error) = self.start_segment(Some(&active))
        {
            // The records are safe; the next append tries again.
            tracing::warn!(%error, "can't start a new segment");
        }
        Ok(())
    }

    fn read(&self, uid: u64, range: Range<u64>, limits: ReadLimits) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let mut taken = Taken {
            limits,
            records: 0,
            bytes: 0,
        };
        let segments = self.segments_of(uid);
        for (place, (segment, start)) in segments.iter().enumerate() {
            let superseded = segments
                .get(place + 1)
                .is_some_and(|(_, next)| *next <= range.start);
            if superseded || *start >= range.end {
                continue;
            }
            let first = self
                .block_at_or_before(segment, uid, range.start)?
                .map_or(range.start, |(first, _)| first);
            let keys = segment::block_key(uid, first)..segment::block_key(uid, range.end);
            for guard in segment.keyspace.range(keys) {
                let (key, value) = guard.into_inner().map_err(self.failed("reading records"))?;
                let first =
                    segment::index_in_key(&key).ok_or_else(|| self.damaged("a block's key"))?;
                if !self.take_block(&mut found, &mut taken, first, &value, &range)? {
                    return Ok(found);
                }
            }
        }
        found.complete = true;
        Ok(found)
    }

    fn arrival_at_or_before(&self, uid: u64, index: u64) -> Result<Option<u64>, StoreError> {
        for (segment, start) in self.segments_of(uid).iter().rev() {
            if *start > index {
                continue;
            }
            if let Some((_, value)) = self.block_at_or_before(segment, uid, index)? {
                let header = block::decode_header(&value)
                    .ok_or_else(|| self.damaged("a block of records"))?;
                return Ok(Some(header.arrival_millis));
            }
        }
        Ok(None)
    }
}

fn engine_error(action: &'static str, path: &Path, source: fjall::Error) -> StoreError {
    if matches!(source, fjall::Error::Locked) {
        return StoreError::Locked {
            path: path.to_path_buf(),
        };
    }
    StoreError::Engine {
        action,
        path: path.to_path_buf(),
        source,
    }
}

/// Keys of the `meta` keyspace.
/// Keys of the `meta` keyspace.
pub(super) mod key {
    pub const FORMAT: &[u8] = b"format";
    pub const IDS: &[u8] = b"ids";
    pub const STREAM: &[u8] = b"stream/";
    pub const SEGMENT: &[u8] = b"segment/";
    pub const START: &[u8] = b"start/";
    pub const FLOOR: &[u8] = b"floor/";

    pub fn stream(name: &str) -> Vec<u8> {
        [STREAM, name.as_bytes()].concat()
    }

    pub fn segment(id: u64) -> Vec<u8> {
        [SEGMENT, &id.to_be_bytes()].concat()
    }

    pub fn start(id: u64, uid: u64) -> Vec<u8> {
        [START, &id.to_be_bytes(), &uid.to_be_bytes()].concat()
    }

    pub fn floor(uid: u64) -> Vec<u8> {
        [FLOOR, &uid.to_be_bytes()].concat()
    }

    /// The `n`th number after a key's prefix.
    pub fn number(key: &[u8], prefix: &[u8], n: usize) -> Option<u64> {
        let from = prefix.len() + 8 * n;
        Some(u64::from_be_bytes(
            key.get(from..from + 8)?.try_into().ok()?,
        ))
    }
}
