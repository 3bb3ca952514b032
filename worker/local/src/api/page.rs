//! Page tokens of `ListShards` and `ListStreamConsumers`: stateless, valid for five minutes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ErrorKind, KinesisError, ShardFilter, Timestamp};

/// Page tokens are refused when older (Kinesis API reference).
const LIFETIME_MILLIS: u64 = 300_000;

/// Where the next page begins, and what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PageToken {
    pub stream: String,
    pub created_millis: u64,
    pub after_shard: u32,
    pub filter: Option<FilterToken>,
    pub issued_millis: u64,
}

/// The same for consumers. Its fields have other names, so that neither token is taken for the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConsumerToken {
    pub stream: String,
    pub created_millis: u64,
    pub after_consumer: String,
    pub issued_millis: u64,
}

/// A token that knows when it was given out.
pub(super) trait Token: Serialize + DeserializeOwned {
    fn issued_millis(&self) -> u64;

    fn encode(&self) -> String {
        // A token of strings and numbers always has a JSON form.
        STANDARD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str, now_millis: u64) -> Result<Self, KinesisError> {
        let bytes = STANDARD.decode(text).ok();
        let token = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        let token = token.ok_or_else(|| KinesisError::invalid_argument("NextToken is invalid."))?;
        if now_millis.saturating_sub(token.issued_millis()) > LIFETIME_MILLIS {
            let message =
                "NextToken has expired: it is valid for 300 seconds. List from the beginning.";
            return Err(KinesisError::new(ErrorKind::ExpiredNextToken, message));
        }
        Ok(token)
    }
}

impl Token for PageToken {
    fn issued_millis(&self) -> u64 {
        self.issued_millis
    }
}

impl Token for ConsumerToken {
    fn issued_millis(&self) -> u64 {
        self.issued_millis
    }
}

/// A shard filter inside a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilterToken {
    kind: Option<String>,
    shard_id: Option<String>,
    millis: Option<u64>,
}

impl From<&ShardFilter> for FilterToken {
    fn from(filter: &ShardFilter) -> Self {
        Self {
            kind: filter.r#type.clone(),
            shard_id: filter.shard_id.clone(),
            millis: filter.timestamp.map(|timestamp| timestamp.0),
        }
    }
}

impl From<FilterToken> for ShardFilter {
    fn from(token: FilterToken) -> Self {
        Self {
            r#type: token.kind,
            shard_id: token.shard_id,
            timestamp: token.millis.map(Timestamp),
        }
    }
}
