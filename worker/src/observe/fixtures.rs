//! Builders of reports for the tests of this module.

use std::collections::BTreeMap;

use super::event::Event;
use super::observer::{Identity, Observer};
use super::state::{
    ConditionStatus, PipelineName, PipelinePhase, ShardPhase, ShardReport, TickerReport,
    WindowFigures, WorkerReport,
};

/// 2024-01-02T14:00:00Z.
pub(crate) const NOW: i64 = 1_704_204_000_000_000;
const SECOND: i64 = 1_000_000;

pub(crate) fn observer() -> Observer {
    Observer::new(identity())
}

pub(crate) fn identity() -> Identity {
    Identity {
        pipeline: PipelineName {
            namespace: "default".into(),
            name: "stock-ticks".into(),
        },
        stream: "stock_stream".into(),
        worker: WorkerReport {
            member_id: "dev-1f2e".into(),
            version: "0.1.0".into(),
            started_at: NOW - 72 * SECOND,
            endpoint: Some("http://user:secret@127.0.0.1:4567".into()),
            listen: Some("http://127.0.0.1:8080".into()),
        },
        output_path: "file:///home/me/.stockstream/lake/avg_1min".into(),
        rejects_path: "file:///home/me/.stockstream/lake/avg_1min-rejects".into(),
        state_path: "file:///home/me/.stockstream/state".into(),
        aggregates: vec!["last_close".into(), "avg_close".into()],
    }
}

/// A running pipeline with one reading and one waiting shard and so many tickers, `T0000` and on.
pub(crate) fn busy_observer(tickers: usize) -> Observer {
    let observer = observer();
    observer.set_phase(PipelinePhase::Running, None);
    observer.set_ids("1704204000", "9b2d");
    observer.set_condition(
        "KeyedByTicker",
        ConditionStatus::True,
        "Keyed",
        "every ticker lives in one shard",
        NOW,
    );
    let name = "shardId-000000000000";
    let tickers = (0..tickers)
        .map(|n| ticker_report(&format!("T{n:04}"), name))
        .collect();
    observer.update_shard(reading_shard(name), tickers);
    let mut waiting = ShardReport::new("shardId-000000000001");
    waiting.reason = Some("its parent isn't ended".into());
    observer.update_shard_only(waiting);
    for batch in 1..=3 {
        observer.emit(
            &Event::Published {
                shard: name.into(),
                batch,
                files: 2,
                rows: 5,
                bytes: 900,
                millis: 12,
            },
            NOW + i64::try_from(batch).unwrap_or_default() * SECOND,
        );
    }
    observer
}

fn reading_shard(name: &str) -> ShardReport {
    let mut shard = ShardReport::new(name);
    shard.owner = Some("dev-1f2e".into());
    shard.epoch = 3;
    shard.checkpoint_version = 42;
    shard.committed_at = Some(NOW);
    shard.phase = ShardPhase::Reading;
    shard.position = Some("49590338271490256608559692538361571095921575989136588898".into());
    shard.millis_behind_latest = Some(250);
    shard.watermark = Some(NOW + 60 * SECOND);
    shard.read_through = Some(NOW);
    shard.open_windows = 10;
    shard.unpublished_bytes = 4_096;
    shard.outbox_batches = 1;
    shard.counters.ticks = 12_345;
    shard.counters.late = 3;
    shard.counters.rows_closed = 25;
    shard.counters.rows_published = 20;
    shard.counters.files_published = 8;
    shard.counters.bytes_published = 1_300_000;
    shard.counters.add_dead_letters("malformed_json", 2);
    shard.counters.add_dead_letters("wrong_shard", 1);
    shard
}

/// A ticker with an open and a closed window.
pub(crate) fn ticker_report(name: &str, shard: &str) -> TickerReport {
    let figures = |minute: i64, provisional: bool| WindowFigures {
        window_start: NOW + minute * 60 * SECOND,
        window_end: NOW + (minute + 1) * 60 * SECOND,
        trade_date: "2024-01-02".into(),
        ticks: 40,
        values: BTreeMap::from([
            (
                "avg_close".to_owned(),
                Some(if provisional { 185.642_5 } else { 185.5 }),
            ),
            ("last_close".to_owned(), Some(185.7)),
        ]),
        provisional,
    };
    TickerReport {
        ticker: name.into(),
        shard: shard.into(),
        latest_close: Some(185.71),
        latest_event_time: Some(NOW + 80 * SECOND),
        open: Some(figures(1, true)),
        closed: Some(figures(0, false)),
        published: true,
        published_through: Some(NOW + 60 * SECOND),
        ticks: 2_469,
        late: 1,
    }
}
