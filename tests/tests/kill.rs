//! Kill -9 at random moments, start again: the output is that of a run which was never interrupted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use stockstream_tests::restart::{
    Market, Outcome, Pace, Pipeline, Random, Reader, Stream, TICKERS, seed, tell,
};
use stockstream_tests::{Binary, PATIENCE, scratch, wait_until};

/// Kills of a worker that reads a stream.
const STREAM_KILLS: u32 = 30;

/// A worker's longest life: it takes its shards well within it, and commits each second.
const LONGEST_LIFE: Duration = Duration::from_millis(1_800);

/// Ticks sent during each life, in as many parts as `SLICES`.
const TICKS_PER_LIFE: usize = 720;
const SLICES: u32 = 12;

/// Kills of a worker that reads files.
const FILES_KILLS: u32 = 10;

/// Ticks in those files: about 220 versions, more than a worker makes in all lives of this suite.
const FILES_TICKS: usize = 240_000;

/// A worker of files lives at least until it made fewer versions than this, and then for less than that.
const VERSIONS: u64 = 8;
const LONGEST_REST: Duration = Duration::from_millis(20);

#[test]
fn thirty_kills_of_a_worker_and_three_of_the_stream_leave_every_row_exactly_once() {
    let seed = seed("kill", "thirty_kills");
    let mut random = Random::new(seed);
    let mut market = Market::new(random.number());
    let folder = scratch().unwrap();
    let mut stream = Stream::start(folder.path().join("kinesis")).unwrap();
    let pipeline = Pipeline::over_stream(stream.endpoint(), Pace::Busy).unwrap();
    let reader = Reader::start(&pipeline);

    for life in 1..=STREAM_KILLS {
        let moment = random.duration(LONGEST_LIFE);
        let mut worker = pipeline.worker(Binary::Product, &[]).unwrap();
        for _ in 0..SLICES {
            std::thread::sleep(moment / SLICES); // the kill's moment; nothing is asserted about it
            stream
                .send(&market.ticks(TICKS_PER_LIFE / SLICES as usize))
                .unwrap();
        }
        assert!(
            worker.0.is_running().unwrap(),
            "life {life} ended by itself: {}",
            worker.0.stderr()
        );
        worker.0.kill().unwrap();
        if life % 10 == 0 {
            stream.kill_and_restart().unwrap();
        }
        reader.records().unwrap();
    }
    let before_the_last = pipeline.newest_version().unwrap();
    stream.send(&Market::sentinels()).unwrap();
    let records = stream.sent() - TICKERS.len() as u64;

    let worker = pipeline.worker(Binary::Product, &[]).unwrap();
    reader.until_records(records).unwrap();
    worker.stop().unwrap();
    let (looks, files) = reader.looks();
    let found = reader.finish().unwrap();

    let expected = uninterrupted(&stream, records);
    found.must_equal(&expected).unwrap();
    assert_everything_occurred(&expected);
    // A worker that is killed before its first commit each time would prove nothing.
    assert!(
        before_the_last > u64::from(STREAM_KILLS),
        "the chains have only {before_the_last} versions"
    );
    tell(&format!(
        "{STREAM_KILLS} kills: {records} records in {} rows, {} late ticks and {} dead letters; {before_the_last} versions \
         before the last start; {files} files read {looks} times",
        found.rows.len(),
        found.late.len(),
        found.dead.len()
    ));
}

#[test]
fn ten_kills_in_the_merge_of_files_leave_every_row_exactly_once() {
    let seed = seed("kill", "ten_kills_in_files");
    let mut random = Random::new(seed);
    let folder = scratch().unwrap();
    Market::new(random.number())
        .write_files(folder.path(), FILES_TICKS)
        .unwrap();
    let pipeline = Pipeline::over_files(folder.path(), Pace::Busy).unwrap();
    let reader = Reader::start(&pipeline);

    for life in 1..=FILES_KILLS {
        let before = pipeline.newest_version().unwrap();
        let mut worker = pipeline.worker(Binary::Product, &[]).unwrap();
        let versions = random.below(VERSIONS);
        wait_until("commits", PATIENCE, || {
            Ok((pipeline.newest_version()? >= before + versions).then_some(()))
        })
        .unwrap();
        std::thread::sleep(random.duration(LONGEST_REST)); // the kill's moment; nothing is asserted about it
        assert!(
            worker.0.is_running().unwrap(),
            "life {life} came to the end of the files: {}",
            worker.0.stderr()
        );
        worker.0.kill().unwrap();
        reader.records().unwrap();
    }
    let before_the_last = reader.records().unwrap();
    finish_files(&pipeline);
    let found = reader.finish().unwrap();

    let undisturbed = Pipeline::over_files(folder.path(), Pace::Busy).unwrap();
    let reader = Reader::start(&undisturbed);
    finish_files(&undisturbed);
    let expected = reader.finish().unwrap();
    found.must_equal(&expected).unwrap();
    assert_eq!(expected.records(), FILES_TICKS as u64);
    assert!(
        before_the_last > 0,
        "nothing was published between the kills"
    );
    tell(&format!(
        "{FILES_KILLS} kills in files: {FILES_TICKS} ticks in {} rows, {} late ticks and {} dead letters; {before_the_last} \
         ticks were out before the last start",
        found.rows.len(),
        found.late.len(),
        found.dead.len()
    ));
}

fn finish_files(pipeline: &Pipeline) {
    let worker = pipeline.worker(Binary::Product, &[]).unwrap();
    worker.0.wait(PATIENCE).unwrap().success().unwrap();
}

fn uninterrupted(stream: &Stream, records: u64) -> Outcome {
    let pipeline = Pipeline::over_stream(stream.endpoint(), Pace::Busy).unwrap();
    let reader = Reader::start(&pipeline);
    let worker = pipeline.worker(Binary::Product, &[]).unwrap();
    reader.until_records(records).unwrap();
    worker.stop().unwrap();
    reader.finish().unwrap()
}

fn assert_everything_occurred(outcome: &Outcome) {
    assert!(outcome.rows.len() > 1_000, "{} rows", outcome.rows.len());
    for ticker in TICKERS {
        assert!(
            outcome.rows.keys().any(|(found, _)| found == ticker),
            "no row of {ticker}"
        );
    }
    let mut shards: Vec<_> = outcome.late.keys().map(|(shard, _)| shard).collect();
    shards.dedup();
    assert_eq!(shards.len(), 2, "late ticks came on {shards:?}");
    for reason in ["malformed", "wrong_shard"] {
        let occurred = outcome.dead.values().any(|line| line.contains(reason));
        assert!(occurred, "no dead letter is {reason}");
    }
}
