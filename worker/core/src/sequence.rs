//! Sequence numbers and positions in a shard.
//!
//! Owns how sequence numbers compare and how a position is written. Must never treat a sequence number as a
//! machine integer of fixed width: Kinesis promises decimal digits, not a size.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest sequence number that is accepted, in digits. Kinesis documents none; its own have 56.
pub const MAX_SEQUENCE_DIGITS: usize = 128;

/// A record's place in its shard: decimal digits, ordered by length and then by bytes.
///
/// Short numbers (file sources count their ticks) are kept inline, long ones shared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SequenceNumber(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    /// At most 19 digits without a leading zero.
    Short(u64),
    Long(Arc<str>),
}

/// Why a text is not a sequence number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a sequence number: expected 1 to {MAX_SEQUENCE_DIGITS} decimal digits")]
pub struct BadSequenceNumber {
    found: String,
}

impl SequenceNumber {
    /// Reads a sequence number as the stream gave it.
    ///
    /// # Errors
    /// [`BadSequenceNumber`] when the text is empty, too long or holds anything but digits.
    pub fn parse(text: &str) -> Result<Self, BadSequenceNumber> {
        let bytes = text.as_bytes();
        // All of them, and no way out before: so it is done many at a time.
        let is_odd = |odd, digit: &u8| odd | !digit.is_ascii_digit();
        if bytes.is_empty() || bytes.len() > MAX_SEQUENCE_DIGITS || bytes.iter().fold(false, is_odd)
        {
            return Err(BadSequenceNumber {
                found: text.chars().take(MAX_SEQUENCE_DIGITS).collect(),
            });
        }
        let canonical = bytes[0] != b'0' || bytes.len() == 1;
        if bytes.len() <= 19 && canonical {
            let number = bytes
                .iter()
                .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            return Ok(Self::from(number));
        }
        Ok(Self(Repr::Long(Arc::from(text))))
    }
}

impl SequenceNumber {
    #[cold]
    fn long(number: u64) -> Self {
        Self(Repr::Long(Arc::from(number.to_string())))
    }

    /// The number, when it has at most 19 digits.
    pub(crate) fn as_short(&self) -> Option<u64> {
        match self.0 {
            Repr::Short(number) => Some(number),
            Repr::Long(_) => None,
        }
    }
}

impl From<u64> for SequenceNumber {
    #[inline]
    fn from(number: u64) -> Self {
        if number < 10_000_000_000_000_000_000 {
            return Self(Repr::Short(number));
        }
        Self::long(number)
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Short(a), Repr::Short(b)) => a.cmp(b),
            (Repr::Long(a), Repr::Long(b)) => by_length_then_bytes(a, b),
            (Repr::Short(a), Repr::Long(b)) => by_length_then_bytes(&a.to_string(), b),
            (Repr::Long(a), Repr::Short(b)) => by_length_then_bytes(a, &b.to_string()),
        }
    }
}

fn by_length_then_bytes(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Short(number) => write!(formatter, "{number}"),
            Repr::Long(text) => formatter.write_str(text),
        }
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SequenceNumber({self})")
    }
}

impl Serialize for SequenceNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SequenceNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Where reading a shard goes on.
///
/// There is no `Latest`: "latest" is turned into a time when the pipeline first starts (`roots.json`), so that a
/// restart before the first commit can't move it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// From the oldest record that the stream still has.
    TrimHorizon,
    /// From the first record that arrived at or after this time, in milliseconds since the Unix epoch.
    AtTimestamp(i64),
    /// After this record: it is in the state already.
    After(SequenceNumber),
    /// The shard was closed and has been read to its end. Final.
    ShardEnd,
    /// The stream of this incarnation no longer exists. Final.
    StreamGone,
}

impl Position {
    /// True when nothing will ever be read from here again.
    pub fn is_final(&self) -> bool {
        matches!(self, Position::ShardEnd | Position::StreamGone)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::TrimHorizon => formatter.write_str("TRIM_HORIZON"),
            Position::AtTimestamp(millis) => write!(
                formatter,
                "AT_TIMESTAMP {}",
                crate::time::Micros::from_millis(*millis)
            ),
            Position::After(sequence) => write!(formatter, "AFTER {sequence}"),
            Position::ShardEnd => formatter.write_str("SHARD_END"),
            Position::StreamGone => formatter.write_str("STREAM_GONE"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn longer_is_greater_whatever_the_digits() {
        let short = SequenceNumber::parse("99999999999999999999").unwrap();
        let long = SequenceNumber::parse("100000000000000000000").unwrap();
        assert!(short < long);
    }

    #[test]
    fn numbers_wider_than_u128_keep_all_their_digits() {
        let text = "49590338271490256608559692538361571095921575989136588898";
        assert_eq!(SequenceNumber::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn text_that_is_no_number_is_refused() {
        for bad in ["", "-1", "1.0", "1e5", " 1", "LATEST", &"9".repeat(129)] {
            assert!(SequenceNumber::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn order_is_that_of_length_then_bytes(a in "[0-9]{1,40}", b in "[0-9]{1,40}") {
            let (x, y) = (SequenceNumber::parse(&a).unwrap(), SequenceNumber::parse(&b).unwrap());
            prop_assert_eq!(x.cmp(&y), a.len().cmp(&b.len()).then(a.cmp(&b)));
            prop_assert_eq!(x.to_string(), a);
        }
    }
}
