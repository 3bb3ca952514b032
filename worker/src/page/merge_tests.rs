#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::observe::event::Event;
use crate::observe::fixtures::{NOW, busy_observer, identity, observer, ticker_report};
use crate::observe::state::{Condition, EventReport};

const SHARD: &str = "shardId-000000000000";

/// A worker that runs and reads one shard with these tickers.
fn report(member: &str, shard: &str, epoch: u64, tickers: &[&str]) -> PipelineReport {
    let observer = observer();
    observer.set_phase(PipelinePhase::Running, None);
    observer.set_ids("k1704204000000", "9b2d");
    observer.set_member_id(member);
    let mut of_shard = ShardReport::new(shard);
    of_shard.owner = Some(member.to_owned());
    of_shard.epoch = epoch;
    of_shard.phase = ShardPhase::Reading;
    of_shard.counters.ticks = 10;
    of_shard.watermark = Some(NOW);
    let tickers = tickers.iter().map(|name| ticker_report(name, shard));
    observer.update_shard(of_shard, tickers.collect());
    observer.report().as_ref().clone()
}

fn member(id: &str, live: bool, shards: &[(&str, u64)]) -> MemberReport {
    MemberReport {
        member_id: id.to_owned(),
        name: id.to_owned(),
        address: Some("10.0.0.1:8080".to_owned()),
        version: "0.1.0".to_owned(),
        since: NOW,
        live,
        draining: false,
        shards: shards
            .iter()
            .map(|(shard, epoch)| MemberShard {
                shard: (*shard).to_owned(),
                epoch: *epoch,
                since: NOW,
                ended: false,
                trouble: None,
            })
            .collect(),
    }
}

fn fresh(report: PipelineReport) -> Answer {
    Answer {
        report: Some(Arc::new(report)),
        trouble: None,
    }
}

fn merged(
    members: &[MemberReport],
    answers: Vec<(&str, Answer)>,
    chains: &[ChainReport],
) -> PipelineView {
    let answers = answers
        .into_iter()
        .map(|(member, answer)| (member.to_owned(), answer))
        .collect();
    merge(&Facts {
        identity: &identity(),
        served_by: Served {
            kind: "dashboard".to_owned(),
            member_id: None,
            version: "0.1.0".to_owned(),
        },
        at: NOW,
        members,
        answers: &answers,
        chains,
        trouble: None,
    })
}

fn owners(view: &PipelineView) -> Vec<(&str, &str, u64, bool)> {
    view.shards
        .iter()
        .map(|shard| {
            let owner = shard.owner.as_deref().unwrap_or("-");
            (shard.shard.as_str(), owner, shard.epoch, shard.fresh)
        })
        .collect()
}

#[test]
fn all_workers_shards_and_tickers_are_in_one_view_and_counts_add_up() {
    let view = merged(
        &[
            member("a", true, &[("s1", 1)]),
            member("b", true, &[("s2", 1)]),
        ],
        vec![
            ("a", fresh(report("a", "s1", 1, &["AAPL", "^GSPC"]))),
            ("b", fresh(report("b", "s2", 1, &["MSFT"]))),
        ],
        &[],
    );
    assert_eq!(owners(&view), [("s1", "a", 1, true), ("s2", "b", 1, true)]);
    let names: Vec<_> = view.tickers.iter().map(|ticker| &*ticker.ticker).collect();
    assert_eq!(names, ["AAPL", "MSFT", "^GSPC"]);
    assert_eq!((view.totals.ticks, view.health), (20, Health::Running));
    assert_eq!(view.incarnation.as_deref(), Some("k1704204000000"));
}

#[test]
fn the_higher_epoch_counts_and_a_shard_is_counted_once() {
    let mut before = report("a", "s1", 1, &["AAPL"]);
    before.shards[0].phase = ShardPhase::Fenced;
    let mut after = report("b", "s1", 2, &["AAPL"]);
    after.tickers[0].latest_close = Some(7.0);
    let view = merged(
        &[member("a", true, &[]), member("b", true, &[("s1", 2)])],
        vec![("a", fresh(before)), ("b", fresh(after))],
        &[],
    );
    assert_eq!(owners(&view), [("s1", "b", 2, true)]);
    assert_eq!(
        (view.totals.ticks, view.tickers[0].latest_close),
        (10, Some(7.0))
    );
}

#[test]
fn one_that_cant_be_asked_is_shown_as_such_with_its_last_figures_and_hides_nothing() {
    let stale = Answer {
        report: Some(Arc::new(report("b", "s2", 1, &["MSFT"]))),
        trouble: Some("10.0.0.1:8080: no answer within 2s".to_owned()),
    };
    let view = merged(
        &[
            member("a", true, &[("s1", 1)]),
            member("b", true, &[("s2", 1)]),
            member("c", true, &[("s3", 4)]),
        ],
        vec![
            ("a", fresh(report("a", "s1", 1, &["AAPL"]))),
            ("b", stale),
            (
                "c",
                Answer {
                    report: None,
                    trouble: Some("refused".to_owned()),
                },
            ),
        ],
        &[],
    );
    assert_eq!(
        owners(&view),
        [
            ("s1", "a", 1, true),
            ("s2", "b", 1, false),
            ("s3", "c", 4, false)
        ]
    );
    assert_eq!((view.tickers.len(), view.totals.ticks), (2, 20));
    let states: Vec<_> = view.workers.iter().map(|worker| worker.state).collect();
    assert_eq!(
        states,
        [
            WorkerState::Live,
            WorkerState::Unreachable,
            WorkerState::Unreachable
        ]
    );
    assert_eq!(view.health, Health::NeedsAttention);
    assert!(
        view.attention[0].contains("b can't be asked: 10.0.0.1:8080"),
        "{:?}",
        view.attention
    );
    assert_eq!(
        view.shards[2].phase, None,
        "nobody says what is done with it"
    );
}

#[test]
fn who_took_a_shard_and_has_not_spoken_yet_is_its_owner() {
    let view = merged(
        &[
            member("a", false, &[("s1", 1)]),
            member("b", true, &[("s1", 2)]),
        ],
        vec![(
            "a",
            Answer {
                report: Some(Arc::new(report("a", "s1", 1, &["AAPL"]))),
                trouble: Some("it no longer beats".to_owned()),
            },
        )],
        &[],
    );
    assert_eq!(owners(&view), [("s1", "b", 2, false)]);
    assert_eq!(view.tickers.len(), 1, "its tickers stay in sight");
    assert_eq!(view.workers[0].state, WorkerState::Dead);
}

#[test]
fn a_life_of_the_stream_that_is_over_is_left_out() {
    let mut old = report("a", "s1", 9, &["OLD"]);
    old.incarnation = Some("k999999999999".to_owned());
    let view = merged(
        &[],
        vec![
            ("a", fresh(old)),
            ("b", fresh(report("b", "s1", 1, &["NEW"]))),
        ],
        &[],
    );
    assert_eq!(owners(&view), [("s1", "b", 1, true)]);
    assert_eq!(view.tickers[0].ticker, "NEW");
}

#[test]
fn the_worst_word_on_a_condition_counts_and_needs_attention() {
    let condition = |status, message: &str| Condition {
        kind: "KeyedByTicker".to_owned(),
        status,
        reason: "R".to_owned(),
        message: message.to_owned(),
        last_transition: NOW,
    };
    let mut good = report("a", "s1", 1, &[]);
    good.conditions = vec![condition(ConditionStatus::True, "keyed")];
    let mut bad = report("b", "s2", 1, &[]);
    bad.conditions = vec![condition(ConditionStatus::False, "wrong keys")];
    let view = merged(&[], vec![("a", fresh(good)), ("b", fresh(bad))], &[]);
    assert_eq!(view.conditions.len(), 1);
    assert_eq!(
        (&*view.conditions[0].worker, view.health),
        ("b", Health::NeedsAttention)
    );
    assert_eq!(view.attention, ["KeyedByTicker: wrong keys"]);
}

#[test]
fn a_failure_is_told_with_its_reason() {
    let mut failed = report("a", "s1", 1, &[]);
    (failed.phase, failed.reason) = (PipelinePhase::Failed, Some("access denied".to_owned()));
    let view = merged(&[], vec![("a", fresh(failed.clone()))], &[]);
    assert_eq!(
        (view.health, &*view.attention[0]),
        (Health::Failed, "a failed: access denied")
    );
    // While another one goes on, the pipeline does.
    let other = fresh(report("b", "s1", 2, &[]));
    let view = merged(&[], vec![("a", fresh(failed)), ("b", other)], &[]);
    assert_eq!(view.health, Health::NeedsAttention);
}

#[test]
fn without_workers_checkpoints_speak() {
    let mut shard = ShardReport::new(SHARD);
    (shard.epoch, shard.owner) = (3, Some("gone-1".to_owned()));
    shard.counters.ticks = 77;
    let mut chain = ChainReport {
        shard,
        since: Some(NOW),
        tickers: vec![ticker_report("AAPL", SHARD)],
    };
    let view = merged(&[], Vec::new(), std::slice::from_ref(&chain));
    assert_eq!(owners(&view), [(SHARD, "gone-1", 3, false)]);
    assert_eq!(
        (view.health, view.totals.ticks, view.tickers.len()),
        (Health::NoWorkers, 77, 1)
    );
    chain.shard.phase = ShardPhase::Ended;
    let view = merged(&[], Vec::new(), &[chain]);
    assert_eq!(view.health, Health::Finished, "a bounded job is done");
}

#[test]
fn events_of_all_are_in_order_and_bounded() {
    let mut one = report("a", "s1", 1, &[]);
    let mut two = report("b", "s2", 1, &[]);
    let event = |at: i64| EventReport {
        at,
        ..Event::Stopping {
            reason: "signal".to_owned(),
        }
        .report(at)
        .unwrap()
    };
    one.events = (0..100).map(|n| event(NOW + 2 * n)).collect();
    two.events = (0..100).map(|n| event(NOW + 2 * n + 1)).collect();
    let view = merged(&[], vec![("a", fresh(one)), ("b", fresh(two))], &[]);
    assert_eq!(view.events.len(), MAX_EVENTS);
    assert!(view.events.is_sorted_by_key(|event| event.at));
    assert_eq!(view.events.last().unwrap().at, NOW + 199);
}

#[test]
fn the_watermark_is_that_of_the_slowest_shard_and_the_lag_the_largest() {
    let mut report = busy_observer(1).report().as_ref().clone();
    report.shards[1].phase = ShardPhase::Reading;
    (
        report.shards[1].watermark,
        report.shards[1].millis_behind_latest,
    ) = (Some(NOW), Some(9_000));
    let view = merged(&[], vec![("a", fresh(report))], &[]);
    assert_eq!((view.watermark, view.lag_millis), (Some(NOW), Some(9_000)));
}
