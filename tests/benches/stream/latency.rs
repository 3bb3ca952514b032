//! From a tick's arrival to its figure, and from a window's close to its file.

use std::path::Path;
use std::time::{Duration, Instant};

use stockstream_tests::restart::state_at;
use stockstream_tests::{PATIENCE, wait_until};

use super::Options;
use super::stage::{Crew, Source, TICKERS, tick};

/// Windows of ten seconds of event time, which these ticks run through at once.
const WINDOW: &str = "{size: 10s, watermarkDelay: 0s, idleTimeout: 24h}";

/// A quarter of it in between.
const POLL: Duration = Duration::from_millis(2);

/// Prints both.
pub fn measure(options: &Options) -> anyhow::Result<()> {
    println!("## Latency\n");
    println!("| from | to | samples | p50, ms | p99, ms | maximum, ms |");
    println!("|---|---|---:|---:|---:|---:|");
    let source = Source::start(&options.binary, 4)?;
    let crew = Crew::start(&options.binary, &source, 1, "TrimHorizon", WINDOW)?;
    crew.until_all_read(4)?;
    let (mut live, mut files) = (Vec::new(), Vec::new());
    let mut rows_before = 0;
    for (sample, sent) in (0..options.samples).zip(1..) {
        // Any phase of the poll: the pause is no multiple of it.
        std::thread::sleep(Duration::from_millis(37 + (sample as u64 * 53) % 211));
        let millis = 1_704_205_800_000 + (sample as i64) * 10_000;
        source.put(std::iter::once(tick(
            sample % TICKERS.min(8),
            millis,
            sample,
        )))?;
        // Acknowledged: it has arrived.
        let arrived = Instant::now();
        until(|| Ok(applied(crew.address())? >= sent))?;
        live.push(arrived.elapsed());
    }
    for sample in 0..(options.samples / 8).max(4) {
        let millis = 1_704_305_800_000 + (sample as i64) * 10_000;
        rows_before = rows_before.max(rows(crew.folder.path())?);
        // This tick closes the window of the one before.
        source.put(std::iter::once(tick(0, millis, sample)))?;
        let closed = Instant::now();
        let mut found = 0;
        wait_until("the row's file", PATIENCE, || {
            found = rows(crew.folder.path())?;
            Ok((found > rows_before).then_some(()))
        })?;
        files.push(closed.elapsed());
        rows_before = found;
        std::thread::sleep(Duration::from_millis(150 + (sample as u64 * 97) % 500));
    }
    print_line(
        "a tick's acknowledgement",
        "its figure in /api/state",
        &mut live,
    );
    print_line(
        "the tick that closes a window",
        "the row's Parquet file (publishInterval 5s)",
        &mut files,
    );
    println!();
    crew.stop()
}

fn until(mut ready: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !ready()? {
        anyhow::ensure!(began.elapsed() < PATIENCE, "it never came");
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn applied(address: &str) -> anyhow::Result<u64> {
    Ok(state_at(address)?["totals"]["ticks"]
        .as_u64()
        .unwrap_or_default())
}

/// Parquet files below a directory.
fn rows(folder: &Path) -> anyhow::Result<usize> {
    let mut found = 0;
    let mut folders = vec![folder.join("rows")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => found += usize::from(path.extension().is_some_and(|end| end == "parquet")),
            }
        }
    }
    Ok(found)
}

fn print_line(from: &str, to: &str, took: &mut [Duration]) {
    took.sort_unstable();
    let at =
        |share: usize| took[(took.len() * share / 100).min(took.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "| {from} | {to} | {} | {:.0} | {:.0} | {:.0} |",
        took.len(),
        at(50),
        at(99),
        at(100)
    );
}
