//! Hash keys: where Kinesis puts a partition key.
//!
//! Owns the key's hash and ranges of hash keys. Must never know what a shard does with them.

use std::fmt;

use md5::{Digest, Md5};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A partition key's hash: MD5 read as an unsigned 128-bit number, big-endian (Kinesis' `PutRecord`).
pub fn key_hash(partition_key: &str) -> u128 {
    let digest: [u8; 16] = Md5::digest(partition_key.as_bytes()).into();
    u128::from_be_bytes(digest)
}

/// A range of hash keys, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    start: u128,
    end: u128,
}

impl HashRange {
    /// Every key.
    pub const ALL: HashRange = HashRange {
        start: 0,
        end: u128::MAX,
    };

    /// From `start` to `end`, both included; `None` when `end` is below `start`.
    pub fn new(start: u128, end: u128) -> Option<Self> {
        (start <= end).then_some(HashRange { start, end })
    }

    /// From the decimal texts of a shard's `HashKeyRange`.
    pub fn parse(start: &str, end: &str) -> Option<Self> {
        Self::new(start.parse().ok()?, end.parse().ok()?)
    }

    /// The lowest key.
    pub fn start(&self) -> u128 {
        self.start
    }

    /// The highest key.
    pub fn end(&self) -> u128 {
        self.end
    }

    /// True when the key lies within.
    pub fn contains(&self, key: u128) -> bool {
        self.start <= key && key <= self.end
    }

    /// What both ranges hold.
    #[must_use]
    pub fn intersection(&self, other: &HashRange) -> Option<HashRange> {
        HashRange::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The parts of this range that none of `taken` holds, in order.
    #[must_use]
    pub fn without(&self, taken: &[HashRange]) -> Vec<HashRange> {
        let mut taken: Vec<HashRange> = taken
            .iter()
            .filter_map(|range| self.intersection(range))
            .collect();
        taken.sort_unstable();
        let mut left = Vec::new();
        let mut next = Some(self.start);
        for range in taken {
            let Some(from) = next else { break };
            if from < range.start {
                // Sound: range.start > from >= 0.
                left.extend(HashRange::new(from, range.start - 1));
            }
            next = range.end.checked_add(1).map(|after| after.max(from));
        }
        if let Some(from) = next {
            left.extend(HashRange::new(from, self.end));
        }
        left
    }
}

impl fmt::Display for HashRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.start, self.end)
    }
}

impl Serialize for HashRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HashRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.split_once('-')
            .and_then(|(start, end)| HashRange::parse(start, end))
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a hash-key range")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_hash_is_md5_big_endian() {
        // printf AAPL | md5sum
        assert_eq!(
            key_hash("AAPL"),
            u128::from_str_radix("8b10e4ae9eeb5684921a9ab27e4d87aa", 16).unwrap()
        );
    }

    #[test]
    fn a_range_survives_its_text() {
        let json = serde_json::to_string(&HashRange::ALL).unwrap();
        assert_eq!(
            serde_json::from_str::<HashRange>(&json).unwrap(),
            HashRange::ALL
        );
    }

    proptest! {
        #[test]
        fn without_leaves_exactly_the_keys_that_nobody_took(
            ranges in proptest::collection::vec((0u128..40, 0u128..40), 0..5),
            high in proptest::bool::ANY,
        ) {
            // Also at the upper end of the key space, where + 1 overflows.
            let shift = if high { u128::MAX - 40 } else { 0 };
            let whole = HashRange::new(shift + 5, shift + 40).unwrap();
            let taken: Vec<_> = ranges
                .iter()
                .filter_map(|(a, b)| HashRange::new(shift + a, shift + b))
                .collect();
            let left = whole.without(&taken);
            for offset in 0..=40 {
                let key = shift + offset;
                let expected = whole.contains(key) && !taken.iter().any(|range| range.contains(key));
                prop_assert_eq!(left.iter().filter(|range| range.contains(key)).count(), usize::from(expected));
            }
        }
    }
}
