//! A slow consumer bounds what is read, whatever the speeds.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake::{Fake, poll_at_once, record, reply, start};
use super::*;

const RECORD: usize = 1024 * 1024;

/// Of a stream that always has more, one record of a mebibyte a reply: the replies that nobody has taken yet.
#[derive(Debug, Default)]
struct Endless {
    outstanding: AtomicUsize,
    most: AtomicUsize,
    reads: AtomicUsize,
}

fn begin(stream: &Arc<Endless>, budget: &ReadBudget, shard: &str) -> mpsc::Receiver<Input> {
    let counts = stream.clone();
    let client = Fake::new(move |number| {
        counts.reads.fetch_add(1, Ordering::SeqCst);
        let now = counts.outstanding.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most.fetch_max(now, Ordering::SeqCst);
        reply(number, Some(record(number, Micros(0), RECORD)), 1_000)
    });
    poll_at_once(client, start(shard, budget.clone()))
}

/// Takes what comes next, as a runner does, and lets go of it.
async fn take(stream: &Endless, feed: &mut mpsc::Receiver<Input>) {
    let input = feed.recv().await;
    assert!(matches!(input, Some(Input::Records { .. })), "{input:?}");
    stream.outstanding.fetch_sub(1, Ordering::SeqCst);
}

#[tokio::test]
async fn a_shard_reads_no_further_ahead_than_the_replies_that_wait() {
    let stream = Arc::new(Endless::default());
    let mut feed = begin(&stream, &ReadBudget::new(1 << 40), "a");
    for _ in 0..50 {
        take(&stream, &mut feed).await;
        tokio::time::sleep(Duration::from_millis(2)).await; // for the feed to run ahead, if it would
    }
    // One in the channel, and one that waits for room there.
    assert!(stream.most.load(Ordering::SeqCst) <= READ_AHEAD + 2);
}

#[tokio::test]
async fn all_shards_together_hold_no_more_than_the_budget_and_each_gets_its_turn() {
    const SHARDS: u64 = 8;
    const BUDGET: usize = 4;
    let stream = Arc::new(Endless::default());
    // A little more than the records, for what they take in memory beside their bytes.
    let budget = ReadBudget::new((BUDGET * RECORD + RECORD / 2) as u64);
    let takers = (0..SHARDS).map(|shard| {
        let (stream, budget) = (&stream, &budget);
        let mut feed = begin(stream, budget, &shard.to_string());
        async move {
            // Each of its own speed.
            for _ in 0..25 {
                take(stream, &mut feed).await;
                tokio::time::sleep(Duration::from_micros(100 * shard)).await;
                let held: u64 = (0..SHARDS)
                    .map(|shard| budget.shard(&shard.to_string()).held())
                    .sum();
                assert!(held <= (BUDGET * (RECORD + RECORD_BYTES)) as u64, "{held}");
            }
        }
    });
    futures::future::join_all(takers).await;
}

#[tokio::test]
async fn a_feed_that_nobody_listens_to_ends_and_gives_everything_back() {
    let stream = Arc::new(Endless::default());
    let budget = ReadBudget::new(64 << 20);
    let mut feed = begin(&stream, &budget, "a");
    take(&stream, &mut feed).await;
    drop(feed);
    // Its end is the moment when nothing is held any more: until then this waits.
    while budget.free() < 64 << 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(budget.shard("a").held(), 0);
}
