//! A segment: a run of appended blocks of all shards, kept in a keyspace of its own so that giving
//! it up frees its files at once. Owns the names and keys of segments.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use fjall::config::BlockSizePolicy;
use fjall::{Keyspace, KeyspaceCreateOptions};
use serde::{Deserialize, Serialize};

/// What is written down about a segment once it takes no more blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentMeta {
    /// Bytes of its blocks; none while it is the active one.
    pub sealed_bytes: Option<u64>,
}

/// An open segment.
pub(super) struct Segment {
    pub id: u64,
    pub keyspace: Keyspace,
    /// Bytes of its blocks.
    pub bytes: AtomicU64,
    /// Per shard with records here: the index of the first one.
    starts: RwLock<HashMap<u64, u64>>,
}

impl Segment {
    pub fn new(id: u64, keyspace: Keyspace, bytes: u64, starts: HashMap<u64, u64>) -> Self {
        Self {
            id,
            keyspace,
            bytes: AtomicU64::new(bytes),
            starts: RwLock::new(starts),
        }
    }

    pub fn start_of(&self, uid: u64) -> Option<u64> {
        self.starts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&uid)
            .copied()
    }

    pub fn set_start(&self, uid: u64, first_index: u64) {
        self.starts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uid, first_index);
    }

    /// The shards with records here.
    pub fn shards(&self) -> Vec<u64> {
        self.starts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    pub fn size(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Segment")
            .field("id", &self.id)
            .field("bytes", &self.size())
            .finish_non_exhaustive()
    }
}

const NAME_PREFIX: &str = "segment-";

pub(super) fn keyspace_name(id: u64) -> String {
    format!("{NAME_PREFIX}{id:020}")
}

/// The segment's id in a keyspace's name; none for other keyspaces.
pub(super) fn id_in_name(name: &str) -> Option<u64> {
    name.strip_prefix(NAME_PREFIX)?.parse().ok()
}

pub(super) fn keyspace_options() -> KeyspaceCreateOptions {
    // A small write buffer bounds what start-up replays; large blocks suit runs read in order.
    KeyspaceCreateOptions::default()
        .max_memtable_size(16 * 1024 * 1024)
        .data_block_size_policy(BlockSizePolicy::all(32 * 1024))
}

/// The key of a block: shard, then index of its first record, in order.
pub(super) fn block_key(uid: u64, first_index: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&uid.to_be_bytes());
    key[8..].copy_from_slice(&first_index.to_be_bytes());
    key
}

/// The index in a block's key.
pub(super) fn index_in_key(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(8..16)?.try_into().ok()?))
}
