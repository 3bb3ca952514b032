//! Records that were trimmed before they were read: told, and never skipped silently.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicI32, Ordering};

use stockstream_core::sequence::SequenceNumber;

use super::fake::{Fake, poll_at_once, record, reply, start};
use super::*;

const HOUR: i64 = 3_600_000_000;

/// A shard of which everything that arrived until `hours` ago has been read, with one record left. Before it come so
/// many empty replies at the trim horizon; before those a record that arrived `old` hours ago.
struct Shard {
    old: Option<i64>,
    empty: u64,
    hours: Option<i64>,
    position: Position,
}

impl Default for Shard {
    fn default() -> Self {
        Shard {
            old: None,
            empty: 0,
            hours: Some(27),
            position: Position::After(SequenceNumber::from(5)),
        }
    }
}

impl Shard {
    fn begin(self, on_data_loss: OnDataLoss) -> mpsc::Receiver<Input> {
        let wall = Clock::system().wall();
        let olds = u64::from(self.old.is_some());
        let client = Fake::new(move |number| match (self.old, number) {
            (Some(hours), 0) => {
                let old = record(800, wall.plus(-hours * HOUR), 2);
                reply(number, Some(old), 25 * HOUR / 1_000)
            }
            _ if number < olds + self.empty => reply(number, None, 24 * HOUR / 1_000),
            _ => reply(number, Some(record(900, wall, 2)), 0),
        });
        let start = PollStart {
            position: self.position,
            read_through: self.hours.map(|hours| wall.plus(-hours * HOUR)),
            on_data_loss,
            ..start("shardId-000000000007", ReadBudget::new(1 << 40))
        };
        poll_at_once(client, start)
    }
}

async fn is_record_900(feed: &mut mpsc::Receiver<Input>) -> bool {
    match feed.recv().await {
        Some(Input::Records { records, .. }) => records[0].0.sequence == SequenceNumber::from(900),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pause_longer_than_the_retention_stops_the_shard() {
    let mut feed = Shard::default().begin(OnDataLoss::Fail);
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
async fn or_it_goes_on_at_the_oldest_record_and_tells_once_how_much_is_missing() {
    let shard = Shard {
        empty: 2,
        ..Shard::default()
    };
    let mut feed = shard.begin(OnDataLoss::Continue);
    let first = feed.recv().await;
    assert!(
        matches!(first, Some(Input::Lost { seconds }) if (3 * 3_600..3 * 3_600 + 60).contains(&seconds)),
        "{first:?}"
    );
    for _ in 0..2 {
        let behind = feed.recv().await;
        assert!(matches!(behind, Some(Input::Behind(_))), "{behind:?}");
    }
    assert!(is_record_900(&mut feed).await);
}

/// A reader that has fallen so far behind that it comes to the trim horizon while it reads.
#[tokio::test]
async fn a_reader_that_falls_behind_the_trim_horizon_has_lost_something_and_says_so_once() {
    let behind = || Shard {
        old: Some(25),
        empty: 2,
        hours: Some(23),
        ..Shard::default()
    };
    let mut feed = behind().begin(OnDataLoss::Fail);
    let old = feed.recv().await;
    assert!(matches!(old, Some(Input::Records { .. })), "{old:?}");
    let failed = feed.recv().await;
    assert!(
        matches!(failed, Some(Input::Failed(PipelineError::DataLost { .. }))),
        "{failed:?}"
    );
    let mut feed = behind().begin(OnDataLoss::Continue);
    let old = feed.recv().await;
    assert!(matches!(old, Some(Input::Records { .. })), "{old:?}");
    let lost = feed.recv().await;
    assert!(matches!(lost, Some(Input::Lost { .. })), "{lost:?}");
    let behind = feed.recv().await;
    assert!(matches!(behind, Some(Input::Behind(_))), "{behind:?}");
    assert!(is_record_900(&mut feed).await);
}

#[tokio::test]
async fn neither_a_short_pause_nor_a_shard_that_was_never_read_is_a_loss() {
    let new = || Shard {
        empty: 2,
        position: Position::TrimHorizon,
        ..Shard::default()
    };
    for shard in [
        Shard {
            hours: Some(23),
            ..Shard::default()
        },
        Shard {
            hours: None,
            ..new()
        },
        // As a root's first version says: what is owed begins when the pipeline did.
        Shard {
            hours: Some(0),
            ..new()
        },
    ] {
        let empty = shard.empty;
        let mut feed = shard.begin(OnDataLoss::Fail);
        for _ in 0..empty {
            let behind = feed.recv().await;
            assert!(matches!(behind, Some(Input::Behind(_))), "{behind:?}");
        }
        assert!(is_record_900(&mut feed).await);
    }
}

/// The retention that was known when the process started may be another now.
#[tokio::test]
async fn the_streams_retention_of_now_counts() {
    let wall = Clock::system().wall();
    for (known, hours, is_loss) in [(48, 27, true), (12, 23, false)] {
        let client = Fake::new(move |number| reply(number, Some(record(900, wall, 2)), 0));
        let start = PollStart {
            position: Position::After(SequenceNumber::from(5)),
            read_through: Some(wall.plus(-hours * HOUR)),
            retention: Duration::from_secs(known * 3_600),
            ..start("a", ReadBudget::new(1 << 40))
        };
        let mut feed = poll_at_once(client, start);
        let first = feed.recv().await;
        let failed = matches!(first, Some(Input::Failed(PipelineError::DataLost { .. })));
        assert_eq!(failed, is_loss, "{known} h known, {hours} h ago: {first:?}");
    }
}

/// Of a shard that was closed, and that the stream forgot before it was read to its end.
#[tokio::test(start_paused = true)]
async fn a_shard_that_the_stream_no_longer_has_is_lost_and_then_at_its_end() {
    let begin = |on_data_loss| {
        let client = Fake::new(|_| {
            Err(StreamError::NotFound {
                stream: "fake".to_owned(),
                operation: "GetRecords",
            })
        });
        let start = PollStart {
            position: Position::After(SequenceNumber::from(5)),
            read_through: Some(Clock::system().wall().plus(-23 * HOUR)),
            on_data_loss,
            ..start("a", ReadBudget::new(1 << 40))
        };
        poll_at_once(client, start)
    };
    let mut feed = begin(OnDataLoss::Fail);
    let trouble = feed.recv().await;
    assert!(
        matches!(trouble, Some(Input::Trouble(_))),
        "one answer isn't believed: {trouble:?}"
    );
    let failed = feed.recv().await;
    assert!(
        matches!(failed, Some(Input::Failed(PipelineError::DataLost { .. }))),
        "{failed:?}"
    );
    let mut feed = begin(OnDataLoss::Continue);
    assert!(matches!(feed.recv().await, Some(Input::Trouble(_))));
    let lost = feed.recv().await;
    assert!(matches!(lost, Some(Input::Lost { seconds: 0 })), "{lost:?}");
    let closed = feed.recv().await;
    assert!(matches!(&closed, Some(Input::Closed { children }) if children.is_empty()));
    assert!(feed.recv().await.is_none(), "reading went on");
}

/// The stream still has records that were read before, and gives them again at its horizon.
#[tokio::test]
async fn what_the_horizon_gives_once_more_is_left_out() {
    let wall = Clock::system().wall();
    let client = Fake::new(move |number| match number {
        0 => reply(number, Some(record(4, wall.plus(-25 * HOUR), 2)), 0),
        1 => reply(number, Some(record(5, wall.plus(-25 * HOUR), 2)), 0),
        _ => reply(number, Some(record(900, wall, 2)), 0),
    });
    let start = PollStart {
        position: Position::After(SequenceNumber::from(5)),
        read_through: Some(wall.plus(-25 * HOUR)),
        on_data_loss: OnDataLoss::Continue,
        ..start("a", ReadBudget::new(1 << 40))
    };
    let mut feed = poll_at_once(client, start);
    let lost = feed.recv().await;
    assert!(matches!(lost, Some(Input::Lost { .. })), "{lost:?}");
    for _ in 0..2 {
        let behind = feed.recv().await;
        assert!(matches!(behind, Some(Input::Behind(1))), "{behind:?}");
    }
    assert!(is_record_900(&mut feed).await);
}

/// Whoever is nearly too late has the stream keep records for longer: then nothing is lost.
#[tokio::test]
async fn a_retention_that_was_raised_meanwhile_counts() {
    let wall = Clock::system().wall();
    let hours = Arc::new(AtomicI32::new(24));
    let raised = hours.clone();
    let client = Fake::keeping(hours, move |number| match number {
        0 => {
            raised.store(168, Ordering::SeqCst);
            let old = record(6, wall.plus(-25 * HOUR), 2);
            reply(number, Some(old), 25 * HOUR / 1_000)
        }
        1..5 => reply(number, None, 24 * HOUR / 1_000),
        _ => reply(number, Some(record(900, wall, 2)), 0),
    });
    let start = PollStart {
        position: Position::After(SequenceNumber::from(5)),
        read_through: Some(wall.plus(-23 * HOUR)),
        ..start("a", ReadBudget::new(1 << 40))
    };
    // Before the first read a day was right.
    let mut feed = poll_at_once(client, start);
    let old = feed.recv().await;
    assert!(matches!(old, Some(Input::Records { .. })), "{old:?}");
    loop {
        match feed.recv().await {
            Some(Input::Behind(_)) => {}
            Some(Input::Records { records, .. }) => {
                assert_eq!(records[0].0.sequence, SequenceNumber::from(900));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}
