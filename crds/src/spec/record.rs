//! How a tick is read: `spec.record`.

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::duration::GoDuration;

/// The names of a tick's fields in its JSON. Fields that are not named are ignored.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.ticker != self.eventTime && self.ticker != self.tradeDate && self.eventTime != self.tradeDate")
        .message("ticker, eventTime and tradeDate must name three different fields"),
    validation = Rule::new("![self.ticker, self.eventTime, self.tradeDate].exists(n, n in [self.open, self.high, self.low, self.close, self.volume])")
        .message("open, high, low, close and volume are numbers: they can't name the field of ticker, eventTime or tradeDate")
)]
pub struct Record {
    /// Field that holds the ticker: a string of at most 64 bytes. It must also be the partition key.
    #[serde(default = "names::ticker")]
    #[schemars(length(min = 1, max = 128))]
    pub ticker: String,

    /// Field that holds the event time: an ISO 8601 string, UTC when it has no zone.
    #[serde(default = "names::event_time")]
    #[schemars(length(min = 1, max = 128))]
    pub event_time: String,

    /// Field that holds the trade date: a string YYYY-MM-DD. Ticks without it get the event time's UTC
    /// date.
    #[serde(default = "names::trade_date")]
    #[schemars(length(min = 1, max = 128))]
    pub trade_date: String,

    /// Field that holds the opening price: a number.
    #[serde(default = "names::open")]
    #[schemars(length(min = 1, max = 128))]
    pub open: String,

    /// Field that holds the highest price: a number.
    #[serde(default = "names::high")]
    #[schemars(length(min = 1, max = 128))]
    pub high: String,

    /// Field that holds the lowest price: a number.
    #[serde(default = "names::low")]
    #[schemars(length(min = 1, max = 128))]
    pub low: String,

    /// Field that holds the closing price: a number.
    #[serde(default = "names::close")]
    #[schemars(length(min = 1, max = 128))]
    pub close: String,

    /// Field that holds the volume: an integer (`123.0` is accepted).
    #[serde(default = "names::volume")]
    #[schemars(length(min = 1, max = 128))]
    pub volume: String,

    /// Field that holds an id of the tick. When given, a tick whose id was seen before in an open window
    /// of its ticker is dropped and counted. Without it two equal ticks are two ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub id: Option<String>,

    /// How far a tick's event time may lie ahead of its arrival at the stream: a duration up to 24h, or
    /// `unbounded`. A tick further ahead becomes a dead letter. Within it, the tick counts towards the
    /// watermark as if it were on time. `unbounded` lifts both. Not used for files. Default:
    /// `window.watermarkDelay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("self == 'unbounded' || duration(self) <= duration('24h')")
            .message("must be at most 24h, or unbounded")
    )]
    pub max_ahead: Option<MaxAhead>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            ticker: names::ticker(),
            event_time: names::event_time(),
            trade_date: names::trade_date(),
            open: names::open(),
            high: names::high(),
            low: names::low(),
            close: names::close(),
            volume: names::volume(),
            id: None,
            max_ahead: None,
        }
    }
}

/// The reference job's field names.
mod names {
    pub(super) fn ticker() -> String {
        "ticker".to_owned()
    }
    pub(super) fn event_time() -> String {
        "timestamp".to_owned()
    }
    pub(super) fn trade_date() -> String {
        "date".to_owned()
    }
    pub(super) fn open() -> String {
        "open".to_owned()
    }
    pub(super) fn high() -> String {
        "high".to_owned()
    }
    pub(super) fn low() -> String {
        "low".to_owned()
    }
    pub(super) fn close() -> String {
        "close".to_owned()
    }
    pub(super) fn volume() -> String {
        "volume".to_owned()
    }
}

/// How far event time may lie ahead of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAhead {
    /// At most this far.
    Within(GoDuration),
    /// Any distance, and event time moves the watermark unchecked.
    Unbounded,
}

impl Serialize for MaxAhead {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Within(duration) => duration.serialize(serializer),
            Self::Unbounded => serializer.serialize_str("unbounded"),
        }
    }
}

impl<'de> Deserialize<'de> for MaxAhead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "unbounded" {
            return Ok(Self::Unbounded);
        }
        text.parse()
            .map(Self::Within)
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for MaxAhead {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MaxAhead".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(unbounded|([0-9]{1,9}(\.[0-9]{1,9})?(h|ms|m|s))+)$",
            "maxLength": crate::duration::DURATION_MAX_LENGTH,
        })
    }
}
