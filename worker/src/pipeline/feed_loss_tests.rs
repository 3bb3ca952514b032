//! Records that were trimmed before they were read: told, and never skipped silently.
#![allow(clippy::unwrap_used, clippy::panic)]

use async_trait::async_trait;
use stockstream_core::sequence::SequenceNumber;

use super::*;
use crate::source::kinesis::{ListedShard, Listing, Reply, StreamRecord};

const HOUR: i64 = 3_600_000_000;

/// A stream that keeps records for a day, whose shard has one left. Before it come as many empty replies as were asked
/// for, each at the trim horizon.
#[derive(Debug)]
struct Trimmed {
    empty: usize,
}

#[async_trait]
impl StreamClient for Trimmed {
    fn name(&self) -> &str {
        "trimmed"
    }

    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        Ok(StreamDescription {
            created_millis: 1,
            is_active: true,
            retention_hours: 24,
        })
    }

    async fn list_shards(&self, _: Listing) -> Result<Vec<ListedShard>, StreamError> {
        Ok(Vec::new())
    }

    async fn iterator(&self, _: &str, _: &Position) -> Result<String, StreamError> {
        Ok("0".to_owned())
    }

    async fn get_records(&self, iterator: &str, _: i32) -> Result<Reply, StreamError> {
        let number: usize = iterator.parse().unwrap();
        let oldest = StreamRecord {
            sequence: SequenceNumber::from(900),
            arrival: Micros(0),
            data: Bytes::from_static(b"{}"),
        };
        let is_empty = number < self.empty;
        Ok(Reply {
            records: if is_empty { Vec::new() } else { vec![oldest] },
            next: Some((number + 1).to_string()),
            millis_behind_latest: if is_empty { 24 * HOUR / 1_000 } else { 0 },
            children: Vec::new(),
        })
    }
}

/// A shard of which everything that arrived until `hours` ago has been read.
fn begin(empty: usize, hours: Option<i64>, on_data_loss: OnDataLoss) -> mpsc::Receiver<Input> {
    let clock = Clock::system();
    let client: Arc<dyn StreamClient> = Arc::new(Trimmed { empty });
    let guard = Arc::new(IncarnationGuard::new(client, clock.clone(), 1));
    let start = PollStart {
        shard: "shardId-000000000007".to_owned(),
        position: Position::After(SequenceNumber::from(5)),
        read_through: hours.map(|hours| clock.wall().plus(-hours * HOUR)),
        retention: Duration::from_secs(24 * 3_600),
        on_data_loss,
        budget: ReadBudget::new(1 << 40),
    };
    let at_once = ReaderSettings {
        interval: Duration::ZERO,
        idle_interval: Duration::ZERO,
        bytes_per_second: u64::MAX,
        limit: 10_000,
    };
    poll_kinesis(guard, clock, start, at_once)
}

async fn is_record_900(feed: &mut mpsc::Receiver<Input>) -> bool {
    match feed.recv().await {
        Some(Input::Records { records, .. }) => records[0].0.sequence == SequenceNumber::from(900),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pause_longer_than_the_retention_stops_the_shard() {
    let mut feed = begin(0, Some(27), OnDataLoss::Fail);
    let Some(Input::Failed(error)) = feed.recv().await else {
        panic!("the loss wasn't told");
    };
    let told = error.to_string();
    for part in ["shardId-000000000007", "onDataLoss"] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    assert!(
        matches!(error, PipelineError::DataLost { paused, retention, .. }
        if (27 * 3_600..27 * 3_600 + 60).contains(&paused) && retention == 24 * 3_600)
    );
    assert!(feed.recv().await.is_none(), "reading went on");
}

#[tokio::test]
async fn or_it_goes_on_at_the_oldest_record_and_tells_how_much_is_missing() {
    let mut feed = begin(0, Some(27), OnDataLoss::Continue);
    let first = feed.recv().await;
    assert!(
        matches!(first, Some(Input::Lost { seconds }) if (3 * 3_600..3 * 3_600 + 60).contains(&seconds)),
        "{first:?}"
    );
    assert!(is_record_900(&mut feed).await);
}

#[tokio::test]
async fn a_reader_that_stands_at_the_trim_horizon_has_lost_something_and_says_so_once() {
    let mut feed = begin(2, Some(23), OnDataLoss::Fail);
    let failed = feed.recv().await;
    assert!(
        matches!(failed, Some(Input::Failed(PipelineError::DataLost { .. }))),
        "{failed:?}"
    );
    let mut feed = begin(2, Some(23), OnDataLoss::Continue);
    let lost = feed.recv().await;
    assert!(matches!(lost, Some(Input::Lost { .. })), "{lost:?}");
    let behind = feed.recv().await;
    assert!(matches!(behind, Some(Input::Behind(_))), "{behind:?}");
    assert!(is_record_900(&mut feed).await);
}

#[tokio::test]
async fn neither_a_short_pause_nor_a_shard_that_was_never_read_is_a_loss() {
    for (empty, hours) in [(0, Some(23)), (2, None)] {
        let mut feed = begin(empty, hours, OnDataLoss::Fail);
        for _ in 0..empty {
            let behind = feed.recv().await;
            assert!(matches!(behind, Some(Input::Behind(_))), "{behind:?}");
        }
        assert!(is_record_900(&mut feed).await);
    }
}
