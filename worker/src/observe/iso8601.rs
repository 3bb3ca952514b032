//! Microseconds since 1970 UTC as ISO-8601 text with `Z`; times outside the years -9999 to 9999 are clamped.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Text of a time.
#[must_use]
pub fn format(micros: i64) -> String {
    let limit = if micros < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::from_microsecond(micros)
        .unwrap_or(limit)
        .to_string()
}

/// Writes a time.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*micros))
}

/// Reads a time.
///
/// # Errors
/// When the text is not an ISO-8601 time with a zone.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<Timestamp>()
        .map(Timestamp::as_microsecond)
        .map_err(D::Error::custom)
}

/// The same for a time that may be unknown (null).
pub mod option {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes a time or null.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        micros: &Option<i64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match micros {
            Some(micros) => super::serialize(micros, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a time or null.
    ///
    /// # Errors
    /// When the text is not an ISO-8601 time with a zone.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<i64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| {
            text.parse::<Timestamp>()
                .map(Timestamp::as_microsecond)
                .map_err(D::Error::custom)
        })
        .transpose()
    }
}
