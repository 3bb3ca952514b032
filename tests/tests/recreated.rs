//! A stream that is deleted and made anew under several workers: what was read counts, and windows that were open then go
//! on in the new life. The output is that of a stream that was never touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use stockstream_tests::restart::{
    Market, Outcome, Pace, Pipeline, Reader, Stage, Stream, TICKERS, Worker, tell,
};
use stockstream_tests::{Binary, PATIENCE, scratch, wait_until};

/// Ticks of each life.
const PART: usize = 800;

/// Shards of the lives after the first. As many as those of the reference, whose watermarks would differ else.
const LIVES: [i32; 3] = [2, 2, 2];

const WORKERS: usize = 3;

/// The same ticks, into a stream that is let alone as well.
fn send(stage: &mut Stage, reference: &mut Stream, ticks: usize) {
    let ticks = stage.market.ticks(ticks);
    stage.stream.send(&ticks).unwrap();
    reference.send(&ticks).unwrap();
}

/// What isn't read before the stream is deleted is gone with it.
fn until_all_is_committed(stage: &Stage) {
    wait_until("every tick in a checkpoint", PATIENCE, || {
        let Ok(shards) = stage.pipeline.inspect_state("shards") else {
            return Ok(None); // there are none yet, or one was replaced while it was read
        };
        let counts = shards.as_array().into_iter().flatten().map(|shard| {
            let count = |name: &str| shard[name].as_u64().unwrap_or_default();
            count("ticks") + count("late") + count("deadLetters")
        });
        Ok((counts.sum::<u64>() == stage.stream.sent()).then_some(()))
    })
    .unwrap();
}

fn worker(stage: &Stage) -> Worker {
    stage.pipeline.worker(Binary::Failpoints, &[]).unwrap()
}

#[test]
fn the_output_is_that_of_a_stream_that_was_never_touched() {
    let mut stage = Stage::set("recreated", "never_touched", Pace::Busy).unwrap();
    let folder = scratch().unwrap();
    let mut reference = Stream::start(folder.path().join("kinesis")).unwrap();
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| worker(&stage)).collect();
    send(&mut stage, &mut reference, PART);
    for shards in LIVES {
        until_all_is_committed(&stage);
        stage.stream.make_anew(shards).unwrap();
        send(&mut stage, &mut reference, PART / 2);
        // Somewhere between the end of the old life and the first ticks of the new one.
        std::thread::sleep(stage.random.duration(Duration::from_secs(2))); // nothing is asserted about it
        stage.replace_one(&mut workers, worker).unwrap();
        send(&mut stage, &mut reference, PART / 2);
    }
    let sentinels = Market::sentinels();
    stage.stream.send(&sentinels).unwrap();
    reference.send(&sentinels).unwrap();
    let records = stage.stream.sent() - TICKERS.len() as u64;
    stage.reader.until_records(records).unwrap();
    for worker in workers {
        worker.stop().unwrap();
    }
    let found = stage.reader.finish().unwrap();
    let expected = alone(&reference, records);
    assert_eq!(found.rows, expected.rows);
    assert!(!found.late.is_empty() && !found.dead.is_empty());
    assert_eq!(
        (found.late.len(), found.dead.len()),
        (expected.late.len(), expected.dead.len())
    );
    tell(&format!(
        "{records} records in {} lives of the stream",
        LIVES.len() + 1
    ));
}

fn alone(reference: &Stream, records: u64) -> Outcome {
    let pipeline = Pipeline::over_stream(reference.endpoint(), Pace::Busy).unwrap();
    let reader = Reader::start(&pipeline);
    let worker = pipeline.worker(Binary::Product, &[]).unwrap();
    reader.until_records(records).unwrap();
    worker.stop().unwrap();
    reader.finish().unwrap()
}
