//! What must be true at every moment of a run.
//!
//! Owns the rules that are checked with each request and each change of the store, and what readers have seen so far.
//! A reader that lists and reads at any moment sees no more than the watch does, which looks after every write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec::{self, OLDEST_FORMAT};
use stockstream_core::sequence::Position;
use tokio::time::Instant;

use crate::network::lock;
use crate::note;
use crate::rows::{Batch, Row, batch_of, read_dead, read_late, read_rows};
use crate::trace::Trace;

/// Reads of one shard by one process in any second: what AWS allows.
const READS_A_SECOND: usize = 5;

/// The shards of a process that was killed are read again within this: others find its port closed.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// Those of a machine that is gone, so much later than the lease's expiry. With the product's six seconds these are ten.
const VANISHED_BEYOND_EXPIRY: Duration = Duration::from_secs(4);

/// A shard that is handed over isn't read for this long.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(1);

/// A chain as its newest version has it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The newest version.
    pub version: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Its owner.
    pub owner: String,
    /// Where reading goes on.
    pub position: Position,
    /// Takes so far.
    pub takes: u64,
    /// The format that it is written in.
    pub format: u16,
}

/// How a shard came from one worker to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Its process was killed.
    Killed,
    /// Its machine was gone.
    Vanished,
    /// Its process was told to stop.
    HandedOver,
}

/// Looks on.
#[derive(Debug)]
pub struct Watch {
    trace: Trace,
    /// Versions of a chain that stay.
    keep: usize,
    /// How much older than the newest version a version must be before it goes, in microseconds.
    age: i64,
    /// The lease's expiry.
    expiry: Duration,
    /// Nothing goes wrong in this run but that processes die and are told to stop: whoever reads a shard holds it.
    is_measured: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    faults: Vec<String>,
    chains: BTreeMap<String, Chain>,
    begins: i64,
    sealed: BTreeSet<Batch>,
    rows: BTreeMap<(String, i64), (Row, String)>,
    rejects: BTreeMap<(String, String), (String, String)>,
    /// The bytes of each version that a process sent, by what it is.
    frozen: BTreeMap<(String, String, u64, u64), Bytes>,
    /// Versions that a process has sent a create of, without having listed the chain since.
    unlisted: BTreeMap<(String, String), u64>,
    reads: BTreeMap<(String, String), VecDeque<Instant>>,
    /// The beats of each process: its member id, when each was first sent, and the lease that those which arrived give.
    leases: BTreeMap<String, Lease>,
    /// Who read a shard last, and when.
    readers: BTreeMap<String, (String, Instant)>,
    /// Shards of processes that died, since when and how.
    orphans: BTreeMap<String, (Instant, Recovery)>,
    /// Processes that were told to stop, with nothing else to disturb them.
    leaving: BTreeSet<String>,
    recoveries: Vec<(Recovery, Duration)>,
    /// Nothing has been done to the run for a while, and nothing goes wrong by itself.
    calm: bool,
}

#[derive(Debug, Default)]
struct Lease {
    member: String,
    sent: BTreeMap<Bytes, Instant>,
    until: Option<Instant>,
}

/// What a run came to, as far as the store shows.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Rows by ticker and start.
    pub rows: BTreeMap<(String, i64), Row>,
    /// Late ticks and dead letters.
    pub rejects: BTreeMap<(String, String), String>,
}

impl Watch {
    /// Looks on from now.
    pub fn new(
        trace: Trace,
        keep: usize,
        age: Duration,
        expiry: Duration,
        is_measured: bool,
    ) -> Self {
        Watch {
            trace,
            expiry,
            is_measured,
            keep,
            age: i64::try_from(age.as_micros()).unwrap_or(i64::MAX),
            seen: Mutex::default(),
        }
    }

    /// Notes that something is wrong.
    pub fn fault(&self, what: String) {
        note!(self.trace, "FAULT {what}");
        lock(&self.seen).faults.push(what);
    }

    /// What was wrong so far.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.seen).faults.clone()
    }

    /// The latest time, in milliseconds, at which the reading of a root begins: ahead of the true time when the worker that
    /// chose it had a calendar that was ahead.
    pub fn begins(&self) -> i64 {
        lock(&self.seen).begins
    }

    /// A shard's chain, if there is one.
    pub fn chain(&self, shard: &str) -> Option<Chain> {
        lock(&self.seen).chains.get(shard).cloned()
    }

    /// Chains that haven't ended.
    pub fn open_chains(&self) -> usize {
        let seen = lock(&self.seen);
        seen.chains
            .values()
            .filter(|chain| !chain.position.is_final())
            .count()
    }

    /// A chain that hasn't ended and is written in a format that not everybody reads.
    pub fn in_newest_format(&self) -> Option<String> {
        let seen = lock(&self.seen);
        let open = |chain: &Chain| !chain.position.is_final() && chain.format > OLDEST_FORMAT;
        let mut chains = seen.chains.iter();
        chains
            .find(|(_, chain)| open(chain))
            .map(|(shard, _)| shard.clone())
    }

    /// True when a chain, ended or not, is written in a format that not everybody reads: its children wait as it does.
    pub fn needs_newest(&self) -> bool {
        let seen = lock(&self.seen);
        seen.chains
            .values()
            .any(|chain| chain.format > OLDEST_FORMAT)
    }

    /// Something is done to the run: what is being measured isn't any more.
    pub fn disturbed(&self) {
        let mut seen = lock(&self.seen);
        seen.orphans.clear();
        seen.leaving.clear();
    }

    /// Says whether nothing has been done to the run for a while, and nothing goes wrong by itself.
    pub fn set_calm(&self, calm: bool) {
        lock(&self.seen).calm = calm;
    }

    /// A process has died, or its machine has gone, in a calm run with other workers: its shards must be read again soon.
    pub fn died(&self, process: &str, vanished: bool) {
        let mut seen = lock(&self.seen);
        let Some(lease) = seen.leases.get(process) else {
            return;
        };
        let recovery = match vanished {
            true => Recovery::Vanished,
            false => Recovery::Killed,
        };
        let orphans: Vec<String> = seen
            .chains
            .iter()
            .filter(|(_, chain)| chain.owner == lease.member && !chain.position.is_final())
            .map(|(shard, _)| shard.clone())
            .collect();
        for shard in orphans {
            seen.orphans.insert(shard, (Instant::now(), recovery));
        }
    }

    /// A process was told to stop in a calm run with other workers: its shards mustn't be silent for long.
    pub fn leaves(&self, process: &str) {
        lock(&self.seen).leaving.insert(process.to_owned());
    }

    /// Within which a shard must be read again.
    fn bound(&self, recovery: Recovery) -> Duration {
        match recovery {
            Recovery::Killed => KILLED_WITHIN,
            Recovery::Vanished => self.expiry + VANISHED_BEYOND_EXPIRY,
            Recovery::HandedOver => HANDED_OVER_WITHIN,
        }
    }

    /// Shards that should have been read again are told of, once.
    pub fn look_for_orphans(&self) {
        let mut overdue = Vec::new();
        lock(&self.seen).orphans.retain(|shard, (since, recovery)| {
            let late = since.elapsed() > self.bound(*recovery);
            if late {
                overdue.push(format!(
                    "{shard} isn't read {:?} after it lost its worker ({recovery:?})",
                    since.elapsed()
                ));
            }
            !late
        });
        overdue.into_iter().for_each(|fault| self.fault(fault));
    }

    /// How long shards were not read when they went from one worker to another.
    pub fn recoveries(&self) -> Vec<(Recovery, Duration)> {
        lock(&self.seen).recoveries.clone()
    }

    /// All rows and rejects that can be read.
    pub fn outcome(&self) -> Outcome {
        let seen = lock(&self.seen);
        let rows = seen
            .rows
            .iter()
            .map(|(key, (row, _))| (key.clone(), row.clone()));
        let rejects = seen
            .rejects
            .iter()
            .map(|(key, (what, _))| (key.clone(), what.clone()));
        Outcome {
            rows: rows.collect(),
            rejects: rejects.collect(),
        }
    }

    /// A process sends a write.
    pub fn put_sent(&self, process: &str, path: &str, bytes: &Bytes) {
        let fault = {
            let mut seen = lock(&self.seen);
            if let Some(member) = beat_of(path) {
                let lease = seen.leases.entry(process.to_owned()).or_default();
                member.clone_into(&mut lease.member);
                lease.sent.entry(bytes.clone()).or_insert_with(Instant::now);
            }
            match version_in(path) {
                Some((shard, version)) => seen.create_sent(process, &shard, version, bytes),
                None => seen.publish_sent(process, path),
            }
        };
        if let Err(fault) = fault {
            self.fault(fault);
        }
    }

    /// A process sends a listing.
    pub fn list_sent(&self, process: &str, folder: &str) {
        let shard = folder.rsplit('/').next().unwrap_or_default().to_owned();
        lock(&self.seen)
            .unlisted
            .remove(&(process.to_owned(), shard));
    }

    /// A process reads a shard.
    pub fn read_sent(&self, process: &str, shard: &str) {
        let (mut slow, robbed);
        {
            let mut seen = lock(&self.seen);
            let now = Instant::now();
            let before = seen
                .readers
                .insert(shard.to_owned(), (process.to_owned(), now));
            let left = before.filter(|(other, _)| other != process && seen.leaving.contains(other));
            let lost = seen.orphans.remove(shard);
            let lost = lost.or_else(|| left.map(|(_, at)| (at, Recovery::HandedOver)));
            robbed = self.is_measured && !seen.holds(process, shard);
            slow = None;
            if let Some((since, recovery)) = lost {
                let silent = now.duration_since(since);
                seen.recoveries.push((recovery, silent));
                slow = (silent > self.bound(recovery)).then_some((silent, recovery));
            }
        }
        if robbed {
            self.fault(format!(
                "{process} reads {shard}, which another worker has taken from it though it never stood still"
            ));
        }
        if let Some((silent, recovery)) = slow {
            self.fault(format!(
                "{shard} wasn't read for {silent:?} when it went to {process} ({recovery:?})"
            ));
        }
        let many = {
            let mut seen = lock(&self.seen);
            let reads = seen
                .reads
                .entry((process.to_owned(), shard.to_owned()))
                .or_default();
            let now = Instant::now();
            reads.push_back(now);
            while reads
                .front()
                .is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1))
            {
                reads.pop_front();
            }
            reads.len() > READS_A_SECOND
        };
        if many {
            self.fault(format!(
                "{process} read {shard} more than {READS_A_SECOND} times within a second"
            ));
        }
    }

    /// An object was written.
    pub fn written(&self, path: &str, bytes: &Bytes, existed: bool, process: &str) {
        if let Err(fault) = self.judge(path, bytes, existed, process) {
            self.fault(fault);
        }
    }

    fn judge(&self, path: &str, bytes: &Bytes, existed: bool, process: &str) -> Result<(), String> {
        let place = path.split('/').next().unwrap_or_default();
        let may_change = path.starts_with("state/members/") || path == "state/pipeline.json";
        if existed && !may_change {
            return Err(format!("{process} overwrote {path}"));
        }
        let mut seen = lock(&self.seen);
        if beat_of(path).is_some() {
            seen.beat_arrived(process, bytes, self.expiry);
        }
        if let Some((shard, version)) = version_in(path) {
            return seen.version_created(&self.trace, &shard, version, bytes);
        }
        if path.contains("/_stockstream") || place == "state" {
            return Ok(());
        }
        let batch = batch_of(path)
            .ok_or_else(|| format!("{process} wrote {path}, which is no batch's file"))?;
        if !seen.sealed.contains(&batch) {
            return Err(format!(
                "{process} published {path}, but no version in the chain seals it"
            ));
        }
        let wrong = |error: anyhow::Error| format!("{path} can't be read: {error:#}");
        if place == "output" {
            for row in read_rows(path, bytes).map_err(wrong)? {
                let key = (row.ticker.clone(), row.start);
                if let Some((_, other)) = seen.rows.insert(key.clone(), (row, path.to_owned())) {
                    return Err(format!(
                        "the row of {key:?} stands in {other} and in {path}"
                    ));
                }
            }
            return Ok(());
        }
        let rejects = match path.ends_with(".parquet") {
            true => read_late(bytes),
            false => read_dead(bytes),
        };
        for (key, what) in rejects.map_err(wrong)? {
            if let Some((_, other)) = seen.rejects.insert(key.clone(), (what, path.to_owned())) {
                return Err(format!(
                    "the reject {key:?} stands in {other} and in {path}"
                ));
            }
        }
        Ok(())
    }

    /// An object is deleted; `beside` holds all objects of its folder, by path, with their stamps.
    pub fn deleted(&self, path: &str, beside: &[(String, i64)]) {
        if path.contains("/_stockstream-probe/") || path.starts_with("state/members/") {
            return;
        }
        let Some((shard, version)) = version_in(path) else {
            self.fault(format!("{path} was deleted"));
            return;
        };
        let versions: Vec<(u64, i64)> = beside
            .iter()
            .filter_map(|(path, modified)| {
                version_in(path).map(|(_, version)| (version, *modified))
            })
            .collect();
        let newer = versions
            .iter()
            .filter(|(other, _)| *other > version)
            .count();
        let older = versions.iter().any(|(other, _)| *other < version);
        let stamp = |wanted: u64| {
            versions
                .iter()
                .find(|(other, _)| *other == wanted)
                .map(|(_, stamp)| *stamp)
        };
        let newest = versions.iter().map(|(other, _)| *other).max().unwrap_or(0);
        let young = match (stamp(version), stamp(newest)) {
            (Some(this), Some(newest)) => newest - this < self.age,
            // It was gone already: somebody else collects too.
            _ => return,
        };
        if newer < self.keep || older || young {
            self.fault(format!("version {version} of {shard} was collected too early (newest {newest}, {newer} newer, young: {young})"));
        }
    }
}

impl Seen {
    fn create_sent(
        &mut self,
        process: &str,
        shard: &str,
        version: u64,
        bytes: &Bytes,
    ) -> Result<(), String> {
        let checkpoint = decode(shard, version, bytes)?;
        let key = (
            process.to_owned(),
            shard.to_owned(),
            version,
            checkpoint.epoch,
        );
        if !self.frozen.contains_key(&key) {
            self.has_lease(process, shard, &checkpoint)?;
        }
        let same = self.frozen.entry(key).or_insert_with(|| bytes.clone()) == bytes;
        if !same {
            return Err(format!(
                "{process} sent other bytes for version {version} of {shard}, whose outcome it didn't know"
            ));
        }
        self.acts_listed(process, shard, version)?;
        self.unlisted
            .insert((process.to_owned(), shard.to_owned()), version);
        Ok(())
    }

    /// Whose lease has run out begins no new version of a shard that it holds. (It may try to take one: then it meets
    /// whoever took it before.)
    fn has_lease(&self, process: &str, shard: &str, version: &Checkpoint) -> Result<(), String> {
        let held = self
            .chains
            .get(shard)
            .is_some_and(|chain| chain.owner == version.owner && chain.epoch == version.epoch);
        let until = self.leases.get(process).and_then(|lease| lease.until);
        match until {
            Some(until) if held && Instant::now() >= until => Err(format!(
                "{process} began version {} of {shard} {:?} after its lease had run out",
                version.version,
                until.elapsed()
            )),
            _ => Ok(()),
        }
    }

    fn holds(&self, process: &str, shard: &str) -> bool {
        let owner = self.chains.get(shard).map(|chain| chain.owner.as_str());
        let member = self.leases.get(process).map(|lease| lease.member.as_str());
        owner == member
    }

    fn beat_arrived(&mut self, process: &str, beat: &Bytes, expiry: Duration) {
        if let Some(lease) = self.leases.get_mut(process)
            && let Some(sent) = lease.sent.get(beat)
        {
            lease.until = lease.until.max(Some(*sent + expiry));
        }
    }

    fn publish_sent(&mut self, process: &str, path: &str) -> Result<(), String> {
        match batch_of(path) {
            Some(batch) if !path.starts_with("state/") => {
                self.acts_listed(process, &batch.shard, 0)
            }
            _ => Ok(()),
        }
    }

    /// A version that was created counts only once the chain was listed after it.
    fn acts_listed(&self, process: &str, shard: &str, version: u64) -> Result<(), String> {
        match self.unlisted.get(&(process.to_owned(), shard.to_owned())) {
            Some(created) if *created != version => Err(format!(
                "{process} went on with {shard} after it had created version {created}, without a listing"
            )),
            _ => Ok(()),
        }
    }

    fn version_created(
        &mut self,
        trace: &Trace,
        shard: &str,
        version: u64,
        bytes: &Bytes,
    ) -> Result<(), String> {
        let checkpoint = decode(shard, version, bytes)?;
        note!(
            trace,
            "{shard} {version} format {} epoch {} of {} at {} watermark {:?} outbox {:?}",
            codec::format_of(bytes).unwrap_or_default(),
            checkpoint.epoch,
            checkpoint.owner,
            checkpoint.position,
            checkpoint.watermark.map(|watermark| watermark.0),
            checkpoint
                .outbox
                .iter()
                .map(|batch| batch.version)
                .collect::<Vec<_>>()
        );
        let before = self.chains.get(shard);
        if version != before.map_or(1, |before| before.version + 1) {
            let newest = before.map_or(0, |before| before.version);
            return Err(format!(
                "version {version} of {shard} was created when {newest} was the newest"
            ));
        }
        let mut takes = 1;
        if let Some(before) = before {
            takes = before.takes + u64::from(checkpoint.epoch > before.epoch);
            let sound = match checkpoint.owner == before.owner {
                true => checkpoint.epoch == before.epoch || checkpoint.epoch == before.epoch + 1,
                false => checkpoint.epoch == before.epoch + 1,
            };
            if !sound {
                return Err(format!(
                    "{shard}: version {version} of {} has epoch {}, the one before, of {}, has {}",
                    checkpoint.owner, checkpoint.epoch, before.owner, before.epoch
                ));
            }
            if before.position.is_final() && checkpoint.position != before.position {
                return Err(format!("{shard} went on after its end"));
            }
        }
        for batch in checkpoint
            .outbox
            .iter()
            .filter(|batch| batch.version == version)
        {
            self.sealed.insert(Batch {
                shard: shard.to_owned(),
                version: batch.version,
            });
        }
        if let Position::AtTimestamp(millis) = checkpoint.position {
            self.begins = self.begins.max(millis);
        }
        self.chains.insert(
            shard.to_owned(),
            Chain {
                version,
                epoch: checkpoint.epoch,
                owner: checkpoint.owner,
                position: checkpoint.position,
                takes,
                format: codec::format_of(bytes).unwrap_or_default(),
            },
        );
        Ok(())
    }
}

fn decode(shard: &str, version: u64, bytes: &Bytes) -> Result<Checkpoint, String> {
    let checkpoint =
        codec::decode(bytes).map_err(|error| format!("version {version} of {shard}: {error}"))?;
    match checkpoint.version == version && checkpoint.shard == shard {
        true => Ok(checkpoint),
        false => Err(format!(
            "version {version} of {shard} says that it is {} of {}",
            checkpoint.version, checkpoint.shard
        )),
    }
}

/// The member whose beat this is.
fn beat_of(path: &str) -> Option<&str> {
    path.strip_prefix("state/members/")?.strip_suffix("/beat")
}

/// The shard and the version of a checkpoint's path.
fn version_in(path: &str) -> Option<(String, u64)> {
    let (folder, name) = path.rsplit_once('/')?;
    let version = name.strip_suffix(".ckpt")?.parse().ok()?;
    Some((folder.rsplit('/').next()?.to_owned(), version))
}
