//! Clean stops, stopped clocks and two workers on one state: the output is that of one worker alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use rustix::process::Signal;
use stockstream_tests::restart::{Pace, Stage, TICKERS, is_empty, tell};
use stockstream_tests::{Binary, PATIENCE, wait_until};

/// Collects at once, and all the time.
const COLLECTION: [(&str, &str); 2] = [
    ("STOCKSTREAM_COLLECTION_AGE_MILLISECONDS", "0"),
    ("STOCKSTREAM_COLLECTION_EVERY_MILLISECONDS", "100"),
];

/// Ticks sent at once.
const PART: usize = 1_500;

#[test]
fn sigterm_publishes_everything_closed_and_a_restart_goes_on() {
    let mut stage = Stage::set("takeover", "sigterm", Pace::Lazy).unwrap();
    let mut out = 0;
    for round in 0..3 {
        stage.send(PART).unwrap();
        if round == 2 {
            stage.send_sentinels().unwrap();
        }
        let mut worker = stage.pipeline.worker(Binary::Product, &[]).unwrap();
        worker.until_applied(stage.stream.sent()).unwrap();
        // Nothing is due for an hour: what comes out now comes out for the signal.
        assert_eq!(stage.reader.records().unwrap(), out, "published too early");
        worker.stop().unwrap();
        for head in stage.pipeline.heads().unwrap() {
            let checkpoint = stage.pipeline.inspect(&head).unwrap();
            for field in ["outbox", "unsealed"] {
                assert!(is_empty(&checkpoint[field]), "{field} in {checkpoint}");
            }
        }
        wait_until("the reader to see it", PATIENCE, || {
            Ok((stage.reader.records()? > out).then_some(()))
        })
        .unwrap();
        let looks = stage.reader.looks().0;
        wait_until("the reader to have seen all", PATIENCE, || {
            Ok((stage.reader.looks().0 > looks + 1).then_some(()))
        })
        .unwrap();
        out = stage.reader.records().unwrap();
    }
    let records = stage.stream.sent() - TICKERS.len() as u64;
    assert_eq!(out, records);
    stage.finish(records, Vec::new()).unwrap();
}

#[test]
fn a_worker_that_stood_still_while_another_took_over_publishes_nothing_that_conflicts() {
    let mut stage = Stage::set("takeover", "stood_still", Pace::Busy).unwrap();
    let mut workers = vec![
        stage.pipeline.worker(Binary::Product, &[]).unwrap(),
        stage.pipeline.worker(Binary::Product, &[]).unwrap(),
    ];
    for round in 0..6 {
        stage.send(PART).unwrap();
        stage.send_until_more_is_out().unwrap();
        let still = round % 2;
        std::thread::sleep(stage.random.duration(Duration::from_millis(500))); // the moment; nothing is asserted about it
        workers[still].0.signal(Signal::STOP).unwrap();
        // Only the other one can do this.
        let taken = stage.reader.records().unwrap();
        for _ in 0..2 {
            stage.send_until_more_is_out().unwrap();
        }
        assert!(stage.reader.records().unwrap() > taken);
        workers[still].0.signal(Signal::CONT).unwrap();
        stage.send_until_more_is_out().unwrap();
    }
    let records = stage.send_sentinels().unwrap();
    // Each was fenced while it stood still, and noticed.
    for worker in &mut workers {
        worker
            .0
            .wait_for_line(PATIENCE, |line| line.contains("\"fenced\""))
            .unwrap();
    }
    stage.finish(records, workers).unwrap();
}

#[test]
fn a_worker_whose_next_version_was_collected_meanwhile_is_fenced_all_the_same() {
    let mut stage = Stage::set("takeover", "collected", Pace::Busy).unwrap();
    stage.send(PART).unwrap();
    let mut still = stage
        .pipeline
        .worker(Binary::Failpoints, &COLLECTION)
        .unwrap();
    stage.send_until_more_is_out().unwrap();
    still.0.signal(Signal::STOP).unwrap();
    let newest = stage.pipeline.newest_version().unwrap();
    let other = stage
        .pipeline
        .worker(Binary::Failpoints, &COLLECTION)
        .unwrap();
    wait_until(
        "what it would create next to be collected",
        PATIENCE,
        || {
            stage.stream.send(&stage.market.ticks(50))?;
            Ok((stage.pipeline.oldest_version()? > newest + 1).then_some(()))
        },
    )
    .unwrap();
    still.0.signal(Signal::CONT).unwrap();
    wait_until("it to be fenced", PATIENCE, || {
        stage.stream.send(&stage.market.ticks(50))?;
        stage.reader.records()?; // what it would publish as an owner would stand twice
        Ok(still.0.stderr().contains("\"fenced\"").then_some(()))
    })
    .unwrap();
    let records = stage.send_sentinels().unwrap();
    tell(&format!("{records} records, collected past {newest}"));
    stage.finish(records, vec![still, other]).unwrap();
}

#[test]
fn two_workers_started_at_once_on_a_new_state_make_one_output() {
    let mut stage = Stage::set("takeover", "at_once", Pace::Busy).unwrap();
    stage.send(PART).unwrap();
    let workers = vec![
        stage.pipeline.worker(Binary::Product, &[]).unwrap(),
        stage.pipeline.worker(Binary::Product, &[]).unwrap(),
    ];
    for _ in 0..6 {
        stage.send(PART / 2).unwrap();
        stage.send_until_more_is_out().unwrap();
    }
    let records = stage.send_sentinels().unwrap();
    stage.finish(records, workers).unwrap();
}
