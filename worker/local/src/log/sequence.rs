//! Sequence numbers: 56 decimal digits, starting with 49, as Kinesis's look.
//!
//! Layout: `49`, the shard's birth (14 digits), the index in the shard (20), the shard's number
//! (20). A child is born later than its parents, so all of its numbers are above all of theirs;
//! within a shard the index decides. A [`Continuation`] is told by its last field, which is above every
//! shard's number. Clients must treat the string as opaque.

use std::fmt;
use std::str::FromStr;

/// The place of one record in one shard.
///
/// `Ord` is the order of the decimal strings: all have the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber {
    /// When the shard was born: milliseconds since the Unix epoch, made unique by the log.
    pub birth: u64,
    /// Index in the shard: 0 is the shard's starting sequence number, records begin at 1.
    pub index: u64,
    /// The shard's number in its stream.
    pub shard: u32,
}

const BIRTH_DIGITS: usize = 14;
const INDEX_DIGITS: usize = 20;
const SHARD_DIGITS: usize = 20;
const LENGTH: usize = 2 + BIRTH_DIGITS + INDEX_DIGITS + SHARD_DIGITS;

/// The text isn't a sequence number of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sequence number of this server: 56 decimal digits starting with 49 are expected")]
pub struct ParseSequenceError;

impl SequenceNumber {
    /// Its decimal digits. Every record that is put or read needs them, so they aren't formatted.
    #[must_use]
    pub fn digits(self) -> [u8; LENGTH] {
        let mut digits = [0; LENGTH];
        let (prefix, rest) = digits.split_at_mut(2);
        let (birth, rest) = rest.split_at_mut(BIRTH_DIGITS);
        let (index, shard) = rest.split_at_mut(INDEX_DIGITS);
        prefix.copy_from_slice(b"49");
        birth.copy_from_slice(&decimal::<BIRTH_DIGITS>(self.birth));
        index.copy_from_slice(&decimal::<INDEX_DIGITS>(self.index));
        shard.copy_from_slice(&decimal::<SHARD_DIGITS>(self.shard.into()));
        digits
    }
}

/// The last `N` decimal digits of `value`, zeros in front.
#[allow(clippy::cast_possible_truncation, reason = "a digit is below 10")]
pub(crate) fn decimal<const N: usize>(mut value: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        if value == 0 {
            break;
        }
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    digits
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "49{:014}{:020}{:020}",
            self.birth, self.index, self.shard
        )
    }
}

impl FromStr for SequenceNumber {
    type Err = ParseSequenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != LENGTH || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseSequenceError);
        }
        let digits = text.strip_prefix("49").ok_or(ParseSequenceError)?;
        let (birth, rest) = digits.split_at(BIRTH_DIGITS);
        let (index, shard) = rest.split_at(INDEX_DIGITS);
        Ok(Self {
            birth: birth.parse().map_err(|_| ParseSequenceError)?,
            index: index.parse().map_err(|_| ParseSequenceError)?,
            shard: shard.parse().map_err(|_| ParseSequenceError)?,
        })
    }
}

/// The place right after a record and before the next one, whatever number that gets: what a reader
/// goes on from. Its text looks like a sequence number and lies between the two records' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Continuation {
    /// The record's number, or the shard's starting one.
    pub after: SequenceNumber,
}

/// Added to the last field of a continuation's text: above every shard's number.
const AFTER: u64 = 10_000_000_000;

impl fmt::Display for Continuation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SequenceNumber {
            birth,
            index,
            shard,
        } = self.after;
        let shard = AFTER + u64::from(shard);
        write!(formatter, "49{birth:014}{index:020}{shard:020}")
    }
}

impl FromStr for Continuation {
    type Err = ParseSequenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (birth_and_index, shard) = text
            .split_at_checked(LENGTH - SHARD_DIGITS)
            .ok_or(ParseSequenceError)?;
        let shard: u64 = shard.parse().map_err(|_| ParseSequenceError)?;
        let shard = shard.checked_sub(AFTER).ok_or(ParseSequenceError)?;
        let after = format!("{birth_and_index}{shard:020}").parse()?;
        // Else a sign before the last field would go unnoticed.
        Some(Self { after })
            .filter(|found| found.to_string() == text)
            .ok_or(ParseSequenceError)
    }
}

impl serde::Serialize for Continuation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl serde::Serialize for SequenceNumber {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn any_sequence() -> impl Strategy<Value = SequenceNumber> {
        (0..100_000_000_000_000_u64, any::<u64>(), any::<u32>()).prop_map(
            |(birth, index, shard)| SequenceNumber {
                birth,
                index,
                shard,
            },
        )
    }

    proptest! {
        #[test]
        fn text_round_trips_and_keeps_the_order(a in any_sequence(), b in any_sequence()) {
            let (text_a, text_b) = (a.to_string(), b.to_string());
            prop_assert_eq!(text_a.len(), 56);
            prop_assert_eq!(text_a.as_bytes(), &a.digits()[..]);
            prop_assert_eq!(text_a.parse::<SequenceNumber>(), Ok(a));
            prop_assert_eq!(text_a.cmp(&text_b), a.cmp(&b));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(text in ".{0,80}") {
            if let Ok(parsed) = text.parse::<SequenceNumber>() {
                prop_assert_eq!(parsed.to_string(), text.clone());
            }
            if let Ok(parsed) = text.parse::<Continuation>() {
                prop_assert_eq!(parsed.to_string(), text);
            }
        }

        #[test]
        fn a_continuation_lies_between_two_records_and_is_told_from_both(after in any_sequence()) {
            let next = SequenceNumber { index: after.index.saturating_add(1), ..after };
            let text = Continuation { after }.to_string();
            prop_assert_eq!(text.len(), 56);
            prop_assert!(after.to_string() < text && (text < next.to_string() || next == after));
            prop_assert_eq!(text.parse::<SequenceNumber>(), Err(ParseSequenceError));
            prop_assert_eq!(text.parse::<Continuation>(), Ok(Continuation { after }));
            prop_assert!(after.to_string().parse::<Continuation>().is_err());
        }
    }

    #[test]
    fn numbers_too_large_for_their_field_are_refused() {
        let index = format!("49{:014}{}{:020}", 1, "9".repeat(20), 0);
        assert_eq!(index.parse::<SequenceNumber>(), Err(ParseSequenceError));
        let shard = format!("49{:014}{:020}{:020}", 1, 1, u64::from(u32::MAX) + 1);
        assert_eq!(shard.parse::<SequenceNumber>(), Err(ParseSequenceError));
    }
}
