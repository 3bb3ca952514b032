//! The conditions, merged so that a transition keeps its time.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Findings;
use crate::aws::{Standing, State};

/// Conditions that are shown whatever their status, in this order. `Reconciling` and `Stalled` are there only while they are
/// true, as kstatus has it.
const ORDER: [&str; 9] = [
    "Ready",
    "Reconciling",
    "Stalled",
    "StreamReady",
    "CatalogReady",
    "StorageReady",
    "WorkersAvailable",
    "ShardCoverage",
    "KeyedByTicker",
];

/// A condition without its time.
#[derive(Clone, Debug)]
struct Verdict {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

impl Verdict {
    fn new(kind: &'static str, status: &'static str, reason: &str, message: &str) -> Self {
        Self {
            kind,
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    fn of(kind: &'static str, standing: &Standing) -> Self {
        let status = match standing.state {
            State::Ready => "True",
            State::Waiting | State::Failing | State::Stuck => "False",
            State::Unseen => "Unknown",
        };
        Self::new(kind, status, standing.reason, &standing.message)
    }
}

/// The conditions of what was found.
pub(super) fn of(before: &[Condition], found: &Findings<'_>) -> Vec<Condition> {
    let mut parts: Vec<Verdict> = Vec::new();
    let mut standings: Vec<(&'static str, &Standing)> = Vec::new();
    if let Some((standing, _)) = found.stream {
        standings.push(("StreamReady", standing));
    }
    if let Some((standing, _)) = found.catalog {
        standings.push(("CatalogReady", standing));
    }
    standings.push(("StorageReady", found.storage));
    for (kind, standing) in &standings {
        parts.push(seen_before(before, kind, standing, found.generation));
    }
    let workers = workers(found);
    parts.push(workers.clone());
    parts.extend(told(before, found));

    let stuck = standings
        .iter()
        .find(|(_, standing)| standing.state == State::Stuck);
    let is_unseen = |part: &&Verdict| part.status == "Unknown" && part.reason == UNSEEN;
    let unready = parts
        .iter()
        .find(|part| part.status == "False" && is_vital(part))
        .or_else(|| parts.iter().find(is_unseen));
    let suspended = found.pipeline.is_suspended();
    let ready = match unready {
        Some(part) if !(suspended && part.reason == "Suspended") => {
            Verdict::new("Ready", part.status, &part.reason, &part.message)
        }
        _ if suspended => Verdict::new(
            "Ready",
            "True",
            "Suspended",
            "no worker runs, as spec.suspend says; the stream keeps ticks only as long as its retention",
        ),
        _ => Verdict::new("Ready", "True", "Running", "every part is as the spec says"),
    };
    let is_ready = ready.status == "True";
    let mut all = vec![ready.clone()];
    match stuck {
        Some((_, standing)) => all.push(Verdict::new(
            "Stalled",
            "True",
            standing.reason,
            &standing.message,
        )),
        None if !is_ready || is_rolling(found) => {
            let (reason, message) = match is_ready {
                true => ("RollingOut", "workers are being replaced, one by one"),
                false => (ready.reason.as_str(), ready.message.as_str()),
            };
            all.push(Verdict::new("Reconciling", "True", reason, message));
        }
        None => {}
    }
    all.extend(parts);
    merge(before, all, found.generation, found.now)
}

/// The reason of what AWS hasn't told yet.
pub const UNSEEN: &str = "NotLookedAt";

/// A part that AWS hasn't told of yet is as it was, when that was said of this very spec: an operator that has just started knows
/// no better.
fn seen_before(
    before: &[Condition],
    kind: &'static str,
    standing: &Standing,
    generation: i64,
) -> Verdict {
    let known = before.iter().find(|condition| {
        condition.type_ == kind && condition.observed_generation == Some(generation)
    });
    match known {
        Some(known) if standing.state == State::Unseen => {
            Verdict::new(kind, word(&known.status), &known.reason, &known.message)
        }
        _ => Verdict::of(kind, standing),
    }
}

/// What a pipeline can't do without. Wrong partition keys are somebody's mistake that the pipeline survives.
fn is_vital(part: &Verdict) -> bool {
    part.kind != "KeyedByTicker"
}

fn is_rolling(found: &Findings<'_>) -> bool {
    found.rollout.is_some_and(|rollout| {
        !rollout.is_observed
            || rollout.updated < rollout.desired
            || rollout.replicas > rollout.desired
    })
}

fn workers(found: &Findings<'_>) -> Verdict {
    let verdict =
        |status, reason, message: &str| Verdict::new("WorkersAvailable", status, reason, message);
    if let Some(error) = found.apply_error {
        return verdict("False", "ApplyFailed", error);
    }
    if found.pipeline.is_suspended() {
        return verdict("False", "Suspended", "no worker runs, as spec.suspend says");
    }
    let Some(rollout) = found.rollout else {
        return verdict(
            "False",
            "NotStarted",
            "workers are started once the stream and the buckets are there",
        );
    };
    let ready = &rollout.ready;
    let desired = &i32::try_from(found.scale.workers).unwrap_or(i32::MAX);
    if found.scale.workers == 0 {
        return verdict(
            "False",
            "ScaledToZero",
            "no worker runs: spec.workers.replicas is 0",
        );
    }
    // The old workers go on while the new ones can't start: without this, nobody would be told.
    if let (Some(trouble), true) = (&rollout.trouble, is_rolling(found)) {
        return verdict("False", "PodsFailing", trouble);
    }
    if ready >= desired {
        return verdict(
            "True",
            "AllReady",
            &format!("{ready} of {desired} workers are ready"),
        );
    }
    match &rollout.trouble {
        Some(trouble) => verdict("False", "PodsFailing", trouble),
        None => verdict(
            "False",
            "Starting",
            &format!("{ready} of {desired} workers are ready"),
        ),
    }
}

/// What workers tell of shards and keys; what was told before stands while none answers.
fn told(before: &[Condition], found: &Findings<'_>) -> Vec<Verdict> {
    const TOLD: [&str; 2] = ["ShardCoverage", "KeyedByTicker"];
    let known = |kind: &str| before.iter().find(|condition| condition.type_ == kind);
    TOLD.iter()
        .filter_map(|kind| {
            let told = found.told.filter(|told| told.answered > 0);
            match told.map(|told| told.conditions.get(*kind)) {
                Some(Some(told)) => Some(Verdict::new(
                    kind,
                    word(&told.status),
                    &told.reason,
                    &told.message,
                )),
                // A worker that has just started doesn't know yet.
                Some(None) | None => known(kind).map(|known| {
                    Verdict::new(kind, word(&known.status), &known.reason, &known.message)
                }),
            }
        })
        .collect()
}

fn word(status: &str) -> &'static str {
    match status {
        "True" => "True",
        "False" => "False",
        _ => "Unknown",
    }
}

/// The conditions of a pipeline that isn't looked after; what was said of its parts stands.
pub(super) fn refused(
    before: &[Condition],
    generation: i64,
    reason: &'static str,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let all = vec![
        Verdict::new("Ready", "False", reason, message),
        Verdict::new("Stalled", "True", reason, message),
    ];
    beside_parts(before, merge(before, all, generation, now))
}

/// Says that no worker runs because the pipeline is suspended.
pub(super) fn park(conditions: &mut Vec<Condition>, generation: i64, now: Timestamp) {
    let parked = Verdict::new(
        "WorkersAvailable",
        "False",
        "Suspended",
        "no worker runs, as spec.suspend says",
    );
    let parked = merge(conditions, vec![parked], generation, now);
    conditions.retain(|condition| condition.type_ != "WorkersAvailable");
    conditions.extend(parked);
    in_order(conditions);
}

/// The conditions of a pipeline whose end waits for something that comes by itself.
pub(super) fn deleting(
    before: &[Condition],
    generation: i64,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let all = vec![
        Verdict::new("Ready", "False", "Deleting", message),
        Verdict::new("Reconciling", "True", "Deleting", message),
    ];
    beside_parts(before, merge(before, all, generation, now))
}

/// What was said of parts stands, with the generation that it was said of.
fn beside_parts(before: &[Condition], mut whole: Vec<Condition>) -> Vec<Condition> {
    let parts = before
        .iter()
        .filter(|known| !matches!(known.type_.as_str(), "Ready" | "Reconciling" | "Stalled"));
    whole.extend(parts.cloned());
    whole
}

fn merge(
    before: &[Condition],
    verdicts: Vec<Verdict>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut merged: Vec<Condition> = verdicts
        .into_iter()
        .map(|verdict| {
            let same = before.iter().find(|condition| {
                condition.type_ == verdict.kind && condition.status == verdict.status
            });
            Condition {
                type_: verdict.kind.to_owned(),
                status: verdict.status.to_owned(),
                reason: reason(verdict.reason),
                message: message(verdict.message),
                last_transition_time: same.map_or_else(
                    || Time(whole_seconds(now)),
                    |same| same.last_transition_time.clone(),
                ),
                observed_generation: Some(generation),
            }
        })
        .collect();
    in_order(&mut merged);
    merged
}

fn in_order(conditions: &mut [Condition]) {
    conditions.sort_by_key(|condition| {
        let place = ORDER.iter().position(|kind| *kind == condition.type_);
        place.unwrap_or(ORDER.len())
    });
}

/// Kubernetes' times have whole seconds: finer ones would differ from what is read back.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Never empty, and of the characters that the API server takes: reasons also come from workers.
fn reason(text: String) -> String {
    let is_taken = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || char == '_')
            && text.len() <= 256
    };
    match is_taken(&text) {
        true => text,
        false => "Unknown".to_owned(),
    }
}

/// The API server takes 32,768 characters; nobody reads so many.
fn message(text: String) -> String {
    const MOST: usize = 1_024;
    match text.chars().count() > MOST {
        true => text.chars().take(MOST - 1).chain(['…']).collect(),
        false => text,
    }
}

/// A condition that became another one, for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The condition's type.
    pub kind: String,
    /// True when it is for the worse.
    pub is_warning: bool,
    /// The condition's reason.
    pub reason: String,
    /// Its type and message.
    pub note: String,
}

/// What changed between two statuses: conditions whose status or reason is another one. `Reconciling` comes and goes with the
/// others and isn't told.
pub fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Transition> {
    after
        .iter()
        // That AWS takes its time is no change of state.
        .filter(|condition| condition.type_ != "Reconciling" && condition.reason != UNSEEN)
        .filter(|condition| {
            let own = before.iter().find(|known| known.type_ == condition.type_);
            own.is_none_or(|own| {
                (&own.status, &own.reason) != (&condition.status, &condition.reason)
            })
        })
        .map(|condition| {
            let is_good = match condition.type_.as_str() {
                "Stalled" => condition.status == "False",
                _ => condition.status == "True",
            };
            let is_underway = matches!(
                condition.reason.as_str(),
                "Creating"
                    | "Updating"
                    | "Deleting"
                    | "Changing"
                    | "NotStarted"
                    | "Starting"
                    | "Suspended"
                    | "ScaledToZero"
            );
            Transition {
                kind: condition.type_.clone(),
                is_warning: !is_good && !is_underway,
                reason: condition.reason.clone(),
                note: format!(
                    "{}={}: {}",
                    condition.type_, condition.status, condition.message
                ),
            }
        })
        .collect()
}
