//! What living workers say of their shards at this moment.
//!
//! Owns asking; who doesn't answer is left out. The chains tell the rest, up to their last commit.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::members::{Member, Members};
use crate::observe::PipelineReport;
use crate::pipeline::{get_json, machine_id};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How far a shard's reading is behind, and whose word that is.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) member: String,
    pub(super) epoch: u64,
    pub(super) behind_millis: Option<u64>,
}

/// The newest word on each shard, by incarnation and shard.
pub(super) async fn ask(members: &Members) -> BTreeMap<(String, String), Word> {
    let here = machine_id();
    let asked = members.living().filter_map(|member| {
        let address = reachable(member, here.as_deref())?;
        Some(async move {
            let report = get_json::<PipelineReport>(&address, "/api/state", MAX_ANSWER).await;
            report.ok().map(|report| (member.member.clone(), report))
        })
    });
    let mut words: BTreeMap<(String, String), Word> = BTreeMap::new();
    for (member, report) in futures::future::join_all(asked).await.into_iter().flatten() {
        let Some(incarnation) = report
            .incarnation
            .filter(|_| report.worker.member_id == member)
        else {
            continue;
        };
        for shard in report.shards {
            let key = (incarnation.clone(), shard.shard);
            let newer = words.get(&key).is_none_or(|word| word.epoch < shard.epoch);
            if newer {
                let behind_millis = shard.millis_behind_latest;
                let word = Word {
                    member: member.clone(),
                    epoch: shard.epoch,
                    behind_millis,
                };
                words.insert(key, word);
            }
        }
    }
    words
}

/// A loopback address means this machine, and only to its own.
fn reachable(member: &Member, here: Option<&str>) -> Option<String> {
    let address = member.address.clone()?;
    let is_loopback = address
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.ip().is_loopback());
    let is_here = here.is_some() && member.machine.as_deref() == here;
    (!is_loopback || is_here).then_some(address)
}
