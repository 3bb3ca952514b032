//! What several operations share: bytes, moments, and how a stream is named.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::log::StreamMode;

/// Bytes, in base64 on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Blob;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a base64 string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
                STANDARD
                    .decode(text)
                    .map(Blob)
                    .map_err(|error| E::custom(format!("not base64: {error}")))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

/// A moment: seconds since the Unix epoch with a fraction on the wire, milliseconds here.
///
/// A finer fraction is cut off. Arrivals are cut alike, so reading from a moment never misses a
/// record that arrived after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Serialize for Timestamp {
    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds of the next millennia fit a double"
    )]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..1e13).contains(&seconds) {
            return Err(D::Error::custom("a timestamp must be seconds since 1970"));
        }
        // Doubles near today's time are 0.24 µs apart: round to a microsecond, then cut.
        Ok(Self((seconds * 1e6).round() as u64 / 1000))
    }
}

/// Either name or ARN of a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamRef {
    /// The name.
    pub stream_name: Option<String>,
    /// The ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
}

impl StreamRef {
    /// The stream of that name.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            stream_name: Some(name.into()),
            stream_arn: None,
        }
    }
}

/// A stream's mode, as AWS nests it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamModeDetails<M = StreamMode> {
    /// `PROVISIONED` or `ON_DEMAND`.
    pub stream_mode: M,
}

/// An answer without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done;
