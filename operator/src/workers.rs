//! What the workers of a pipeline tell of themselves.
//!
//! Owns asking each pod's `/api/state` and putting the answers together. The answers are a worker's word, not the operator's:
//! they are shown, and decide nothing that can't be undone.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use crate::names::PORT;

/// A worker answers within milliseconds; one that doesn't is left out of this round.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Workers that are asked at the same time, of one pipeline.
const AT_ONCE: usize = 16;
/// The longest answer that is read, in bytes. Tickers aren't asked for: what is left grows with the shards.
const MAX_ANSWER: usize = 16 << 20;

/// One worker's answer, as far as it is looked at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Who answers.
    pub worker: ReportedWorker,
    /// The shards that it knows.
    #[serde(default)]
    pub shards: Vec<ReportedShard>,
    /// What it holds of the pipeline as a whole.
    #[serde(default)]
    pub conditions: Vec<ReportedCondition>,
    /// The newest closed window of any ticker isn't told; counts are.
    #[serde(default)]
    pub totals: ReportedCounters,
}

/// The process that answers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedWorker {
    /// Worker's name and random process id.
    #[serde(default)]
    pub member_id: String,
}

/// A shard, as a worker tells it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedShard {
    /// Its id.
    pub shard: String,
    /// Who owns it.
    pub owner: Option<String>,
    /// Fencing number of the owner.
    pub epoch: u64,
    /// What is being done with it.
    pub phase: String,
    /// Why, when it can't go on.
    pub reason: Option<String>,
    /// How far it has been read.
    pub position: Option<String>,
    /// How far it is behind its tip.
    pub millis_behind_latest: Option<u64>,
    /// RFC 3339.
    pub watermark: Option<String>,
    /// End of the newest window that its owner has published, RFC 3339.
    pub published_through: Option<String>,
    /// Counts.
    pub counters: ReportedCounters,
}

/// Counts, as a worker tells them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedCounters {
    /// Records applied.
    pub ticks: u64,
}

/// A condition, as a worker tells it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReportedCondition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// Stable reason.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What all workers that answered tell together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Workers that answered.
    pub answered: usize,
    /// Each shard once, by its name: as its owner tells it, or whoever knows the highest epoch.
    pub shards: BTreeMap<String, ReportedShard>,
    /// Each condition once, the worst of what is told.
    pub conditions: BTreeMap<String, ReportedCondition>,
}

/// Asks workers over HTTP.
#[derive(Clone, Debug)]
pub struct Workers {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Default for Workers {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(ANSWER_WITHIN));
        Self {
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(60))
                .build(connector),
        }
    }
}

impl Workers {
    /// Asks the pods at these addresses. Who doesn't answer in time, or with something else, is left out.
    pub async fn ask(&self, addresses: Vec<String>) -> Told {
        let asked = addresses.into_iter().map(|address| self.report(address));
        let asked = futures::stream::iter(asked);
        let reports: Vec<Option<Report>> = asked.buffer_unordered(AT_ONCE).collect().await;
        put_together(reports.into_iter().flatten())
    }

    async fn report(&self, address: String) -> Option<Report> {
        let host = match address.contains(':') {
            true => format!("[{address}]"),
            false => address,
        };
        let request = Request::get(format!("http://{host}:{PORT}/api/state?tickers=false"))
            .body(Empty::new())
            .ok()?;
        let answer = async {
            let response = self.client.request(request).await.ok()?;
            if !response.status().is_success() {
                return None;
            }
            let body = Limited::new(response.into_body(), MAX_ANSWER);
            let bytes = body.collect().await.ok()?.to_bytes();
            serde_json::from_slice(&bytes).ok()
        };
        tokio::time::timeout(ANSWER_WITHIN, answer).await.ok()?
    }
}

fn put_together(reports: impl IntoIterator<Item = Report>) -> Told {
    let mut told = Told::default();
    for report in reports {
        told.answered += 1;
        for shard in report.shards {
            // Whoever owns it knows best; a former owner's word is older.
            let weight = |shard: &ReportedShard, member: &str| {
                (shard.epoch, shard.owner.as_deref() == Some(member))
            };
            let own = weight(&shard, &report.worker.member_id);
            match told.shards.get(&shard.shard) {
                Some(known) if own <= (known.epoch, !own.1) => {}
                _ => {
                    told.shards.insert(shard.shard.clone(), shard);
                }
            }
        }
        for condition in report.conditions {
            let known = told.conditions.get(&condition.kind);
            if known.is_none_or(|known| badness(&condition.status) > badness(&known.status)) {
                told.conditions.insert(condition.kind.clone(), condition);
            }
        }
    }
    told
}

fn badness(status: &str) -> u8 {
    match status {
        "True" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
