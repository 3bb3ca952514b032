//! Writers, tailing readers and reshards at once: nothing lost, doubled or reordered.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use stockstream_local::api::PutRecordsResult;
use stockstream_local::{Kinesis, KinesisOptions, Storage, SystemClock};

use crate::harness::*;

const WRITERS: usize = 8;
const READERS: usize = 4;
const ROUNDS: usize = 150;
const BATCH: usize = 10;

/// Puts batches and notes, per shard, each writer's own order.
fn write(kinesis: &Kinesis, writer: usize) -> Vec<(String, String)> {
    let mut written = Vec::new();
    for round in 0..ROUNDS {
        let pairs: Vec<_> = (0..BATCH)
            .map(|place| {
                (
                    format!("{place}"),
                    format!("{writer}/{round:05}/{place:02}/{}", "x".repeat(200)).into_bytes(),
                )
            })
            .collect();
        let results = put_many(kinesis, &pairs);
        for ((_, data), result) in pairs.into_iter().zip(results) {
            if let PutRecordsResult::Written {
                sequence_number, ..
            } = result
            {
                written.push((
                    sequence_number.to_string(),
                    String::from_utf8(data).unwrap(),
                ));
            }
        }
    }
    written
}

/// Tails every shard, parents before children, until writers are done and all shards are read out.
fn tail(kinesis: &Kinesis, done: &AtomicBool) -> BTreeMap<String, Vec<(String, String)>> {
    let mut seen: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut iterators: BTreeMap<String, Option<String>> = BTreeMap::new();
    loop {
        // Read first: then an empty round after it proves that there is nothing left.
        let finished = done.load(Ordering::SeqCst);
        for shard in shards(kinesis) {
            let id = shard.shard_id;
            let start = || Some(iterator(kinesis, &id, "TRIM_HORIZON"));
            iterators.entry(id.clone()).or_insert_with(start);
        }
        let mut progress = false;
        for (shard, iterator) in &mut iterators {
            let Some(current) = iterator.take() else {
                continue;
            };
            let outcome = get(kinesis, &current, Some(97)).unwrap();
            progress |= !outcome.records.is_empty() || outcome.millis_behind_latest > 0;
            let records = outcome.records.into_iter().map(|record| record.0);
            let records = records.map(|record| {
                let data = String::from_utf8(record.record.data().to_vec()).unwrap();
                (record.sequence_number.to_string(), data)
            });
            seen.entry(shard.clone()).or_default().extend(records);
            *iterator = outcome.next_shard_iterator;
        }
        if finished && !progress {
            return seen;
        }
    }
}

fn reshard(kinesis: &Kinesis, done: &AtomicBool) -> usize {
    let mut reshards = 0;
    while !done.load(Ordering::SeqCst) && reshards < 40 {
        let open = open_shards(kinesis);
        if open.len() < 4 {
            let shard = &open[reshards % open.len()];
            let start: u128 = shard.hash_key_range.starting_hash_key.parse().unwrap();
            let end: u128 = shard.hash_key_range.ending_hash_key.parse().unwrap();
            split(kinesis, &shard.shard_id, start + (end - start) / 2).unwrap();
        } else {
            merge(kinesis, &open[1].shard_id, &open[2].shard_id).unwrap();
        }
        reshards += 1;
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    reshards
}

fn run(storage: Storage) {
    // With the least memory, so that readers on disk cross from files to memory all the time.
    let kinesis = Kinesis::open(KinesisOptions {
        storage,
        clock: Arc::new(SystemClock::new()),
        tail_bytes: 0,
        ..KinesisOptions::default()
    })
    .unwrap();
    create(&kinesis, 2);
    let done = AtomicBool::new(false);
    let written = Mutex::new(Vec::new());
    let views = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| scope.spawn(|| tail(&kinesis, &done)))
            .collect();
        let resharding = scope.spawn(|| reshard(&kinesis, &done));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (kinesis, written) = (&kinesis, &written);
                scope.spawn(move || {
                    let own = write(kinesis, writer);
                    written.lock().unwrap().push(own);
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        assert!(
            resharding.join().unwrap() > 0,
            "shards were split while records were put"
        );
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .collect::<Vec<_>>()
    });
    let written: Vec<_> = written.into_inner().unwrap();
    let all: HashSet<_> = written.iter().flatten().cloned().collect();
    assert_eq!(
        all.len(),
        WRITERS * ROUNDS * BATCH,
        "no sequence number was given twice"
    );
    for view in views {
        let mut count = 0;
        for (shard, records) in &view {
            for pair in records.windows(2) {
                assert!(
                    pair[0].0 < pair[1].0,
                    "{shard}: {} came before {}",
                    pair[0].0,
                    pair[1].0
                );
            }
            count += records.len();
            assert!(
                records.iter().all(|record| all.contains(record)),
                "{shard}: a record nobody wrote"
            );
        }
        assert_eq!(count, all.len(), "a reader saw every record once");
    }
    // Each key's records of one writer were put one after the other: their numbers must grow, across reshards.
    for records in &written {
        for place in 0..BATCH {
            let of_key: Vec<_> = records.iter().skip(place).step_by(BATCH).collect();
            assert!(
                of_key.windows(2).all(|pair| pair[0].0 < pair[1].0),
                "a child's numbers are above its parents'"
            );
        }
    }
}

#[test]
fn in_memory_readers_miss_nothing_while_many_write_and_shards_split() {
    run(Storage::default());
}

#[test]
fn on_disk_readers_miss_nothing_while_many_write_and_shards_split() {
    let directory = tempfile::tempdir().unwrap();
    run(disk(directory.path()));
}

#[test]
fn a_record_is_readable_the_moment_its_put_returns() {
    let (kinesis, _clock) = memory(1);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let kinesis = &kinesis;
            scope.spawn(move || {
                for round in 0..500 {
                    let put = put(kinesis, "k", format!("{writer}/{round}").as_bytes());
                    let at = iterator_from(
                        kinesis,
                        S0,
                        "AT_SEQUENCE_NUMBER",
                        &put.sequence_number.to_string(),
                    )
                    .unwrap();
                    let read = get(kinesis, &at, Some(1)).unwrap().records;
                    assert_eq!(read[0].0.sequence_number, put.sequence_number);
                    assert_eq!(
                        read[0].0.record.data(),
                        format!("{writer}/{round}").as_bytes()
                    );
                }
            });
        }
    });
}
