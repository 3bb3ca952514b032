//! Giving up segments: those whose records have all expired, and the oldest above the cap.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use fjall::PersistMode;

use super::StoreError;
use super::disk::{DiskStore, key};
use super::recover::Floor;
use super::segment::Segment;
use crate::log::Shard;

/// The shards that live, by uid.
pub type Living = HashMap<u64, Arc<Shard>>;

impl DiskStore {
    /// Gives up the oldest segments: those whose records are all trimmed, and as many as the cap
    /// asks for. `living` says which shards live at the moment it is asked.
    ///
    /// # Errors
    /// The disk fails.
    pub fn trim(&self, living: &dyn Fn() -> Living) -> Result<(), StoreError> {
        let _one_at_a_time = self.trimming.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(active) = self.active()
            && active.size() > 0
            && self
                .ends_in(&active, living)
                .iter()
                .all(|(_, _, trimmed)| *trimmed)
        {
            self.start_segment(Some(&active))?;
        }
        loop {
            let (oldest, count) = {
                let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
                (
                    segments
                        .first_key_value()
                        .map(|(_, segment)| segment.clone()),
                    segments.len(),
                )
            };
            let Some(oldest) = oldest.filter(|_| count > 1) else {
                return Ok(());
            };
            let ends = self.ends_in(&oldest, living);
            let over = self.record_bytes() > self.options.max_bytes;
            if !over && !ends.iter().all(|(_, _, trimmed)| *trimmed) {
                return Ok(());
            }
            for (shard, end, _) in &ends {
                shard.trim_to(*end);
            }
            self.drop_segment(&oldest, ends.iter().map(|(shard, _, _)| shard))?;
        }
    }

    /// For each living shard in `segment`: the index its records there end at, and whether it was
    /// trimmed so far.
    fn ends_in(
        &self,
        segment: &Segment,
        living: &dyn Fn() -> Living,
    ) -> Vec<(Arc<Shard>, u64, bool)> {
        // In this order: a shard is among the living before it has records, so that one which isn't any more is gone.
        // The other way round, one that was made in between would be taken for gone, with its records.
        let uids = segment.shards();
        let living = living();
        uids.iter()
            .filter_map(|uid| living.get(uid))
            .map(|shard| {
                // Read before the segments: what is appended meanwhile then lies in a later one, or
                // above `latest`.
                let latest = shard.latest();
                let later = self
                    .segments_of(shard.uid())
                    .into_iter()
                    .find(|(later, _)| later.id > segment.id);
                let end = later.map_or(latest, |(_, start)| start);
                (shard.clone(), end, shard.trim_horizon() >= end)
            })
            .collect()
    }

    fn drop_segment<'a>(
        &self,
        segment: &Segment,
        shards: impl Iterator<Item = &'a Arc<Shard>>,
    ) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.remove(&self.meta, key::segment(segment.id));
        for uid in segment.shards() {
            batch.remove(&self.meta, key::start(segment.id, uid));
        }
        for shard in shards {
            let floor = Floor {
                next: shard.latest(),
                last_arrival: shard.last_arrival(),
            };
            self.put_json(&mut batch, key::floor(shard.uid()), &floor)?;
        }
        batch
            .commit()
            .map_err(self.failed("removing a segment's entry"))?;
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&segment.id);
        self.database
            .delete_keyspace(segment.keyspace.clone())
            .map_err(self.failed("removing a segment"))
    }
}
