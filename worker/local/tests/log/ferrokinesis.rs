//! One named test per defect that made ferrokinesis 0.7 unfit to be embedded (field notes). The ones
//! of the wire (2 MiB body) are in tests/http.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stockstream_local::api::*;
use stockstream_local::{Clock as _, ManualClock};

use crate::harness::*;

#[test]
fn get_records_beside_concurrent_put_records_never_deadlocks() {
    let (kinesis, _clock) = memory(2);
    let done = AtomicBool::new(false);
    let read = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut read = 0;
                    while !done.load(Ordering::SeqCst) {
                        read += drain_shard(&kinesis, S0).len() + drain_shard(&kinesis, S1).len();
                    }
                    read
                })
            })
            .collect();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let kinesis = &kinesis;
                scope.spawn(move || {
                    for round in 0..50 {
                        let pairs: Vec<_> = (0..20)
                            .map(|key| (format!("{writer}-{round}-{key}"), vec![0; 100]))
                            .collect();
                        put_many(kinesis, &pairs);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum::<usize>()
    });
    assert!(read > 0);
    assert_eq!(
        drain_shard(&kinesis, S0).len() + drain_shard(&kinesis, S1).len(),
        4 * 50 * 20
    );
}

#[test]
fn a_tailing_reader_misses_nothing_while_many_put() {
    let (kinesis, _clock) = memory(1);
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut iterator = iterator(&kinesis, S0, "TRIM_HORIZON");
            let mut seen = Vec::new();
            loop {
                let finished = done.load(Ordering::SeqCst);
                let outcome = get(&kinesis, &iterator, Some(7)).unwrap();
                let at_tip = outcome.millis_behind_latest == 0;
                seen.extend(
                    outcome
                        .records
                        .into_iter()
                        .map(|record| record.0.sequence_number.index),
                );
                iterator = outcome.next_shard_iterator.unwrap();
                if finished && at_tip {
                    return seen;
                }
            }
        });
        let writers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..500 {
                        put(&kinesis, "k", b"tick");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap()
    });
    assert_eq!(seen, (1..=4000).collect::<Vec<u64>>());
}

#[test]
fn shard_filter_is_respected() {
    let (kinesis, _clock) = memory(3);
    let request = ListShardsRequest {
        stream: stream(),
        shard_filter: Some(ShardFilter {
            r#type: Some("AFTER_SHARD_ID".to_owned()),
            shard_id: Some(S1.to_owned()),
            timestamp: None,
        }),
        ..Default::default()
    };
    let listed = kinesis.list_shards(&request).unwrap().shards;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].shard_id, S2);
}

#[test]
fn millis_behind_latest_is_true_to_the_clock() {
    let (kinesis, clock) = memory(1);
    put(&kinesis, "k", b"1");
    put(&kinesis, "k", b"2");
    clock.advance(Duration::from_secs(90));
    let outcome = get(&kinesis, &iterator(&kinesis, S0, "TRIM_HORIZON"), Some(1)).unwrap();
    assert_eq!(outcome.millis_behind_latest, 90_000);
    let outcome = get(&kinesis, &outcome.next_shard_iterator.unwrap(), Some(1)).unwrap();
    assert_eq!(outcome.millis_behind_latest, 0);
}

#[test]
fn a_closed_shard_ends_with_its_child_shards() {
    let (kinesis, _clock) = memory(1);
    put(&kinesis, "k", b"1");
    put(&kinesis, "k", b"2");
    let from_start = iterator(&kinesis, S0, "TRIM_HORIZON");
    let latest = iterator(&kinesis, S0, "LATEST");
    split(&kinesis, S0, 1 << 127).unwrap();
    let first = get(&kinesis, &from_start, Some(1)).unwrap();
    assert_eq!(first.child_shards, None, "only at the end");
    let last = get(&kinesis, &first.next_shard_iterator.unwrap(), None).unwrap();
    assert_eq!(last.records.len(), 1);
    assert_eq!(last.next_shard_iterator, None);
    let children = last.child_shards.unwrap();
    let ids: Vec<_> = children
        .iter()
        .map(|child| child.shard_id.as_str())
        .collect();
    assert_eq!(ids, [S1, S2]);
    assert!(children.iter().all(|child| child.parent_shards == [S0]));
    assert_eq!(
        children[0].hash_key_range.ending_hash_key,
        ((1_u128 << 127) - 1).to_string()
    );
    let at_end = get(&kinesis, &latest, None).unwrap();
    assert_eq!(
        (at_end.records.len(), at_end.next_shard_iterator),
        (0, None)
    );
    assert_eq!(at_end.child_shards.unwrap().len(), 2);
    merge(&kinesis, S1, S2).unwrap();
    let merged = get(&kinesis, &iterator(&kinesis, S2, "TRIM_HORIZON"), None).unwrap();
    assert_eq!(merged.child_shards.unwrap()[0].parent_shards, [S1, S2]);
}

#[test]
fn resharding_makes_shards_with_parents() {
    let (kinesis, _clock) = memory(1);
    split(&kinesis, S0, 1 << 127).unwrap();
    merge(&kinesis, S2, S1).unwrap();
    let all = shards(&kinesis);
    assert_eq!(all[1].parent_shard_id.as_deref(), Some(S0));
    assert_eq!(all[2].parent_shard_id.as_deref(), Some(S0));
    assert_eq!(all[3].parent_shard_id.as_deref(), Some(S2));
    assert_eq!(all[3].adjacent_parent_shard_id.as_deref(), Some(S1));
    assert_eq!(all[3].hash_key_range.ending_hash_key, u128::MAX.to_string());
}

#[test]
fn at_timestamp_past_the_last_record_waits_at_the_tip_and_never_rewinds() {
    let (kinesis, clock) = memory(1);
    put(&kinesis, "k", b"old");
    clock.advance(Duration::from_secs(10));
    let at = iterator_at(&kinesis, S0, clock.wall_millis()).unwrap();
    let outcome = get(&kinesis, &at, None).unwrap();
    assert_eq!(outcome.records.len(), 0);
    put(&kinesis, "k", b"new");
    assert_eq!(
        data(&drain(&kinesis, outcome.next_shard_iterator.unwrap(), None)),
        ["new"]
    );
}

/// A snapshot per put would write everything again each time: quadratic in the number of puts.
#[test]
fn a_durable_put_does_not_write_everything_again() {
    let directory = tempfile::tempdir().unwrap();
    let kinesis = open(disk(directory.path()), Arc::new(ManualClock::new(START)));
    create(&kinesis, 1);
    let pairs: Vec<_> = (0..500)
        .map(|key| (key.to_string(), vec![b'x'; 150]))
        .collect();
    let before = bytes_written();
    for _ in 0..100 {
        put_many(&kinesis, &pairs);
    }
    let (payload, written) = (100 * 500 * 150, bytes_written() - before);
    // Other tests of this process write too, but nowhere near the 375 MB that snapshots would take.
    assert!(
        written > payload,
        "the journal was written: {written} bytes"
    );
    assert!(written < 30 * payload, "{written} bytes for {payload}");
}

/// Bytes this process has handed to `write` so far.
fn bytes_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("wchar: "))
        .unwrap();
    line.parse().unwrap()
}

#[test]
fn reading_by_time_and_position_is_exact_on_a_shard_with_many_records() {
    let (kinesis, clock) = memory(1);
    let pairs: Vec<_> = (0..500).map(|key| (key.to_string(), Vec::new())).collect();
    for _ in 0..400 {
        put_many(&kinesis, &pairs);
        clock.advance(Duration::from_millis(1));
    }
    // Minutes, if each of them walked over the 200,000 records.
    for round in 0..10_000 {
        let at = iterator_at(&kinesis, S0, START + round % 400).unwrap();
        assert_eq!(
            get(&kinesis, &at, Some(1)).unwrap().records[0]
                .0
                .arrival_millis,
            START + round % 400
        );
    }
}
