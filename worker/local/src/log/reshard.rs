//! Splits and merges: what becomes of the shards. Pure: a [`Draft`] is made from a description of the
//! stream and changes nothing; [`super::transition`] writes it down and shows it.
//!
//! Invariant: the open shards cover the key space without gap or overlap, and a child's sequence
//! numbers are above its parents' (its birth is).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HashKeyRange, ShardClosed, ShardMeta, ShardTip, StreamMeta};

/// Why nothing was split or merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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

/// What is to be done to the shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reshard {
    /// One shard becomes two.
    Split {
        /// The shard.
        shard: u32,
        /// Where the upper child begins.
        #[serde(with = "decimal")]
        new_starting_hash_key: u128,
    },
    /// Two shards with touching ranges become one.
    Merge {
        /// One of them.
        shard: u32,
        /// The other.
        adjacent: u32,
    },
    /// As many open shards as said, of equal width.
    Scale {
        /// Open shards at the end.
        target: u32,
    },
}

/// Hash keys are decimal strings wherever they are written down: JSON numbers don't reach so far.
mod decimal {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(key: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(key)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The shards as they will be.
pub(super) struct Draft<'a> {
    shards: BTreeMap<u32, ShardMeta>,
    /// The open ones by the start of their range.
    open: BTreeMap<u128, u32>,
    next_shard: u32,
    /// Where a shard would end that takes records now; none for one of this draft.
    closing: &'a dyn Fn(u32) -> Option<ShardClosed>,
    births: &'a mut dyn FnMut(u32) -> Birth,
}

impl<'a> Draft<'a> {
    /// The shards as they are. `closing` tells the end of one
    /// of them if it were closed now (none for others), `births` gives
    /// identity and time for so many new shards.
    pub fn new(
        meta: &StreamMeta,
        closing: &'a dyn Fn(u32) -> Option<ShardClosed>,
        births: &'a mut dyn FnMut(u32) -> Birth,
    ) -> Self {
        let shards: BTreeMap<u32, ShardMeta> = meta
            .shards
            .iter()
            .map(|shard| (shard.number, shard.clone()))
            .collect();
        let open = shards.values().filter(|shard| shard.closed.is_none());
        Self {
            open: open
                .map(|shard| (shard.range.start, shard.number))
                .collect(),
            shards,
            next_shard: meta.next_shard,
            closing,
            births,
        }
    }

    /// Makes the change, or none.
    pub fn apply(mut self, reshard: &Reshard, meta: &mut StreamMeta) -> Result<(), ReshardError> {
        match reshard {
            Reshard::Split {
                shard,
                new_starting_hash_key,
            } => self.split(*shard, *new_starting_hash_key)?,
            Reshard::Merge { shard, adjacent } => self.merge(*shard, *adjacent)?,
            Reshard::Scale { target } => self.scale(*target)?,
        }
        meta.next_shard = self.next_shard;
        meta.shards = self.shards.into_values().collect();
        Ok(())
    }

    fn open(&self, number: u32) -> Result<HashKeyRange, ReshardError> {
        let shard = self
            .shards
            .get(&number)
            .ok_or(ReshardError::NoSuchShard(number))?;
        match shard.closed {
            Some(_) => Err(ReshardError::Closed(number)),
            None => Ok(shard.range),
        }
    }

    fn split(&mut self, number: u32, key: u128) -> Result<(), ReshardError> {
        let range = self.open(number)?;
        // Kinesis asks for more than one key below the new start, and one above it.
        if key <= range.start.saturating_add(1) || key >= range.end {
            return Err(ReshardError::NotInside { key, range });
        }
        self.cut(number, range, key);
        Ok(())
    }

    /// Splits `number`, whose range is `range`, below `key`, which lies in it and isn't its start.
    fn cut(&mut self, number: u32, range: HashKeyRange, key: u128) {
        let lower = HashKeyRange {
            end: key - 1,
            ..range
        };
        let upper = HashKeyRange {
            start: key,
            ..range
        };
        self.replace(&[number], &[lower, upper]);
    }

    fn merge(&mut self, number: u32, adjacent: u32) -> Result<(), ReshardError> {
        let (one, other) = (self.open(number)?, self.open(adjacent)?);
        let touch =
            |low: HashKeyRange, high: HashKeyRange| low.end.checked_add(1) == Some(high.start);
        if !touch(one, other) && !touch(other, one) {
            return Err(ReshardError::NotAdjacent(number, adjacent));
        }
        let range = HashKeyRange {
            start: one.start.min(other.start),
            end: one.end.max(other.end),
        };
        self.replace(&[number, adjacent], &[range]);
        Ok(())
    }

    /// Splits wherever an even range begins inside a shard, then merges the pieces of each even range:
    /// shards that live for a moment only, as Kinesis makes them (UpdateShardCount).
    fn scale(&mut self, target: u32) -> Result<(), ReshardError> {
        let ranges = HashKeyRange::even(target);
        for range in &ranges {
            let Some((start, number)) = self.open.range(..=range.start).next_back() else {
                continue;
            };
            let (start, number) = (*start, *number);
            if start < range.start {
                let whole = self.open(number)?;
                self.cut(number, whole, range.start);
            }
        }
        for range in &ranges {
            let pieces: Vec<u32> = self
                .open
                .range(range.start..=range.end)
                .map(|(_, number)| *number)
                .collect();
            let mut pieces = pieces.into_iter();
            let Some(mut whole) = pieces.next() else {
                continue;
            };
            for piece in pieces {
                self.merge(whole, piece)?;
                whole = self.next_shard - 1;
            }
        }
        Ok(())
    }

    /// Closes `parents` and opens a shard for each of `ranges`, which together are theirs.
    fn replace(&mut self, parents: &[u32], ranges: &[HashKeyRange]) {
        let birth = (self.births)(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
        // A child's records don't arrive before its parents' did, whatever the clock says.
        let mut created_millis = birth.now_millis;
        for parent in parents {
            let Some(shard) = self.shards.get_mut(parent) else {
                continue;
            };
            // A shard of this draft has no record yet.
            let end = (self.closing)(*parent).unwrap_or(ShardClosed {
                at_millis: shard.created_millis.max(birth.now_millis),
                end_index: ShardTip::default().next,
            });
            created_millis = created_millis.max(end.at_millis);
            shard.closed = Some(end);
            self.open.remove(&shard.range.start);
        }
        for (range, place) in ranges.iter().zip(0..) {
            let number = self.next_shard;
            self.next_shard += 1;
            self.open.insert(range.start, number);
            self.shards.insert(
                number,
                ShardMeta {
                    uid: birth.first_uid + place,
                    number,
                    birth: birth.birth,
                    created_millis,
                    range: *range,
                    parent: parents.first().copied(),
                    adjacent_parent: parents.get(1).copied(),
                    closed: None,
                },
            );
        }
    }
}
