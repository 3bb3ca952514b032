//! What is measured, part by part.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::load::{self, DATA_BYTES, KEY_BYTES, Run, median};
use crate::report::{self, Line, Throughput};
use crate::server::Process;
use crate::{Options, Outcome};

const SHARDS: i32 = 4;
const SHARD: &str = "shardId-000000000000";

/// A directory of its own for one durable log, removed when dropped: what was just deleted is slow to make anew.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(options: &Options, name: &str) -> Outcome<Self> {
        let name = format!("bench-kinesis-{}-{name}", std::process::id());
        let path = options.directory.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed is left for the user to find.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The servers of one round, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Durable,
    Peer,
}

impl Kind {
    fn start(self, options: &Options, scratch: &Scratch) -> Outcome<Process> {
        match (self, &options.peer) {
            (Self::Memory, _) => Process::ours(None),
            (Self::Durable, _) => Process::ours(Some(scratch.path())),
            (Self::Peer, Some(peer)) => Process::peer(peer),
            (Self::Peer, None) => Err("kinesis-local isn't known".into()),
        }
    }
}

/// Puts and reads of a fresh server.
async fn put_and_read(options: &Options, kind: Kind, round: usize) -> Outcome<(Run, Run)> {
    let scratch = Scratch::new(options, &format!("{kind:?}-{round}"))?;
    let server = kind.start(options, &scratch)?;
    let records = match kind {
        Kind::Peer => options.peer_records,
        _ => options.records,
    };
    load::create(&load::client(&server.endpoint), SHARDS).await?;
    // Connections, pools and the other side's just-in-time compiler warm up.
    let warm = records / 10;
    let put = load::put(&server, warm, options.callers).await?;
    let put_all = load::put(&server, records, options.callers).await?;
    let read = load::read(&server, put.records + put_all.records).await?;
    eprintln!(
        "  {kind:?}: {:.0} puts/s, {:.0} records/s read",
        put_all.per_second(),
        read.per_second()
    );
    Ok((put_all, read))
}

pub async fn throughput(options: &Options) -> Outcome<()> {
    let mut kinds = vec![Kind::Memory, Kind::Durable];
    if options.peer.is_some() {
        kinds.push(Kind::Peer);
    }
    let mut results = Throughput::default();
    for round in 0..options.rounds {
        eprintln!("throughput, round {} of {}", round + 1, options.rounds);
        for kind in &kinds {
            let (put, read) = put_and_read(options, *kind, round).await?;
            results.add(*kind, put, read);
        }
    }
    results.print();
    Ok(())
}

/// How much the server grows by a record in memory, beside the record's own bytes.
pub async fn memory(options: &Options) -> Outcome<()> {
    eprintln!("memory: {} records", options.many);
    let server = Process::ours(None)?;
    load::create(&load::client(&server.endpoint), SHARDS).await?;
    load::put(&server, 20 * load::BATCH, options.callers).await?;
    let before = server.resident_bytes()?;
    let put = load::put(&server, options.many, options.callers).await?;
    let grown = server.resident_bytes()?.saturating_sub(before) as f64 / put.records as f64;
    let overhead = grown - (DATA_BYTES + KEY_BYTES) as f64;
    report::lines(
        "Memory",
        &[Line::below(
            &format!(
                "bytes of overhead a record ({} records in memory)",
                put.records
            ),
            overhead,
            300.0,
            "bytes",
        )],
    );
    Ok(())
}

/// One shard, small and large: what a read and an iterator cost at its beginning, middle and end.
pub async fn latency(options: &Options) -> Outcome<()> {
    let mut table = report::Latency::default();
    for kind in [Kind::Memory, Kind::Durable] {
        let mut servers = Vec::new();
        for records in [10_000, options.many] {
            eprintln!("latency: {kind:?}, {records} records in one shard");
            let scratch = Scratch::new(options, &format!("latency-{kind:?}-{records}"))?;
            let server = kind.start(options, &scratch)?;
            let client = load::client(&server.endpoint);
            load::create(&client, 1).await?;
            load::put(&server, records, options.callers).await?;
            let places = load::places(&client, SHARD, records).await?;
            servers.push((scratch, server, client, places));
        }
        for place in 0..3 {
            // Alternating, so that both meet the same machine.
            let mut reads = [Vec::new(), Vec::new()];
            let mut seeks = [Vec::new(), Vec::new()];
            for _ in 0..5 {
                for (size, (_, _, client, places)) in servers.iter().enumerate() {
                    let place = &places[place];
                    reads[size].push(load::read_latency(client, place, 100).await?);
                    seeks[size].push(load::seek_latency(client, SHARD, place, 100).await?);
                }
            }
            let [small, large] = reads.map(|mut times| median(&mut times));
            table.add(kind, "GetRecords of 100", place, small, large);
            let [small, large] = seeks.map(|mut times| median(&mut times));
            table.add(kind, "AT_TIMESTAMP iterator", place, small, large);
        }
    }
    table.print(options.many);
    Ok(())
}

/// How long a start takes after kill -9, until the first record was read through the SDK. Each kill comes at another
/// fill of the journal, which is what a start replays.
pub async fn startup(options: &Options) -> Outcome<()> {
    eprintln!("start-up after {} durable records", options.many);
    let scratch = Scratch::new(options, "startup")?;
    let server = Process::ours(Some(scratch.path()))?;
    load::create(&load::client(&server.endpoint), SHARDS).await?;
    load::put(&server, options.many, options.callers).await?;
    drop(server);
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..7 {
        let begin = Instant::now();
        let server = Process::ours(Some(scratch.path()))?;
        let client = load::client(&server.endpoint);
        let first = load::places(&client, SHARD, 200).await?;
        if first[0].arrival.is_none() {
            return Err("no record after the start".into());
        }
        times.push(begin.elapsed());
        eprintln!("  {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);
        load::put(&server, 40_000, options.callers).await?;
    }
    times.sort();
    let line = |name: &str, time: Duration| {
        Line::below(
            &format!(
                "start-up after kill -9 with {} records and more, {name} of {}",
                options.many,
                times.len()
            ),
            time.as_secs_f64() * 1e3,
            1000.0,
            "ms",
        )
    };
    report::lines(
        "Start-up",
        &[
            line("best", times[0]),
            line("worst", times[times.len() - 1]),
        ],
    );
    Ok(())
}
