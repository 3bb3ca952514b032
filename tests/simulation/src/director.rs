//! Who does things to a run: signals, cut links, outages, changes of the stream's shards, wrong calendars.
//!
//! Owns the choice of what happens next, from the seed, and keeping workers alive as Kubernetes does.

use std::time::Duration;

use stockstream_local::Caller;
use stockstream_local::api::{
    MergeShardsRequest, ShardView, SplitShardRequest, StreamRef, UpdateShardCountRequest,
};
use tokio::time::Instant;

use crate::clock::Calendar;
use crate::network::Peer;
use crate::note;
use crate::oracle::list;
use crate::process::{Process, Release, Stance, Surroundings};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::stream::STREAM;

/// Open shards at most.
const MOST_SHARDS: usize = 5;

/// After so long without anything being done to it a run is calm, and recovery can be measured.
const SETTLED: Duration = Duration::from_secs(4);

/// Changes of the stream's shards in a run at most.
const MOST_CHANGES: u32 = 5;

/// Does things to a run.
#[derive(Debug)]
pub struct Director {
    around: Surroundings,
    random: Random,
    /// Processes that have not ended, paused ones included.
    pub processes: Vec<Process>,
    started: usize,
    /// When a worker's next process starts, by worker.
    restarts: Vec<(usize, Instant)>,
    /// When a paused process goes on, by the name of its link.
    resumes: Vec<(String, Instant)>,
    wanted: usize,
    changes: u32,
    updating: Duration,
    two_releases: bool,
    /// Shards are to move from one live worker to another, which takes a while.
    is_slow: bool,
    /// Recovery times are measured: nothing but the director disturbs this run.
    is_measured: bool,
    /// Until when the run is disturbed by what was done to it.
    pub disturbed: Instant,
}

impl Director {
    /// Starts the first workers.
    pub fn new(seed: u64, around: Surroundings, scenario: &Scenario) -> Self {
        let mut director = Director {
            around,
            random: Random::of(seed, "director"),
            processes: Vec::new(),
            started: 0,
            restarts: Vec::new(),
            resumes: Vec::new(),
            wanted: scenario.workers,
            changes: 0,
            updating: scenario.updating,
            two_releases: scenario.two_releases,
            is_slow: scenario.is_slow,
            is_measured: scenario.is_measured,
            disturbed: Instant::now(),
        };
        for worker in 0..scenario.workers {
            director.start(worker);
        }
        director
    }

    /// Starts a process of a worker.
    pub fn start(&mut self, worker: usize) {
        self.started += 1;
        let off = self.random.between(-2_000, 2_000);
        let calendar = Calendar::off_by(self.around.world, off);
        // Who brings a run to its end must read everything.
        let older = self.two_releases && worker < 9 && self.random.chance(500);
        let release = match older {
            true => Release::Before,
            false => Release::Newest,
        };
        let process = Process::start(&self.around, worker, self.started, calendar, release);
        self.processes.push(process);
        self.disturb(Duration::ZERO);
    }

    /// Processes started so far.
    pub fn starts(&self) -> usize {
        self.started
    }

    /// True when a process runs undisturbed.
    pub fn is_alive(&self) -> bool {
        self.processes
            .iter()
            .any(|process| process.stance == Stance::Running)
    }

    /// True when nothing has been done for a while to a run in which nothing else goes wrong.
    pub fn is_calm(&self) -> bool {
        let calm = Instant::now().saturating_duration_since(self.disturbed);
        self.is_measured && calm >= SETTLED
    }

    /// True when a process of this release runs undisturbed.
    pub fn runs(&self, release: Release) -> bool {
        self.processes
            .iter()
            .any(|process| process.stance == Stance::Running && process.release == release)
    }

    fn disturb(&mut self, time: Duration) {
        self.disturbed = self.disturbed.max(Instant::now() + time);
    }

    /// Buries processes that have ended, and starts those that are due.
    pub fn look_after(&mut self) {
        let now = Instant::now();
        let mut ended = Vec::new();
        self.processes.retain(|process| match process.take_end() {
            None => true,
            Some(result) => {
                ended.push((
                    process.worker,
                    process.link.process.clone(),
                    process.stance,
                    result,
                ));
                false
            }
        });
        for (worker, process, stance, result) in ended {
            match result {
                Err(error) if !may_happen(&error) => {
                    self.around
                        .watch
                        .fault(format!("{process} gave up: {error}"));
                }
                Ok(()) if stance != Stance::Stopping => {
                    self.around
                        .watch
                        .fault(format!("{process} ended without being told"));
                }
                _ => {}
            }
            let pause = self.random.millis(100, 3_000);
            self.restarts.push((worker, now + pause));
            self.disturb(pause);
        }
        let due: Vec<String> = take_due(&mut self.resumes, now);
        for process in &mut self.processes {
            if process.stance == Stance::Paused && due.contains(&process.link.process) {
                process.resume();
            }
        }
        for worker in take_due(&mut self.restarts, now) {
            if worker < self.wanted
                && !self
                    .processes
                    .iter()
                    .any(|process| process.worker == worker)
            {
                self.start(worker);
            }
        }
    }

    /// Does one thing. True when the shards have changed.
    pub fn act(&mut self) -> bool {
        let now = Instant::now();
        let index = self.random.bits();
        let running: Vec<usize> = (0..self.processes.len())
            .filter(|index| {
                self.processes
                    .get(*index)
                    .is_some_and(|process| process.stance == Stance::Running)
            })
            .collect();
        let chosen =
            usize::try_from(index % u64::try_from(running.len()).unwrap_or(1).max(1)).unwrap_or(0);
        let chosen = running.get(chosen).copied();
        self.around.watch.disturbed();
        let measures = self.is_calm() && running.len() > 1;
        self.around.watch.set_calm(false);
        let (time, dice) = (self.random.millis(200, 6_000), self.random.bits() % 100);
        let dice = match (self.is_measured, self.is_slow) {
            (true, _) if dice < 40 => dice % 20,
            (true, _) => 35,
            // Mostly more workers and fewer.
            (_, true) if dice < 60 => 67,
            _ => dice,
        };
        match (dice, chosen) {
            (0..=19, Some(index)) => {
                let mut process = self.processes.remove(index);
                let vanishes = dice < 6;
                if vanishes {
                    process.vanish();
                } else {
                    process.kill();
                }
                if measures {
                    self.around.watch.died(&process.link.process, vanishes);
                }
                let pause = self.random.millis(100, 3_000);
                self.restarts.push((process.worker, now + pause));
                self.disturb(pause);
            }
            (20..=34, Some(index)) => {
                if let Some(process) = self.processes.get_mut(index) {
                    process.pause();
                    self.resumes
                        .push((process.link.process.clone(), now + time));
                    self.disturb(time);
                }
            }
            (35..=42, Some(index)) => {
                if let Some(process) = self.processes.get_mut(index) {
                    process.stop();
                    if measures {
                        self.around.watch.leaves(&process.link.process);
                    }
                    // Stopping may take its time while the store is away.
                    self.disturb(match self.is_measured {
                        true => Duration::from_secs(1),
                        false => Duration::from_secs(25),
                    });
                }
            }
            (43..=52, Some(index)) => {
                let peers = self.random.bits() % 5;
                if let Some(process) = self.processes.get(index) {
                    note!(
                        self.around.trace,
                        "{} cut off {peers} for {time:?}",
                        process.link.process
                    );
                    if peers != 1 && peers != 3 {
                        process.link.cut(Peer::Store, time);
                    }
                    if peers != 0 && peers != 3 {
                        process.link.cut(Peer::Stream, time);
                    }
                    if peers >= 3 {
                        process.link.cut(Peer::Worker, time);
                    }
                }
                self.disturb(time);
            }
            (53..=58, _) => {
                let peer = if self.random.chance(700) {
                    Peer::Store
                } else {
                    Peer::Stream
                };
                note!(self.around.trace, "{peer:?} away for {time:?}");
                self.around.network.outage(peer, time);
                self.disturb(time);
            }
            (59..=66, Some(index)) => {
                let off = self.random.between(-40_000, 40_000);
                if let Some(process) = self.processes.get(index) {
                    note!(
                        self.around.trace,
                        "{} has its calendar off by {off} ms",
                        process.link.process
                    );
                    process.calendar.set(off);
                }
            }
            (67..=72, _) => {
                self.wanted = usize::try_from(self.random.between(1, 4)).unwrap_or(1);
                note!(self.around.trace, "{} workers wanted", self.wanted);
                for worker in 0..self.wanted {
                    if !self
                        .processes
                        .iter()
                        .any(|process| process.worker == worker)
                    {
                        self.restarts.push((worker, now));
                    }
                }
                for process in &mut self.processes {
                    if process.worker >= self.wanted && process.stance == Stance::Running {
                        process.stop();
                    }
                }
                self.disturb(Duration::from_secs(5));
            }
            (73..=99, _) => return self.change_shards(),
            _ => {}
        }
        false
    }

    fn change_shards(&mut self) -> bool {
        let listing = list(&self.around.log);
        let open: Vec<&ShardView> = listing
            .iter()
            .filter(|shard| shard.sequence_number_range.ending_sequence_number.is_none())
            .collect();
        if self.changes >= MOST_CHANGES {
            return false;
        }
        let grows = open.len() < MOST_SHARDS;
        let done = match self.random.bits() % 5 {
            0 | 1 if grows => self.split(&open),
            4 => self.scale(open.len()),
            _ => self.merge(&open),
        };
        self.changes += u32::from(done);
        let updating = self.updating;
        self.disturb(updating);
        done
    }

    fn split(&mut self, open: &[&ShardView]) -> bool {
        let Some(shard) = self.random.pick(open) else {
            return false;
        };
        let key = |text: &str| text.parse::<u128>().unwrap_or(0);
        let range = &shard.hash_key_range;
        let (from, to) = (key(&range.starting_hash_key), key(&range.ending_hash_key));
        let sixteenth = u128::from(self.random.bits() % 13 + 2);
        let request = SplitShardRequest {
            stream: StreamRef::named(STREAM),
            shard_to_split: Some(shard.shard_id.clone()),
            new_starting_hash_key: Some((from + (to - from) / 16 * sixteenth).to_string()),
        };
        self.told(
            "split",
            &shard.shard_id,
            self.around.log.split_shard(&request).map(|_| ()),
        )
    }

    fn merge(&mut self, open: &[&ShardView]) -> bool {
        let key = |text: &str| text.parse::<u128>().unwrap_or(0);
        let Some(one) = self.random.pick(open) else {
            return false;
        };
        let after = key(&one.hash_key_range.ending_hash_key).wrapping_add(1);
        let Some(other) = open
            .iter()
            .find(|shard| key(&shard.hash_key_range.starting_hash_key) == after && after != 0)
        else {
            return false;
        };
        let request = MergeShardsRequest {
            stream: StreamRef::named(STREAM),
            shard_to_merge: Some(one.shard_id.clone()),
            adjacent_shard_to_merge: Some(other.shard_id.clone()),
        };
        self.told(
            "merge",
            &one.shard_id,
            self.around.log.merge_shards(&request).map(|_| ()),
        )
    }

    fn scale(&mut self, open: usize) -> bool {
        let open = i64::try_from(open).unwrap_or(1);
        let target = self.random.between((open + 1) / 2, 2 * open + 1).min(4);
        let request = UpdateShardCountRequest {
            stream: StreamRef::named(STREAM),
            target_shard_count: Some(target),
            scaling_type: Some("UNIFORM_SCALING".to_owned()),
        };
        let done = self
            .around
            .log
            .update_shard_count(&Caller::default(), &request);
        self.told("scale to", &target.to_string(), done.map(|_| ()))
    }

    fn told(
        &self,
        what: &str,
        which: &str,
        done: Result<(), stockstream_local::KinesisError>,
    ) -> bool {
        match &done {
            Ok(()) => note!(self.around.trace, "{what} {which}"),
            Err(error) => note!(self.around.trace, "{what} {which} refused: {error}"),
        }
        done.is_ok()
    }

    /// How long until it does the next thing.
    pub fn pause(&mut self, calm: i64) -> Duration {
        let settled = match self.is_measured {
            true => 2 * SETTLED,
            false => Duration::ZERO,
        };
        settled + self.random.millis(50, calm)
    }

    /// A choice of the director's.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.random.chance(per_mille)
    }
}

/// Whether an error may come of what was done to the process; anything else is a defect.
fn may_happen(error: &stockstream::pipeline::PipelineError) -> bool {
    use stockstream::pipeline::PipelineError;
    error.is_transient() || matches!(error, PipelineError::Unfinished { .. })
}

fn take_due<T: Clone>(all: &mut Vec<(T, Instant)>, now: Instant) -> Vec<T> {
    let due = all
        .iter()
        .filter(|(_, at)| *at <= now)
        .map(|(what, _)| what.clone())
        .collect();
    all.retain(|(_, at)| *at > now);
    due
}
