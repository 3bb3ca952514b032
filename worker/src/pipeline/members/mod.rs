//! The other workers: beats and listings, probes and nudges.
//!
//! Owns talking to the store's `members/` and to peers' HTTP ports. Must never decide who lives or who reads what: the
//! core does, from what is found here. Nothing here is needed for exactly-once; it makes take-overs fast.

mod beats;
mod http_peers;
mod http_server;
mod peers;
mod probes;
mod task;

pub use beats::{Membership, MembershipHandle, View, leave};
pub use http_peers::{HttpPeers, get_json};
pub use http_server::nudge_router;
pub use peers::{Incoming, Mailbox, NoPeers, Nudge, PeerError, Peers, Probe, machine_id, mailbox};
