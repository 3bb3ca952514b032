#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn report(member: &str, shards: &[(&str, &str, u64, &str)], conditions: &[(&str, &str)]) -> Report {
    Report {
        worker: ReportedWorker {
            member_id: member.to_owned(),
        },
        shards: shards
            .iter()
            .map(|(shard, owner, epoch, phase)| ReportedShard {
                shard: (*shard).to_owned(),
                owner: Some((*owner).to_owned()),
                epoch: *epoch,
                phase: (*phase).to_owned(),
                ..ReportedShard::default()
            })
            .collect(),
        conditions: conditions
            .iter()
            .map(|(kind, status)| ReportedCondition {
                kind: (*kind).to_owned(),
                status: (*status).to_owned(),
                reason: "R".to_owned(),
                message: member.to_owned(),
            })
            .collect(),
        totals: ReportedCounters::default(),
    }
}

#[test]
fn a_shard_is_told_by_its_owner_whatever_the_order() {
    let former = report("a-1", &[("s", "a-1", 3, "Fenced")], &[]);
    let owner = report("b-2", &[("s", "b-2", 4, "Reading")], &[]);
    let other = report("c-3", &[("s", "b-2", 4, "Waiting")], &[]);
    let reports = [former, owner, other];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
        let told = put_together(order.map(|index| reports[index].clone()));
        assert_eq!(told.answered, 3);
        assert_eq!(told.shards["s"].phase, "Reading", "{order:?}");
    }
}

#[test]
fn the_worst_that_is_told_of_a_condition_counts() {
    let good = report("a", &[], &[("KeyedByTicker", "True")]);
    let bad = report("b", &[], &[("KeyedByTicker", "False")]);
    for reports in [[good.clone(), bad.clone()], [bad, good]] {
        let told = put_together(reports);
        assert_eq!(told.conditions["KeyedByTicker"].status, "False");
        assert_eq!(told.conditions["KeyedByTicker"].message, "b");
    }
}

/// What a worker of this repository answers, and what an older or newer one may leave out or add.
#[test]
fn answers_are_read_as_workers_write_them() {
    let text = r#"{"worker": {"memberId": "w-1", "version": "0.1.0", "new": 1},
        "shards": [{"shard": "shardId-000000000000", "owner": "w-1", "epoch": 2, "phase": "Reading",
            "position": "495", "millisBehindLatest": 12, "watermark": "2024-01-02T14:30:00.5Z", "counters": {"ticks": 7}}],
        "conditions": [{"type": "ShardCoverage", "status": "True", "reason": "Covered", "message": "", "lastTransition": "x"}]}"#;
    let report: Report = serde_json::from_str(text).unwrap();
    assert_eq!(report.shards[0].counters.ticks, 7);
    assert_eq!(report.shards[0].millis_behind_latest, Some(12));
    assert_eq!(report.conditions[0].kind, "ShardCoverage");
    let bare: Report = serde_json::from_str(r#"{"worker": {}}"#).unwrap();
    assert_eq!(bare, Report::default());
}

#[tokio::test]
async fn who_doesn_t_answer_is_left_out() {
    let told = Workers::default().ask(vec!["192.0.2.1".to_owned()]).await;
    assert_eq!(told, Told::default());
}
