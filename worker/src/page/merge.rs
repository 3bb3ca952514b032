//! Many workers' reports as one view: a pure function.
//!
//! Owns which of several words on a shard, a ticker or a condition counts. Must never ask anybody or read a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::view::{
    ConditionView, EventView, Health, PipelineView, Served, ShardView, WorkerState, WorkerView,
};
use crate::observe::Identity;
use crate::observe::observer::MAX_TICKERS;
use crate::observe::state::{
    ConditionStatus, Counters, MemberReport, MemberShard, PipelinePhase, PipelineReport,
    ShardPhase, ShardReport, TickerReport,
};

/// Most events in a view.
pub const MAX_EVENTS: usize = 150;
/// Most sentences in `attention`.
const MAX_ATTENTION: usize = 20;

/// What one worker said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its report: of this moment, or of its last answer when there is `trouble`.
    pub report: Option<Arc<PipelineReport>>,
    /// Why it couldn't be asked this time.
    pub trouble: Option<String>,
}

/// What a shard's newest checkpoint says, for shards of which no worker tells.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainReport {
    /// The shard as far as a checkpoint knows it.
    pub shard: ShardReport,
    /// When its owner took it.
    pub since: Option<i64>,
    /// Its tickers' latest closes, and the newest closed windows that aren't published.
    pub tickers: Vec<TickerReport>,
}

/// All that is known at one moment.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The pipeline and where it lies, from its YAML.
    pub identity: &'a Identity,
    /// Who serves the view.
    pub served_by: Served,
    /// Now, in microseconds since 1970 UTC.
    pub at: i64,
    /// The workers that the state path names.
    pub members: &'a [MemberReport],
    /// What they said, by member id.
    pub answers: &'a BTreeMap<String, Answer>,
    /// What checkpoints say.
    pub chains: &'a [ChainReport],
    /// Why something that should be known isn't, for people.
    pub trouble: Option<&'a str>,
}

/// A report that counts, and whether it is of this moment.
#[derive(Clone, Copy)]
struct Word<'a> {
    member: &'a str,
    report: &'a PipelineReport,
    fresh: bool,
}

/// The view.
///
/// For each shard the word of the highest epoch counts; of equal ones that of a worker that still has it, then the one of
/// this moment. A ticker is shown as the shard tells it that counts it now. Reports of an earlier life of the stream are
/// left out as soon as one of a later life is there.
#[must_use]
pub fn merge(facts: &Facts<'_>) -> PipelineView {
    let words = words(facts.answers);
    let workers = workers(facts, &words);
    let (shards, tickers) = shards_and_tickers(facts, &words);
    let conditions = conditions(&words);
    let mut totals = Counters::default();
    for (_, report, _) in &shards {
        totals.add(&report.counters);
    }
    let shards: Vec<ShardView> = shards.into_iter().map(|(view, _, _)| view).collect();
    let (health, attention) = health(facts, &words, &workers, &shards, &conditions);
    let read = |shard: &&ShardView| !matches!(shard.phase, Some(ShardPhase::Ended));
    let tickers_omitted = tickers.len().saturating_sub(MAX_TICKERS) as u64
        + words
            .iter()
            .map(|word| word.report.tickers_omitted)
            .sum::<u64>();
    let identity = facts.identity;
    PipelineView {
        pipeline: identity.pipeline.clone(),
        stream: identity.stream.clone(),
        incarnation: words
            .iter()
            .find_map(|word| word.report.incarnation.clone()),
        state_id: words.iter().find_map(|word| word.report.state_id.clone()),
        output_path: identity.output_path.clone(),
        rejects_path: identity.rejects_path.clone(),
        state_path: identity.state_path.clone(),
        aggregates: identity.aggregates.clone(),
        served_by: facts.served_by.clone(),
        at: facts.at,
        health,
        attention,
        watermark: shards
            .iter()
            .filter(read)
            .filter_map(|shard| shard.watermark)
            .min()
            .or_else(|| shards.iter().filter_map(|shard| shard.watermark).max()),
        lag_millis: shards
            .iter()
            .filter(read)
            .filter(|shard| shard.fresh)
            .filter_map(|shard| shard.lag_millis)
            .max(),
        totals,
        workers,
        shards,
        conditions,
        events: events(&words),
        tickers: tickers.into_iter().take(MAX_TICKERS).cloned().collect(),
        tickers_omitted,
    }
}

/// The reports of the newest life of the stream; those that don't know it yet count too.
fn words(answers: &BTreeMap<String, Answer>) -> Vec<Word<'_>> {
    let all: Vec<Word<'_>> = answers
        .iter()
        .filter_map(|(member, answer)| {
            let report = answer.report.as_deref()?;
            let fresh = answer.trouble.is_none();
            Some(Word {
                member,
                report,
                fresh,
            })
        })
        .collect();
    let life = |word: &Word<'_>| {
        let incarnation = word.report.incarnation.clone()?;
        Some((incarnation.len(), incarnation)) // creation times: the longer number is the later one
    };
    let fresh = all.iter().filter(|word| word.fresh).filter_map(life).max();
    let newest = fresh.or_else(|| all.iter().filter_map(life).max());
    all.into_iter()
        .filter(|word| word.report.incarnation.is_none() || life(word) == newest)
        .collect()
}

fn workers(facts: &Facts<'_>, words: &[Word<'_>]) -> Vec<WorkerView> {
    let mut views: BTreeMap<&str, WorkerView> = BTreeMap::new();
    for member in facts.members {
        let answer = facts.answers.get(&member.member_id);
        let trouble = answer.and_then(|answer| answer.trouble.clone());
        let answered = answer.is_some_and(|answer| answer.trouble.is_none());
        let state = match (member.live, answered) {
            (false, _) => WorkerState::Dead,
            (true, false) => WorkerState::Unreachable,
            (true, true) if member.draining => WorkerState::Leaving,
            (true, true) => WorkerState::Live,
        };
        views.insert(
            &member.member_id,
            WorkerView {
                member_id: member.member_id.clone(),
                name: member.name.clone(),
                address: member.address.clone(),
                version: member.version.clone(),
                since: member.since,
                state,
                trouble: match state {
                    WorkerState::Dead => Some("it no longer beats".to_owned()),
                    _ => trouble,
                },
                phase: answer.and_then(|answer| Some(answer.report.as_ref()?.phase)),
                shards: member.shards.len() as u64,
            },
        );
    }
    for word in words {
        // One that hasn't written its `info` yet, or reads files, which needs none.
        views.entry(word.member).or_insert_with(|| WorkerView {
            member_id: word.member.to_owned(),
            name: word.member.to_owned(),
            address: word.report.worker.listen.as_deref().map(without_scheme),
            version: word.report.worker.version.clone(),
            since: word.report.worker.started_at,
            state: match (word.fresh, word.report.phase) {
                (true, PipelinePhase::Stopping) => WorkerState::Leaving,
                (true, _) => WorkerState::Live,
                (false, _) => WorkerState::Unreachable,
            },
            trouble: None,
            phase: Some(word.report.phase),
            shards: word
                .report
                .shards
                .iter()
                .filter(|shard| holds(shard))
                .count() as u64,
        });
    }
    views.into_values().collect()
}

fn without_scheme(url: &str) -> String {
    url.split_once("://")
        .map_or(url, |(_, rest)| rest)
        .to_owned()
}

/// Whether the worker that reports a shard has it in hand.
fn holds(shard: &ShardReport) -> bool {
    !matches!(shard.phase, ShardPhase::Waiting | ShardPhase::Fenced)
}

/// Of each shard the word that counts, with its view; and the tickers, sorted and each once.
#[allow(
    clippy::type_complexity,
    reason = "two lists that are taken apart at once"
)]
fn shards_and_tickers<'a>(
    facts: &'a Facts<'_>,
    words: &[Word<'a>],
) -> (
    Vec<(ShardView, ShardReport, Option<&'a str>)>,
    Vec<&'a TickerReport>,
) {
    let mut best: BTreeMap<&str, (Word<'a>, &ShardReport)> = BTreeMap::new();
    for word in words {
        for shard in &word.report.shards {
            let rank =
                |word: &Word<'_>, shard: &ShardReport| (shard.epoch, holds(shard), word.fresh);
            match best.get(shard.shard.as_str()) {
                Some((known, other)) if rank(known, other) >= rank(word, shard) => {}
                _ => {
                    best.insert(&shard.shard, (*word, shard));
                }
            }
        }
    }
    let holdings = holdings(facts.members);
    let mut tickers: Vec<(&TickerReport, bool)> = Vec::new();
    let mut shards = BTreeMap::new();
    for (name, (word, report)) in &best {
        let current = !matches!(report.phase, ShardPhase::Ended | ShardPhase::Fenced);
        let of_shard = word.report.tickers.iter();
        let of_shard = of_shard.filter(|ticker| ticker.shard == **name);
        tickers.extend(of_shard.map(|ticker| (ticker, current)));
        let holding = holdings.get(name);
        // Who holds it at a higher epoch is its owner, and hasn't said how it stands.
        let overtaken = holding.filter(|(_, held)| held.epoch > report.epoch);
        let since = holding.map(|(_, held)| held.since);
        let mut view = shard_view(report, word.fresh && overtaken.is_none(), since);
        if let Some((owner, held)) = overtaken {
            (view.owner, view.epoch, view.phase) = (Some((*owner).to_owned()), held.epoch, None);
            view.reason.clone_from(&held.trouble);
        }
        shards.insert(*name, (view, (*report).clone(), Some(word.member)));
    }
    for (name, (owner, held)) in &holdings {
        shards.entry(*name).or_insert_with(|| {
            let mut report = ShardReport::new(*name);
            (report.owner, report.epoch) = (Some((*owner).to_owned()), held.epoch);
            report.reason.clone_from(&held.trouble);
            let mut view = shard_view(&report, false, Some(held.since));
            view.phase = held.ended.then_some(ShardPhase::Ended);
            (view, report, None)
        });
    }
    for chain in facts.chains {
        let name = chain.shard.shard.as_str();
        if !best.contains_key(name) {
            tickers.extend(chain.tickers.iter().map(|ticker| (ticker, false)));
            let view = shard_view(&chain.shard, false, chain.since);
            let entry = shards.entry(name);
            let entry = entry.or_insert_with(|| (view, chain.shard.clone(), None));
            // The owner's `info` says who has it, the checkpoint how far it is.
            entry.0.watermark = entry.0.watermark.or(chain.shard.watermark);
            entry.1.counters = chain.shard.counters.clone();
        }
    }
    tickers.sort_by(|(a, a_current), (b, b_current)| {
        a.ticker
            .cmp(&b.ticker)
            .then(b_current.cmp(a_current))
            .then(b.latest_event_time.cmp(&a.latest_event_time))
    });
    tickers.dedup_by(|(later, _), (first, _)| later.ticker == first.ticker);
    (
        shards.into_values().collect(),
        tickers.into_iter().map(|(ticker, _)| ticker).collect(),
    )
}

/// Of each shard the holding with the highest epoch, and whose it is.
fn holdings(members: &[MemberReport]) -> BTreeMap<&str, (&str, &MemberShard)> {
    let mut holdings: BTreeMap<&str, (&str, &MemberShard)> = BTreeMap::new();
    for member in members {
        for held in &member.shards {
            let known = holdings.get(held.shard.as_str());
            if known.is_none_or(|(_, known)| known.epoch < held.epoch) {
                holdings.insert(&held.shard, (&member.member_id, held));
            }
        }
    }
    holdings
}

fn shard_view(report: &ShardReport, fresh: bool, since: Option<i64>) -> ShardView {
    ShardView {
        shard: report.shard.clone(),
        owner: report.owner.clone(),
        epoch: report.epoch,
        since,
        fresh,
        phase: Some(report.phase),
        reason: report.reason.clone(),
        lag_millis: report.millis_behind_latest,
        watermark: report.watermark,
        checkpoint_version: report.checkpoint_version,
        committed_at: report.committed_at,
        open_windows: report.open_windows,
        unpublished_bytes: report.unpublished_bytes,
        ticks: report.counters.ticks,
        late: report.counters.late,
        dead_letters: report.counters.dead_letters_total(),
        rows_published: report.counters.rows_published,
    }
}

/// Of each type the worst word; of equally bad ones the latest.
fn conditions(words: &[Word<'_>]) -> Vec<ConditionView> {
    let badness = |status| match status {
        ConditionStatus::False => 2,
        ConditionStatus::Unknown => 1,
        ConditionStatus::True => 0,
    };
    let mut worst: BTreeMap<&str, ConditionView> = BTreeMap::new();
    for word in words.iter().filter(|word| word.fresh) {
        for condition in &word.report.conditions {
            let rank = |status, at: i64| (badness(status), at);
            let new = rank(condition.status, condition.last_transition);
            let known = worst.get(condition.kind.as_str());
            if known.is_none_or(|known| rank(known.status, known.last_transition) < new) {
                let view = ConditionView {
                    kind: condition.kind.clone(),
                    status: condition.status,
                    reason: condition.reason.clone(),
                    message: condition.message.clone(),
                    last_transition: condition.last_transition,
                    worker: word.member.to_owned(),
                };
                worst.insert(&condition.kind, view);
            }
        }
    }
    worst.into_values().collect()
}

fn events(words: &[Word<'_>]) -> Vec<EventView> {
    let mut events: Vec<EventView> = words
        .iter()
        .flat_map(|word| {
            word.report.events.iter().map(|event| EventView {
                at: event.at,
                level: event.level.clone(),
                event: event.event.clone(),
                shard: event.shard.clone(),
                message: event.message.clone(),
                worker: word.member.to_owned(),
            })
        })
        .collect();
    events.sort_by_key(|event| event.at);
    events.split_off(events.len().saturating_sub(MAX_EVENTS))
}

fn health(
    facts: &Facts<'_>,
    words: &[Word<'_>],
    workers: &[WorkerView],
    shards: &[ShardView],
    conditions: &[ConditionView],
) -> (Health, Vec<String>) {
    let mut attention: Vec<String> = facts.trouble.map(str::to_owned).into_iter().collect();
    for word in words {
        if word.report.phase == PipelinePhase::Failed {
            let reason = word.report.reason.as_deref();
            attention.push(format!(
                "{} failed: {}",
                word.member,
                reason.unwrap_or("it gave no reason; its log has it")
            ));
        }
    }
    for worker in workers {
        if worker.state == WorkerState::Unreachable {
            attention.push(format!(
                "{} can't be asked: {}",
                worker.member_id,
                worker.trouble.as_deref().unwrap_or("it has no address")
            ));
        }
    }
    for condition in conditions {
        if condition.status == ConditionStatus::False {
            attention.push(format!("{}: {}", condition.kind, condition.message));
        }
    }
    for shard in shards {
        if shard.phase == Some(ShardPhase::Failed) {
            let reason = shard.reason.as_deref().unwrap_or("no reason is known");
            attention.push(format!("{} stands still: {reason}", shard.shard));
        }
    }
    if attention.len() > MAX_ATTENTION {
        let more = attention.len() - MAX_ATTENTION;
        attention.truncate(MAX_ATTENTION);
        attention.push(format!("and {more} more"));
    }
    let phases: BTreeSet<&str> = words
        .iter()
        .filter(|word| word.fresh)
        .map(|word| word.report.phase.label())
        .collect();
    let any = |phase: PipelinePhase| phases.contains(phase.label());
    let lives = workers
        .iter()
        .any(|worker| worker.state != WorkerState::Dead);
    let ended = |shard: &ShardView| shard.phase == Some(ShardPhase::Ended);
    let health = if any(PipelinePhase::Running) {
        match attention.is_empty() {
            true => Health::Running,
            false => Health::NeedsAttention,
        }
    } else if any(PipelinePhase::Failed) {
        Health::Failed
    } else if any(PipelinePhase::Starting) {
        Health::Starting
    } else if any(PipelinePhase::Stopping) {
        Health::Stopping
    } else if any(PipelinePhase::Finished) || (!shards.is_empty() && shards.iter().all(ended)) {
        Health::Finished
    } else if lives {
        Health::NeedsAttention
    } else {
        Health::NoWorkers
    };
    (health, attention)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
