//! `simulation`: runs seeds, or replays one with its trace.

mod mutants;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use stockstream_simulation::{Recovery, Report, run};

/// Runs the worker's own loop in a simulation, once for each seed.
#[derive(Debug, Parser)]
struct Options {
    /// Replay this seed, with its trace on stdout
    #[arg(long)]
    seed: Option<u64>,
    /// Seeds to run
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Threads
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Break the protocol in each named way, and see that a seed notices; only with the feature `mutants`
    #[arg(long)]
    mutants: bool,
    /// Break the protocol in this way only, or while replaying a seed
    #[arg(long)]
    mutant: Option<String>,
    /// Go on after a seed that failed
    #[arg(long)]
    keep_going: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    match options.seed {
        _ if options.mutants => mutants::prove(&options),
        Some(seed) => {
            if let Some(name) = &options.mutant {
                mutants::choose(name)?;
            }
            replay(seed)
        }
        None => sweep(&options),
    }
}

fn replay(seed: u64) -> Result<ExitCode> {
    let report = run(seed, true)?;
    let mut out = std::io::stdout().lock();
    for line in &report.lines {
        writeln!(out, "{line}")?;
    }
    tell(&report)?;
    Ok(code(report.faults.is_empty()))
}

#[derive(Debug, Default)]
struct Totals {
    done: u64,
    failed: Vec<u64>,
    rows: usize,
    rejects: usize,
    takes: u64,
    seconds: f64,
    silence: std::time::Duration,
    load: f64,
    recoveries: Vec<(Recovery, std::time::Duration)>,
}

#[allow(
    clippy::disallowed_methods,
    reason = "progress is shown by the machine's clock; nothing in a run reads it"
)]
fn sweep(options: &Options) -> Result<ExitCode> {
    let began = Instant::now();
    let next = AtomicU64::new(options.from);
    let end = options.from + options.seeds;
    let (sender, reports) = mpsc::channel();
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end || sender.send(run(seed, false)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for report in reports {
            let report = report?;
            totals.done += 1;
            totals.rows += report.rows;
            totals.rejects += report.rejects;
            totals.takes += report.takes;
            totals.seconds += report.time.as_secs_f64();
            totals.recoveries.extend(&report.recoveries);
            totals.load = totals.load.max(report.load);
            totals.silence = totals.silence.max(report.silence);
            if !report.faults.is_empty() {
                tell(&report)?;
                totals.failed.push(report.seed);
                if !options.keep_going {
                    next.store(end, Ordering::SeqCst);
                }
            }
            if totals.done.is_multiple_of(100) {
                progress(&totals, options.seeds, began.elapsed().as_secs_f64())?;
            }
        }
        anyhow::Ok(())
    })?;
    progress(&totals, options.seeds, began.elapsed().as_secs_f64())?;
    tell_recoveries(&totals)?;
    Ok(code(totals.failed.is_empty()))
}

fn progress(totals: &Totals, seeds: u64, seconds: f64) -> Result<()> {
    let mut err = std::io::stderr().lock();
    writeln!(
        err,
        "{}/{seeds} seeds in {seconds:.1} s: {} rows, {} rejects, {} takes in {:.1} simulated hours; longest silence {:.1} s; most requests {:.0} % of the budget; failed: {:?}",
        totals.done,
        totals.rows,
        totals.rejects,
        totals.takes,
        totals.seconds / 3_600.0,
        totals.silence.as_secs_f64(),
        totals.load * 100.0,
        totals.failed,
    )?;
    Ok(())
}

fn tell_recoveries(totals: &Totals) -> Result<()> {
    let mut err = std::io::stderr().lock();
    for kind in [Recovery::Killed, Recovery::Vanished, Recovery::HandedOver] {
        let mut times: Vec<std::time::Duration> = totals
            .recoveries
            .iter()
            .filter(|(of, _)| *of == kind)
            .map(|(_, time)| *time)
            .collect();
        times.sort_unstable();
        if let (Some(least), Some(median), Some(most)) =
            (times.first(), times.get(times.len() / 2), times.last())
        {
            writeln!(
                err,
                "{kind:?}: {} shards, read again after {least:.2?} / {median:.2?} / {most:.2?} (minimum, median, maximum)",
                times.len()
            )?;
        }
    }
    Ok(())
}

fn tell(report: &Report) -> Result<()> {
    let mut err = std::io::stderr().lock();
    writeln!(
        err,
        "seed {}: {} rows, {} rejects, {} shards, {} takes, {} + {} requests in {:.0} simulated seconds, {} events, hash {:016x}",
        report.seed,
        report.rows,
        report.rejects,
        report.shards,
        report.takes,
        report.requests[0],
        report.requests[1],
        report.time.as_secs_f64(),
        report.events,
        report.hash,
    )?;
    if report.faults.is_empty() {
        writeln!(err, "seed {}: all is well", report.seed)?;
        return Ok(());
    }
    for fault in report.faults.iter().take(10) {
        writeln!(err, "  {fault}")?;
    }
    writeln!(
        err,
        "seed {} FAILED with {} faults; replay it with: make sim SEED={}",
        report.seed,
        report.faults.len(),
        report.seed
    )?;
    Ok(())
}

fn code(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
