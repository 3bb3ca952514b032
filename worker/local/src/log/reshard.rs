//! Splits and merges. The new state is written down first and shown second, while appends wait: so a
//! reader never sees a closed shard without its children, and no record falls between them.

use std::sync::Arc;

use super::stream::Control;
use super::{HashKeyRange, Shard, ShardMeta, ShardTip, Stream, StreamMeta};
use crate::store::StoreError;

/// Why nothing was split or merged.
#[derive(Debug, thiserror::Error)]
pub enum ReshardError {
    /// No such shard in the stream.
    #[error("the stream has no shard {0}")]
    NoSuchShard(u32),
    /// The shard was split or merged before.
    #[error("shard {0} is closed")]
    Closed(u32),
    /// The new starting hash key leaves one child without a range.
    #[error("hash key {key} doesn't split the range {} to {}", range.start, range.end)]
    NotInside {
        /// The key asked for.
        key: u128,
        /// The shard's range.
        range: HashKeyRange,
    },
    /// The shards' ranges don't touch.
    #[error("shards {0} and {1} are not adjacent")]
    NotAdjacent(u32, u32),
    /// The stream was deleted.
    #[error("the stream was deleted")]
    Deleted,
    /// The change couldn't be written down; nothing changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Identity and time for the shards a reshard makes.
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    /// Above every birth given before.
    pub birth: u64,
    /// The first child's uid; the second's is one above.
    pub first_uid: u64,
    /// Milliseconds since the Unix epoch.
    pub now_millis: u64,
}

impl Stream {
    /// Closes shard `number` and opens two in its place: below `new_starting_hash_key` and from it on.
    ///
    /// # Errors
    /// The shard can't be split so, or the change can't be saved; then nothing changed.
    pub fn split_shard(
        &self,
        number: u32,
        new_starting_hash_key: u128,
        birth: Birth,
        save: impl FnOnce(&StreamMeta) -> Result<(), StoreError>,
    ) -> Result<(), ReshardError> {
        let mut control = self.control_mut();
        let parent = open_shard(&control, number)?;
        let range = parent.range();
        // Kinesis asks for more than one key below the new start, and one above it.
        if new_starting_hash_key <= range.start.saturating_add(1)
            || new_starting_hash_key >= range.end
        {
            return Err(ReshardError::NotInside {
                key: new_starting_hash_key,
                range,
            });
        }
        let lower = HashKeyRange {
            end: new_starting_hash_key - 1,
            ..range
        };
        let upper = HashKeyRange {
            start: new_starting_hash_key,
            ..range
        };
        let children = vec![
            child(control.next_shard, 0, lower, (number, None), birth),
            child(control.next_shard, 1, upper, (number, None), birth),
        ];
        self.replace(&mut control, &[parent], children, birth.now_millis, save)
    }

    /// Closes two shards with touching ranges and opens one that takes both.
    ///
    /// # Errors
    /// The shards can't be merged, or the change can't be saved; then nothing changed.
    pub fn merge_shards(
        &self,
        number: u32,
        adjacent: u32,
        birth: Birth,
        save: impl FnOnce(&StreamMeta) -> Result<(), StoreError>,
    ) -> Result<(), ReshardError> {
        let mut control = self.control_mut();
        let parents = [
            open_shard(&control, number)?,
            open_shard(&control, adjacent)?,
        ];
        let (one, other) = (parents[0].range(), parents[1].range());
        let touch =
            |low: HashKeyRange, high: HashKeyRange| low.end.checked_add(1) == Some(high.start);
        if !touch(one, other) && !touch(other, one) {
            return Err(ReshardError::NotAdjacent(number, adjacent));
        }
        let range = HashKeyRange {
            start: one.start.min(other.start),
            end: one.end.max(other.end),
        };
        let children = vec![child(
            control.next_shard,
            0,
            range,
            (number, Some(adjacent)),
            birth,
        )];
        self.replace(&mut control, &parents, children, birth.now_millis, save)
    }

    fn replace(
        &self,
        control: &mut Control,
        parents: &[Arc<Shard>],
        mut children: Vec<ShardMeta>,
        now_millis: u64,
        save: impl FnOnce(&StreamMeta) -> Result<(), StoreError>,
    ) -> Result<(), ReshardError> {
        let mut meta = self.describe(control);
        let ends: Vec<_> = parents
            .iter()
            .map(|parent| (parent, parent.closing(now_millis)))
            .collect();
        for (parent, end) in &ends {
            for shard in meta
                .shards
                .iter_mut()
                .filter(|shard| shard.uid == parent.uid())
            {
                shard.closed = Some(*end);
            }
        }
        // A child's records don't arrive before its parents' did, whatever the clock says.
        let created_millis = ends
            .iter()
            .map(|(_, end)| end.at_millis)
            .max()
            .unwrap_or(now_millis);
        for child in &mut children {
            child.created_millis = created_millis;
        }
        meta.shards.extend_from_slice(&children);
        meta.next_shard += u32::try_from(children.len()).unwrap_or(u32::MAX);
        save(&meta)?;
        for (parent, end) in ends {
            parent.close(end);
        }
        control.next_shard = meta.next_shard;
        for child in children {
            let shard = Arc::new(Shard::new(
                child.clone(),
                ShardTip::default(),
                self.store.clone(),
            ));
            control.shards.insert(child.number, shard);
        }
        control.refresh();
        Ok(())
    }
}

fn open_shard(control: &Control, number: u32) -> Result<Arc<Shard>, ReshardError> {
    if control.deleted {
        return Err(ReshardError::Deleted);
    }
    let shard = control
        .shards
        .get(&number)
        .ok_or(ReshardError::NoSuchShard(number))?;
    match shard.meta().closed {
        Some(_) => Err(ReshardError::Closed(number)),
        None => Ok(shard.clone()),
    }
}

fn child(
    next_shard: u32,
    place: u32,
    range: HashKeyRange,
    parents: (u32, Option<u32>),
    birth: Birth,
) -> ShardMeta {
    ShardMeta {
        uid: birth.first_uid + u64::from(place),
        number: next_shard + place,
        birth: birth.birth,
        created_millis: birth.now_millis,
        range,
        parent: Some(parents.0),
        adjacent_parent: parents.1,
        closed: None,
    }
}
