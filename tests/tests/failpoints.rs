//! Kill -9 and lost replies at each named point: the output is that of a run which was never interrupted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use stockstream::failpoint::Point;
use stockstream_tests::restart::{
    Market, Outcome, Pace, Pipeline, Random, Reader, Stream, TICKERS, seed, tell,
};
use stockstream_tests::{Binary, PATIENCE, scratch};

/// Each scenario is one pipeline: the rules of its workers' lives, one life after the other. A life whose rules say
/// `kill` ends so; after the last of them a worker without rules finishes. One that only loses replies finishes itself.
const SCENARIOS: &[&[&str]] = &[
    &["after_claim=kill"],
    &[
        "after_claim=kill",
        "after_roots=kill",
        "before_started=kill",
    ],
    &["after_roots=kill"],
    &["before_started=kill", "before_started=kill"],
    &["before_create=kill@1"],
    &["before_create=kill@2"],
    &["before_create=kill@5", "before_create=kill@4"],
    &["before_create=kill@9"],
    &["after_create=kill@1"],
    &["after_create=kill@2"],
    &["after_create=kill@4", "after_create=kill@3"],
    &["after_create=kill@8"],
    &["during_take=kill@1"],
    &["during_take=kill@2"],
    &["before_publish=kill@1", "before_publish=kill@1"],
    &["before_publish=kill@4"],
    &["mid_publish=kill@1", "mid_publish=kill@2"],
    &["mid_publish=kill@7"],
    &["after_publish=kill@1", "after_publish=kill@1"],
    &["after_publish=kill@2"],
    &["after_publish=kill@5"],
    &["during_collection=kill@1", "during_collection=kill@2"],
    &["during_collection=kill@4"],
    // Everything that recovery itself does, broken off in turn.
    &[
        "mid_publish=kill@3",
        "during_take=kill@1",
        "during_take=kill@2",
        "after_publish=kill@1",
        "before_create=kill@3",
    ],
    &["after_create=lose@1"],
    &["after_create=lose@2,after_create=lose@3,after_create=lose@4"],
    &["after_create=lose@7"],
    &["after_publish=lose@1"],
    &["after_publish=lose@2,after_publish=lose@5"],
    // A lost reply, and killed before the same is tried again; then again after a retry whose reply was lost, too.
    &["after_create=lose@1,before_retry=kill@1"],
    &["after_create=lose@6,before_retry=kill@1"],
    &["after_publish=lose@2,before_retry=kill@1"],
    &["after_create=lose@3,after_create=lose@4,before_retry=kill@2"],
];

/// Pipelines at work at the same time: they wait more than they work.
const AT_ONCE: usize = 4;

/// Enough for about a dozen versions of each chain.
const TICKS: usize = 12_000;

/// Collects at once, and all the time, so that collection is met within a life.
const COLLECTION: [(&str, &str); 2] = [
    ("STOCKSTREAM_COLLECTION_AGE_MILLISECONDS", "0"),
    ("STOCKSTREAM_COLLECTION_EVERY_MILLISECONDS", "100"),
];

#[test]
fn a_kill_or_a_lost_reply_at_any_named_point_leaves_every_row_exactly_once() {
    let seed = seed("failpoints", "named_points");
    let mut market = Market::new(Random::new(seed).number());
    let folder = scratch().unwrap();
    let mut stream = Stream::start(folder.path().join("kinesis")).unwrap();
    stream.send(&market.ticks(TICKS)).unwrap();
    stream.send(&Market::sentinels()).unwrap();
    let records = TICKS as u64;
    let endpoint = stream.endpoint();
    let expected = run(&[], endpoint, records, &Mutex::default()).unwrap();
    assert_eq!(stream.sent(), records + TICKERS.len() as u64);
    assert!(!expected.late.is_empty() && !expected.dead.is_empty());

    let next = AtomicUsize::new(0);
    let (counts, faults) = (Mutex::new(Counts::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(lives) = SCENARIOS.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let same = run(lives, endpoint, records, &counts)
                        .and_then(|found| found.must_equal(&expected));
                    if let Err(fault) = same {
                        let fault = format!("{lives:?}: {fault:?}");
                        tell(&fault);
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    let (counts, faults) = (counts.into_inner().unwrap(), faults.into_inner().unwrap());
    tell(&table(&counts));
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    for point in Point::ALL {
        let count = counts.get(&format!("{}=kill", point.name())).copied();
        assert!(
            count >= Some(2),
            "{} was killed at {count:?} times",
            point.name()
        );
    }
    for lost in ["after_create=lose", "after_publish=lose"] {
        assert!(
            counts.get(lost) >= Some(&2),
            "{lost}: {:?}",
            counts.get(lost)
        );
    }
}

/// How often each point and action was met.
type Counts = BTreeMap<String, u64>;

/// Lives through a scenario and returns what was put out.
fn run(
    lives: &[&str],
    endpoint: &str,
    records: u64,
    counts: &Mutex<Counts>,
) -> anyhow::Result<Outcome> {
    let pipeline = Pipeline::over_stream(endpoint, Pace::Busy)?;
    let reader = Reader::start(&pipeline);
    let mut last = None;
    for rules in lives {
        let mut environment = vec![("STOCKSTREAM_FAILPOINTS", *rules)];
        if rules.contains("during_collection") {
            environment.extend(COLLECTION);
        }
        let mut worker = pipeline.worker(Binary::Failpoints, &environment)?;
        if rules.contains("=kill") {
            // One that also loses replies is killed only after that: nothing else is ever tried again here.
            worker.until_killed().with_context(|| (*rules).to_owned())?;
        } else {
            for _ in rules.split(',') {
                let lost = |line: &str| line.contains("the reply was lost (failpoint)");
                worker.0.wait_for_line(PATIENCE, lost)?;
            }
            last = Some(worker);
        }
        let mut counts = counts.lock().unwrap();
        for rule in rules.split(',') {
            let met = rule.split('@').next().unwrap_or(rule);
            *counts.entry(met.to_owned()).or_default() += 1;
        }
    }
    let last = match last {
        Some(worker) => worker,
        None => pipeline.worker(Binary::Failpoints, &[])?,
    };
    reader.until_records(records)?;
    last.stop()?;
    reader.finish()
}

fn table(counts: &Counts) -> String {
    let mut table = String::from("point=action                 times");
    for (point, count) in counts {
        table.push_str(&format!("\n{point:<28} {count:>5}"));
    }
    table
}
