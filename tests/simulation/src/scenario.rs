//! What a seed stands for: the pipeline, the weather, the length of the run.
//!
//! Owns every choice that is made before a run begins.

use std::fmt::Write as _;
use std::time::Duration;

use stockstream_core::codec::FORMAT;

use crate::network::Weather;
use crate::oracle::Rules;
use crate::random::Random;
use crate::rows::FIGURES;
use crate::stream::STREAM;

/// Rules that count in hours count this much faster: versions are collected when they are a minute older than the newest.
pub const LAPSE: u32 = 60;

/// Shards move between live workers once these have been the same for two expiries: with a long lease a run goes on
/// for so much longer.
const LONGER: Duration = Duration::from_secs(240);

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The pipeline's YAML.
    pub yaml: String,
    /// The same with the newest checkpoint format.
    pub newest_yaml: String,
    /// Some workers are of a release that reads and writes the checkpoint format before only, the others write the
    /// newest one as soon as everybody reads it.
    pub two_releases: bool,
    /// The numbers in it that the oracle needs.
    pub rules: Rules,
    /// The lease's heartbeat.
    pub heartbeat: Duration,
    /// The lease's expiry.
    pub expiry: Duration,
    /// Versions of a chain that stay.
    pub keep_versions: usize,
    /// Open shards at the start.
    pub shards: i64,
    /// Nothing goes wrong but that processes die and are told to stop, one after another: recovery is measured.
    pub is_measured: bool,
    /// The lease is long, and shards go from worker to worker because workers come.
    pub is_slow: bool,
    /// Workers can't reach one another: neither probes nor words arrive, and only the store tells of the others.
    pub are_strangers: bool,
    /// Tickers.
    pub tickers: Vec<String>,
    /// Workers that should run.
    pub workers: usize,
    /// What goes wrong by itself.
    pub weather: Weather,
    /// Time in which things go wrong.
    pub length: Duration,
    /// Things that are done to the run happen this far apart at most, in milliseconds.
    pub calm: i64,
    /// How long a change of the stream's shards takes.
    pub updating: Duration,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::of(seed, "scenario");
        let of = |random: &mut Random, all: &[i64]| random.pick(all).copied().unwrap_or(1);
        let window = of(&mut random, &[1_000, 2_000, 5_000]);
        let delay = of(&mut random, &[500, 1_000, 3_000]);
        let idle = of(&mut random, &[1_000, 2_000, 5_000, 3_600_000]);
        let max_ahead = of(&mut random, &[500, 2_000]);
        let from_start = random.chance(400);
        let (heartbeat, expiry) = match random.chance(200) {
            true => (2_000, 6_000),
            false => (500, 1_500),
        };
        let is_measured = Random::of(seed, "measured").chance(150);
        let two_releases = Random::of(seed, "releases").chance(150) && !is_measured;
        let is_slow = Random::of(seed, "slow lease").chance(80) && !is_measured && !two_releases;
        let (heartbeat, expiry) = match is_slow {
            true => (7_000, 28_000),
            false => (heartbeat, expiry),
        };
        let keep_versions = of(&mut random, &[2, 4]);
        let shards = of(&mut random, &[1, 2, 2, 3]);
        let partition_by = random
            .pick(&["[]", "[ticker]", "[ticker, trade_date]"])
            .copied();
        let mut yaml = format!(
            "apiVersion: stockstream.dev/v1alpha1\nkind: StockStream\nmetadata: {{name: simulated}}\nspec:\n  \
             source:\n    kinesis:\n      streamName: {STREAM}\n      initialPosition: {}\n      mode: {{provisioned: {{shards: {shards}}}}}\n  \
             record: {{maxAhead: {max_ahead}ms}}\n  \
             window:\n    size: {window}ms\n    watermarkDelay: {delay}ms\n    idleTimeout: {idle}ms\n    aggregates:\n",
            if from_start { "Latest" } else { "TrimHorizon" },
        );
        for (name, function, field) in FIGURES {
            // Writing to a String can't fail.
            let _ = writeln!(
                yaml,
                "      - {{name: {name}, function: {function}, field: {field}}}"
            );
        }
        let _ = write!(
            yaml,
            "  output:\n    path: s3://lake/rows\n    partitionBy: {}\n    publishInterval: {}s\n    compression: none\n  \
             state:\n    path: s3://lake/state\n    commitInterval: {}s\n    keepVersions: {keep_versions}\n    \
             lease: {{heartbeat: {heartbeat}ms, expiry: {expiry}ms}}\n",
            partition_by.unwrap_or("[]"),
            of(&mut random, &[1, 2, 4]),
            of(&mut random, &[1, 1, 2]),
        );
        let tickers = of(&mut random, &[3, 4, 6]);
        let bad = |random: &mut Random, most: i64| random.between(0, most).unsigned_abs();
        let weather = match random.chance(250) || is_measured {
            true => Weather::default(),
            false => Weather {
                slow: bad(&mut random, 40),
                stray: bad(&mut random, 15),
                lost: bad(&mut random, 15),
                reply_lost: bad(&mut random, 25),
                throttled: bad(&mut random, 20),
                odd: bad(&mut random, 20),
            },
        };
        // What a rollback calls for takes a while: it must not always be disturbed before.
        let is_patient = two_releases && Random::of(seed, "patience").chance(500);
        let strangers = if is_slow { 500 } else { 100 };
        Scenario {
            newest_yaml: format!("{yaml}    format: {FORMAT}\n"),
            two_releases,
            is_measured,
            is_slow,
            are_strangers: Random::of(seed, "strangers").chance(strangers) && !is_measured,
            yaml,
            rules: Rules {
                window: window * 1_000,
                delay: delay * 1_000,
                max_ahead: max_ahead * 1_000,
                from_start,
            },
            heartbeat: Duration::from_millis(u64::try_from(heartbeat).unwrap_or(0)),
            expiry: Duration::from_millis(u64::try_from(expiry).unwrap_or(0)),
            keep_versions: usize::try_from(keep_versions).unwrap_or(2),
            shards,
            tickers: (0..tickers).map(|number| format!("T{number}")).collect(),
            workers: match usize::try_from(of(&mut random, &[1, 1, 2, 2, 3])) {
                Ok(workers) if !is_measured => workers,
                _ => 3,
            },
            weather,
            length: random.millis(25_000, 60_000) + LONGER * u32::from(is_slow),
            calm: match of(&mut random, &[2_000, 4_000, 8_000]) {
                _ if is_slow => 120_000,
                _ if is_patient => 60_000,
                calm => calm,
            },
            updating: random.millis(0, 1_000),
        }
    }
}
