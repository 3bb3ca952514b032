//! How fast a pipeline is from the stream to Parquet: real processes, the embedded Kinesis, N workers, one machine.
//! `make bench-stream` runs it; `--help` says what it takes.
//!
//! Figures go to standard output as Markdown, progress to standard error. Nothing here fails because something was slow. Everybody shares
//! the machine's cores: the stream's server, the workers, and while ticks are sent the producer.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures are for the reader of a terminal"
)]

mod ceiling;
mod cost;
mod idle;
mod latency;
mod profile;
mod stage;
mod throughput;

use std::path::PathBuf;

use anyhow::{Context as _, bail};

const HELP: &str = "\
Measures a pipeline from the stream to Parquet.

usage: make bench-stream [ARGS='OPTION…']

  --parts LIST      some of throughput,idle,latency,cost,profile (default: all)
  --workers LIST    workers that share the stream (default 1,2,4)
  --shards LIST     shards of the stream (default 1,4,16,64)
  --ticks N         most ticks of a round (default 1500000); with few shards fewer, see --seconds
  --seconds N       how long Kinesis' own limit of 2 MiB a second and shard may hold a round up (default 6)
  --samples N       ticks whose way is timed (default 200)
  --binary FILE     the stockstream to measure
";

/// What to measure, and how much of it.
#[derive(Debug, Clone)]
pub struct Options {
    parts: Vec<String>,
    workers: Vec<usize>,
    shards: Vec<usize>,
    ticks: usize,
    seconds: usize,
    samples: usize,
    binary: PathBuf,
}

impl Options {
    /// `None` when help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut options = Self {
            parts: ["throughput", "idle", "latency", "cost", "profile"]
                .map(str::to_owned)
                .to_vec(),
            workers: vec![1, 2, 4],
            shards: vec![1, 4, 16, 64],
            ticks: 1_500_000,
            seconds: 6,
            samples: 200,
            binary: PathBuf::new(),
        };
        while let Some(name) = arguments.next() {
            if name == "--bench" {
                continue; // cargo's own
            }
            if name == "--help" {
                return Ok(None);
            }
            let value = arguments
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            let number = || value.parse::<usize>().context(name.clone());
            let numbers = || {
                let parts = value.split(',').map(str::parse::<usize>);
                parts.collect::<Result<Vec<_>, _>>().context(name.clone())
            };
            match name.as_str() {
                "--parts" => options.parts = value.split(',').map(str::to_owned).collect(),
                "--workers" => options.workers = numbers()?,
                "--shards" => options.shards = numbers()?,
                "--ticks" => options.ticks = number()?,
                "--seconds" => options.seconds = number()?,
                "--samples" => options.samples = number()?,
                "--binary" => options.binary = PathBuf::from(&value),
                _ => bail!("there is no option {name}; --help lists them"),
            }
        }
        Ok(Some(options))
    }
}

fn main() -> anyhow::Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        print!("{HELP}");
        return Ok(());
    };
    for part in &options.parts {
        match part.as_str() {
            "throughput" => throughput::measure(&options)?,
            "idle" => idle::measure(&options)?,
            "latency" => latency::measure(&options)?,
            "cost" => cost::measure(&options)?,
            "profile" => profile::measure(&options)?,
            _ => bail!("there is no part {part}; --help lists them"),
        }
    }
    Ok(())
}
