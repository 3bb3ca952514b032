//! Records that the stream has dropped before they were read.
//!
//! A worker reads a shard; the shard is split; nobody reads for longer than records are kept, and the stream forgets
//! the parent and what was in its children. Then a worker is there again: the same process, which was stopped meanwhile
//! and holds the shard, or another one, which takes it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use stockstream::pipeline::PipelineError;
use stockstream_core::codec;
use stockstream_core::member::MemberInfo;
use stockstream_core::sequence::Position;
use stockstream_simulation::process::{Process, Surroundings};
use tokio::time::{advance, sleep};

use crate::stage::{
    PARENT, begin, end_of, listed, position, put, simulate, split, start, tickers, until,
};

/// Longer than a new stream keeps records.
const AWAY: Duration = Duration::from_secs(25 * 3_600);

/// Reads a shard up to a tick, and has it split behind the worker's back: with a tick before the split and one in each
/// child that nobody reads. `leave` is what happens to the worker before.
async fn lose(around: &Surroundings, worker: &mut Process, leave: impl Fn(&mut Process)) {
    put(around, "READ", 1);
    until(around, "the first tick is read", || {
        matches!(position(around, PARENT), Some(Position::After(_)))
    })
    .await;
    leave(worker);
    put(around, "LOST", 1);
    split(around);
    put(around, "GONE", 8);
    advance(AWAY).await;
    around.log.maintain().unwrap();
    let listed = listed(around);
    assert!(!listed.contains(&PARENT.to_owned()), "{listed:?}");
    assert_eq!(listed.len(), 2);
    put(around, "KEPT", 8);
}

fn losses(around: &Surroundings, shard: &str) -> (u64, u64) {
    let objects = around.objects.lock().unwrap();
    let folder = format!("state/shards/k{}/{shard}", 1_704_153_600_000_i64);
    let (_, newest) = objects.under(&folder).last().unwrap();
    let counters = codec::decode(&newest.bytes).unwrap().counters;
    (counters.losses, counters.lost_seconds)
}

/// The parent ends, its children are read from the oldest record that is left, and what was lost is counted.
async fn goes_on(around: &Surroundings, mut worker: Process) {
    until(around, "the parent is at its end", || {
        position(around, PARENT) == Some(Position::ShardEnd)
    })
    .await;
    until(around, "the children are read", || {
        ["shardId-000000000001", "shardId-000000000002"]
            .iter()
            .all(|child| matches!(position(around, child), Some(Position::After(_))))
    })
    .await;
    assert_eq!(losses(around, PARENT).0, 1);
    assert!(losses(around, PARENT).1 >= 3_600);
    worker.drain();
    end_of(around, &worker).await.unwrap();
    let expected: BTreeSet<String> = (0..8)
        .map(|number| format!("KEPT{number}"))
        .chain(["READ0".to_owned()])
        .collect();
    assert_eq!(tickers(around), expected);
    assert_eq!(around.watch.faults(), Vec::<String>::new());
}

#[test]
fn a_worker_that_takes_a_shard_the_stream_forgot_ends_it_and_reads_its_children() -> Result<()> {
    simulate(async || {
        let around = begin("Continue")?;
        let mut first = start(&around, 0, 1);
        lose(&around, &mut first, Process::kill).await;
        let second = start(&around, 0, 2);
        goes_on(&around, second).await;
        Ok(())
    })
}

#[test]
fn and_so_does_one_that_was_stopped_while_it_held_it() -> Result<()> {
    simulate(async || {
        let around = begin("Continue")?;
        let mut worker = start(&around, 0, 1);
        lose(&around, &mut worker, Process::pause).await;
        worker.resume();
        goes_on(&around, worker).await;
        Ok(())
    })
}

#[test]
fn or_it_stops_and_says_why() -> Result<()> {
    for held in [false, true] {
        simulate(async || {
            let around = begin("Fail")?;
            let mut worker = start(&around, 0, 1);
            let leave = if held { Process::pause } else { Process::kill };
            lose(&around, &mut worker, leave).await;
            match held {
                true => worker.resume(),
                false => worker = start(&around, 0, 2),
            }
            let ended = end_of(&around, &worker).await;
            assert!(
                matches!(&ended, Err(PipelineError::DataLost { shard, .. }) if shard == PARENT),
                "{ended:?}"
            );
            assert!(matches!(
                position(&around, PARENT),
                Some(Position::After(_))
            ));
            assert_eq!(
                tickers(&around),
                BTreeSet::new(),
                "the window is still open"
            );
            Ok(())
        })?;
    }
    Ok(())
}

/// What members say of the first shard: that it can't go on, and why.
fn troubles(around: &Surroundings) -> Vec<String> {
    let objects = around.objects.lock().unwrap();
    let infos = objects
        .under("state/members")
        .filter(|(path, _)| path.ends_with("/info"));
    let infos = infos.map(|(_, object)| MemberInfo::decode(&object.bytes).unwrap());
    infos
        .filter_map(|info| info.shards.get(PARENT)?.trouble.clone())
        .collect()
}

/// Among others a worker doesn't end by a shard that can't go on: they would take it, and end by it too.
#[test]
fn among_others_it_stays_and_tells_them() -> Result<()> {
    simulate(async || {
        let around = begin("Fail")?;
        let mut workers = [start(&around, 0, 1), start(&around, 1, 2)];
        sleep(Duration::from_secs(10)).await;
        let [first, second] = &mut workers;
        second.pause();
        lose(&around, first, Process::pause).await;
        workers.iter_mut().for_each(Process::resume);
        until(&around, "the trouble is told", || {
            !troubles(&around).is_empty()
        })
        .await;
        sleep(Duration::from_secs(600)).await;
        for worker in &workers {
            let ended = worker.take_end();
            assert!(ended.is_none(), "{} {ended:?}", worker.link.process);
        }
        let troubles = troubles(&around);
        assert_eq!(troubles.len(), 1, "{troubles:?}");
        assert!(troubles[0].contains("onDataLoss"), "{troubles:?}");
        let takes = around.watch.chain(PARENT).map_or(0, |chain| chain.takes);
        assert!(takes <= 9, "{takes} takes in ten minutes");
        Ok(())
    })
}
