//! Records that the stream has dropped before they were read: a script, not a seed.
//!
//! A worker reads a shard; the shard is split; nobody reads for longer than records are kept, and the stream forgets
//! the parent and what was in its children. Then a worker is there again: the same process, which was stopped meanwhile
//! and holds the shard, or another one, which takes it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use stockstream::pipeline::PipelineError;
use stockstream_core::codec;
use stockstream_core::sequence::Position;
use stockstream_local::api::{Blob, PutRecordRequest, SplitShardRequest, StreamRef};
use stockstream_simulation::clock::{Calendar, World};
use stockstream_simulation::network::Weather;
use stockstream_simulation::oracle::list;
use stockstream_simulation::process::{Process, Release, Surroundings};
use stockstream_simulation::rows::{FIGURES, read_rows};
use stockstream_simulation::run::surroundings;
use stockstream_simulation::scenario::{LAPSE, Scenario};
use stockstream_simulation::stream::STREAM;
use stockstream_simulation::trace::Trace;
use tokio::time::{Instant, advance, sleep};

const PARENT: &str = "shardId-000000000000";

/// Longer than a new stream keeps records.
const AWAY: Duration = Duration::from_secs(25 * 3_600);

fn yaml(on_data_loss: &str) -> String {
    let figures: String = FIGURES
        .iter()
        .map(|(name, function, field)| {
            format!("      - {{name: {name}, function: {function}, field: {field}}}\n")
        })
        .collect();
    format!(
        "apiVersion: stockstream.dev/v1alpha1\nkind: StockStream\nmetadata: {{name: trimmed}}\nspec:\n  \
         source:\n    kinesis:\n      streamName: {STREAM}\n      initialPosition: TrimHorizon\n      \
         onDataLoss: {on_data_loss}\n      mode: {{provisioned: {{shards: 1}}}}\n  \
         window:\n    size: 1s\n    watermarkDelay: 500ms\n    idleTimeout: 1h\n    aggregates:\n{figures}  \
         output:\n    path: s3://lake/rows\n    partitionBy: []\n    publishInterval: 1s\n    compression: none\n  \
         state:\n    path: s3://lake/state\n    commitInterval: 1s\n    lease: {{heartbeat: 500ms, expiry: 1500ms}}\n"
    )
}

/// Runs a script by the simulation's clock.
fn simulate(script: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let _simulated = stockstream::ambient::simulate(1, LAPSE);
        script().await
    })
}

fn begin(on_data_loss: &str) -> Result<Surroundings> {
    let scenario = Scenario {
        yaml: yaml(on_data_loss),
        two_releases: false,
        are_strangers: false,
        shards: 1,
        weather: Weather::default(),
        updating: Duration::ZERO,
        ..Scenario::of(1)
    };
    surroundings(1, &scenario, World::new(), Trace::new(false))
}

fn start(around: &Surroundings, number: usize) -> Process {
    let calendar = Calendar::off_by(around.world, 0);
    Process::start(around, 0, number, calendar, Release::Newest)
}

/// Puts a tick of each of so many tickers, named by when they come.
fn put(around: &Surroundings, when: &str, tickers: usize) {
    let at = jiff::Timestamp::from_millisecond(around.world.millis()).unwrap();
    for number in 0..tickers {
        let ticker = format!("{when}{number}");
        let data = format!(
            "{{\"ticker\":\"{ticker}\",\"close\":1,\"date\":\"2024-01-02\",\"timestamp\":\"{at:.3}\",\"volume\":1}}"
        );
        let request = PutRecordRequest {
            stream_name: Some(STREAM.to_owned()),
            data: Some(Blob(data.into_bytes())),
            partition_key: Some(ticker),
            ..PutRecordRequest::default()
        };
        around.log.put_record(&request).unwrap();
    }
}

fn position(around: &Surroundings, shard: &str) -> Option<Position> {
    around.watch.chain(shard).map(|chain| chain.position)
}

/// Lets time pass until something is so; for a minute at most.
async fn until(around: &Surroundings, what: &str, is_so: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < give_up, "not within a minute: {what}");
        sleep(Duration::from_millis(100)).await;
        around.log.maintain().unwrap();
    }
}

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
    let split = SplitShardRequest {
        stream: StreamRef::named(STREAM),
        shard_to_split: Some(PARENT.to_owned()),
        new_starting_hash_key: Some((u128::MAX / 2).to_string()),
    };
    around.log.split_shard(&split).unwrap();
    around.log.maintain().unwrap();
    put(around, "GONE", 8);
    advance(AWAY).await;
    around.log.maintain().unwrap();
    let listed: Vec<String> = list(&around.log)
        .into_iter()
        .map(|shard| shard.shard_id)
        .collect();
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

fn tickers(around: &Surroundings) -> BTreeSet<String> {
    let objects = around.objects.lock().unwrap();
    let files = objects
        .under("output")
        .filter(|(path, _)| path.ends_with(".parquet"));
    let rows = files.flat_map(|(path, object)| read_rows(path, &object.bytes).unwrap());
    rows.map(|row| row.ticker).collect()
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
    until(around, "the worker has ended", || worker_ended(&worker)).await;
    let expected: BTreeSet<String> = (0..8)
        .map(|number| format!("KEPT{number}"))
        .chain(["READ0".to_owned()])
        .collect();
    assert_eq!(tickers(around), expected);
    assert_eq!(around.watch.faults(), Vec::<String>::new());
}

fn worker_ended(worker: &Process) -> bool {
    match worker.take_end() {
        None => false,
        Some(ended) => {
            ended.unwrap();
            true
        }
    }
}

#[test]
fn a_worker_that_takes_a_shard_the_stream_forgot_ends_it_and_reads_its_children() -> Result<()> {
    simulate(async || {
        let around = begin("Continue")?;
        let mut first = start(&around, 1);
        lose(&around, &mut first, Process::kill).await;
        let second = start(&around, 2);
        goes_on(&around, second).await;
        Ok(())
    })
}

#[test]
fn and_so_does_one_that_was_stopped_while_it_held_it() -> Result<()> {
    simulate(async || {
        let around = begin("Continue")?;
        let mut worker = start(&around, 1);
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
            let mut worker = start(&around, 1);
            let leave = if held { Process::pause } else { Process::kill };
            lose(&around, &mut worker, leave).await;
            match held {
                true => worker.resume(),
                false => worker = start(&around, 2),
            }
            let ended = std::cell::RefCell::new(None);
            until(&around, "the worker gives up", || {
                let mut ended = ended.borrow_mut();
                *ended = worker.take_end();
                ended.is_some()
            })
            .await;
            let ended = ended.into_inner();
            assert!(
                matches!(&ended, Some(Err(PipelineError::DataLost { shard, .. })) if shard == PARENT),
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
