//! What scripts have in common: a stream of one shard, calm weather, ticks put by hand.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use stockstream::pipeline::PipelineError;
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
use tokio::time::{Instant, sleep};

/// The stream's first shard.
pub const PARENT: &str = "shardId-000000000000";

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
pub fn simulate(script: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let _simulated = stockstream::ambient::simulate(1, LAPSE);
        script().await
    })
}

/// Everything but workers.
pub fn begin(on_data_loss: &str) -> Result<Surroundings> {
    let scenario = Scenario {
        yaml: yaml(on_data_loss),
        two_releases: false,
        are_strangers: false,
        is_measured: false,
        shards: 1,
        weather: Weather::default(),
        updating: Duration::ZERO,
        ..Scenario::of(1)
    };
    surroundings(1, &scenario, World::new(), Trace::new(false))
}

/// Starts a process of a worker; `number` tells it from all others.
pub fn start(around: &Surroundings, worker: usize, number: usize) -> Process {
    let calendar = Calendar::off_by(around.world, 0);
    Process::start(around, worker, number, calendar, Release::Newest)
}

/// Puts a tick of each of so many tickers, named by when they come.
pub fn put(around: &Surroundings, when: &str, tickers: usize) {
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

/// Where the reading of a shard goes on.
pub fn position(around: &Surroundings, shard: &str) -> Option<Position> {
    around.watch.chain(shard).map(|chain| chain.position)
}

/// Lets time pass until something is so; for a minute at most.
pub async fn until(around: &Surroundings, what: &str, is_so: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < give_up, "not within a minute: {what}");
        sleep(Duration::from_millis(100)).await;
        around.log.maintain().unwrap();
    }
}

/// The tickers of all rows.
pub fn tickers(around: &Surroundings) -> BTreeSet<String> {
    let objects = around.objects.lock().unwrap();
    let files = objects
        .under("output")
        .filter(|(path, _)| path.ends_with(".parquet"));
    let rows = files.flat_map(|(path, object)| read_rows(path, &object.bytes).unwrap());
    rows.map(|row| row.ticker).collect()
}

/// Splits the first shard in halves.
pub fn split(around: &Surroundings) {
    let split = SplitShardRequest {
        stream: StreamRef::named(STREAM),
        shard_to_split: Some(PARENT.to_owned()),
        new_starting_hash_key: Some((u128::MAX / 2).to_string()),
    };
    around.log.split_shard(&split).unwrap();
    around.log.maintain().unwrap();
}

/// The stream's shards, by name.
pub fn listed(around: &Surroundings) -> Vec<String> {
    let shards = list(&around.log).into_iter();
    shards.map(|shard| shard.shard_id).collect()
}

/// Waits until a worker has ended.
pub async fn end_of(around: &Surroundings, worker: &Process) -> Result<(), PipelineError> {
    let ended = std::cell::RefCell::new(None);
    until(around, "the worker has ended", || {
        let mut ended = ended.borrow_mut();
        *ended = worker.take_end();
        ended.is_some()
    })
    .await;
    ended.into_inner().unwrap()
}
