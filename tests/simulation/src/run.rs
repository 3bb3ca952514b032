//! One run of one seed.
//!
//! Owns putting the parts together, the end of a run, and the verdict.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use stockstream_core::sequence::Position;
use stockstream_local::api::{CreateStreamRequest, ShardView};
use stockstream_local::{Delays, Kinesis, KinesisOptions};
use tokio::time::{Instant, sleep};

use crate::clock::World;
use crate::director::Director;
use crate::network::{Network, lock};
use crate::note;
use crate::oracle::{Oracle, list, parents};
use crate::peers::Town;
use crate::process::{Release, Surroundings};
use crate::producer::Producer;
use crate::random::Random;
use crate::scenario::{LAPSE, Scenario};
use crate::stream::STREAM;
use crate::trace::Trace;
use crate::watch::{Outcome, Recovery, Watch};

/// A shard that has ticks to read is read so much later than an expiry and a heartbeat of the lease at most, while a
/// worker runs undisturbed: it may have to start first. With a long lease that is before a neglected shard is taken by
/// whoever sees it.
const SILENCE_BEYOND_EXPIRY: Duration = Duration::from_secs(19);

/// A stream refuses to be read from a time that is yet to come, and is asked again within this, in milliseconds.
const BEGUN_WITHIN: i64 = 10_000;

/// What the release before can't read is written again within this, once a worker of it has joined; its start takes a
/// while where requests fail.
const LOWERED_WITHIN: Duration = Duration::from_secs(18);

/// Requests to the store that are allowed: for each start of a process (three probes of 17 creates and more), each take,
/// each second of a shard that is read, and each second of a process. The third is two versions with their listings,
/// eight files and a round of collection, which here comes every second; the last is two beats with their listings, and
/// infos.
const STORE_BUDGET: (f64, f64, f64, f64) = (120.0, 20.0, 20.0, 5.0);

/// A worker that was told to drain is done within this.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);

/// Requests that were under way when everything was healed have landed after this.
const STRAYS_LAND: Duration = Duration::from_secs(13);

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was wrong; empty when all is well.
    pub faults: Vec<String>,
    /// Over every event.
    pub hash: u64,
    /// Events.
    pub events: u64,
    /// Rows that should be there.
    pub rows: usize,
    /// Late ticks and dead letters that should be there.
    pub rejects: usize,
    /// Requests to the store and to the stream.
    pub requests: [u64; 2],
    /// Requests to the store, as a share of what is allowed.
    pub load: f64,
    /// Shards in all.
    pub shards: usize,
    /// Takes of shards in all.
    pub takes: u64,
    /// Simulated time.
    pub time: Duration,
    /// The longest that an undisturbed shard was silent.
    pub silence: Duration,
    /// How long shards weren't read when they went from one worker to another, nothing else being wrong.
    pub recoveries: Vec<(Recovery, Duration)>,
    /// The readable trace, when it was asked for.
    pub lines: Vec<String>,
}

/// Runs a seed.
///
/// # Errors
/// The run couldn't be set up at all.
pub fn run(seed: u64, keeps_trace: bool) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(async move {
        let _simulated = stockstream::ambient::simulate(seed, LAPSE);
        Run::new(seed, keeps_trace)?.through().await
    })
}

/// A stream, an empty store and a network, as a scenario has them, and who looks on.
///
/// # Errors
/// The scenario's pipeline isn't valid, or its stream can't be made.
pub fn surroundings(
    seed: u64,
    scenario: &Scenario,
    world: World,
    trace: Trace,
) -> Result<Surroundings> {
    let log = Kinesis::open(KinesisOptions {
        clock: Arc::new(world),
        delays: Delays {
            updating: scenario.updating,
            ..Delays::default()
        },
        ..KinesisOptions::default()
    })?;
    let log = Arc::new(log);
    log.create_stream(&CreateStreamRequest {
        stream_name: Some(STREAM.to_owned()),
        shard_count: Some(scenario.shards),
        ..CreateStreamRequest::default()
    })
    .map_err(|error| anyhow::anyhow!("{error}"))?;
    let pipeline =
        stockstream_crds::parse(&scenario.yaml).with_context(|| scenario.yaml.clone())?;
    let age = Duration::from_secs(3_600) / LAPSE;
    Ok(Surroundings {
        world,
        trace: trace.clone(),
        newest_pipeline: Arc::new(match scenario.two_releases {
            true => stockstream_crds::parse(&scenario.newest_yaml)
                .with_context(|| scenario.newest_yaml.clone())?,
            false => pipeline.clone(),
        }),
        pipeline: Arc::new(pipeline),
        log: log.clone(),
        objects: Arc::default(),
        network: Arc::new(Network::new(seed, trace.clone(), scenario.weather)),
        town: Town::default(),
        are_strangers: scenario.are_strangers,
        watch: Arc::new(Watch::new(
            trace.clone(),
            scenario.keep_versions,
            age,
            scenario.expiry,
            scenario.is_measured,
        )),
    })
}

struct Run {
    seed: u64,
    scenario: Scenario,
    around: Surroundings,
    oracle: Arc<Mutex<Oracle>>,
    producer: Arc<Producer>,
    director: Director,
    /// Since when a shard has been in a format that not every live worker reads.
    stranded_since: Option<Instant>,
    silence: Duration,
    /// Shards that were being read, times seconds.
    shard_seconds: f64,
    /// Processes that had not ended, times seconds.
    process_seconds: f64,
}

impl Run {
    fn new(seed: u64, keeps_trace: bool) -> Result<Self> {
        let scenario = Scenario::of(seed);
        let (world, trace) = (World::new(), Trace::new(keeps_trace));
        note!(
            trace,
            "seed {seed}\n{}\n{:?} {:?}",
            scenario.yaml,
            scenario.weather,
            scenario.length
        );
        let around = surroundings(seed, &scenario, world, trace.clone())?;
        let log = around.log.clone();
        let oracle = Arc::new(Mutex::new(Oracle::new(log.clone(), scenario.rules)));
        let producer = Producer {
            log,
            world,
            rules: scenario.rules,
            tickers: scenario.tickers.clone(),
            oracle: oracle.clone(),
            objects: around.objects.clone(),
            trace,
            state: Mutex::new((Random::of(seed, "producer"), 0)),
            stop: AtomicBool::new(false),
        };
        let director = Director::new(seed, around.clone(), &scenario);
        Ok(Run {
            seed,
            scenario,
            around,
            oracle,
            producer: Arc::new(producer),
            director,
            stranded_since: None,
            silence: Duration::ZERO,
            shard_seconds: 0.0,
            process_seconds: 0.0,
        })
    }

    async fn through(mut self) -> Result<Report> {
        let producer = self.producer.clone();
        let producing = tokio::spawn(async move { producer.run().await });
        let mut next = Instant::now() + Duration::from_secs(2);
        while self.around.world.elapsed() < self.scenario.length {
            self.step(Duration::from_millis(250)).await;
            if Instant::now() >= next {
                next = Instant::now() + self.director.pause(self.scenario.calm);
                self.disturb();
            }
        }
        self.around.network.heal();
        note!(self.around.trace, "healed");
        for process in &mut self.director.processes {
            if process.stance == crate::process::Stance::Paused {
                process.resume();
            }
        }
        let landed = Instant::now() + STRAYS_LAND;
        while Instant::now() < landed {
            self.step(Duration::from_millis(250)).await;
        }
        // A shard that nobody takes must not wait for the one worker that ends the run.
        let (healed, give_up) = (self.around.world.millis(), self.director.disturbed);
        let give_up = give_up.max(landed) + 2 * (self.scenario.expiry + SILENCE_BEYOND_EXPIRY);
        while !self.has_read_through(healed) && Instant::now() < give_up {
            self.step(Duration::from_millis(250)).await;
        }
        self.producer.stop.store(true, Ordering::SeqCst);
        let _ = producing.await;
        self.finish().await;
        Ok(self.report())
    }

    fn disturb(&mut self) {
        if self.director.chance(100) {
            self.producer.burst();
        } else if self.director.act() && self.director.chance(700) {
            // Right into the new shards, before any other tick.
            let updated = self.around.log.maintain();
            if updated.is_ok() {
                self.producer.late_round();
            }
        }
    }

    /// Lets a moment pass, and looks whether anything is wrong.
    async fn step(&mut self, time: Duration) {
        sleep(time).await;
        self.director.look_after();
        if let Err(error) = self.around.log.maintain() {
            self.around.watch.fault(format!("the log failed: {error}"));
        }
        self.look_for_silence();
        self.around.watch.look_for_orphans();
        self.around.watch.set_calm(self.director.is_calm());
        self.look_for_stranded();
        self.process_seconds += self.director.processes.len() as f64 * time.as_secs_f64();
        self.shard_seconds += self.around.watch.open_chains() as f64 * time.as_secs_f64();
    }

    fn look_for_silence(&mut self) {
        let calm = Instant::now().saturating_duration_since(self.director.disturbed);
        if calm < Duration::from_secs(1) || !self.director.is_alive() {
            return;
        }
        // What only the newest release reads waits for it.
        if !self.director.runs(Release::Newest) && self.around.watch.needs_newest() {
            return;
        }
        let now = self.around.world.millis();
        let begins = self.around.watch.begins() + BEGUN_WITHIN;
        let limit = self.scenario.heartbeat + self.scenario.expiry + SILENCE_BEYOND_EXPIRY;
        for (shard, arrival) in self.unread() {
            let waited = u64::try_from(now - arrival.max(begins)).unwrap_or(0);
            let waited = Duration::from_millis(waited).min(calm);
            self.silence = self.silence.max(waited);
            if waited > limit {
                self.around.watch.fault(format!(
                    "{shard} has been silent for {waited:?} though a worker lives and nothing is disturbed"
                ));
            }
        }
    }

    /// Shards with records that no version says are read: when the oldest of each arrived, in milliseconds. None while
    /// it isn't known what is owed.
    fn unread(&self) -> Vec<(String, i64)> {
        let mut oracle = lock(&self.oracle);
        if !oracle.catch_up(&self.around.objects) {
            return Vec::new();
        }
        let oldest = |(shard, owed): (&String, &Vec<(i64, String)>)| {
            let unread = match self.around.watch.chain(shard).map(|chain| chain.position) {
                Some(Position::ShardEnd | Position::StreamGone) => None,
                Some(Position::After(sequence)) => {
                    let sequence = sequence.to_string();
                    let read = owed.partition_point(|(_, other)| *other <= sequence);
                    owed.get(read)
                }
                _ => owed.first(),
            };
            unread.map(|(arrival, _)| (shard.clone(), *arrival))
        };
        oracle.owed().iter().filter_map(oldest).collect()
    }

    /// True when what arrived before this, in milliseconds, is read of every shard.
    fn has_read_through(&self, millis: i64) -> bool {
        self.unread().iter().all(|(_, arrival)| *arrival >= millis)
    }

    /// Whoever is there must be able to go on with every shard: the newest format isn't kept while somebody doesn't read
    /// it. Where requests fail, who is there may count as gone for a moment, and the format be the newest for as long.
    fn look_for_stranded(&mut self) {
        let both = self.director.runs(Release::Before) && self.director.runs(Release::Newest);
        let stranded = self.around.watch.in_newest_format().filter(|_| both);
        let Some(shard) = stranded else {
            self.stranded_since = None;
            return;
        };
        let since = *self.stranded_since.get_or_insert_with(Instant::now);
        let since = since.max(self.director.disturbed);
        if Instant::now().saturating_duration_since(since) >= LOWERED_WITHIN {
            self.around.watch.fault(format!(
                "{shard} stays in the newest format though a worker of the release before is there"
            ));
        }
    }

    /// Brings the run to its end: one worker reads to the tip and closes every window.
    async fn finish(&mut self) {
        for process in &mut self.director.processes {
            process.kill();
        }
        self.director.processes.clear();
        // What they sent last lands now, not in the middle of the last worker's run.
        sleep(Duration::from_secs(1)).await;
        self.director.start(9);
        sleep(Duration::from_secs(3)).await;
        for process in &mut self.director.processes {
            process.drain();
        }
        let give_up = Instant::now() + DRAIN_WITHIN;
        loop {
            sleep(Duration::from_millis(250)).await;
            let ended = self
                .director
                .processes
                .iter()
                .find_map(|process| process.take_end());
            match ended {
                Some(Ok(())) => return,
                Some(Err(error)) => {
                    return self
                        .around
                        .watch
                        .fault(format!("the last worker gave up: {error}"));
                }
                None if Instant::now() > give_up => {
                    return self
                        .around
                        .watch
                        .fault(format!("the last worker isn't done after {DRAIN_WITHIN:?}"));
                }
                None => {}
            }
        }
    }

    fn report(self) -> Report {
        let (expected, doubtful) = {
            let mut oracle = lock(&self.oracle);
            oracle.catch_up(&self.around.objects);
            oracle.outcome()
        };
        for doubt in doubtful {
            self.around
                .watch
                .fault(format!("the simulation's own mistake: {doubt}"));
        }
        for difference in differences(&expected, &self.around.watch.outcome()) {
            self.around.watch.fault(difference);
        }
        let listing = list(&self.around.log);
        self.check_ends(&listing);
        let trace = &self.around.trace;
        let chains = listing
            .iter()
            .filter_map(|shard| self.around.watch.chain(&shard.shard_id));
        let takes: u64 = chains.map(|chain| chain.takes).sum();
        let requests = self.around.network.requests();
        let budget = STORE_BUDGET.0 * self.director.starts() as f64
            + STORE_BUDGET.1 * takes as f64
            + STORE_BUDGET.2 * self.shard_seconds
            + STORE_BUDGET.3 * self.process_seconds;
        let load = requests[0] as f64 / budget;
        if load > 1.0 {
            self.around.watch.fault(format!(
                "{} requests to the store, allowed are {budget:.0}",
                requests[0]
            ));
        }
        Report {
            load,
            seed: self.seed,
            faults: self.around.watch.faults(),
            hash: trace.hash(),
            events: trace.events(),
            rows: expected.rows.len(),
            rejects: expected.rejects.len(),
            requests,
            shards: listing.len(),
            takes,
            time: self.around.world.elapsed(),
            silence: self.silence,
            recoveries: self.around.watch.recoveries(),
            lines: trace.take_lines(),
        }
    }

    /// Every shard that has children came to its end before they began.
    fn check_ends(&self, listing: &[ShardView]) {
        for shard in listing {
            if self.around.watch.chain(&shard.shard_id).is_none() {
                continue;
            }
            for parent in parents(shard) {
                let open = self
                    .around
                    .watch
                    .chain(&parent)
                    .is_some_and(|chain| chain.position != Position::ShardEnd);
                if open {
                    self.around.watch.fault(format!(
                        "{} began, but its parent {parent} hasn't ended",
                        shard.shard_id
                    ));
                }
            }
        }
    }
}

/// How what was found differs from what was expected.
fn differences(expected: &Outcome, found: &Outcome) -> Vec<String> {
    let mut differences = Vec::new();
    for (key, row) in &expected.rows {
        match found.rows.get(key) {
            None => differences.push(format!("the row of {key:?} is missing: {row:?}")),
            Some(other) if other != row => differences.push(format!(
                "the row of {key:?} is {other:?} in place of {row:?}"
            )),
            Some(_) => {}
        }
    }
    for (key, row) in &found.rows {
        if !expected.rows.contains_key(key) {
            differences.push(format!("the row of {key:?} shouldn't be there: {row:?}"));
        }
    }
    for (key, what) in &expected.rejects {
        match found.rejects.get(key) {
            Some(other) if other == what => {}
            other => differences.push(format!(
                "the reject {key:?} is {other:?} in place of {what}"
            )),
        }
    }
    for (key, what) in &found.rejects {
        if !expected.rejects.contains_key(key) {
            differences.push(format!("the reject {key:?} shouldn't be there: {what}"));
        }
    }
    differences
}
