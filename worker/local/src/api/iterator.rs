//! Shard iterators: opaque to clients, and all the server needs to know, so that they survive a
//! restart and cost nothing. Owns their format, age and checksum.
//!
//! Bytes, in base64: `u8` version, `u64` stream's creation, `u32` shard, `u64` position, `u64` issued
//! at (milliseconds), stream's name, 8 bytes of MD5 over all before. The checksum tells garbage from
//! iterators; it keeps nobody out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

/// Iterators are refused when older (Kinesis API reference, GetShardIterator).
pub(super) const LIFETIME_MILLIS: u64 = 300_000;

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 1 + 8 + 4 + 8 + 8;
const CHECKSUM_BYTES: usize = 8;

/// A place in a shard of one life of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShardIterator {
    /// The stream's name.
    pub stream: String,
    /// The stream's creation time: a stream made anew has another one.
    pub created_millis: u64,
    /// The shard's number.
    pub shard: u32,
    /// The next record's index.
    pub position: u64,
    /// When it was given out.
    pub issued_millis: u64,
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 16] = Md5::new()
        .chain_update(b"shard iterator")
        .chain_update(bytes)
        .finalize()
        .into();
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
    checksum
}

impl ShardIterator {
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.stream.len() + CHECKSUM_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.created_millis.to_be_bytes());
        bytes.extend_from_slice(&self.shard.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
        bytes.extend_from_slice(&self.issued_millis.to_be_bytes());
        bytes.extend_from_slice(self.stream.as_bytes());
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        STANDARD.encode(bytes)
    }

    /// The iterator in `text`; none when it is anything else.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
        if sum != checksum(body) || *body.first()? != VERSION {
            return None;
        }
        Some(Self {
            created_millis: u64::from_be_bytes(body.get(1..9)?.try_into().ok()?),
            shard: u32::from_be_bytes(body.get(9..13)?.try_into().ok()?),
            position: u64::from_be_bytes(body.get(13..21)?.try_into().ok()?),
            issued_millis: u64::from_be_bytes(body.get(21..FIXED_BYTES)?.try_into().ok()?),
            stream: std::str::from_utf8(body.get(FIXED_BYTES..)?)
                .ok()?
                .to_owned(),
        })
    }

    /// Whether it is too old at `now_millis`. One from the future (the clock was set back) isn't.
    pub fn expired(&self, now_millis: u64) -> bool {
        now_millis.saturating_sub(self.issued_millis) > LIFETIME_MILLIS
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn any_iterator() -> impl Strategy<Value = ShardIterator> {
        (
            "[a-zA-Z0-9_.-]{1,128}",
            any::<u64>(),
            any::<u32>(),
            any::<u64>(),
            any::<u64>(),
        )
            .prop_map(|(stream, created_millis, shard, position, issued_millis)| {
                ShardIterator {
                    stream,
                    created_millis,
                    shard,
                    position,
                    issued_millis,
                }
            })
    }

    proptest! {
        #[test]
        fn an_iterator_round_trips_within_awss_length(iterator in any_iterator()) {
            let text = iterator.encode();
            prop_assert!(text.len() <= 512);
            prop_assert_eq!(ShardIterator::decode(&text), Some(iterator));
        }

        #[test]
        fn a_changed_character_is_refused(iterator in any_iterator(), at in any::<prop::sample::Index>()) {
            let mut text = iterator.encode().into_bytes();
            let at = at.index(text.len());
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            prop_assert_eq!(ShardIterator::decode(std::str::from_utf8(&text).unwrap()), None);
        }

        #[test]
        fn garbage_never_panics(text in ".{0,300}") {
            prop_assert_eq!(ShardIterator::decode(&text), None);
        }
    }
}
