//! Durations as Kubernetes users write them: `90s`, `2m`, `1h30m`, `500ms`.
//!
//! Owns parsing, formatting and the schema of such strings. It must never read a clock.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The pattern every duration in the spec must match. RE2, ECMA-262 and Rust's `regex` agree on it.
pub const DURATION_PATTERN: &str = r"^([0-9]{1,9}(\.[0-9]{1,9})?(h|ms|m|s))+$";

/// The longest duration string that is accepted, in characters.
pub const DURATION_MAX_LENGTH: u32 = 32;

/// The shape in words, for messages.
pub const DURATION_ALLOWED: &str =
    "a duration such as 500ms, 90s, 2m or 1h30m (units: h, m, s, ms)";

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A duration written the Go way, for example `1h30m`. Never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(Duration);

/// Why a string is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("the duration is empty")]
    Empty,
    /// A number without a unit after it, such as `90`.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// A unit other than h, m, s and ms.
    #[error("`{0}` is not a unit of time")]
    UnknownUnit(String),
    /// Something that is not a number stands where a number must.
    #[error("`{0}` is not a number")]
    NotANumber(String),
    /// More than the type can hold, or a string over [`DURATION_MAX_LENGTH`].
    #[error("the duration is too long")]
    TooLong,
}

impl GoDuration {
    /// Wraps a duration.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// A number of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The wrapped duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<GoDuration> for Duration {
    fn from(value: GoDuration) -> Self {
        value.0
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(DurationError::Empty);
        }
        if text.len() > DURATION_MAX_LENGTH as usize {
            return Err(DurationError::TooLong);
        }
        let mut total: u128 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let number_end = rest
                .find(|c: char| !(c.is_ascii_digit() || c == '.'))
                .ok_or_else(|| DurationError::NoUnit(rest.to_owned()))?;
            let (number, after) = rest.split_at(number_end);
            let unit_end = after
                .find(|c: char| !c.is_alphabetic())
                .unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_end);
            total += nanoseconds(number, unit)?;
            rest = next;
        }
        let seconds =
            u64::try_from(total / NANOS_PER_SECOND).map_err(|_| DurationError::TooLong)?;
        // The remainder is below 10^9, so it fits.
        let nanos = (total % NANOS_PER_SECOND) as u32;
        Ok(Self(Duration::new(seconds, nanos)))
    }
}

/// One `<number><unit>` pair in nanoseconds. At most nine digits stand before and after the point.
fn nanoseconds(number: &str, unit: &str) -> Result<u128, DurationError> {
    let scale: u128 = match unit {
        "h" => 3_600 * NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "s" => NANOS_PER_SECOND,
        "ms" => 1_000_000,
        "" => return Err(DurationError::NotANumber(number.to_owned())),
        other => return Err(DurationError::UnknownUnit(other.to_owned())),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let digits = |part: &str| -> Result<u128, DurationError> {
        if part.is_empty() || part.len() > 9 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(DurationError::NotANumber(number.to_owned()));
        }
        part.parse()
            .map_err(|_| DurationError::NotANumber(number.to_owned()))
    };
    let mut nanos = digits(whole)? * scale;
    if let Some(fraction) = fraction {
        // At most nine digits, so the power of ten is at most 10^9. What is below a nanosecond is cut.
        nanos += digits(fraction)? * scale / 10_u128.pow(fraction.len() as u32);
    }
    Ok(nanos)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let nanos = self.0.subsec_nanos();
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if !nanos.is_multiple_of(1_000_000) {
            let fraction = format!("{nanos:09}");
            return write!(f, "{seconds}.{}s", fraction.trim_end_matches('0'));
        }
        if seconds > 0 {
            write!(f, "{seconds}s")?;
        }
        if nanos > 0 {
            write!(f, "{}ms", nanos / 1_000_000)?;
        }
        if self.0.is_zero() {
            write!(f, "0s")?;
        }
        Ok(())
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": DURATION_PATTERN,
            "maxLength": DURATION_MAX_LENGTH,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_kubernetes_users_write() {
        for (text, millis) in [
            ("90s", 90_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("0s", 0),
            ("1m0s", 60_000),
            ("24h", 86_400_000),
        ] {
            let parsed: GoDuration = text.parse().unwrap();
            assert_eq!(parsed.get(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_duration() {
        for text in [
            "",
            "90",
            "s",
            "1 m",
            "-1s",
            "+1s",
            "1d",
            "1.s",
            ".5s",
            "1..5s",
            "1e3s",
            "1µs",
            "1ms2",
            "99999999999999s",
            "1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h",
        ] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_pattern_and_the_parser_agree() {
        let pattern = regex::Regex::new(DURATION_PATTERN).unwrap();
        for text in [
            "90s",
            "1h30m",
            "500ms",
            "1.5s",
            "1s1h",
            "",
            "90",
            "s",
            "1 m",
            "-1s",
            "1d",
            "1.s",
            ".5s",
            "1..5s",
            "1ms2",
            "1.1.1s",
            "1234567890s",
            "1mms",
            "1msm",
            "1m1",
            "5ms5m",
        ] {
            assert_eq!(
                pattern.is_match(text),
                text.parse::<GoDuration>().is_ok(),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back_as_itself(seconds in 0_u64..3_600_000_000, nanos in 0_u32..1_000_000_000) {
            let duration = GoDuration::new(Duration::new(seconds, nanos));
            let text = duration.to_string();
            prop_assert_eq!(text.parse::<GoDuration>(), Ok(duration), "{}", text);
            prop_assert!(regex::Regex::new(DURATION_PATTERN).unwrap().is_match(&text));
        }

        #[test]
        fn no_string_makes_the_parser_panic(text in ".{0,40}") {
            let _ = text.parse::<GoDuration>();
        }

        #[test]
        fn the_pattern_accepts_exactly_what_parses(text in "[0-9.hms]{0,12}") {
            let pattern = regex::Regex::new(DURATION_PATTERN).unwrap();
            prop_assert_eq!(pattern.is_match(&text), text.parse::<GoDuration>().is_ok());
        }
    }
}
