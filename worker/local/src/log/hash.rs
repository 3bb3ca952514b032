//! Hash keys: where a partition key lies in the 128-bit key space, and the ranges shards own.

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// A closed range of the 128-bit key space: both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKeyRange {
    /// The first hash key of the range.
    pub start: u128,
    /// The last hash key of the range.
    pub end: u128,
}

impl HashKeyRange {
    /// The whole key space.
    pub const ALL: Self = Self {
        start: 0,
        end: u128::MAX,
    };

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: u128) -> bool {
        (self.start..=self.end).contains(&key)
    }

    /// The key space cut into `count` ranges of equal width, as Kinesis cuts it: the last one takes
    /// the remainder. `count` of 0 gives none.
    #[must_use]
    pub fn even(count: u32) -> Vec<Self> {
        if count <= 1 {
            return (0..count).map(|_| Self::ALL).collect();
        }
        // floor(2^128 / count), without leaving u128: 2^128 = MAX + 1.
        let divisor = u128::from(count);
        let width = u128::MAX / divisor + u128::from(u128::MAX % divisor == divisor - 1);
        (0..count)
            .map(|index| Self {
                start: width * u128::from(index),
                end: if index + 1 == count {
                    u128::MAX
                } else {
                    width * (u128::from(index) + 1) - 1
                },
            })
            .collect()
    }
}

/// The hash key of a partition key: the MD5 of its UTF-8 bytes as a big-endian number (Kinesis
/// API reference, PutRecord).
#[must_use]
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// Hash keys are decimal strings wherever they are written down: JSON numbers don't reach so far.
#[derive(Serialize, Deserialize)]
struct RangeText {
    start: String,
    end: String,
}

impl Serialize for HashKeyRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RangeText {
            start: self.start.to_string(),
            end: self.end.to_string(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HashKeyRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = RangeText::deserialize(deserializer)?;
        Ok(Self {
            start: text.start.parse().map_err(serde::de::Error::custom)?,
            end: text.end.parse().map_err(serde::de::Error::custom)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_shards_get_the_ranges_aws_gives() {
        let ranges = HashKeyRange::even(3);
        assert_eq!(
            ranges[0].end,
            113_427_455_640_312_821_154_458_202_477_256_070_484
        );
        assert_eq!(
            ranges[1].start,
            113_427_455_640_312_821_154_458_202_477_256_070_485
        );
        assert_eq!(
            ranges[1].end,
            226_854_911_280_625_642_308_916_404_954_512_140_969
        );
        assert_eq!(ranges[2].end, u128::MAX);
    }

    #[test]
    fn even_ranges_cover_the_key_space_without_overlap() {
        for count in [1, 2, 3, 4, 7, 16, 1000] {
            let ranges = HashKeyRange::even(count);
            assert_eq!(ranges.len(), count as usize);
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[ranges.len() - 1].end, u128::MAX);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].end + 1, pair[1].start);
            }
        }
        assert_eq!(HashKeyRange::even(4)[1].start, 1 << 126);
    }

    #[test]
    fn hash_key_is_the_md5_of_the_key() {
        // RFC 1321, appendix A.5
        assert_eq!(hash_key("abc"), 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72);
    }
}
