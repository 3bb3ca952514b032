//! A server process that is killed under load, again and again: with SIGKILL at any moment, with a
//! write torn at the journal's end, with a full disk in between. Every acknowledged record must be
//! there afterwards, in order, and whatever a reader has seen.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::check::{KEYS, Lane, digest, parse, partition_key, payload};
use crate::door::{Door, STREAM, client, reshard};
use crate::{Chance, duration};

const WRITERS: u32 = 8;

/// A server process; killed when dropped.
struct Process {
    child: Child,
    endpoint: String,
}

impl Process {
    fn start(directory: &Path, full: bool) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stockstream-local-test-server"))
            .arg(directory)
            .args(full.then_some("full"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut endpoint = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut endpoint).unwrap();
        Self {
            child,
            endpoint: endpoint.trim().to_owned(),
        }
    }

    fn door(&self) -> Door {
        Door::Http(client(&self.endpoint))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a writer knows of what it has put, over all rounds.
#[derive(Default)]
struct Writer {
    next: HashMap<Lane, u64>,
    /// Records whose put has returned, by digest of place and content.
    acknowledged: HashMap<(Lane, u64), u64>,
    refused: u64,
}

/// Puts until the server is gone. What wasn't acknowledged isn't put again: it may be there or not.
async fn write(door: Door, number: u32, mut writer: Writer, stop: Arc<AtomicBool>) -> Writer {
    let mut chance = Chance(u64::from(number) ^ writer.acknowledged.len() as u64);
    while !stop.load(Ordering::SeqCst) {
        let count = 1 + chance.below(40);
        let mut places = Vec::new();
        for _ in 0..count {
            let lane = (number, chance.below(u64::from(KEYS)) as u32);
            let next = writer.next.entry(lane).or_default();
            places.push((lane, *next));
            *next += 1;
        }
        let records = places.iter();
        let records: Vec<_> = records
            .map(|(lane, number)| (partition_key(*lane), payload(*lane, *number)))
            .collect();
        let sequences = match &records[..] {
            [(key, data)] => door.put_record(key, data).await.map(|one| vec![one]),
            records => door.put_records(records).await,
        };
        match sequences {
            Ok(sequences) => {
                for ((lane, number), sequence) in places.into_iter().zip(sequences) {
                    let digest = digest(&sequence, lane, number);
                    writer.acknowledged.insert((lane, number), digest);
                }
            }
            Err(_) => {
                writer.refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    writer
}

/// What a reader knows, over all rounds: iterators outlive the server.
#[derive(Default)]
struct Reader {
    /// Digests of what it saw.
    seen: HashSet<u64>,
    /// By shard; none at its end.
    iterators: HashMap<String, Option<String>>,
}

/// Reads all shards until the server is gone.
async fn read(door: Door, mut reader: Reader, stop: Arc<AtomicBool>) -> Reader {
    let Reader { seen, iterators } = &mut reader;
    while !stop.load(Ordering::SeqCst) {
        for shard in door.shards().await.unwrap_or_default() {
            if !iterators.contains_key(&shard.id)
                && let Ok(iterator) = door.iterator(&shard.id).await
            {
                iterators.insert(shard.id, Some(iterator));
            }
        }
        for next in iterators.values_mut() {
            let Some(iterator) = next else { continue };
            let Ok(page) = door.get(iterator, 5_000).await else {
                break;
            };
            for (sequence, _, data) in page.records {
                let (lane, number) = parse(&data);
                seen.insert(digest(&sequence, lane, number));
            }
            *next = page.next;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    reader
}

/// All records, parents before children: digests, checked to be in each lane's order.
async fn read_all(door: &Door) -> HashMap<(Lane, u64), u64> {
    let mut found = HashMap::new();
    let mut last: HashMap<Lane, (u64, String)> = HashMap::new();
    // Children are numbered above their parents.
    let mut shards = door.shards().await.unwrap();
    shards.sort_by(|one, other| one.id.cmp(&other.id));
    for shard in shards {
        let parents = shard.parents.iter();
        assert!(parents.clone().all(|parent| *parent < shard.id));
        let mut next = Some(door.iterator(&shard.id).await.unwrap());
        let mut before = String::new();
        while let Some(iterator) = next {
            let page = door.get(&iterator, 10_000).await.unwrap();
            for (sequence, _, data) in page.records {
                assert!(before < sequence, "{}: {before}, {sequence}", shard.id);
                let (lane, number) = parse(&data);
                if let Some((number_before, sequence_before)) = last.get(&lane) {
                    assert!(
                        *number_before < number && **sequence_before < *sequence,
                        "{lane:?}: {number_before} before {number}"
                    );
                }
                last.insert(lane, (number, sequence.clone()));
                let digest = digest(&sequence, lane, number);
                assert_eq!(found.insert((lane, number), digest), None, "doubled");
                before = sequence;
            }
            let at_tip = page.behind == 0 && page.next.is_some();
            next = page.next.filter(|_| !at_tip);
        }
    }
    found
}

fn newest_journal(directory: &Path) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let number = |path: &PathBuf| {
        let stem = path.file_stem()?.to_str()?.parse::<u64>().ok()?;
        (path.extension()? == "jnl").then_some(stem)
    };
    files
        .filter(|path| number(path).is_some())
        .max_by_key(number)
        .unwrap()
}

/// Adds half a write after the journal's content, as a kill in the middle of one would leave it.
fn tear(directory: &Path, chance: &mut Chance) {
    let journal = newest_journal(directory);
    let bytes = std::fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0);
    let end = end.map_or(0, |last| last + 1);
    // The beginning of an earlier write is the beginning of one that might come.
    let torn = 1 + chance.below(200.min(end as u64 / 2).max(1)) as usize;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(&journal)
        .unwrap();
    file.seek(std::io::SeekFrom::Start(end as u64)).unwrap();
    file.write_all(&bytes[..torn]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_record_outlives_kills_torn_writes_and_full_disks_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let mut writers: Vec<Writer> = (0..WRITERS).map(|_| Writer::default()).collect();
    let mut reader = Reader::default();
    let mut chance = Chance(11);
    let (mut kills, mut torn, mut full_rounds, mut reshards) = (0, 0, 0, 0);
    let began = Instant::now();
    {
        let process = Process::start(directory.path(), false);
        let create = client(&process.endpoint).create_stream();
        let create = create.stream_name(STREAM).shard_count(2).send().await;
        create.unwrap();
    }
    while kills < 4 || began.elapsed() < duration(0) {
        let full = kills % 4 == 2;
        let mut process = Process::start(directory.path(), full);
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..)
            .zip(std::mem::take(&mut writers))
            .map(|(number, writer)| {
                let refused = writer.refused;
                let task = tokio::spawn(write(process.door(), number, writer, stop.clone()));
                (task, refused)
            })
            .collect();
        let reading = tokio::spawn(read(process.door(), reader, stop.clone()));
        let resharder = {
            let (client, stop) = (client(&process.endpoint), stop.clone());
            let mut chance = Chance(chance.below(u64::MAX));
            tokio::spawn(async move {
                let mut reshards = 0;
                while !stop.load(Ordering::SeqCst) {
                    reshards += u64::from(reshard(&client, &mut chance).await.is_ok());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                reshards
            })
        };
        tokio::time::sleep(Duration::from_millis(150 + chance.below(700))).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        stop.store(true, Ordering::SeqCst);
        for (task, refused_before) in tasks {
            let writer = task.await.unwrap();
            assert!(
                !full || writer.refused > refused_before,
                "the disk was full"
            );
            writers.push(writer);
        }
        reader = reading.await.unwrap();
        reshards += resharder.await.unwrap();
        kills += 1;
        full_rounds += u64::from(full);
        if kills % 2 == 1 {
            tear(directory.path(), &mut chance);
            torn += 1;
        }
    }
    let process = Process::start(directory.path(), false);
    let found = read_all(&process.door()).await;
    let mut acknowledged = 0;
    for writer in &writers {
        for (place, digest) in &writer.acknowledged {
            assert_eq!(found.get(place), Some(digest), "{place:?} was acknowledged");
            acknowledged += 1;
        }
    }
    let seen = &reader.seen;
    let digests: HashSet<u64> = found.values().copied().collect();
    assert!(
        seen.is_subset(&digests),
        "a reader saw a record that is gone"
    );
    assert!(acknowledged > 0 && !seen.is_empty());
    println!(
        "soak with kills: {WRITERS} writers for {:.1} s, {kills} kills, {torn} torn writes, {full_rounds} rounds with a full disk, \
         {reshards} reshards: all of {acknowledged} acknowledged records are there, in order, and {} more that weren't; \
         a reader had seen {}",
        began.elapsed().as_secs_f64(),
        found.len() - acknowledged,
        seen.len(),
    );
}
