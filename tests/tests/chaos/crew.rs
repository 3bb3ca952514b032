//! The workers of one pipeline.
//!
//! Owns starting, hitting and asking them. Must never know what happens to the stream or S3.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use stockstream_tests::restart::{Pipeline, Random, Stream, Worker, state_at};

use super::recovery::Waiting;

/// Fewest and most.
const FEWEST: usize = 3;
const MOST: usize = 6;

/// Longest that one stands still: twice the lease's expiry.
const LONGEST_PAUSE: Duration = Duration::from_secs(12);

pub struct Crew<'a> {
    pipeline: &'a Pipeline,
    members: Vec<Member>,
    /// Names that were killed, to start again.
    fallen: Vec<String>,
    /// Given to workers so far.
    names: usize,
}

struct Member {
    name: String,
    worker: Worker,
    address: String,
    still: bool,
}

impl<'a> Crew<'a> {
    pub fn start(pipeline: &'a Pipeline, count: usize) -> anyhow::Result<Self> {
        let mut crew = Crew {
            pipeline,
            members: Vec::new(),
            fallen: Vec::new(),
            names: 0,
        };
        for _ in 0..count {
            crew.add()?;
        }
        Ok(crew)
    }

    fn add(&mut self) -> anyhow::Result<()> {
        self.names += 1;
        self.add_named(format!("worker-{}", self.names))
    }

    fn add_named(&mut self, name: String) -> anyhow::Result<()> {
        let mut worker = self.pipeline.worker_named(&name)?;
        let address = worker.address().with_context(|| worker.0.stderr())?;
        self.members.push(Member {
            name,
            worker,
            address,
            still: false,
        });
        Ok(())
    }

    /// Three times in four one that reads a shard, if there is one: only that is felt.
    fn choose(&self, random: &mut Random) -> anyhow::Result<usize> {
        let first = usize::try_from(random.below(self.members.len() as u64)).unwrap_or_default();
        if random.one_in(4) {
            return Ok(first);
        }
        for other in (first..self.members.len()).chain(0..first) {
            let member = &self.members[other];
            if !member.still && !member.held()?.is_empty() {
                return Ok(other);
            }
        }
        Ok(first)
    }

    /// Kills one. What it read is to be read by others, or by one that starts again under its name.
    pub fn kill(&mut self, random: &mut Random) -> anyhow::Result<Waiting> {
        let chosen = self.choose(random)?;
        let mut member = self.members.swap_remove(chosen);
        let held = member.held()?;
        member.worker.0.kill()?;
        let waiting = Waiting::now(held, None);
        self.fallen.push(member.name);
        // Half of them are back at once, as a container is.
        if random.one_in(2) {
            self.set_right(random)?;
        }
        Ok(waiting)
    }

    /// Asks one to stop, and starts another.
    pub fn stop_one_and_start_another(&mut self, random: &mut Random) -> anyhow::Result<Waiting> {
        let chosen = self.choose(random)?;
        let member = self.members.swap_remove(chosen);
        let waiting = member.stop()?;
        self.add()?;
        Ok(waiting)
    }

    /// One stands still; it goes on when [`Crew::set_right`] is called, which is up to twice the expiry later.
    pub fn pause(&mut self, random: &mut Random) -> anyhow::Result<Waiting> {
        let chosen = self.choose(random)?;
        let member = &mut self.members[chosen];
        let held = member.held()?;
        member.worker.0.signal(Signal::STOP)?;
        member.still = true;
        let waiting = Waiting::now(held, Some(&member.name));
        Ok(waiting)
    }

    /// Starts some.
    pub fn start_more(&mut self, random: &mut Random) -> anyhow::Result<Waiting> {
        for _ in 0..=random.below(2) {
            if self.members.len() < MOST {
                self.add()?;
            }
        }
        self.expecting_what_is_held()
    }

    /// Stops one or two.
    pub fn stop_some(&mut self, random: &mut Random) -> anyhow::Result<Waiting> {
        if self.members.len() <= FEWEST {
            self.add()?;
        }
        let chosen = self.choose(random)?;
        let member = self.members.swap_remove(chosen);
        member.stop()
    }

    /// Whoever stands still goes on, after a while that may be longer than the lease; whoever was killed starts again.
    pub fn set_right(&mut self, random: &mut Random) -> anyhow::Result<()> {
        for member in self.members.iter_mut().filter(|member| member.still) {
            std::thread::sleep(random.duration(LONGEST_PAUSE / 4));
            member.worker.0.signal(Signal::CONT)?;
            member.still = false;
        }
        for name in std::mem::take(&mut self.fallen) {
            self.add_named(name)?;
        }
        while self.members.len() > MOST {
            if let Some(member) = self.members.pop() {
                member.stop()?;
            }
        }
        Ok(())
    }

    /// Every shard that can be written to is to be read.
    pub fn expecting_all_open(&self, stream: &Stream) -> anyhow::Result<Waiting> {
        let open = stream.open_shards()?;
        Ok(Waiting::now(open.into_iter().map(|(name, ..)| name), None))
    }

    fn expecting_what_is_held(&self) -> anyhow::Result<Waiting> {
        let mut held = Vec::new();
        for member in &self.members {
            held.extend(member.held()?);
        }
        Ok(Waiting::now(held, None))
    }

    /// Asks everybody who can answer.
    pub fn see(&mut self, waiting: &mut Waiting) -> anyhow::Result<()> {
        for member in self.members.iter_mut().filter(|member| !member.still) {
            if !member.worker.0.is_running()? {
                anyhow::bail!(
                    "{} ended by itself: {}",
                    member.name,
                    member.worker.0.stderr()
                );
            }
            for shard in shards(&state_at(&member.address)?) {
                let text = |name: &str| shard[name].as_str();
                if let (Some(name), Some(phase)) = (text("shard"), text("phase")) {
                    waiting.seen(&member.name, name, phase, text("readThrough"));
                }
            }
        }
        Ok(())
    }

    /// The last lines of everybody's log.
    pub fn logs(&self) -> String {
        let mut logs = String::new();
        for member in &self.members {
            let log = member.worker.0.stderr();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(15)..];
            logs += &format!("\n== {}\n{}", member.name, last.join("\n"));
        }
        logs
    }

    /// What those who are here have logged since shortly before a moment.
    pub fn logs_since(&self, moment: Timestamp) -> String {
        let first = (moment - Duration::from_secs(1)).to_string();
        let mut logs = String::new();
        for member in &self.members {
            logs += &format!("\n== {}", member.name);
            for line in member.worker.0.stderr().lines() {
                let line: Value = serde_json::from_str(line).unwrap_or_default();
                if line["timestamp"]
                    .as_str()
                    .is_some_and(|at| at >= first.as_str())
                {
                    logs += &format!("\n{line}");
                }
            }
        }
        logs
    }

    pub fn stop_all(&mut self) -> anyhow::Result<()> {
        for member in self.members.drain(..) {
            member.worker.stop()?;
        }
        Ok(())
    }
}

impl Member {
    /// The shards that it reads.
    fn held(&self) -> anyhow::Result<Vec<String>> {
        let state = state_at(&self.address)?;
        let reading = shards(&state)
            .into_iter()
            .filter(|shard| shard["phase"] == "Reading");
        Ok(reading
            .filter_map(|shard| shard["shard"].as_str().map(str::to_owned))
            .collect())
    }

    fn stop(self) -> anyhow::Result<Waiting> {
        let waiting = Waiting::now(self.held()?, Some(&self.name));
        self.worker.stop().with_context(|| self.name.clone())?;
        Ok(waiting)
    }
}

fn shards(state: &Value) -> Vec<Value> {
    state["shards"].as_array().cloned().unwrap_or_default()
}
