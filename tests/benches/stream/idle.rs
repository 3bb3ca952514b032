//! What a shard costs on which nothing happens.

use std::time::Duration;

use super::Options;
use super::stage::{Crew, Source, processor_time};
use super::throughput::WINDOW;

const WATCHED: Duration = Duration::from_secs(20);

/// Prints the table.
pub fn measure(options: &Options) -> anyhow::Result<()> {
    println!("## Idle\n");
    println!(
        "| shards | workers | processor, % of a core: workers | a shard | GetRecords a second and shard | commits a second and shard |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for &shards in &options.shards {
        let source = Source::start(&options.binary, shards)?;
        let crew = Crew::start(&options.binary, &source, 1, "TrimHorizon", WINDOW)?;
        crew.until_all_read(shards)?;
        std::thread::sleep(Duration::from_secs(2)); // past the start
        let (before, reads, commits) = (used(&crew)?, crew.sum("reads")?, crew.sum("commits")?);
        std::thread::sleep(WATCHED);
        let used = (used(&crew)? - before).as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
        let a_second = |count: u64| count as f64 / WATCHED.as_secs_f64() / shards as f64;
        println!(
            "| {shards} | 1 | {used:.2} | {:.3} | {:.2} | {:.3} |",
            used / shards as f64,
            a_second(crew.sum("reads")? - reads),
            a_second(crew.sum("commits")? - commits),
        );
        crew.stop()?;
    }
    println!();
    Ok(())
}

fn used(crew: &Crew) -> anyhow::Result<Duration> {
    crew.ids().map(processor_time).sum()
}
