//! What must be true at every moment of a run.
//!
//! Owns the rules that are checked with each request and each change of the store, and what readers have seen so far.
//! A reader that lists and reads at any moment sees no more than the watch does, which looks after every write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec;
use stockstream_core::sequence::Position;
use tokio::time::Instant;

use crate::network::lock;
use crate::note;
use crate::rows::{Batch, Row, batch_of, read_dead, read_late, read_rows};
use crate::trace::Trace;

/// Reads of one shard by one process in any second: what AWS allows.
const READS_A_SECOND: usize = 5;

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
}

/// Looks on.
#[derive(Debug)]
pub struct Watch {
    trace: Trace,
    /// Versions of a chain that stay.
    keep: usize,
    /// How much older than the newest version a version must be before it goes, in microseconds.
    age: i64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    faults: Vec<String>,
    chains: BTreeMap<String, Chain>,
    sealed: BTreeSet<Batch>,
    rows: BTreeMap<(String, i64), (Row, String)>,
    rejects: BTreeMap<(String, String), (String, String)>,
    /// The bytes of each version that a process sent, by what it is.
    frozen: BTreeMap<(String, String, u64, u64), Bytes>,
    /// Versions that a process has sent a create of, without having listed the chain since.
    unlisted: BTreeMap<(String, String), u64>,
    reads: BTreeMap<(String, String), VecDeque<Instant>>,
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
    pub fn new(trace: Trace, keep: usize, age: Duration) -> Self {
        Watch {
            trace,
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
            "{shard} {version} epoch {} of {} at {} watermark {:?} outbox {:?}",
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
        self.chains.insert(
            shard.to_owned(),
            Chain {
                version,
                epoch: checkpoint.epoch,
                owner: checkpoint.owner,
                position: checkpoint.position,
                takes,
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

/// The shard and the version of a checkpoint's path.
fn version_in(path: &str) -> Option<(String, u64)> {
    let (folder, name) = path.rsplit_once('/')?;
    let version = name.strip_suffix(".ckpt")?.parse().ok()?;
    Some((folder.rsplit('/').next()?.to_owned(), version))
}
