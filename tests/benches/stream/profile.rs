//! Where a worker's time goes, by the system's `perf`.

use std::process::Command;
use std::time::Duration;

use stockstream_tests::{Process, scratch, wait_until};

use super::Options;
use super::stage::{Crew, Source, market};
use super::throughput::WINDOW;

const MOST: usize = 25;

/// Prints the functions that take the most of a worker's processor time while it catches up.
pub fn measure(options: &Options) -> anyhow::Result<()> {
    println!("## Where a worker's time goes\n");
    let perf = Command::new("perf").arg("--version").output();
    if !perf.is_ok_and(|perf| perf.status.success()) {
        println!("`perf` isn't here.\n");
        return Ok(());
    }
    let source = Source::start(&options.binary, 64)?;
    let ticks = source.put(market(options.ticks))?;
    let crew = Crew::start(&options.binary, &source, 1, "TrimHorizon", WINDOW)?;
    let folder = scratch()?;
    let recording = folder.path().join("perf.data");
    let worker = crew.ids().next().unwrap_or_default().to_string();
    let mut record = Command::new("perf");
    // By the clock: a virtual machine has no counters.
    record.args(["record", "--quiet", "-e", "cpu-clock", "--freq", "499"]);
    record.args(["-p", &worker, "-o"]);
    let recorder = Process::spawn(record.arg(&recording))?;
    wait_until("every tick to be applied", Duration::from_secs(300), || {
        Ok((crew.sum("ticks")? >= ticks as u64).then_some(()))
    })?;
    crew.stop()?;
    recorder.wait(Duration::from_secs(60))?;
    let report = Command::new("perf")
        .args([
            "report",
            "--stdio",
            "--no-children",
            "--percent-limit",
            "0.7",
        ])
        .args(["--sort", "symbol", "-i"])
        .arg(&recording)
        .output()?;
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    let lines = text.lines().filter(|line| line.contains('%'));
    println!("```text");
    for line in lines.take(MOST) {
        println!("{}", line.trim_end());
    }
    println!("```\n");
    Ok(())
}
