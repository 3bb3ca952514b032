//! What workers say to each other.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Nudges that wait to be read; more are refused.
const MAILBOX: usize = 256;

/// A word from a peer. Every one is a hint: whoever gets it looks for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Nudge {
    /// This member refused connections: probe it.
    Suspect {
        /// The member.
        member: String,
    },
    /// Would you take this shard? It is released once you say yes.
    Offer {
        /// The shard.
        shard: String,
    },
    /// I have released this shard: take it.
    Released {
        /// The shard.
        shard: String,
        /// The epoch that ended.
        epoch: u64,
    },
    /// These shards were read to their end: their children may begin. List them.
    Ended {
        /// The shards.
        shards: Vec<String>,
    },
}

/// A nudge, and where its answer goes: true when it is accepted.
#[derive(Debug)]
pub struct Incoming {
    /// The nudge.
    pub nudge: Nudge,
    /// For the answer.
    pub answer: oneshot::Sender<bool>,
}

/// Where nudges for this worker are put.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// Known to those only who can read the state path; without it a nudge is refused.
    token: Arc<str>,
    sender: mpsc::Sender<Incoming>,
}

/// A mailbox, and the end at which the pipeline reads it.
pub fn mailbox(token: impl Into<Arc<str>>) -> (Mailbox, mpsc::Receiver<Incoming>) {
    let (sender, receiver) = mpsc::channel(MAILBOX);
    let token = token.into();
    (Mailbox { token, sender }, receiver)
}

impl Mailbox {
    /// What peers must know to nudge.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Hands a nudge over and waits for its answer. `None` when the token is wrong.
    pub async fn deliver(&self, token: &str, nudge: Nudge) -> Option<bool> {
        if token != &*self.token {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        if self.sender.try_send(Incoming { nudge, answer }).is_err() {
            return Some(false);
        }
        Some(answered.await.unwrap_or(false))
    }
}

/// How a member's port behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Somebody listens.
    Open,
    /// The machine is there, and nobody listens.
    Refused,
    /// No answer in time, or another fault: it says nothing.
    Unknown,
}

/// A nudge didn't arrive. Nothing is lost by it: the next listing tells the same.
#[derive(Debug, thiserror::Error)]
#[error("the peer at {address} couldn't be told: {detail}")]
pub struct PeerError {
    /// The peer's address.
    pub address: String,
    /// Why.
    pub detail: String,
}

/// How peers are reached.
#[async_trait]
pub trait Peers: Send + Sync + std::fmt::Debug {
    /// Tries to connect.
    async fn probe(&self, address: &str) -> Probe;

    /// Says something to a peer. True when it accepts.
    async fn nudge(&self, address: &str, token: &str, nudge: &Nudge) -> Result<bool, PeerError>;
}

/// Nobody can be reached: listings tell everything, later.
#[derive(Debug)]
pub struct NoPeers;

#[async_trait]
impl Peers for NoPeers {
    async fn probe(&self, _: &str) -> Probe {
        Probe::Unknown
    }

    async fn nudge(&self, address: &str, _: &str, _: &Nudge) -> Result<bool, PeerError> {
        Err(PeerError {
            address: address.to_owned(),
            detail: "this worker has no way to reach peers".to_owned(),
        })
    }
}

/// Names the running kernel: workers with the same one reach each other's loopback addresses, unless containers keep
/// them apart.
pub fn machine_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}
