//! `make bench-client`: what a record costs the worker before the pipeline has it, by the faster decoder and by the
//! SDK's own. Figures, not assertions.
//!
//! A stub in a process of its own answers GetRecords with bodies that were made before, so that the processor time of
//! this process is the client's alone: HTTP, signing, decoding, pacing, and the system's part of the sockets.
#![allow(
    clippy::print_stdout,
    reason = "the figures are for the reader of a terminal"
)]

mod stub;

use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use rustix::time::{ClockId, clock_gettime};
use stockstream::clock::Clock;
use stockstream::source::kinesis::{
    ReaderSettings, Reading, SdkStream, ShardReader, StreamClient, decode, decode_by_sdk,
};
use stockstream_core::sequence::Position;

/// As the worker has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str = "\
Measures the client side of a stream, beside the SDK's own decoder.

usage: make bench-client [ARGS='OPTION…']

  --rounds N     rounds of each decoder, in turn; the figures are medians (default 3)
  --seconds N    how long a round is (default 4)
  --readers N    shards that are read at once (default 4)
  --idle N       shards without records, for the cost of one (default 256; 0: none)
  --only NAME    ours or sdk: one decoder alone, to be profiled
";

/// What a shard gives a second (Kinesis' quotas).
const SHARD_BYTES: f64 = 2.0 * 1024.0 * 1024.0;

/// How long idle shards are watched.
const IDLE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decoder {
    Ours,
    Sdk,
}

struct Options {
    rounds: usize,
    seconds: u64,
    readers: usize,
    idle: usize,
    decoders: Vec<Decoder>,
}

fn main() -> anyhow::Result<()> {
    let mut options = Options {
        rounds: 3,
        seconds: 4,
        readers: 4,
        idle: 256,
        decoders: vec![Decoder::Sdk, Decoder::Ours],
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--bench" => {} // cargo's own
            "--help" => {
                print!("{HELP}");
                return Ok(());
            }
            "--stub" => return stub::serve(),
            "--rounds" => options.rounds = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--readers" => options.readers = value()?.parse()?,
            "--idle" => options.idle = value()?.parse()?,
            "--only" => {
                options.decoders = match value()?.as_str() {
                    "ours" => vec![Decoder::Ours],
                    "sdk" => vec![Decoder::Sdk],
                    other => bail!("there is no decoder {other}; --help lists them"),
                }
            }
            _ => bail!("there is no option {name}; --help lists them"),
        }
    }
    let body = stub::bodies().swap_remove(0);
    println!(
        "{} records a reply, {} bytes of data each, {:.1} MiB of JSON a reply; {} rounds of {} s, {} readers\n",
        stub::RECORDS,
        stub::DATA_BYTES,
        body.len() as f64 / 1024.0 / 1024.0,
        options.rounds,
        options.seconds,
        options.readers,
    );
    println!(
        "| per core, medians | SDK's decoder, records/s | ours | ratio |\n|---|---:|---:|---:|"
    );
    line("decoding alone", &options, |decoder| {
        Ok(decoding(decoder, &body, options.seconds))
    })?;
    let stub = Stub::start()?;
    let ours = line("from the socket to the pipeline", &options, |decoder| {
        over_http(decoder, &stub, &options)
    })?;
    if let Some(ours) = ours {
        let of_a_shard = SHARD_BYTES / stub::DATA_BYTES as f64;
        println!(
            "\nA shard gives {of_a_shard:.0} such records a second (2 MiB): a core holds the reading of {:.0} shards.",
            ours / of_a_shard
        );
    }
    if options.idle > 0 {
        let used = idle(&stub, options.idle)?;
        println!(
            "An idle shard takes {:.2} ms of processor time a second ({} shards, {} s, polled at the worker's pace).",
            used.as_secs_f64() * 1_000.0 / IDLE.as_secs_f64() / options.idle as f64,
            options.idle,
            IDLE.as_secs(),
        );
    }
    Ok(())
}

/// One line of the table: the decoders in turn. Ours is given back.
fn line(
    name: &str,
    options: &Options,
    mut measure: impl FnMut(Decoder) -> anyhow::Result<f64>,
) -> anyhow::Result<Option<f64>> {
    let (mut ours, mut sdk) = (Vec::new(), Vec::new());
    for round in 0..=options.rounds {
        for decoder in &options.decoders {
            let rate = measure(*decoder)?;
            // The first only warms up.
            if round > 0 {
                match decoder {
                    Decoder::Ours => ours.push(rate),
                    Decoder::Sdk => sdk.push(rate),
                }
            }
        }
    }
    let (ours, sdk) = (median(ours), median(sdk));
    let figure = |rate: Option<f64>| rate.map_or("".to_owned(), |rate| format!("{rate:.0}"));
    let ratio = ours
        .zip(sdk)
        .map(|(ours, sdk)| format!("{:.2}", ours / sdk));
    println!(
        "| {name} | {} | {} | {} |",
        figure(sdk),
        figure(ours),
        ratio.unwrap_or_default()
    );
    Ok(ours)
}

fn median(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

/// The processor time of this process, all threads.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Records a second of processor time, from a body in memory.
fn decoding(decoder: Decoder, body: &[u8], seconds: u64) -> f64 {
    let (begun, before, mut records) = (Instant::now(), used(), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let reply = match decoder {
            Decoder::Ours => decode(black_box(body)),
            Decoder::Sdk => decode_by_sdk(black_box(body)).ok(),
        };
        records += black_box(reply).map_or(0, |reply| reply.records.len());
    }
    records as f64 / (used() - before).as_secs_f64()
}

/// The same through the worker's own reader, over HTTP. The first reply of each reader isn't counted.
fn over_http(decoder: Decoder, stub: &Stub, options: &Options) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stream = stream(decoder, &stub.endpoint);
        let mut readers: Vec<ShardReader> = (0..options.readers)
            .map(|shard| reader(&stream, shard))
            .collect();
        for reader in &mut readers {
            reader.read().await?;
        }
        let (before, until) = (
            used(),
            Instant::now() + Duration::from_secs(options.seconds),
        );
        let tasks: Vec<_> = readers
            .into_iter()
            .map(|reader| tokio::spawn(read_until(reader, until)))
            .collect();
        let mut records = 0;
        for task in tasks {
            records += task.await??;
        }
        Ok(records as f64 / (used() - before).as_secs_f64())
    })
}

/// The processor time of so many readers at the tip of shards without records.
fn idle(stub: &Stub, shards: usize) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stream = stream(Decoder::Ours, &stub.endpoint);
        for shard in 0..shards {
            let name = format!("{}-{shard}", stub::IDLE);
            let settings = ReaderSettings::default();
            let mut reader = ShardReader::new(
                stream.clone(),
                Clock::system(),
                name,
                settings,
                Position::TrimHorizon,
            );
            // They end with the runtime.
            tokio::spawn(async move { while reader.read().await.is_ok() {} });
        }
        tokio::time::sleep(Duration::from_secs(3)).await; // past the start
        let before = used();
        tokio::time::sleep(IDLE).await;
        Ok(used() - before)
    })
}

async fn read_until(mut reader: ShardReader, until: Instant) -> anyhow::Result<usize> {
    let mut read = 0;
    while Instant::now() < until {
        match reader.read().await? {
            Reading::Records { records, .. } => read += black_box(records).len(),
            other => bail!("the stub answered {other:?}"),
        }
    }
    Ok(read)
}

fn stream(decoder: Decoder, endpoint: &str) -> Arc<dyn StreamClient> {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("stub", "stub", None, None, "stub"))
        .endpoint_url(endpoint)
        .build();
    let client = Client::from_conf(config);
    match decoder {
        Decoder::Ours => Arc::new(SdkStream::new(client, "ticks")),
        Decoder::Sdk => Arc::new(SdkStream::with_sdk_decoder(client, "ticks")),
    }
}

/// As the worker reads a shard, but for the pace.
fn reader(stream: &Arc<dyn StreamClient>, shard: usize) -> ShardReader {
    let settings = ReaderSettings {
        interval: Duration::ZERO,
        idle_interval: Duration::ZERO,
        bytes_per_second: u64::MAX,
        ..ReaderSettings::default()
    };
    ShardReader::new(
        stream.clone(),
        Clock::system(),
        format!("shardId-{shard:012}"),
        settings,
        Position::TrimHorizon,
    )
}

/// The stub's process.
struct Stub {
    process: Child,
    endpoint: String,
}

impl Stub {
    fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let command = command
            .arg("--stub")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().context("starting the stub")?;
        let mut line = String::new();
        let output = process.stdout.take().context("the stub has no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        let endpoint = line.trim().to_owned();
        Ok(Stub { process, endpoint })
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // Should this fail, it ends with its input.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
