//! How fast the embedded Kinesis is, driven over HTTP by the AWS SDK for Rust as users drive it: client and server are
//! two processes that share the machine's cores. `make bench-kinesis` runs it; `--help` says what it takes.
//!
//! The server is this binary executed again, not the `stockstream` binary, which takes many minutes to build for
//! release: the code that serves is the same. Figures go to standard output as Markdown, progress to standard error.
//! Nothing here fails because something was slow.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures are for the reader of a terminal"
)]

mod load;
mod parts;
mod profile;
mod report;
mod server;

use std::error::Error;
use std::path::PathBuf;

/// All that can go wrong ends the program with a message.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const HELP: &str = "\
Measures the embedded Kinesis over HTTP through the AWS SDK, beside kinesis-local.

usage: make bench-kinesis [ARGS='OPTION…']

  --parts LIST            some of throughput,memory,latency,startup,profile (default: all)
  --rounds N              rounds of throughput; medians are printed (default 3)
  --records N             records a round puts into ours (default 1500000)
  --peer-records N        records a round puts into kinesis-local (default 10000)
  --many N                records of the large shard and of start-up (default 1000000)
  --callers N             concurrent callers of PutRecords (default 4)
  --kinesis-local DIR     where its main.js lies; without it ours is measured alone
  --preload FILE          loaded into kinesis-local before its own code: must bind it to loopback
  --node PATH             the Node that runs it (default: node)
  --directory DIR         where durable logs are written; each in a new directory (default: the system's temporary one)
  --profile               the same as --parts profile: where the server's time goes, by perf
";

/// What to measure, and how much of it.
#[derive(Debug, Clone)]
struct Options {
    parts: Vec<String>,
    rounds: usize,
    records: usize,
    peer_records: usize,
    many: usize,
    callers: usize,
    peer: Option<server::Peer>,
    directory: PathBuf,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self {
            parts: ["throughput", "memory", "latency", "startup", "profile"]
                .map(str::to_owned)
                .to_vec(),
            rounds: 3,
            records: 1_500_000,
            peer_records: 10_000,
            many: 1_000_000,
            callers: 4,
            peer: None,
            directory: std::env::temp_dir(),
        };
        let mut peer = server::Peer::default();
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| format!("{name} wants a value; see --help"))
            };
            match name.as_str() {
                "--bench" => {} // cargo's own
                "--profile" => options.parts = vec!["profile".to_owned()],
                "--parts" => options.parts = value()?.split(',').map(str::to_owned).collect(),
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--records" => options.records = value()?.parse()?,
                "--peer-records" => options.peer_records = value()?.parse()?,
                "--many" => options.many = value()?.parse()?,
                "--callers" => options.callers = value()?.parse::<usize>()?.max(1),
                "--kinesis-local" => peer.directory = value()?.into(),
                "--preload" => peer.preload = Some(value()?.into()),
                "--node" => peer.node = value()?.into(),
                "--directory" => options.directory = value()?.into(),
                _ => return Err(format!("unknown option {name}; see --help").into()),
            }
        }
        options.peer = (!peer.directory.as_os_str().is_empty()).then_some(peer);
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.iter().any(|wanted| wanted == part)
    }
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek().map(String::as_str) {
        Some("serve") => return server::serve(arguments.nth(1).map(PathBuf::from)),
        Some("--help" | "-h") => {
            print!("{HELP}");
            return Ok(());
        }
        _ => {}
    }
    let options = Options::parse(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        report::head(&options);
        if options.wants("throughput") {
            parts::throughput(&options).await?;
        }
        if options.wants("memory") {
            parts::memory(&options).await?;
        }
        if options.wants("latency") {
            parts::latency(&options).await?;
        }
        if options.wants("startup") {
            parts::startup(&options).await?;
        }
        if options.wants("profile") {
            profile::run(&options).await?;
        }
        Ok(())
    })
}
