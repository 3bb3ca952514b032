#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;
use crate::workers::{ReportedCondition, ReportedCounters, ReportedShard};

fn pipeline(more: &str) -> Pipeline {
    let yaml = format!(
        "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: p, namespace: team}}
spec:
  source: {{kinesis: {{streamName: s}}}}
  output: {{path: s3://lake/rows}}
  state: {{path: s3://lake/state}}
{more}"
    );
    stockstream_crds::parse(&yaml).expect("a sound pipeline")
}

fn standing(state: State, reason: &'static str) -> Standing {
    Standing::new(state, reason, "said so")
}

struct Case {
    apply_error: Option<&'static str>,
    tick_rate: Option<u64>,
    pipeline: Pipeline,
    stream: Standing,
    storage: Standing,
    rollout: Option<Rollout>,
    told: Option<Told>,
    now: i64,
}

impl Case {
    fn running() -> Self {
        Self {
            apply_error: None,
            tick_rate: None,
            pipeline: pipeline(""),
            stream: standing(State::Ready, "Active"),
            storage: standing(State::Ready, "Writable"),
            rollout: Some(Rollout {
                desired: 2,
                replicas: 2,
                ready: 2,
                updated: 2,
                is_observed: true,
                trouble: None,
            }),
            told: None,
            now: 1_000,
        }
    }

    fn status(&self, before: Option<&StockStreamStatus>) -> StockStreamStatus {
        let owner = Owner {
            name: "team/p".to_owned(),
            uid: "1".to_owned(),
        };
        let facts = StreamFacts {
            arn: "arn".to_owned(),
            status: "ACTIVE".to_owned(),
            open_shards: 2,
            is_on_demand: false,
            retention_hours: 24,
            key: None,
            tags: Default::default(),
        };
        let found = Findings {
            pipeline: &self.pipeline,
            generation: 3,
            owner: &owner,
            stream: Some((&self.stream, Some(&facts))),
            scalings: &[],
            catalog: None,
            storage: &self.storage,
            rollout: self.rollout.as_ref(),
            apply_error: self.apply_error,
            scale: Scale::of(&self.pipeline, 2),
            image: "image",
            told: self.told.as_ref(),
            tick_rate: self.tick_rate,
            now: Timestamp::from_second(self.now).unwrap(),
        };
        status(before, &found)
    }
}

fn condition<'a>(status: &'a StockStreamStatus, kind: &str) -> Option<&'a Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
}

fn verdict(status: &StockStreamStatus, kind: &str) -> Option<String> {
    condition(status, kind).map(|condition| format!("{} {}", condition.status, condition.reason))
}

#[test]
fn ready_when_every_part_is_and_then_neither_reconciling_nor_stalled() {
    let status = Case::running().status(None);
    assert_eq!(verdict(&status, "Ready").unwrap(), "True Running");
    assert_eq!(verdict(&status, "Reconciling"), None);
    assert_eq!(verdict(&status, "Stalled"), None);
    assert_eq!(
        verdict(&status, "WorkersAvailable").unwrap(),
        "True AllReady"
    );
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(status.workers.unwrap().ready, "2/2");
    assert_eq!(
        status.selector.unwrap(),
        "app.kubernetes.io/component=worker,stockstream.dev/pipeline=p"
    );
    assert_eq!(status.stream.unwrap().scalings_left, Some(10));
}

#[test]
fn waiting_is_reconciling_and_what_somebody_must_mend_is_stalled() {
    let mut case = Case::running();
    case.stream = standing(State::Waiting, "Creating");
    let status = case.status(None);
    assert_eq!(verdict(&status, "Ready").unwrap(), "False Creating");
    assert_eq!(verdict(&status, "Reconciling").unwrap(), "True Creating");
    assert_eq!(verdict(&status, "Stalled"), None);
    case.stream = standing(State::Failing, "Throttled");
    let status = case.status(None);
    assert_eq!(verdict(&status, "Reconciling").unwrap(), "True Throttled");
    case.storage = standing(State::Stuck, "NoSuchBucket");
    let status = case.status(None);
    assert_eq!(verdict(&status, "Stalled").unwrap(), "True NoSuchBucket");
    assert_eq!(
        verdict(&status, "Reconciling"),
        None,
        "kstatus takes one of them"
    );
}

/// A status that says the same is the same: else it would be written again and again.
#[test]
fn a_transition_keeps_its_time_until_the_status_changes() {
    let mut case = Case::running();
    let first = case.status(None);
    case.now = 2_000;
    let second = case.status(Some(&first));
    assert_eq!(first, second);
    case.stream = standing(State::Failing, "Unavailable");
    let third = case.status(Some(&second));
    let time = |status: &StockStreamStatus, kind: &str| {
        condition(status, kind)
            .unwrap()
            .last_transition_time
            .0
            .as_second()
    };
    assert_eq!(time(&third, "Ready"), 2_000);
    assert_eq!(time(&third, "StorageReady"), 1_000);
}

#[test]
fn a_suspended_pipeline_is_as_it_shall_be() {
    let mut case = Case::running();
    case.pipeline = pipeline("  suspend: true");
    case.rollout = Some(Rollout::default());
    let status = case.status(None);
    assert_eq!(verdict(&status, "Ready").unwrap(), "True Suspended");
    assert_eq!(
        verdict(&status, "WorkersAvailable").unwrap(),
        "False Suspended"
    );
    case.stream = standing(State::Stuck, "AccessDenied");
    assert_eq!(
        verdict(&case.status(None), "Ready").unwrap(),
        "False AccessDenied"
    );
}

#[test]
fn pods_that_fail_say_why() {
    let mut case = Case::running();
    case.rollout = Some(Rollout {
        desired: 2,
        ready: 1,
        replicas: 2,
        updated: 2,
        is_observed: true,
        trouble: Some("pod p-1: CrashLoopBackOff: it ended with exit code 2".to_owned()),
    });
    let status = case.status(None);
    assert_eq!(
        verdict(&status, "WorkersAvailable").unwrap(),
        "False PodsFailing"
    );
    assert!(
        condition(&status, "Ready")
            .unwrap()
            .message
            .contains("exit code 2")
    );
}

#[test]
fn a_roll_out_is_reconciling_and_ready() {
    let mut case = Case::running();
    case.rollout.as_mut().unwrap().updated = 1;
    let status = case.status(None);
    assert_eq!(verdict(&status, "Ready").unwrap(), "True Running");
    assert_eq!(verdict(&status, "Reconciling").unwrap(), "True RollingOut");
}

fn told(lags: &[u64]) -> Told {
    Told {
        answered: 1,
        shards: lags
            .iter()
            .enumerate()
            .map(|(index, lag)| {
                let shard = format!("shardId-{index:012}");
                let report = ReportedShard {
                    shard: shard.clone(),
                    owner: Some("w-1".to_owned()),
                    epoch: 1,
                    phase: "Reading".to_owned(),
                    millis_behind_latest: Some(*lag),
                    watermark: Some(format!("2024-01-02T14:{:02}:00.25Z", index % 60)),
                    published_through: (index == 1).then(|| "2024-01-02T14:07:00Z".to_owned()),
                    counters: ReportedCounters { ticks: 5 },
                    ..ReportedShard::default()
                };
                (shard, report)
            })
            .collect(),
        conditions: [("KeyedByTicker", "False", "ForeignKeys")]
            .map(|(kind, status, reason)| {
                let condition = ReportedCondition {
                    kind: kind.to_owned(),
                    status: status.to_owned(),
                    reason: reason.to_owned(),
                    message: "look".to_owned(),
                };
                (kind.to_owned(), condition)
            })
            .into(),
    }
}

#[test]
fn what_workers_tell_is_shown_and_the_worst_fifty_of_many_shards() {
    let mut case = Case::running();
    let lags: Vec<u64> = (0..200).map(|shard| shard * 1_000).collect();
    case.told = Some(told(&lags));
    let status = case.status(None);
    assert_eq!(status.shards.len(), 50);
    assert_eq!(status.shards[0].shard, "shardId-000000000150");
    assert_eq!(status.shard_summary.as_ref().unwrap().reading, 200);
    assert_eq!(status.lag.as_deref(), Some("3m"));
    assert_eq!(status.watermark.as_deref(), Some("2024-01-02T14:00:00Z"));
    assert_eq!(
        status.last_published_window.as_deref(),
        Some("2024-01-02T14:07:00Z")
    );
    assert_eq!(
        verdict(&status, "KeyedByTicker").unwrap(),
        "False ForeignKeys"
    );
    assert_eq!(
        verdict(&status, "Ready").unwrap(),
        "True Running",
        "somebody else's keys"
    );
    // Nobody was asked: what was told stands.
    case.told = None;
    let later = case.status(Some(&status));
    assert_eq!(later.shards, status.shards);
    assert_eq!(later.last_published_window, status.last_published_window);
    assert_eq!(
        verdict(&later, "KeyedByTicker").unwrap(),
        "False ForeignKeys"
    );
}

/// An idle pipeline's small lags differ at each look; its status doesn't.
#[test]
fn lags_that_nobody_would_speak_of_make_no_new_status() {
    let mut case = Case::running();
    case.told = Some(told(&[3, 400]));
    let first = case.status(None);
    case.told = Some(told(&[250, 7]));
    assert_eq!(case.status(Some(&first)), first);
    assert_eq!(first.lag.as_deref(), Some("<1s"));
}

#[test]
fn each_change_is_told_once() {
    let mut case = Case::running();
    let first = case.status(None);
    assert!(
        transitions(&[], &first.conditions)
            .iter()
            .all(|change| !change.is_warning)
    );
    assert_eq!(transitions(&first.conditions, &first.conditions), []);
    case.storage = standing(State::Stuck, "AccessDenied");
    let second = case.status(Some(&first));
    let changes = transitions(&first.conditions, &second.conditions);
    let told: Vec<(&str, bool)> = changes
        .iter()
        .map(|change| (change.note.split('=').next().unwrap(), change.is_warning))
        .collect();
    assert_eq!(
        told,
        [("Ready", true), ("Stalled", true), ("StorageReady", true)]
    );
}

#[test]
fn reasons_of_workers_are_made_fit_for_the_api_server() {
    let mut case = Case::running();
    let mut told = told(&[1]);
    if let Some(condition) = told.conditions.get_mut("KeyedByTicker") {
        condition.reason = "no reason!".to_owned();
        condition.message = "x".repeat(5_000);
    }
    case.told = Some(told);
    let status = case.status(None);
    let condition = condition(&status, "KeyedByTicker").unwrap();
    assert_eq!(condition.reason, "Unknown");
    assert_eq!(condition.message.chars().count(), 1_024);
}

#[test]
fn who_isn_t_looked_after_is_stalled_and_says_why() {
    let now = Timestamp::from_second(5).unwrap();
    let status = refused(None, 4, refusal::INVALID, "spec.window.size: is odd", now);
    assert_eq!(verdict(&status, "Stalled").unwrap(), "True InvalidSpec");
    assert_eq!(verdict(&status, "Ready").unwrap(), "False InvalidSpec");
    assert_eq!(status.observed_generation, Some(4));
}

#[test]
fn a_refused_pipeline_keeps_what_was_said_of_its_parts() {
    let before = Case::running().status(None);
    let now = Timestamp::from_second(2_000).unwrap();
    let after = refused(Some(&before), 4, refusal::INVALID, "no", now);
    assert_eq!(verdict(&after, "Ready").unwrap(), "False InvalidSpec");
    assert_eq!(verdict(&after, "Stalled").unwrap(), "True InvalidSpec");
    for part in ["StreamReady", "StorageReady", "WorkersAvailable"] {
        assert_eq!(condition(&after, part), condition(&before, part));
    }
    assert_eq!(after.observed_generation, Some(4));
    assert_eq!(refused(Some(&after), 4, refusal::INVALID, "no", now), after);
}

#[test]
fn an_end_that_waits_is_told_and_no_failure() {
    let before = Case::running().status(None);
    let now = Timestamp::from_second(2_000).unwrap();
    let after = deleting(Some(&before), 4, "deletion waits: 1 pod is ending", now);
    assert_eq!(verdict(&after, "Ready").unwrap(), "False Deleting");
    assert_eq!(verdict(&after, "Reconciling").unwrap(), "True Deleting");
    assert_eq!(verdict(&after, "Stalled"), None);
    assert!(condition(&after, "WorkersAvailable").is_some());
}

#[test]
fn who_is_suspended_and_can_t_be_parked_isn_t_ready() {
    let mut case = Case::running();
    case.pipeline = pipeline("  suspend: true\n");
    case.apply_error = Some("applying Deployment p-worker failed: no");
    let status = case.status(None);
    assert_eq!(verdict(&status, "Ready").unwrap(), "False ApplyFailed");
}

#[test]
fn a_rate_is_told_while_it_is_measured() {
    let mut case = Case::running();
    case.told = Some(told(&[]));
    case.tick_rate = Some(1_234);
    let measured = case.status(None);
    assert_eq!(measured.tick_rate.as_deref(), Some("1200"));
    // A new operator has asked once only.
    case.tick_rate = None;
    let again = case.status(Some(&measured));
    assert_eq!(again.tick_rate.as_deref(), Some("1200"));
    case.tick_rate = Some(1_234);
    case.told = None;
    assert_eq!(case.status(Some(&measured)).tick_rate, None);
}

/// A worker that has just started doesn't know yet how its shards stand.
#[test]
fn what_workers_told_stands_while_they_tell_nothing_of_it() {
    let mut case = Case::running();
    let mut first = told(&[]);
    first.conditions.insert(
        "ShardCoverage".to_owned(),
        ReportedCondition {
            kind: "ShardCoverage".to_owned(),
            status: "True".to_owned(),
            reason: "AllRead".to_owned(),
            message: String::new(),
        },
    );
    case.told = Some(first);
    let before = case.status(None);
    case.told = Some(told(&[]));
    let after = case.status(Some(&before));
    assert_eq!(verdict(&after, "ShardCoverage").unwrap(), "True AllRead");
}

#[test]
fn a_stream_costs_what_its_shards_do() {
    let status = Case::running().status(None);
    // Two shards at 0.015 USD an hour, 730 hours.
    assert_eq!(
        status.cost_estimate.as_deref(),
        Some("22 USD a month for the stream")
    );
}

/// An operator that has just started, while AWS takes its time.
#[test]
fn what_aws_has_not_told_yet_is_as_it_was_for_the_same_spec_and_unknown_for_another() {
    let mut case = Case::running();
    let mut before = case.status(None);
    case.stream = standing(State::Unseen, UNSEEN);
    let same = case.status(Some(&before));
    assert_eq!(same, before);
    for condition in &mut before.conditions {
        condition.observed_generation = Some(2);
    }
    let other = case.status(Some(&before));
    assert_eq!(
        verdict(&other, "StreamReady").unwrap(),
        "Unknown NotLookedAt"
    );
    assert_eq!(verdict(&other, "Ready").unwrap(), "Unknown NotLookedAt");
    assert_eq!(verdict(&other, "Reconciling").unwrap(), "True NotLookedAt");
    // What somebody has to mend is told first.
    case.storage = standing(State::Stuck, "NoSuchBucket");
    let stuck = case.status(Some(&before));
    assert_eq!(verdict(&stuck, "Ready").unwrap(), "False NoSuchBucket");
    assert!(transitions(&before.conditions, &other.conditions).is_empty());
}

#[test]
fn a_parked_pipeline_says_so_whatever_else_it_says() {
    let before = Case::running().status(None);
    let now = Timestamp::from_second(2_000).unwrap();
    let mut after = refused(Some(&before), 4, refusal::INVALID, "no", now);
    park(&mut after, 4, now);
    assert_eq!(
        verdict(&after, "WorkersAvailable").unwrap(),
        "False Suspended"
    );
    assert_eq!(verdict(&after, "Ready").unwrap(), "False InvalidSpec");
    assert_eq!(
        (
            after.replicas,
            after.workers.clone().unwrap().ready.as_str()
        ),
        (0, "0/0")
    );
    let mut again = refused(Some(&after), 4, refusal::INVALID, "no", now);
    park(&mut again, 4, now);
    assert_eq!(again, after);
}
