//! Writers, tailing readers, reshards, trimming and a wall clock that jumps, for as long as is asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stockstream_local::{
    Clock, DiskOptions, KinesisOptions, Server, ServerOptions, Storage, SystemClock,
};

use crate::check::{Checker, KEYS, digest, partition_key, payload};
use crate::door::{Door, STREAM, client, reshard};
use crate::{Chance, duration};

const WRITERS: u32 = 16;
const READERS: usize = 8;
/// Writers wait when the slowest reader is so many records behind: records that are trimmed by size
/// have then been read.
const BACKLOG: u64 = 20_000;
/// Small enough that a long run trims most of what it writes; many times the backlog.
const MAX_BYTES: u64 = 96 * 1024 * 1024;

/// The system's clock, set back and forth by less than iterators live.
#[derive(Debug)]
struct JumpingClock {
    system: SystemClock,
    offset_millis: AtomicI64,
}

impl Clock for JumpingClock {
    fn wall_millis(&self) -> u64 {
        let offset = self.offset_millis.load(Ordering::SeqCst);
        self.system.wall_millis().saturating_add_signed(offset)
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }
}

/// What all tasks share.
#[derive(Default)]
struct Shared {
    /// Writers are to stop.
    stop: AtomicBool,
    /// Writers have stopped.
    stopped: AtomicBool,
    calls: AtomicU64,
    written: AtomicU64,
    sum: AtomicU64,
    reads: AtomicU64,
    read: [AtomicU64; READERS],
}

impl Shared {
    fn backlog(&self) -> u64 {
        let slowest = self.read.iter().map(|read| read.load(Ordering::SeqCst));
        let written = self.written.load(Ordering::SeqCst);
        written.saturating_sub(slowest.min().unwrap_or(0))
    }
}

async fn write(door: Door, writer: u32, shared: Arc<Shared>) {
    let mut chance = Chance(u64::from(writer));
    let mut next = [0_u64; KEYS as usize];
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.backlog() > BACKLOG {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let count = match chance.below(4) {
            0 => 1,
            _ => 1 + chance.below(200),
        };
        let mut places = Vec::new();
        let mut records = Vec::new();
        for _ in 0..count {
            let lane = (writer, chance.below(u64::from(KEYS)) as u32);
            let number = next[lane.1 as usize];
            next[lane.1 as usize] += 1;
            places.push((lane, number));
            records.push((partition_key(lane), payload(lane, number)));
        }
        let sequences = match &records[..] {
            [(key, data)] => door.put_record(key, data).await.map(|one| vec![one]),
            records => door.put_records(records).await,
        };
        let sequences = sequences.unwrap_or_else(|error| panic!("writer {writer}: {error}"));
        assert_eq!(sequences.len(), places.len());
        let sums = places.iter().zip(&sequences);
        let sum = sums.fold(0_u64, |sum, ((lane, number), sequence)| {
            sum.wrapping_add(digest(sequence, *lane, *number))
        });
        shared.calls.fetch_add(1, Ordering::SeqCst);
        shared.sum.fetch_add(sum, Ordering::SeqCst);
        shared.written.fetch_add(count, Ordering::SeqCst);
    }
}

/// Tails all shards, parents before children, until all that was written is read.
async fn tail(door: Door, roots: Vec<String>, reader: usize, shared: Arc<Shared>) -> Checker {
    let mut checker = Checker::new(format!("reader {reader}"));
    let mut ended: HashSet<String> = HashSet::new();
    let mut active: HashMap<String, String> = HashMap::new();
    for root in roots {
        let iterator = door.iterator(&root).await.unwrap();
        active.insert(root, iterator);
    }
    // Each reader has a size of its own, so that their pages end at different places.
    let limit = 300 + 97 * i32::try_from(reader).unwrap();
    loop {
        let finished = shared.stopped.load(Ordering::SeqCst);
        let mut progress = false;
        let mut begun = Vec::new();
        for (shard, iterator) in &mut active {
            let page = door.get(iterator, limit).await;
            let page = page.unwrap_or_else(|error| panic!("reader {reader}, {shard}: {error}"));
            shared.reads.fetch_add(1, Ordering::SeqCst);
            progress |= !page.records.is_empty() || page.behind > 0 || page.next.is_none();
            for (sequence, arrival, data) in &page.records {
                checker.see(shard, sequence, *arrival, data);
            }
            shared.read[reader].store(checker.records, Ordering::SeqCst);
            match page.next {
                Some(next) => *iterator = next,
                None => {
                    checker.end(shard);
                    ended.insert(shard.clone());
                    assert!(!page.children.is_empty(), "{shard} ended without children");
                    begun.extend(page.children);
                }
            }
        }
        active.retain(|shard, _| !ended.contains(shard));
        for (child, parents) in begun {
            let ready = parents.iter().all(|parent| ended.contains(parent));
            if ready && !active.contains_key(&child) {
                let iterator = door.iterator(&child).await.unwrap();
                active.insert(child, iterator);
            }
        }
        if finished && !progress {
            return checker;
        }
        if !progress {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Sets the clock back and forth until writers stop.
async fn jump(clock: Arc<JumpingClock>, shared: Arc<Shared>) -> u64 {
    let mut chance = Chance(3);
    let mut jumps = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        let offset = chance.below(240_000) as i64 - 120_000;
        clock.offset_millis.store(offset, Ordering::SeqCst);
        jumps += 1;
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    jumps
}

async fn reshards(endpoint: String, shared: Arc<Shared>) -> (u64, u64) {
    let client = client(&endpoint);
    let mut chance = Chance(1);
    let (mut splits, mut merges) = (0, 0);
    while !shared.stop.load(Ordering::SeqCst) {
        match reshard(&client, &mut chance).await {
            Ok(true) => splits += 1,
            Ok(false) => merges += 1,
            Err(error) => panic!("a reshard failed: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (splits, merges)
}

/// How many records haven't been trimmed.
async fn kept(list: &Door, read: &Door) -> u64 {
    let mut kept = 0;
    for shard in list.shards().await.unwrap() {
        let mut next = Some(read.iterator(&shard.id).await.unwrap());
        while let Some(iterator) = next {
            let page = read.get(&iterator, 10_000).await.unwrap();
            kept += page.records.len() as u64;
            next = page.next.filter(|_| page.behind > 0);
        }
    }
    kept
}

async fn run(what: &str, storage: Storage) {
    let clock = Arc::new(JumpingClock {
        system: SystemClock::new(),
        offset_millis: AtomicI64::new(0),
    });
    let options = ServerOptions {
        kinesis: KinesisOptions {
            storage,
            clock: clock.clone(),
            // The least memory, so that readers on disk cross from files to memory all the time.
            tail_bytes: 0,
            ..KinesisOptions::default()
        },
        ..ServerOptions::default()
    };
    let server = Server::start(options).await.unwrap();
    let http = Door::Http(client(&server.endpoint()));
    let create = client(&server.endpoint()).create_stream();
    let create = create.stream_name(STREAM).shard_count(2).send().await;
    create.unwrap();
    let roots = http.shards().await.unwrap().into_iter();
    let roots: Vec<String> = roots.map(|shard| shard.id).collect();
    let shared = Arc::new(Shared::default());
    // Three of four over HTTP, each with a connection of its own; the others in the process.
    let door = |number: usize| match number % 4 {
        3 => Door::Direct(server.kinesis().clone()),
        _ => Door::Http(client(&server.endpoint())),
    };
    let began = Instant::now();
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (roots, shared) = (roots.clone(), shared.clone());
            tokio::spawn(tail(door(reader), roots, reader, shared))
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(door(writer as usize), writer, shared.clone())))
        .collect();
    let resharding = tokio::spawn(reshards(server.endpoint(), shared.clone()));
    let jumping = tokio::spawn(jump(clock, shared.clone()));
    let all_there = || {
        let tasks = readers.iter().map(|task| task.is_finished());
        let tasks = tasks.chain(writers.iter().map(|task| task.is_finished()));
        !tasks.chain([resharding.is_finished()]).any(|ended| ended)
    };
    // A task that panics would leave the others waiting for it.
    while began.elapsed() < duration(3) && all_there() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shared.stop.store(true, Ordering::SeqCst);
    let wrote_for = began.elapsed();
    let failed = !all_there();
    if failed {
        readers.iter().for_each(|reader| {
            if !reader.is_finished() {
                reader.abort();
            }
        });
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let (splits, merges) = resharding.await.unwrap();
    let jumps = jumping.await.unwrap();
    shared.stopped.store(true, Ordering::SeqCst);
    let (written, sum) = (
        shared.written.load(Ordering::SeqCst),
        shared.sum.load(Ordering::SeqCst),
    );
    let mut outcomes = Vec::new();
    for reader in readers {
        outcomes.push(reader.await);
    }
    // The one that failed first, not those that were stopped for it.
    outcomes.sort_by_key(|outcome| outcome.as_ref().is_err_and(|error| error.is_cancelled()));
    for (place, outcome) in outcomes.into_iter().enumerate() {
        let checker = outcome.unwrap();
        assert_eq!(checker.records, written, "records that reader {place} saw");
        assert_eq!(
            checker.sum, sum,
            "places and contents that reader {place} saw"
        );
    }
    assert!(splits > 0 && written > 0);
    let kept = kept(&http, &Door::Direct(server.kinesis().clone())).await;
    let seconds = wrote_for.as_secs_f64();
    println!(
        "soak {what}: {WRITERS} writers and {READERS} readers for {seconds:.1} s: {} puts of {written} records ({:.0} a second), \
         {} reads of {} records ({:.0} a second), {splits} splits, {merges} merges, {jumps} jumps of the clock, {} records trimmed; \
         none lost, doubled or reordered",
        shared.calls.load(Ordering::SeqCst),
        written as f64 / seconds,
        shared.reads.load(Ordering::SeqCst),
        written * READERS as u64,
        (written * READERS as u64) as f64 / seconds,
        written - kept,
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_nothing_is_lost_doubled_or_reordered() {
    let storage = Storage::Memory {
        max_bytes: MAX_BYTES,
    };
    run("in memory", storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_disk_nothing_is_lost_doubled_or_reordered() {
    let directory = tempfile::tempdir().unwrap();
    let disk = DiskOptions {
        reserve_bytes: 0,
        ..DiskOptions::new(directory.path(), MAX_BYTES)
    };
    run("on disk", Storage::Directory(disk)).await;
}
