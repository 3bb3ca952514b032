//! On disk: killed at any moment, torn tails, full disks, caps, locks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use stockstream_local::api::*;
use stockstream_local::{DiskOptions, Kinesis, ManualClock, Storage, StoreError, SystemClock};

use crate::harness::*;

/// Runs the writer until it has acknowledged `lines` records, kills it with SIGKILL and returns
/// what it acknowledged: by shard, sequence number and data.
fn write_and_kill(path: &Path, lines: usize) -> BTreeMap<String, Vec<(String, String)>> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stockstream-local-test-writer"))
        .arg(path)
        .arg(STREAM)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut count = 0;
    let mut line = String::new();
    // After the kill the pipe still holds what was printed before it.
    while out.read_line(&mut line).unwrap() > 0 {
        if let [shard, sequence, data] = line.trim_end().split(' ').collect::<Vec<_>>()[..]
            && line.ends_with('\n')
        {
            let records = acknowledged.entry(shard.to_owned()).or_default();
            records.push((sequence.to_owned(), data.to_owned()));
        }
        line.clear();
        count += 1;
        if count == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    acknowledged
}

#[test]
fn every_acknowledged_record_survives_kill_9_in_order() {
    let directory = tempfile::tempdir().unwrap();
    create(
        &open(disk(directory.path()), Arc::new(SystemClock::new())),
        2,
    );
    let mut expected: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for lines in [1, 500, 5_000, 20_000] {
        for (shard, records) in write_and_kill(directory.path(), lines) {
            let shard = expected.entry(shard).or_default();
            for (sequence, data) in records {
                assert_eq!(
                    shard.insert(sequence, data),
                    None,
                    "no sequence number is given twice"
                );
            }
        }
        let kinesis = open(disk(directory.path()), Arc::new(SystemClock::new()));
        for (shard, records) in &expected {
            let found = drain_shard(&kinesis, shard);
            assert!(
                found
                    .windows(2)
                    .all(|pair| pair[0].sequence_number < pair[1].sequence_number)
            );
            let texts = data(&found);
            let found: BTreeMap<_, _> = found
                .iter()
                .map(|record| record.sequence_number.to_string())
                .zip(texts)
                .collect();
            for (sequence, data) in records {
                assert_eq!(
                    found.get(sequence),
                    Some(data),
                    "{shard} {sequence} after a kill"
                );
            }
        }
    }
    assert!(expected.values().map(BTreeMap::len).sum::<usize>() >= 25_000);
}

/// Makes `to` a copy of the directory `from`.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.unwrap().success());
}

fn newest_journal(path: &Path) -> PathBuf {
    let files = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let journals =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals
        .max_by_key(|path| {
            path.file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        })
        .unwrap()
}

/// Where the journal's content ends: the file is longer, with zeros.
fn content_end(journal: &Path) -> u64 {
    let bytes = std::fs::read(journal).unwrap();
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1)
}

#[test]
fn a_torn_tail_opens_with_all_records_before_it() {
    let directory = tempfile::tempdir().unwrap();
    create(
        &open(disk(directory.path()), Arc::new(SystemClock::new())),
        1,
    );
    write_and_kill(directory.path(), 300);
    // Read from a copy: a start writes, and the records are to be the tail.
    let before = {
        let whole = tempfile::tempdir().unwrap();
        let whole = whole.path().join("copy");
        copy(directory.path(), &whole);
        drain_shard(&open(disk(&whole), Arc::new(SystemClock::new())), S0)
    };
    let journal = newest_journal(directory.path());
    for cut in [1, 7, 100, 1_000, 5_000] {
        let end = content_end(&journal);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&journal)
            .unwrap();
        file.set_len(end - cut).unwrap();
        drop(file);
        let kinesis = open(disk(directory.path()), Arc::new(SystemClock::new()));
        let found = drain_shard(&kinesis, S0);
        assert!(!found.is_empty() && found.len() < before.len());
        assert_eq!(found[..], before[..found.len()], "what is left is a prefix");
        // Numbers go on above the lost ones: a reader that had seen them skips nothing new.
        let next = put(&kinesis, "k", b"next").sequence_number;
        assert!(next > before[before.len() - 1].sequence_number);
        let lost = before[before.len() - 1].sequence_number.to_string();
        let after = iterator_from(&kinesis, S0, "AFTER_SEQUENCE_NUMBER", &lost).unwrap();
        assert_eq!(
            data(&drain(&kinesis, after, None))
                .last()
                .map(String::as_str),
            Some("next")
        );
        drop(kinesis);
        assert!(content_end(&newest_journal(directory.path())) > 0);
    }
}

#[test]
fn streams_shards_and_settings_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = open(disk(directory.path()), clock.clone());
    create(&kinesis, 2);
    put(&kinesis, "a", b"1");
    split(&kinesis, S0, 1 << 126).unwrap();
    let retention = RetentionRequest {
        stream: stream(),
        retention_period_hours: Some(48),
    };
    kinesis
        .increase_stream_retention_period(&retention)
        .unwrap();
    put(&kinesis, "a", b"2");
    let describe = |kinesis: &Kinesis| {
        let request = DescribeStreamRequest {
            stream: stream(),
            ..Default::default()
        };
        serde_json::to_value(
            kinesis
                .describe_stream(&Default::default(), &request)
                .unwrap(),
        )
        .unwrap()
    };
    let before = describe(&kinesis);
    let records: Vec<_> = shards(&kinesis)
        .iter()
        .map(|shard| drain_shard(&kinesis, &shard.shard_id))
        .collect();
    let iterator = iterator(&kinesis, S0, "TRIM_HORIZON");
    drop(kinesis);
    let kinesis = open(disk(directory.path()), clock);
    assert_eq!(describe(&kinesis), before);
    let again: Vec<_> = shards(&kinesis)
        .iter()
        .map(|shard| drain_shard(&kinesis, &shard.shard_id))
        .collect();
    assert_eq!(again, records);
    assert!(
        get(&kinesis, &iterator, None).is_ok(),
        "iterators survive too"
    );
    kinesis.delete_stream(&delete_request()).unwrap();
    drop(kinesis);
    let kinesis = open(
        disk(directory.path()),
        Arc::new(ManualClock::new(START - 1_000_000)),
    );
    create(&kinesis, 2);
    let created = &describe(&kinesis)["StreamDescription"]["StreamCreationTimestamp"];
    let old = &before["StreamDescription"]["StreamCreationTimestamp"];
    assert!(
        created.as_f64() > old.as_f64(),
        "made anew with the clock set back: still later"
    );
    assert_eq!(
        drain_shard(&kinesis, S0),
        [],
        "no record of the deleted stream"
    );
}

#[test]
fn a_second_process_on_the_directory_gets_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(disk(directory.path()), Arc::new(SystemClock::new()));
    let error = try_open(disk(directory.path()), Arc::new(SystemClock::new())).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains("in use by another process")
            && message.contains(directory.path().to_str().unwrap()),
        "{message}"
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = try_open(disk(&file.join("data")), Arc::new(SystemClock::new())).unwrap_err();
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[test]
fn a_full_disk_refuses_puts_with_a_500_keeps_reading_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let probe = free.clone();
    let options = DiskOptions {
        free_space: Arc::new(move |_| Ok(probe.load(Ordering::SeqCst))),
        ..DiskOptions::new(directory.path(), 1 << 30)
    };
    let kinesis = open(Storage::Directory(options), Arc::new(SystemClock::new()));
    create(&kinesis, 1);
    let first = put(&kinesis, "k", b"kept").sequence_number;
    free.store(1000, Ordering::SeqCst);
    let error = try_put(&kinesis, "k", b"refused").unwrap_err();
    assert_eq!(
        (error.kind, error.kind.http_status()),
        (ErrorKind::InternalFailure, 500)
    );
    assert!(
        error.message.contains("1000 bytes are free"),
        "{}",
        error.message
    );
    let request = CreateStreamRequest {
        stream_name: Some("other".to_owned()),
        shard_count: Some(1),
        ..Default::default()
    };
    assert_eq!(
        kinesis.create_stream(&request).unwrap_err().kind,
        ErrorKind::InternalFailure
    );
    assert_eq!(
        split(&kinesis, S0, 1 << 127).unwrap_err().kind,
        ErrorKind::InternalFailure
    );
    assert_eq!(
        data(&drain_shard(&kinesis, S0)),
        ["kept"],
        "reads are served"
    );
    assert_eq!(shards(&kinesis).len(), 1, "a refused split changes nothing");
    free.store(u64::MAX, Ordering::SeqCst);
    assert!(put(&kinesis, "k", b"again").sequence_number > first);
    assert_eq!(data(&drain_shard(&kinesis, S0)), ["kept", "again"]);
}

fn directory_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            use std::os::unix::fs::MetadataExt as _;
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                directory_bytes(&entry.path())
            } else {
                metadata.blocks() * 512
            }
        })
        .sum()
}

/// Random bytes, so that compression doesn't blur what is measured.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn above_the_size_cap_the_oldest_records_and_their_files_go() {
    const CAP: u64 = 32 * 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::Directory(DiskOptions {
        reserve_bytes: 0,
        ..DiskOptions::new(directory.path(), CAP)
    });
    let kinesis = open(storage.clone(), Arc::new(SystemClock::new()));
    create(&kinesis, 1);
    let total = 400;
    for round in 0..total {
        put(&kinesis, "k", &noise(round, 1_000_000));
        if round % 10 == 9 {
            kinesis.maintain().unwrap();
        }
    }
    let check = |kinesis: &Kinesis| {
        let left = drain_shard(kinesis, S0);
        let first = total - left.len() as u64;
        for (record, round) in left.iter().zip(first..) {
            assert_eq!(
                record.record.data(),
                noise(round, 1_000_000),
                "the newest are left, in order"
            );
        }
        left.len() as u64
    };
    let left = check(&kinesis);
    assert!(
        left * 1_000_000 <= CAP && left * 1_000_000 >= CAP * 3 / 4,
        "{left} records are left"
    );
    drop(kinesis);
    let on_disk = directory_bytes(directory.path());
    assert!(
        on_disk < CAP + 256 * 1024 * 1024,
        "{on_disk} bytes on disk after 400 MB"
    );
    let kinesis = open(storage, Arc::new(SystemClock::new()));
    assert_eq!(check(&kinesis), left, "after a restart");
}

#[test]
fn expired_records_free_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let storage = Storage::Directory(DiskOptions {
        reserve_bytes: 0,
        ..DiskOptions::new(directory.path(), 64 * 1024 * 1024)
    });
    let kinesis = open(storage, clock.clone());
    create(&kinesis, 2);
    for round in 0..40 {
        put(&kinesis, &round.to_string(), &noise(round, 500_000));
    }
    clock.advance(Duration::from_secs(25 * 3600));
    kinesis.maintain().unwrap();
    let segments = |path: &Path| {
        let keyspaces = std::fs::read_dir(path.join("keyspaces")).unwrap();
        keyspaces.count()
    };
    // fjall's own, ours for what streams are, and the segment that takes the next records.
    assert!(
        segments(directory.path()) <= 3,
        "{} keyspaces are left",
        segments(directory.path())
    );
    assert_eq!(
        drain_shard(&kinesis, S0).len() + drain_shard(&kinesis, S1).len(),
        0
    );
}

#[test]
fn in_memory_the_oldest_records_go_above_the_cap() {
    let kinesis = open(
        Storage::Memory {
            max_bytes: 1_000_000,
        },
        Arc::new(ManualClock::new(START)),
    );
    create(&kinesis, 2);
    for round in 0..300_u64 {
        put(&kinesis, &round.to_string(), &noise(round, 10_000));
    }
    kinesis.maintain().unwrap();
    let left = drain_shard(&kinesis, S0).len() + drain_shard(&kinesis, S1).len();
    assert!((85..100).contains(&left), "{left} records are left");
}

#[test]
fn records_that_left_memory_are_read_from_disk_in_one_sequence() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let kinesis = Kinesis::open(stockstream_local::KinesisOptions {
        storage: disk(directory.path()),
        clock: clock.clone(),
        tail_bytes: 0, // the least: 64 KiB a shard
        ..Default::default()
    })
    .unwrap();
    create(&kinesis, 1);
    for round in 0..100 {
        let pairs: Vec<_> = (0..50)
            .map(|place| {
                (
                    place.to_string(),
                    format!("{round}/{place}/{}", "x".repeat(300)).into_bytes(),
                )
            })
            .collect();
        put_many(&kinesis, &pairs);
        clock.advance(Duration::from_millis(5));
    }
    let all = drain_shard(&kinesis, S0);
    assert_eq!(all.len(), 5000);
    assert!(
        all.windows(2)
            .all(|pair| pair[0].sequence_number.index + 1 == pair[1].sequence_number.index)
    );
    for limit in [1, 37, 4999, 10_000] {
        let start = iterator_at(&kinesis, S0, START + 5 * 40).unwrap();
        assert_eq!(
            drain(&kinesis, start, Some(limit)),
            all[2000..],
            "{limit} at a time"
        );
    }
}

/// The newest second may be lost when the power fails: here the directory as it was before the put.
#[test]
fn no_sequence_number_is_given_twice_though_the_power_fails_at_each_start() {
    let directory = tempfile::tempdir().unwrap();
    let (synced, running) = (
        directory.path().join("synced"),
        directory.path().join("running"),
    );
    create(&open(disk(&synced), Arc::new(SystemClock::new())), 1);
    let mut given = Vec::new();
    for _ in 0..3 {
        // What a start writes is synced before a number is given.
        drop(open(disk(&synced), Arc::new(SystemClock::new())));
        copy(&synced, &running);
        let kinesis = open(disk(&running), Arc::new(SystemClock::new()));
        given.push(put(&kinesis, "k", b"lost").sequence_number);
    }
    assert!(given.windows(2).all(|pair| pair[0] < pair[1]), "{given:?}");
}

/// Upkeep gives up segments without living shards; a stream made while it looks must not count as gone.
#[test]
fn streams_made_and_written_during_upkeep_keep_their_records() {
    let directory = tempfile::tempdir().unwrap();
    let kinesis = Arc::new(open(disk(directory.path()), Arc::new(SystemClock::new())));
    // Makes a pass long enough to be met.
    let wide = CreateStreamRequest {
        stream_name: Some("wide".to_owned()),
        shard_count: Some(10_000),
        ..Default::default()
    };
    kinesis.create_stream(&wide).unwrap();
    let (stop, passes) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let upkeep = {
        let (kinesis, stop, passes) = (kinesis.clone(), stop.clone(), passes.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                kinesis.maintain().unwrap();
                passes.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let wait = |more: u64| {
        let begin = passes.load(Ordering::SeqCst);
        while passes.load(Ordering::SeqCst) < begin + more {
            std::thread::yield_now();
        }
    };
    // More than a shard keeps in memory, so that the disk is read.
    let large = vec![b'x'; 66_000];
    for round in 0..100 {
        create(&kinesis, 1);
        for _ in 0..3 {
            put(&kinesis, "k", &large);
        }
        // Whatever the pass does that was under way meanwhile, and the next one.
        wait(2);
        let found = drain_shard(&kinesis, S0);
        assert_eq!(found.len(), 3, "round {round}");
        kinesis.delete_stream(&delete_request()).unwrap();
        // Then nothing lives in the segment, and the next stream is made at another moment of a pass.
        wait(2);
        std::thread::sleep(Duration::from_micros(round * 377 % 5_000));
    }
    stop.store(true, Ordering::SeqCst);
    upkeep.join().unwrap();
}
