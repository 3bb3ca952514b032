//! The two ways to find the workers: a worker knows its peers, a dashboard reads the members' directory.
//!
//! Owns reading `members/` without being a member. Must never write, nor decide who lives for anybody but the page.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use stockstream_core::layout::{MEMBERS, member_info, member_of};
use stockstream_core::member::MemberInfo;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::chains::{ChainReports, NewestVersion, chain_report, newest_versions};
use super::gather::{Look, Peer, Roster};
use super::merge::ChainReport;
use crate::observe::Observer;
use crate::observe::state::{MemberReport, MemberShard};
use crate::pipeline::machine_id;
use crate::storage::{Store, StoreError};

/// The members' directory isn't listed more often.
const LISTED_EVERY: Duration = Duration::from_secs(2);
/// Checkpoints aren't read more often while no worker lives.
const CHAINS_EVERY: Duration = Duration::from_secs(10);
/// Infos that are read at the same time.
const READ_AT_ONCE: usize = 16;
/// A beat so much older than the newest object that workers wrote was dead before anybody looked.
const SILENT_MICROS: i64 = 60_000_000;

/// What the worker that serves knows of its peers; costs nothing.
#[derive(Debug)]
pub struct WorkerRoster {
    /// Its observer.
    pub observer: Observer,
}

#[async_trait]
impl Roster for WorkerRoster {
    async fn look(&self) -> Look {
        let members = self.observer.report().members.clone();
        let peers = members.into_iter().map(|member| Peer {
            address: member.address.clone().ok_or_else(no_address),
            member,
        });
        Look {
            peers: peers.collect(),
            ..Look::default()
        }
    }
}

fn no_address() -> String {
    "it tells no address".to_owned()
}

/// Reads the members' directory at the state path, and the checkpoints while no worker lives.
#[derive(Debug)]
pub struct MembersRoster {
    state: Store,
    expiry: Duration,
    aggregates: Vec<String>,
    here: Option<String>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    listed_at: Option<Instant>,
    members: BTreeMap<String, Known>,
    trouble: Option<String>,
    chains_at: Option<Instant>,
    chains: Vec<ChainReport>,
}

/// A member as it was seen last.
#[derive(Debug)]
struct Known {
    beat: Option<String>,
    /// When its beat was seen to change; `None` while it was only seen once.
    changed_at: Option<Instant>,
    first_seen: Instant,
    silent: bool,
    info_tag: Option<String>,
    info: Option<MemberInfo>,
}

impl MembersRoster {
    /// Of the pipeline with this state. `expiry`: how long a beat may stand still; `aggregates`: names in the spec's order.
    #[must_use]
    pub fn new(state: Store, expiry: Duration, aggregates: Vec<String>) -> Self {
        MembersRoster {
            state,
            expiry,
            aggregates,
            here: machine_id(),
            seen: Mutex::default(),
        }
    }
}

#[async_trait]
impl Roster for MembersRoster {
    async fn look(&self) -> Look {
        let mut seen = self.seen.lock().await;
        let now = Instant::now();
        let due = |at: Option<Instant>, every| at.is_none_or(|at| now.duration_since(at) >= every);
        if due(seen.listed_at, LISTED_EVERY) {
            seen.listed_at = Some(now);
            seen.trouble = match self.list(&mut seen.members, now).await {
                Ok(()) => None,
                Err(error) => Some(format!("the workers can't be listed: {error}")),
            };
        }
        let peers: Vec<Peer> = seen
            .members
            .values()
            .filter_map(|known| self.peer(known, now))
            .collect();
        if peers.iter().any(|peer| peer.member.live) {
            seen.chains_at = None;
            seen.chains.clear();
        } else if due(seen.chains_at, CHAINS_EVERY) {
            seen.chains_at = Some(now);
            match newest_versions(&self.state).await {
                Ok(versions) => seen.chains = self.reports(&versions),
                Err(error) => seen.trouble = Some(format!("checkpoints can't be read: {error}")),
            }
        }
        Look {
            peers,
            chains: seen.chains.clone(),
            trouble: seen.trouble.clone(),
        }
    }
}

impl MembersRoster {
    async fn list(
        &self,
        members: &mut BTreeMap<String, Known>,
        now: Instant,
    ) -> Result<(), StoreError> {
        let listed = self.state.list(MEMBERS).await?;
        let newest = listed.iter().map(|object| object.last_modified.0).max();
        let mut found: BTreeMap<String, (Option<String>, Option<String>, bool)> = BTreeMap::new();
        for object in listed {
            let Some((member, name)) = member_of(&object.key) else {
                continue;
            };
            let entry = found.entry(member.to_owned()).or_insert((None, None, true));
            let stamp = object.last_modified.0;
            let tag = object
                .etag
                .unwrap_or_else(|| format!("{stamp}-{}", object.size));
            match name {
                "beat" => {
                    entry.0 = Some(tag);
                    entry.2 = newest.is_none_or(|newest| newest - stamp >= SILENT_MICROS);
                }
                "info" => entry.1 = Some(tag),
                _ => {}
            }
        }
        members.retain(|member, _| found.contains_key(member));
        let mut fetch = Vec::new();
        for (member, (beat, info, silent)) in found {
            let known = members.entry(member.clone()).or_insert_with(|| Known {
                beat: beat.clone(),
                changed_at: None,
                first_seen: now,
                silent,
                info_tag: None,
                info: None,
            });
            if known.beat != beat {
                (known.beat, known.changed_at) = (beat, Some(now));
                known.silent = false;
            }
            if info.is_some() && known.info_tag != info {
                fetch.push((member, info));
            }
        }
        let mut reads = stream::iter(fetch)
            .map(|(member, tag)| async move {
                let bytes = self.state.get(&member_info(&member)).await;
                (member, tag, bytes)
            })
            .buffer_unordered(READ_AT_ONCE);
        while let Some((member, tag, bytes)) = reads.next().await {
            let Some(bytes) = bytes? else { continue };
            if let (Ok(info), Some(known)) = (MemberInfo::decode(&bytes), members.get_mut(&member))
            {
                (known.info, known.info_tag) = (Some(info), tag);
            }
        }
        Ok(())
    }

    fn peer(&self, known: &Known, now: Instant) -> Option<Peer> {
        let info = known.info.as_ref()?;
        // As workers do: a beat that stands still for longer than the lease means death.
        let since = known.changed_at.unwrap_or(known.first_seen);
        let live = !known.silent
            && known.beat.is_some()
            && now.duration_since(since) <= self.expiry + LISTED_EVERY;
        Some(Peer {
            address: self.address(info),
            member: MemberReport {
                member_id: info.member.clone(),
                name: info.name.clone(),
                address: info.address.clone(),
                version: info.release.clone(),
                since: info.since.0,
                live,
                draining: info.draining,
                shards: info
                    .shards
                    .iter()
                    .map(|(shard, holding)| MemberShard {
                        shard: shard.clone(),
                        epoch: holding.epoch,
                        since: holding.since.0,
                        ended: holding.ended,
                        trouble: holding.trouble.clone(),
                    })
                    .collect(),
            },
        })
    }

    /// A loopback address means nothing on another machine.
    fn address(&self, info: &MemberInfo) -> Result<String, String> {
        let address = info.address.clone().ok_or_else(no_address)?;
        let is_loopback = address
            .parse::<SocketAddr>()
            .is_ok_and(|address| address.ip().is_loopback());
        let is_here = self.here.is_some() && info.machine == self.here;
        match is_loopback && !is_here {
            true => Err(format!(
                "{address} is an address of its own machine only: start it with --listen and --advertise"
            )),
            false => Ok(address),
        }
    }

    /// Those of the stream's newest life.
    fn reports(&self, versions: &[NewestVersion]) -> Vec<ChainReport> {
        let life =
            |version: &NewestVersion| (version.incarnation.len(), version.incarnation.clone());
        let newest = versions.iter().map(life).max();
        let reports: ChainReports = versions
            .iter()
            .filter(|version| Some(life(version)) == newest)
            .map(|version| chain_report(version, &self.aggregates))
            .collect();
        reports
    }
}
