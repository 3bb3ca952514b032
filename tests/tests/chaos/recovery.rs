//! How long shards were silent, and what of it people want to know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::disturbance::Disturbance;

/// Shards that are to be read past a moment.
#[derive(Debug)]
pub struct Waiting {
    moment: Timestamp,
    began: Instant,
    shards: BTreeSet<String>,
    /// The worker whose word doesn't count: it was killed.
    not_from: Option<String>,
}

impl Waiting {
    /// From now on.
    pub fn now(shards: impl IntoIterator<Item = String>, not_from: Option<&str>) -> Waiting {
        Waiting {
            moment: Timestamp::try_from(SystemTime::now()).unwrap(),
            began: Instant::now(),
            shards: shards.into_iter().collect(),
            not_from: not_from.map(str::to_owned),
        }
    }

    /// What a worker says of a shard.
    pub fn seen(&mut self, worker: &str, shard: &str, phase: &str, read_through: Option<&str>) {
        if self.not_from.as_deref() == Some(worker) {
            return;
        }
        let through = read_through.and_then(|at| at.parse::<Timestamp>().ok());
        let read = phase == "Reading" && through.is_some_and(|through| through > self.moment);
        if read || phase == "Ended" {
            self.shards.remove(shard);
        }
    }

    /// When the disturbance came.
    pub fn moment(&self) -> Timestamp {
        self.moment
    }

    /// Those that nobody has read yet.
    pub fn shards(&self) -> &BTreeSet<String> {
        &self.shards
    }

    /// How long it has been so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long it took, when all are read.
    pub fn over(&self) -> Option<Duration> {
        self.shards.is_empty().then(|| self.elapsed())
    }
}

/// Every disturbance and how long it was felt.
#[derive(Debug, Default)]
pub struct Journal {
    took: BTreeMap<Disturbance, Vec<Duration>>,
    /// Disturbances that hit a worker without a shard: nobody felt them.
    idle: BTreeMap<Disturbance, usize>,
    faults: u64,
}

impl Journal {
    pub fn note(&mut self, what: Disturbance, took: Duration) {
        self.took.entry(what).or_default().push(took);
    }

    pub fn note_idle(&mut self, what: Disturbance) {
        *self.idle.entry(what).or_default() += 1;
    }

    /// Requests to S3 that went wrong on purpose.
    pub fn note_faults(&mut self, faults: u64) {
        self.faults += faults;
    }

    pub fn count(&self) -> usize {
        let felt: usize = self.took.values().map(Vec::len).sum();
        felt + self.idle.values().sum::<usize>()
    }

    /// A table: from each disturbance to the moment when every shard that it hit was read past it. Those that hit no shard
    /// are counted beside it.
    pub fn report(&self) -> String {
        let mut table = format!(
            "{:28} {:>5} {:>9} {:>9} {:>9}  {:>8}  goal\n",
            "until read again, ms", "times", "minimum", "median", "maximum", "no shard"
        );
        let kinds: BTreeSet<_> = self.took.keys().chain(self.idle.keys()).collect();
        for what in kinds {
            let took = self.took.get(what).into_iter().flatten();
            let mut took: Vec<u128> = took.map(Duration::as_millis).collect();
            took.sort_unstable();
            let number = |number: Option<&u128>| number.map_or_else(String::new, u128::to_string);
            let goal = what
                .goal()
                .map_or_else(String::new, |goal| goal.as_millis().to_string());
            // Writing to a String can't fail.
            let _ = writeln!(
                table,
                "{:28} {:>5} {:>9} {:>9} {:>9}  {:>8}  {goal}",
                format!("{what:?}"),
                took.len(),
                number(took.first()),
                number(took.get(took.len() / 2)),
                number(took.last()),
                self.idle.get(what).copied().unwrap_or_default(),
            );
        }
        let _ = write!(
            table,
            "{:28} {:>5}; {} requests to S3 went wrong on purpose",
            "all",
            self.count(),
            self.faults
        );
        table
    }
}
