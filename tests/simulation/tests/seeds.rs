//! Seeds that every change must pass.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use stockstream_simulation::{Report, run};

/// Runs `seeds`, as many at a time as there are processors; each on a thread of its own.
fn all(seeds: std::ops::RangeInclusive<u64>, check: impl Fn(u64, Report) + Sync) {
    let next = AtomicU64::new(*seeds.start());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed > *seeds.end() {
                        return;
                    }
                    check(seed, run(seed, false).unwrap());
                }
            });
        }
    });
}

#[test]
fn rows_of_300_disturbed_runs_are_those_of_undisturbed_ones() {
    all(1..=300, |seed, report| {
        assert!(
            report.faults.is_empty(),
            "seed {seed}; replay it with: make sim SEED={seed}\n{:#?}",
            report.faults
        );
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    all(1..=20, |seed, report| {
        let again = run(seed, false).unwrap();
        assert_eq!(
            (report.hash, report.events),
            (again.hash, again.events),
            "seed {seed} went differently the second time"
        );
    });
}
