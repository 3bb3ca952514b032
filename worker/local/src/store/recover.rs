//! What a durable store finds when it is opened: its segments, streams, and where each shard's records
//! begin and end. Reads a bounded number of blocks per shard, however many records there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::disk::{DiskStore, Ids, key};
use super::segment::{self, Segment, SegmentMeta};
use super::{StoreError, block};
use crate::log::{ShardTip, StreamMeta};

/// What a store held when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// All streams.
    pub streams: Vec<StreamMeta>,
    /// Where the shards' records lie, by uid.
    pub tips: HashMap<u64, ShardTip>,
    /// The numbers in use.
    pub ids: Ids,
}

/// Where a shard's numbers stood when its last segment was given up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Floor {
    pub next: u64,
    pub last_arrival: u64,
}

/// At each start, numbers go on this far above the newest record found, times the starts so far: should
/// a power failure have taken the last second, even at several starts in turn, no sequence number is
/// given twice.
const SKIP_AT_START: u64 = 1 << 20;

const FORMAT: &[u8] = b"stockstream-local 1";

impl DiskStore {
    pub(super) fn check_format(&self) -> Result<(), StoreError> {
        match self
            .meta
            .get(key::FORMAT)
            .map_err(self.failed("reading the format"))?
        {
            Some(format) if *format == *FORMAT => Ok(()),
            Some(_) => Err(self.damaged("the format marker")),
            None => self
                .meta
                .insert(key::FORMAT, FORMAT)
                .map_err(self.failed("writing the format")),
        }
    }

    pub(super) fn open_segments(&self) -> Result<(), StoreError> {
        let mut starts: HashMap<u64, HashMap<u64, u64>> = HashMap::new();
        for (key, value) in self.scan(key::START)? {
            let parsed = key::number(&key, key::START, 0)
                .zip(key::number(&key, key::START, 1))
                .zip((*value).try_into().ok().map(u64::from_le_bytes));
            let ((segment, uid), first) =
                parsed.ok_or_else(|| self.damaged("a segment's directory"))?;
            starts.entry(segment).or_default().insert(uid, first);
        }
        let mut segments = BTreeMap::new();
        for (key, value) in self.scan(key::SEGMENT)? {
            let id = key::number(&key, key::SEGMENT, 0)
                .ok_or_else(|| self.damaged("a segment's key"))?;
            let meta: SegmentMeta =
                serde_json::from_slice(&value).map_err(|_| self.damaged("a segment's entry"))?;
            let keyspace = self.open_keyspace(id)?;
            let starts = starts.remove(&id).unwrap_or_default();
            segments.insert(
                id,
                Arc::new(Segment::new(
                    id,
                    keyspace,
                    meta.sealed_bytes.unwrap_or(0),
                    starts,
                )),
            );
        }
        self.remove_leftovers(&segments)?;
        *self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner) = segments;
        if self.active().is_none() {
            self.start_segment(None)?;
        }
        Ok(())
    }

    /// A segment that was made or given up when the process ended has no entry any more, or none yet.
    fn remove_leftovers(&self, segments: &BTreeMap<u64, Arc<Segment>>) -> Result<(), StoreError> {
        for name in self.database.list_keyspace_names() {
            let Some(id) = segment::id_in_name(&name) else {
                continue;
            };
            if !segments.contains_key(&id) {
                let keyspace = self.open_keyspace(id)?;
                self.database
                    .delete_keyspace(keyspace)
                    .map_err(self.failed("removing a segment"))?;
            }
        }
        Ok(())
    }

    pub(super) fn recover(&self) -> Result<Recovered, StoreError> {
        let mut recovered = Recovered {
            ids: self.get_json(key::IDS, "the counters")?.unwrap_or_default(),
            ..Recovered::default()
        };
        // Known on disk before any number is given.
        recovered.ids.starts += 1;
        self.save_ids(recovered.ids)?;
        let skip = SKIP_AT_START.saturating_mul(recovered.ids.starts);
        for (_, value) in self.scan(key::STREAM)? {
            let stream: StreamMeta =
                serde_json::from_slice(&value).map_err(|_| self.damaged("a stream's entry"))?;
            for shard in &stream.shards {
                let mut tip = self.recover_tip(shard.uid)?;
                match shard.closed {
                    Some(closed) => tip.next = closed.end_index,
                    None => {
                        let empty = tip.first == tip.next;
                        tip.next = tip.next.saturating_add(skip);
                        if empty {
                            tip.first = tip.next;
                        }
                    }
                }
                recovered.tips.insert(shard.uid, tip);
            }
            recovered.streams.push(stream);
        }
        Ok(recovered)
    }

    fn recover_tip(&self, uid: u64) -> Result<ShardTip, StoreError> {
        let mut tip = ShardTip::default();
        if let Some(floor) = self.get_json::<Floor>(&key::floor(uid), "a shard's floor")? {
            tip.first = floor.next;
            tip.next = floor.next;
            tip.last_arrival = floor.last_arrival;
        }
        let segments: Vec<_> = self.segments_of(uid);
        if let Some((_, start)) = segments.first() {
            tip.first = *start;
        }
        for (segment, _) in segments.iter().rev() {
            let Some((first, value)) = self.block_at_or_before(segment, uid, u64::MAX)? else {
                continue;
            };
            let header =
                block::decode_header(&value).ok_or_else(|| self.damaged("a block of records"))?;
            segment
                .bytes
                .fetch_max(header.segment_bytes, Ordering::Relaxed);
            tip.next = tip.next.max(first + u64::from(header.count));
            tip.last_arrival = tip.last_arrival.max(header.arrival_millis);
            break;
        }
        Ok(tip)
    }
}
