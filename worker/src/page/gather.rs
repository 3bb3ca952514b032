//! Asking all workers at once, within limits.
//!
//! Owns who is asked, how long and how much is listened to, and what was said last. Must never let one that doesn't
//! answer hide the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};

use super::merge::{Answer, ChainReport, Facts, merge};
use super::view::{PipelineView, Served};
use crate::clock::Clock;
use crate::observe::state::{MemberReport, PipelineReport};
use crate::observe::{Identity, Observer};
use crate::pipeline::get_json;

/// Workers that are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
/// Most workers that are asked; further ones are shown as their `info` says.
const MAX_ASKED: usize = 256;
/// The longest report that is read, in bytes: 5,000 tickers take less than 4 MiB.
const MAX_REPORT: usize = 16 << 20;
/// All that are kept together, in bytes. With many workers each gets its share, and no less than the last.
const MAX_REPORTS: usize = 128 << 20;
const LEAST_SHARE: usize = 512 << 10;

/// Where to find the pipeline's workers.
#[async_trait]
pub trait Roster: Send + Sync + std::fmt::Debug {
    /// Looks once. What can't be found is told in the look: there is always something to show.
    async fn look(&self) -> Look;
}

/// What a roster found.
#[derive(Debug, Default)]
pub struct Look {
    /// The workers.
    pub peers: Vec<Peer>,
    /// What checkpoints say, when workers don't.
    pub chains: Vec<ChainReport>,
    /// What couldn't be found out, for people.
    pub trouble: Option<String>,
}

/// A worker, and where it is asked.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What its `info` says.
    pub member: MemberReport,
    /// Where it can be asked from here, or why it can't.
    pub address: Result<String, String>,
}

/// Makes views.
#[derive(Debug)]
pub(super) struct Gatherer {
    pub(super) identity: Identity,
    /// Of the worker that serves; a dashboard has none.
    pub(super) observer: Option<Observer>,
    pub(super) roster: Arc<dyn Roster>,
    pub(super) clock: Clock,
}

/// What was said last, by member id. Lives as long as somebody watches.
#[derive(Debug, Default)]
pub(super) struct Memory {
    last: BTreeMap<String, Arc<PipelineReport>>,
}

impl Gatherer {
    /// Asks everybody and merges what they say.
    pub(super) async fn gather(&self, memory: &mut Memory) -> PipelineView {
        let own = self.observer.as_ref().map(Observer::report);
        let own_id = own.as_ref().map(|own| own.worker.member_id.clone());
        let Look {
            peers,
            chains,
            trouble,
        } = self.roster.look().await;
        let others = |peer: &&Peer| Some(&peer.member.member_id) != own_id.as_ref();
        let others: Vec<&Peer> = peers.iter().filter(others).take(MAX_ASKED).collect();
        let share = MAX_REPORTS / others.len().max(1);
        let most = share.clamp(LEAST_SHARE, MAX_REPORT);
        let asked: Vec<_> = others
            .iter()
            .map(|peer| ask((*peer).clone(), most))
            .collect();
        let mut answers: BTreeMap<String, Answer> = BTreeMap::new();
        let mut incoming = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        while let Some((member, said)) = incoming.next().await {
            let answer = match said {
                Ok(report) => Answer {
                    report: Some(Arc::new(report)),
                    trouble: None,
                },
                Err(trouble) => Answer {
                    report: memory.last.get(&member).cloned(),
                    trouble: Some(trouble),
                },
            };
            answers.insert(member, answer);
        }
        drop(incoming);
        memory.last = answers
            .iter()
            .filter_map(|(member, answer)| Some((member.clone(), answer.report.clone()?)))
            .collect();
        let served_by = Served {
            kind: match own {
                Some(_) => "worker".to_owned(),
                None => "dashboard".to_owned(),
            },
            member_id: own_id.clone(),
            version: self.identity.worker.version.clone(),
        };
        if let (Some(member), Some(report)) = (own_id, own) {
            let answer = Answer {
                report: Some(report),
                trouble: None,
            };
            answers.insert(member, answer);
        }
        let members: Vec<MemberReport> = peers.into_iter().map(|peer| peer.member).collect();
        merge(&Facts {
            identity: &self.identity,
            served_by,
            at: self.clock.wall().0,
            members: &members,
            answers: &answers,
            chains: &chains,
            trouble: trouble.as_deref(),
        })
    }
}

/// What a worker says at this moment, or why nothing is known.
async fn ask(peer: Peer, most: usize) -> (String, Result<PipelineReport, String>) {
    let member = peer.member.member_id;
    let said = match (peer.member.live, peer.address) {
        (false, _) => Err("it no longer beats".to_owned()),
        (true, Err(why)) => Err(why),
        (true, Ok(address)) => report_of(&member, &address, most).await,
    };
    (member, said)
}

async fn report_of(member: &str, address: &str, most: usize) -> Result<PipelineReport, String> {
    let asked = get_json::<PipelineReport>(address, "/api/state", most).await;
    let report = asked.map_err(|error| format!("{address}: {}", error.detail))?;
    // A loopback address of another machine, or a port that somebody else has by now.
    match report.worker.member_id == member {
        true => Ok(report),
        false => Err(format!(
            "{address} is answered by {}",
            report.worker.member_id
        )),
    }
}
