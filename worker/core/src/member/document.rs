//! `members/<member>/info`: what a worker says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::assignment::Formats;
use crate::time::Micros;

/// The version of the document.
const DOCUMENT_VERSION: u32 = 1;

/// The longest document that is read, in bytes: 10,000 shards take less than 2 MiB.
pub const MAX_INFO_BYTES: usize = 16 * 1024 * 1024;

/// What a worker says of itself; written when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberInfo {
    /// The document's version.
    pub version: u32,
    /// The member id: the worker's name and a random process id.
    pub member: String,
    /// The worker's name, which outlives the process: a pod's, a machine's.
    pub name: String,
    /// The life of the stream that it reads.
    pub incarnation: String,
    /// Where peers reach its HTTP server, as `host:port`; `None` when it has none.
    #[serde(default)]
    pub address: Option<String>,
    /// What a peer must send along to be heard: who can read the state path knows it. Empty: nobody is heard.
    #[serde(default)]
    pub token: String,
    /// Names the running kernel of its machine: a loopback address means nothing elsewhere.
    #[serde(default)]
    pub machine: Option<String>,
    /// The release.
    pub release: String,
    /// The checkpoint formats that it reads.
    pub reads: Formats,
    /// When the process started, by its own wall clock. For people.
    pub since: Micros,
    /// True when it is giving its shards away and takes none.
    #[serde(default)]
    pub draining: bool,
    /// The shards that it holds.
    #[serde(default)]
    pub shards: BTreeMap<String, Holding>,
}

/// A shard in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holding {
    /// The epoch of the take.
    pub epoch: u64,
    /// When it was taken, by the holder's wall clock. For people.
    pub since: Micros,
    /// True once the chain says SHARD_END: its children may begin.
    #[serde(default)]
    pub ended: bool,
    /// Why it can't go on, when it can't: the holder tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Bytes that are no `info`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Not the document.
    #[error("it is no member's info: {0}")]
    Content(String),
    /// Too long.
    #[error("it has {found} bytes, allowed are {MAX_INFO_BYTES}")]
    TooLong {
        /// Bytes.
        found: usize,
    },
}

impl MemberInfo {
    /// The info of a worker that has just started and holds nothing.
    pub fn new(member: &str, name: &str, incarnation: &str, release: &str, since: Micros) -> Self {
        MemberInfo {
            version: DOCUMENT_VERSION,
            member: member.to_owned(),
            name: name.to_owned(),
            incarnation: incarnation.to_owned(),
            address: None,
            machine: None,
            token: String::new(),
            release: release.to_owned(),
            reads: Formats::OURS,
            since,
            draining: false,
            shards: BTreeMap::new(),
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`MemberError::Content`] when JSON fails, which it doesn't for these types.
    pub fn encode(&self) -> Result<Vec<u8>, MemberError> {
        serde_json::to_vec(self).map_err(|error| MemberError::Content(error.to_string()))
    }

    /// Reads it. Fields of a newer release are ignored: what concerns correctness isn't here.
    ///
    /// # Errors
    /// [`MemberError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MemberError> {
        if bytes.len() > MAX_INFO_BYTES {
            return Err(MemberError::TooLong { found: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(|error| MemberError::Content(error.to_string()))
    }
}

/// A member id: the worker's name, made fit for a key, and the process's random id.
pub fn member_id(name: &str, process: &str) -> String {
    let name: String = name
        .chars()
        .map(|character| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => character,
            _ => '-',
        })
        .take(100)
        .collect();
    format!("{name}-{process}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn info() -> MemberInfo {
        let mut info = MemberInfo::new("w-1", "w", "k1", "0.1.0", Micros(7));
        info.shards.insert(
            "shardId-000000000000".to_owned(),
            Holding {
                epoch: 3,
                since: Micros(8),
                ended: false,
                trouble: None,
            },
        );
        info
    }

    #[test]
    fn an_info_survives_its_bytes() {
        assert_eq!(
            MemberInfo::decode(&info().encode().unwrap()).unwrap(),
            info()
        );
    }

    #[test]
    fn fields_of_a_newer_release_are_ignored_and_missing_ones_of_an_older_have_defaults() {
        let text = r#"{"version":2,"member":"a-1","name":"a","incarnation":"k1","release":"9","reads":{"oldest":1,"newest":3},
            "since":0,"colour":"red"}"#;
        let info = MemberInfo::decode(text.as_bytes()).unwrap();
        assert!(info.shards.is_empty() && !info.draining && info.address.is_none());
        assert!(info.reads.read(3) && !info.reads.read(4));
    }

    #[test]
    fn a_name_that_would_leave_its_folder_is_made_fit() {
        assert_eq!(member_id("../a b/ü", "12"), "---a-b---12");
        assert_eq!(member_id("pod-7", "12"), "pod-7-12");
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(MemberInfo::decode(&bytes).is_err());
        }
    }
}
