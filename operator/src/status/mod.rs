//! What is said of a pipeline in its `status`.
//!
//! Owns the conditions, after kstatus, and the figures. Pure: what was found and applied goes in, the status comes out. Must
//! never look like another status when nothing changed: it is written only when it differs.

mod conditions;
mod figures;

use jiff::{SignedDuration, Timestamp};
use stockstream_crds::Pipeline;
use stockstream_crds::spec::{CatalogStatus, StockStreamStatus, StreamStatus, WorkerStatus};

use crate::aws::stream_plan::{Owner, StreamFacts, is_ours, recent, scalings_left};
use crate::aws::{Standing, State};
use crate::build::Scale;
use crate::names;
use crate::workers::Told;

pub use conditions::{Transition, UNSEEN, transitions};

/// What became of the worker Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Pods that are wanted.
    pub desired: i32,
    /// Pods there are.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods made from the newest template.
    pub updated: i32,
    /// True when the Deployment's own status speaks of the newest template.
    pub is_observed: bool,
    /// Why a pod can't start, for people, as its containers tell it.
    pub trouble: Option<String>,
}

/// What a reconcile found and did.
#[derive(Clone, Debug)]
pub struct Findings<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// The generation of its spec.
    pub generation: i64,
    /// Who it is to AWS.
    pub owner: &'a Owner,
    /// Its stream; `None` for files.
    pub stream: Option<(&'a Standing, Option<&'a StreamFacts>)>,
    /// When the operator changed the number of shards.
    pub scalings: &'a [Timestamp],
    /// Its table; `None` without a catalog.
    pub catalog: Option<(&'a Standing, bool)>,
    /// Its buckets.
    pub storage: &'a Standing,
    /// The workers' Deployment; `None` when there is none yet.
    pub rollout: Option<&'a Rollout>,
    /// Why an object couldn't be applied.
    pub apply_error: Option<&'a str>,
    /// Pods that were asked for.
    pub scale: Scale,
    /// Their image.
    pub image: &'a str,
    /// What workers tell; `None` when they weren't asked now.
    pub told: Option<&'a Told>,
    /// Ticks a second.
    pub tick_rate: Option<u64>,
    /// Now.
    pub now: Timestamp,
}

/// The status of a pipeline that can't be looked after: its spec isn't valid, or another one has what it claims.
pub fn refused(
    before: Option<&StockStreamStatus>,
    generation: i64,
    reason: &'static str,
    message: &str,
    now: Timestamp,
) -> StockStreamStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = Some(generation);
    status.conditions = conditions::refused(&status.conditions, generation, reason, message, now);
    status
}

/// That the workers of a pipeline were told to stop, in a status which is otherwise about something else.
pub fn park(status: &mut StockStreamStatus, generation: i64, now: Timestamp) {
    status.replicas = 0;
    if let Some(workers) = &mut status.workers {
        workers.desired = 0;
        workers.ready = "0/0".to_owned();
    }
    conditions::park(&mut status.conditions, generation, now);
}

/// The reasons for which [`refused`] is asked.
pub mod refusal {
    /// The spec breaks a rule that the API server couldn't check.
    pub const INVALID: &str = "InvalidSpec";
    /// An older StockStream has what this one claims.
    pub const CONFLICT: &str = "Conflict";
    /// Files aren't read in a cluster yet.
    pub const FILES: &str = "FilesNotSupported";
}

/// The status of a pipeline that is being deleted, and waits for something.
pub fn deleting(
    before: Option<&StockStreamStatus>,
    generation: i64,
    message: &str,
    now: Timestamp,
) -> StockStreamStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = Some(generation);
    status.conditions = conditions::deleting(&status.conditions, generation, message, now);
    status
}

/// The status of what was found.
pub fn status(before: Option<&StockStreamStatus>, found: &Findings<'_>) -> StockStreamStatus {
    let empty = StockStreamStatus::default();
    let before = before.unwrap_or(&empty);
    let mut status = StockStreamStatus {
        conditions: conditions::of(&before.conditions, found),
        observed_generation: Some(found.generation),
        replicas: found.rollout.map_or(0, |rollout| rollout.replicas),
        selector: Some(names::selector_text(found.pipeline.name())),
        workers: Some(workers(found)),
        stream: stream(before.stream.as_ref(), found),
        catalog: catalog(before.catalog.as_ref(), found),
        last_published_window: before.last_published_window.clone(),
        ..StockStreamStatus::default()
    };
    match found.told {
        Some(told) if told.answered > 0 => figures::fill(&mut status, told),
        // Nobody answered, or nobody was asked: what was told before stands, but a lag that isn't measured is none.
        _ => {
            status.shards = before.shards.clone();
            status.shard_summary = before.shard_summary.clone();
            status.watermark = before.watermark.clone();
        }
    }
    let has_answers = found.told.is_some_and(|told| told.answered > 0);
    status.tick_rate = match (has_answers, found.tick_rate) {
        (true, Some(rate)) => Some(figures::rounded(rate)),
        // An operator that has just started has asked once only: what was told before stands.
        (true, None) => before.tick_rate.clone(),
        // A rate that isn't measured is none.
        (false, _) => None,
    };
    status.cost_estimate = figures::cost(found).or_else(|| before.cost_estimate.clone());
    status
}

fn workers(found: &Findings<'_>) -> WorkerStatus {
    let desired = i32::try_from(found.scale.workers).unwrap_or(i32::MAX);
    let ready = found.rollout.map_or(0, |rollout| rollout.ready);
    WorkerStatus {
        desired,
        ready: format!("{ready}/{desired}"),
        image: found.image.to_owned(),
    }
}

fn stream(before: Option<&StreamStatus>, found: &Findings<'_>) -> Option<StreamStatus> {
    let (standing, facts) = found.stream?;
    let Some(facts) = facts else {
        // What can't be seen just now is as it was; what isn't there is nothing.
        return match standing.state {
            State::Failing | State::Unseen => before.cloned(),
            _ => None,
        };
    };
    Some(StreamStatus {
        arn: facts.arn.clone(),
        status: facts.status.clone(),
        open_shards: i32::try_from(facts.open_shards).unwrap_or(i32::MAX),
        made_by_operator: is_ours(facts, found.owner),
        scalings: recent(found.scalings, found.now)
            .map(|at| at.to_string())
            .collect(),
        scalings_left: (!facts.is_on_demand)
            .then(|| i32::try_from(scalings_left(found.scalings, found.now)).unwrap_or(i32::MAX)),
    })
}

fn catalog(before: Option<&CatalogStatus>, found: &Findings<'_>) -> Option<CatalogStatus> {
    let (standing, is_ours) = found.catalog?;
    let table = found.pipeline.catalog()?;
    if matches!(standing.state, State::Failing | State::Unseen) {
        return before.cloned();
    }
    Some(CatalogStatus {
        table: format!("{}.{}", table.database, table.table),
        made_by_operator: is_ours,
    })
}

/// True when a status written before is old enough to be written again for figures alone.
pub fn is_due(before: Option<Timestamp>, now: Timestamp, interval: SignedDuration) -> bool {
    before.is_none_or(|before| now.duration_since(before) >= interval)
}

#[cfg(test)]
mod tests;
