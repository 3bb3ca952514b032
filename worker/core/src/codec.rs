//! Bytes of a checkpoint.
//!
//! Owns the format: magic, format version, lengths, checksum, and a zstd frame of CBOR with named fields, so that the
//! bytes say themselves what they are. Must never guess: what can't be read whole is an error, never an older state. What each
//! format holds is frozen by `tests/golden.rs` (before the first release it still changed: closed windows became columns).
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `STKCKPT\n` |
//! | 8 | 2 | format version, little-endian |
//! | 10 | 1 | compression: 1 = zstd |
//! | 11 | 1 | body: 1 = CBOR (RFC 8949) of [`Checkpoint`], maps with field names |
//! | 12 | 8 | length of the CBOR, little-endian |
//! | 20 | 8 | length of the zstd frame, little-endian |
//! | 28 | 32 | SHA-256 of bytes 0..28 and of the frame |
//! | 60 | … | the zstd frame |

use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, batch_bytes, pending_bytes};

/// The newest format that this release reads and writes.
pub const FORMAT: u16 = 2;

/// The oldest format that this release reads: the one before.
pub const OLDEST_FORMAT: u16 = 1;

/// The format that is written until `state.format` says otherwise: the newest that the release before reads, too, so
/// that a roll-out can be taken back.
pub const DEFAULT_FORMAT: u16 = 1;

/// From this format on a checkpoint says from whom and when it was taken.
pub const HANDOVER_FORMAT: u16 = 2;

/// The largest CBOR that is decoded, in bytes: far above what the limits of a shard allow, far below memory.
pub const MAX_BODY_BYTES: u64 = 1 << 30;

const MAGIC: &[u8; 8] = b"STKCKPT\n";
const HEADER: usize = 28;
const PREFIX: usize = HEADER + 32;

/// Fast, and small enough: checkpoints are rewritten every few seconds.
const ZSTD_LEVEL: i32 = 1;

/// Why bytes are not a checkpoint that this release can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not one of ours.
    #[error("not a Stockstream checkpoint: it doesn't begin with STKCKPT")]
    NotACheckpoint,
    /// Written by a release that is newer (or too old).
    #[error(
        "checkpoint format {found} can't be read: this release reads formats {OLDEST_FORMAT} to {FORMAT}. \
         Run the release that wrote it, or a newer one"
    )]
    UnknownFormat {
        /// The format found.
        found: u16,
    },
    /// Shorter or longer than it says.
    #[error("the checkpoint is damaged: it has {found} bytes and says {expected}")]
    Truncated {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// The checksum doesn't match.
    #[error("the checkpoint is damaged: its SHA-256 doesn't match its content")]
    Checksum,
    /// The checksum matches, but the content isn't a checkpoint.
    #[error("the checkpoint's content can't be decoded: {0}")]
    Content(String),
    /// It can't be written.
    #[error("the checkpoint can't be encoded: {0}")]
    Encode(String),
}

/// The bytes of a checkpoint in the newest format.
///
/// # Errors
/// As [`encode_as`].
pub fn encode(checkpoint: &Checkpoint) -> Result<Vec<u8>, CodecError> {
    encode_as(checkpoint, FORMAT)
}

/// The bytes of a checkpoint. The same checkpoint and format always give the same bytes with one release. What an older
/// format has no place for is left out.
///
/// # Errors
/// [`CodecError::Encode`] when zstd or CBOR fail, the state is above [`MAX_BODY_BYTES`], or the format is none of
/// this release's.
pub fn encode_as(checkpoint: &Checkpoint, format: u16) -> Result<Vec<u8>, CodecError> {
    if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
        return Err(CodecError::Encode(format!(
            "format {format} can't be written: this release writes formats {OLDEST_FORMAT} to {FORMAT}"
        )));
    }
    if format < HANDOVER_FORMAT && checkpoint.handover.is_some() {
        let handover = None;
        let older = Checkpoint {
            handover,
            ..checkpoint.clone()
        };
        return encode_as(&older, format);
    }
    // Room for all of it, as if nothing was to be compressed: what isn't written costs nothing, and growing copies.
    let outbox = checkpoint.outbox.iter().map(|batch| batch_bytes(batch));
    let room = pending_bytes(&checkpoint.unsealed) + outbox.sum::<usize>();
    let mut bytes = vec![0; PREFIX];
    // Where memory may not be promised, it grows as it is needed.
    let _ = bytes.try_reserve_exact(room);
    let (mut bytes, length) = compressed(checkpoint, bytes)?;
    if length > MAX_BODY_BYTES {
        return Err(CodecError::Encode(format!(
            "{length} bytes, allowed are {MAX_BODY_BYTES}"
        )));
    }
    let (prefix, frame) = bytes.split_at_mut(PREFIX);
    let (head, sum) = prefix.split_at_mut(HEADER);
    head[..8].copy_from_slice(MAGIC);
    head[8..10].copy_from_slice(&format.to_le_bytes());
    head[10..12].copy_from_slice(&[1, 1]);
    head[12..20].copy_from_slice(&length.to_le_bytes());
    head[20..].copy_from_slice(&(frame.len() as u64).to_le_bytes());
    sum.copy_from_slice(&checksum(head, frame));
    Ok(bytes)
}

/// The zstd frame behind `bytes`, and the length of what it holds. The CBOR is compressed as it is made: it may be tens of
/// megabytes.
fn compressed(checkpoint: &Checkpoint, bytes: Vec<u8>) -> Result<(Vec<u8>, u64), CodecError> {
    let fault = |error: std::io::Error| CodecError::Encode(error.to_string());
    let encoder = zstd::Encoder::new(bytes, ZSTD_LEVEL).map_err(fault)?;
    let mut body = Counted {
        inner: std::io::BufWriter::with_capacity(64 << 10, encoder),
        bytes: 0,
    };
    ciborium::into_writer(checkpoint, &mut body)
        .map_err(|error| CodecError::Encode(error.to_string()))?;
    let encoder = body
        .inner
        .into_inner()
        .map_err(|error| fault(error.into_error()))?;
    Ok((encoder.finish().map_err(fault)?, body.bytes))
}

/// Counts what is written.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: std::io::Write> std::io::Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// The format that bytes say they have; `None` when they are no checkpoint at all. Formats that this release doesn't
/// know are told as well.
pub fn format_of(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(MAGIC)?;
    Some(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]))
}

/// Reads a checkpoint.
///
/// # Errors
/// [`CodecError`], which says what is wrong with the bytes. The caller names the object.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint, CodecError> {
    let frame = frame(bytes)?;
    let length = u64_at(bytes, 12);
    if length > MAX_BODY_BYTES {
        return Err(CodecError::Content(format!(
            "it claims {length} bytes, allowed are {MAX_BODY_BYTES}"
        )));
    }
    let capacity =
        usize::try_from(length).map_err(|error| CodecError::Content(error.to_string()))?;
    let body = zstd::bulk::decompress(frame, capacity)
        .map_err(|error| CodecError::Content(error.to_string()))?;
    if body.len() != capacity {
        return Err(CodecError::Content(format!(
            "{} bytes of content, {length} were announced",
            body.len()
        )));
    }
    ciborium::from_reader(body.as_slice()).map_err(|error| CodecError::Content(error.to_string()))
}

/// The zstd frame, once everything around it has been checked.
fn frame(bytes: &[u8]) -> Result<&[u8], CodecError> {
    if bytes.len() < MAGIC.len() || &bytes[..MAGIC.len()] != MAGIC {
        let cut = !bytes.is_empty() && MAGIC.starts_with(bytes);
        return Err(if cut || bytes.is_empty() {
            truncated(bytes, PREFIX as u64)
        } else {
            CodecError::NotACheckpoint
        });
    }
    if bytes.len() < PREFIX {
        return Err(truncated(bytes, PREFIX as u64));
    }
    let format = u16::from_le_bytes([bytes[8], bytes[9]]);
    if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
        return Err(CodecError::UnknownFormat { found: format });
    }
    let expected = u64_at(bytes, 20).saturating_add(PREFIX as u64);
    if bytes.len() as u64 != expected {
        return Err(truncated(bytes, expected));
    }
    let (head, frame) = (&bytes[..HEADER], &bytes[PREFIX..]);
    if checksum(head, frame) != bytes[HEADER..PREFIX] {
        return Err(CodecError::Checksum);
    }
    if bytes[10..12] != [1, 1] {
        return Err(CodecError::Content(format!(
            "unknown compression {} or body {}",
            bytes[10], bytes[11]
        )));
    }
    Ok(frame)
}

fn truncated(bytes: &[u8], expected: u64) -> CodecError {
    CodecError::Truncated {
        found: bytes.len() as u64,
        expected,
    }
}

fn checksum(head: &[u8], frame: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(head);
    hash.update(frame);
    hash.finalize().into()
}

/// The little-endian number at `offset`; the caller has checked that it is there.
fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::checkpoints;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_checkpoint_survives_its_bytes(checkpoint in checkpoints()) {
            let bytes = encode(&checkpoint).unwrap();
            prop_assert_eq!(&decode(&bytes).unwrap(), &checkpoint);
            prop_assert_eq!(encode(&checkpoint).unwrap(), bytes);
        }

        #[test]
        fn one_changed_bit_is_always_found(checkpoint in checkpoints(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = encode(&checkpoint).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn a_cut_or_extended_checkpoint_is_always_found(checkpoint in checkpoints(), at in any::<prop::sample::Index>()) {
            let mut bytes = encode(&checkpoint).unwrap();
            let cut = at.index(bytes.len());
            prop_assert!(decode(&bytes[..cut]).is_err());
            bytes.push(0);
            let truncated = matches!(decode(&bytes), Err(CodecError::Truncated { .. }));
            prop_assert!(truncated);
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn the_format_before_has_no_place_for_the_handover_and_everything_else_survives() {
        let mut checkpoint = crate::testing::empty_checkpoint();
        checkpoint.handover = Some(crate::checkpoint::Handover {
            from: "w-1".to_owned(),
            at: crate::time::Micros(5),
        });
        let newest = encode(&checkpoint).unwrap();
        assert_eq!(
            (format_of(&newest), decode(&newest)),
            (Some(2), Ok(checkpoint.clone()))
        );
        let older = encode_as(&checkpoint, 1).unwrap();
        assert_eq!(format_of(&older), Some(1));
        checkpoint.handover = None;
        assert_eq!(decode(&older).unwrap(), checkpoint);
        assert!(encode_as(&checkpoint, 3).is_err() && encode_as(&checkpoint, 0).is_err());
    }

    #[test]
    fn a_future_format_is_named() {
        let mut bytes = encode(&crate::testing::empty_checkpoint()).unwrap();
        bytes[8..10].copy_from_slice(&7u16.to_le_bytes());
        assert_eq!(decode(&bytes), Err(CodecError::UnknownFormat { found: 7 }));
    }

    #[test]
    fn foreign_bytes_are_named() {
        assert_eq!(decode(b"PAR1 and more"), Err(CodecError::NotACheckpoint));
    }

    #[test]
    fn a_claimed_size_beyond_memory_is_refused_before_it_is_allocated() {
        let mut bytes = encode(&crate::testing::empty_checkpoint()).unwrap();
        bytes[12..20].copy_from_slice(&u64::MAX.to_le_bytes());
        let sum = checksum(&bytes[..HEADER], &bytes[PREFIX..]);
        bytes[HEADER..PREFIX].copy_from_slice(&sum);
        assert!(matches!(decode(&bytes), Err(CodecError::Content(_))));
    }
}
