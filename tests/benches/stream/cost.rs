//! What `inspect cost` works out, beside what a real run's counters say.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use stockstream_tests::http;

use super::Options;
use super::stage::{Crew, Source, tick};

const SHARDS: usize = 4;
const WORKERS: usize = 2;

/// Enough for each shard to have some.
const TICKERS: usize = 40;

const WINDOW: &str = "{size: 10s, watermarkDelay: 0s, idleTimeout: 24h}";

/// A whole number of windows, of publish intervals and of rounds of collection.
const WATCHED: Duration = Duration::from_secs(120);

/// Past the start, and past the first windows.
const SETTLED: Duration = Duration::from_secs(30);

/// Prints the table.
pub fn measure(options: &Options) -> anyhow::Result<()> {
    println!("## Cost\n");
    let source = Source::start(&options.binary, SHARDS)?;
    let crew = Crew::start(&options.binary, &source, WORKERS, "TrimHorizon", WINDOW)?;
    crew.until_all_read(SHARDS)?;
    tick_for(&source, SETTLED)?;
    let before = counted(&crew)?;
    tick_for(&source, WATCHED)?;
    let after = counted(&crew)?;
    let expected = expected(options, &crew)?;
    println!(
        "{WORKERS} workers, {SHARDS} shards, windows of 10 s, publishInterval 5 s, one folder a day.\n"
    );
    println!("| requests an hour | counted | by `inspect cost` | ratio |");
    println!("|---|---:|---:|---:|");
    for (operation, count) in &after {
        let more = count - before.get(operation).copied().unwrap_or_default();
        let an_hour = more as f64 * 3_600.0 / WATCHED.as_secs_f64();
        match expected["storageRequestsPerHour"][operation].as_f64() {
            Some(expected) => println!(
                "| {operation} | {an_hour:.0} | {expected:.0} | {:.2} |",
                an_hour / expected
            ),
            None => println!("| {operation} | {an_hour:.0} | - | |"),
        }
    }
    println!();
    crew.stop()
}

/// A tick a second for each ticker, by the wall clock.
fn tick_for(source: &Source, time: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    let mut number = 0;
    while Instant::now() < end {
        let next = Instant::now() + Duration::from_secs(1);
        let millis = jiff::Timestamp::now().as_millisecond();
        source.put((0..TICKERS).map(|ticker| tick(ticker, millis, number)))?;
        number += 1;
        std::thread::sleep(next.min(end).saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Requests of all workers so far, by operation.
fn counted(crew: &Crew) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for address in crew.addresses() {
        let metrics = http::send(&format!("http://{address}"), "GET", "/metrics", "")?;
        for line in metrics.lines() {
            if !line.starts_with("stockstream_storage_requests_total{") {
                continue;
            }
            let found = line.split_once("operation=\"");
            let found = found.and_then(|(_, rest)| rest.split_once("\"} "));
            let (operation, count) = found.with_context(|| line.to_owned())?;
            *counts.entry(operation.to_owned()).or_default() += count.parse::<u64>()?;
        }
    }
    Ok(counts)
}

fn expected(options: &Options, crew: &Crew) -> anyhow::Result<Value> {
    let mut command = Command::new(&options.binary);
    command.args(["inspect", "cost", "-o", "json", "-f"]);
    command.arg(crew.folder.path().join("pipeline.yaml"));
    for (option, value) in [
        ("--shards", SHARDS),
        ("--workers", WORKERS),
        ("--tickers", TICKERS),
    ] {
        command.args([option, &value.to_string()]);
    }
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}
