//! Ticks a second from a stream that lies full to rows in Parquet.

use std::time::{Duration, Instant};

use stockstream_core::hash::key_hash;
use stockstream_tests::wait_until;

use super::stage::{Crew, Source, TICKERS, market, peak_memory, processor_time, tick};
use super::{Options, ceiling};

/// Longest round.
const PATIENCE: Duration = Duration::from_secs(300);

/// Ticks of 143 bytes that Kinesis gives of a shard in a second: 2 MiB.
const SHARD_LIMIT: usize = 2 * 1024 * 1024 / 143;

/// Windows of a minute, ten seconds of disorder.
pub const WINDOW: &str = "{size: 1m, watermarkDelay: 10s, idleTimeout: 24h}";

/// Prints the table.
pub fn measure(options: &Options) -> anyhow::Result<()> {
    println!("## Throughput\n");
    println!(
        "| shards | workers | ticks | ticks/s applied | × what Kinesis gives (the fullest shard's ticks at 2 MiB/s) | × a bare reader | until all rows are in Parquet, s | processor µs a tick: workers | stream | most memory of a worker, MiB |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for &shards in &options.shards {
        let source = Source::start(&options.binary, shards)?;
        let ticks = options.ticks.min(shards * SHARD_LIMIT * options.seconds);
        eprintln!("{shards} shards: putting {ticks} ticks");
        source.put(market(ticks))?;
        // They close every window but their own.
        let last = 1_704_205_800_000 + 86_400_000 * 30;
        source.put((0..TICKERS).map(|ticker| tick(ticker, last, ticker)))?;
        let all = ticks + TICKERS;
        let bare = ceiling::read_everything(&source, all)?;
        for &workers in &options.workers {
            round(options, &source, workers, all, bare)?;
        }
    }
    println!();
    Ok(())
}

/// Ticks of the shard that has the most of them: keys are spread by their hash, never evenly.
fn fullest(ticks: usize, shards: usize) -> usize {
    let share = u128::MAX / shards as u128;
    let mut tickers = vec![0; shards];
    for ticker in 0..TICKERS {
        let (key, _) = tick(ticker, 0, 0);
        let shard = usize::try_from(key_hash(&key) / share).unwrap_or_default();
        tickers[shard.min(shards - 1)] += 1;
    }
    tickers.into_iter().max().unwrap_or_default() * ticks / TICKERS
}

fn round(
    options: &Options,
    source: &Source,
    workers: usize,
    ticks: usize,
    bare: f64,
) -> anyhow::Result<()> {
    eprintln!("{} shards, {workers} workers", source.shards);
    let stream_before = processor_time(source.process.id())?;
    // The time of starting up counts: from the first process to the last row.
    let began = Instant::now();
    let crew = Crew::start(&options.binary, source, workers, "TrimHorizon", WINDOW)?;
    let ticks_u64 = ticks as u64;
    wait_until("every tick to be applied", PATIENCE, || {
        Ok((crew.sum("ticks")? >= ticks_u64).then_some(()))
    })?;
    let applied = began.elapsed();
    wait_until("every row to be published", PATIENCE, || {
        let closed = crew.sum("rowsClosed")?;
        Ok((crew.sum("rowsPublished")? >= closed).then_some(()))
    })?;
    let published = began.elapsed();
    let (mut used, mut memory) = (Duration::ZERO, 0);
    for process in crew.ids() {
        used += processor_time(process)?;
        memory = memory.max(peak_memory(process)?);
    }
    let stream = processor_time(source.process.id())? - stream_before;
    let speed = ticks as f64 / applied.as_secs_f64();
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / ticks as f64;
    println!(
        "| {} | {workers} | {ticks} | {speed:.0} | {:.2} | {:.2} | {:.1} | {:.2} | {:.2} | {memory} |",
        source.shards,
        fullest(ticks, source.shards) as f64 / SHARD_LIMIT as f64 / applied.as_secs_f64(),
        speed / bare,
        published.as_secs_f64(),
        micros(used),
        micros(stream),
    );
    crew.stop()
}
