//! The options of every command and the examples in its help.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use stockstream_crds::duration::GoDuration;

use super::output::{ColourChoice, OutputFormat};
use super::values::ByteSize;
use crate::observe::log::{LogFormat, LogLevel};
use crate::replay::event_time::Speed;
use crate::replay::pace::Rate;

/// Where `stockstream kinesis` listens when nobody says otherwise.
const KINESIS_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4567));

pub(super) const EXAMPLES: &str = "\
Examples:
  stockstream dev -f examples/quickstart.yaml \\
      --replay examples/data/daily.csv --speed 60
  stockstream validate -f pipeline.yaml
  stockstream worker -f pipeline.yaml

Exit codes: 0 done, 1 failed, 2 bad input.
`stockstream COMMAND --help` has examples for each command.";

pub(super) const DEV_EXAMPLES: &str = "\
Examples:
  # Real bars into a stream, live; a minute of event time passes each second
  stockstream dev -f examples/quickstart.yaml \\
      --replay examples/data/daily.csv --speed 60

  # Replay all, wait until every window is published, print a summary
  stockstream dev -f examples/quickstart.yaml \\
      --replay examples/data/daily.csv --rate max --once

  # Only the stream and a worker; send ticks from another program
  stockstream dev -f examples/quickstart.yaml --kinesis-listen 127.0.0.1:4567";

pub(super) const WORKER_EXAMPLES: &str = "\
Examples:
  # On AWS, with the standard environment variables and profiles
  AWS_PROFILE=prod stockstream worker -f pipeline.yaml

  # Against `stockstream kinesis` on this machine
  stockstream worker -f pipeline.yaml \\
      --endpoint-url http://127.0.0.1:4567 --listen 127.0.0.1:8081

  # Files as the source: ends when they do, with a summary
  stockstream worker -f backfill.yaml -o json";

pub(super) const KINESIS_EXAMPLES: &str = r#"Examples:
  # Durable, under ./kinesis-data
  stockstream kinesis --listen 127.0.0.1:4567 \
      --data ./kinesis-data --max-bytes 2GiB

  # In memory
  stockstream kinesis --memory

  # As slow to change as AWS's
  stockstream kinesis --creating-delay 2s --updating-delay 2s

  # As strict as AWS's: 1 MiB and 1,000 records a second into a shard
  stockstream kinesis --memory --enforce-limits

  # Every fifth read or so is throttled, the same ones on each run
  echo '[{"operation": "GetRecords", "probability": 0.2, "seed": 7,
          "fault": {"throttle": {}}}]' > faults.json
  stockstream kinesis --memory --faults faults.json

  # Any AWS client can talk to it
  AWS_ENDPOINT_URL_KINESIS=http://127.0.0.1:4567 aws kinesis list-streams"#;

pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  # A checkpoint, for people
  stockstream inspect checkpoint \\
      s3://my-lake/state/shards/1704/shardId-0/00000000000000000042.ckpt

  # Every shard: who has it since when, how far it is; looking again and again
  stockstream inspect shards s3://my-lake/checkpoints/stock-ticks --watch

  # Every worker; splits and merges as a tree
  stockstream inspect members s3://my-lake/checkpoints/stock-ticks -o json
  stockstream inspect lineage s3://my-lake/checkpoints/stock-ticks

  # Requests an hour and dollars a month
  stockstream inspect cost -f pipeline.yaml --tickers 5000

  # Where the rows of a Parquet file come from
  stockstream inspect file \\
      ./lake/ticker=AAPL/trade_date=2024-01-02/part.parquet";

pub(super) const DASHBOARD_EXAMPLES: &str = "\
Examples:
  # The page of workers that run elsewhere, found through the state path
  AWS_PROFILE=prod stockstream dashboard -f pipeline.yaml

  # Of `stockstream dev`, whose s3:// paths lie below its data directory
  stockstream dashboard -f examples/quickstart.yaml \\
      --data-dir .stockstream --listen 127.0.0.1:8090";

pub(super) const VALIDATE_EXAMPLES: &str = "\
Examples:
  stockstream validate -f pipeline.yaml
  stockstream validate -f pipeline.yaml -o json

  # Do so many tickers make too many small files?
  stockstream validate -f pipeline.yaml --tickers 5000";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  stockstream completions bash \\
      > ~/.local/share/bash-completion/completions/stockstream
  stockstream completions zsh > \"${fpath[1]}/_stockstream\"
  stockstream completions fish \\
      > ~/.config/fish/completions/stockstream.fish";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// How log lines on stderr look: auto is text on a terminal and JSON otherwise
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "auto|text|json",
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub log_format: LogFormat,
    /// The least that is logged
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "error|warn|info|debug|trace",
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub log_level: LogLevel,
    /// When to use colours: auto is on a terminal without NO_COLOR
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "auto|always|never",
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub color: ColourChoice,
}

/// The pipeline's YAML.
#[derive(Debug, Clone, Args)]
pub struct PipelineFile {
    /// The pipeline's YAML (a StockStream resource)
    #[arg(short = 'f', long = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// The form of results.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// The form of the result on stdout
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        value_name = "text|json",
        hide_possible_values = true
    )]
    pub output: OutputFormat,
}

/// `stockstream dev`.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineFile,
    /// Send the rows of this file, directory or URL into the stream as if they were live
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub replay: Option<String>,
    /// Records a second (`10`), the time between two (`1.5s`), or `max` [default: as `stockstream replay`]
    #[arg(long, requires = "replay", value_name = "RATE")]
    pub rate: Option<Rate>,
    /// Let event time run N times faster than the clock, so that minutes close in seconds
    #[arg(long, requires = "replay", value_name = "N")]
    pub speed: Option<Speed>,
    /// Replay, wait until every window is closed and published, print a summary and end
    #[arg(long, requires = "replay")]
    pub once: bool,
    /// Where to serve the page, /metrics and /api/state [default: 127.0.0.1:8080, or a free port if that is taken]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where the embedded Kinesis and, unless the YAML says otherwise, state and output are kept
    #[arg(long, value_name = "DIR", default_value = "./.stockstream", value_hint = ValueHint::DirPath)]
    pub data_dir: PathBuf,
    /// Keep the stream in memory only; s3:// paths then lie below DIR/memory, as each run has a stream of its own
    #[arg(long)]
    pub memory: bool,
    /// Where the embedded Kinesis listens [default: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDR:PORT")]
    pub kinesis_listen: Option<SocketAddr>,
    /// Let the embedded Kinesis refuse what AWS would: more than a shard takes or gives a second
    #[arg(long)]
    pub enforce_limits: bool,
    /// The form of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `stockstream worker`.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineFile,
    /// Where to serve the page, /metrics and /api/state [default: 127.0.0.1:8080, or a free port if that is taken]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where the pipeline's other workers reach that [default: the address it listens on; for 0.0.0.0 this machine's]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The Kinesis endpoint [default: AWS's own, or AWS_ENDPOINT_URL_KINESIS]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub endpoint_url: Option<String>,
    /// The worker's name; a worker that starts again under its name takes its own shards first [default: the host's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The form of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `stockstream kinesis`.
#[derive(Debug, Clone, Args)]
pub struct KinesisArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT", default_value_t = KINESIS_ADDRESS)]
    pub listen: SocketAddr,
    /// Where streams are kept
    #[arg(long, value_name = "DIR", default_value = "./.stockstream/kinesis", value_hint = ValueHint::DirPath)]
    pub data: PathBuf,
    /// Keep streams in memory only
    #[arg(long, conflicts_with = "data")]
    pub memory: bool,
    /// Trim the oldest records beyond this size, such as 512MiB or 2GiB [default: 10GiB, in memory 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub max_bytes: Option<ByteSize>,
    /// How long streams and consumers are CREATING, such as 500ms or 2s [default: 0s]
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0s",
        hide_default_value = true
    )]
    pub creating_delay: GoDuration,
    /// How long streams are UPDATING [default: 0s]
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0s",
        hide_default_value = true
    )]
    pub updating_delay: GoDuration,
    /// How long streams and consumers are DELETING [default: 0s]
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0s",
        hide_default_value = true
    )]
    pub deleting_delay: GoDuration,
    /// Refuse what AWS would: more than a shard takes or gives a second, calls that come too often
    #[arg(long)]
    pub enforce_limits: bool,
    /// Let calls fail as the rules in this JSON file say; GET and PUT /_stockstream/faults shows and replaces them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub faults: Option<PathBuf>,
}

/// `stockstream inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// What to look at.
    #[command(subcommand)]
    pub what: InspectWhat,
    /// The form of the result on stdout
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        value_enum,
        default_value_t,
        value_name = "text|json",
        hide_possible_values = true
    )]
    pub output: OutputFormat,
}

/// What can be inspected. A URI is a path, `file://…` or `s3://…`.
#[derive(Debug, Clone, Subcommand)]
pub enum InspectWhat {
    /// One version of a shard's chain
    Checkpoint {
        /// The .ckpt object
        uri: String,
    },
    /// Every shard of a pipeline: who has it since when, how far it is, what it has counted
    Shards(StateArgs),
    /// Every worker of a pipeline: whether it lives, since when, what it holds
    Members(StateArgs),
    /// The splits and merges of a stream's shards, as a tree
    Lineage(StateArgs),
    /// The provenance in a Parquet file
    File {
        /// The .parquet object
        uri: String,
    },
    /// What a pipeline costs at AWS: requests an hour and dollars a month
    Cost(CostArgs),
}

/// A pipeline's state.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// The pipeline's state path
    pub uri: String,
    /// Whether to look again.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Whether to look again and again.
#[derive(Debug, Clone, Copy, Args)]
pub struct WatchArgs {
    /// Look again every INTERVAL until Ctrl-C: in place on a terminal, with -o json a line each
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
    watch: Option<GoDuration>,
}

impl WatchArgs {
    /// Between two looks, at least a tenth of a second; `None`: look once.
    #[must_use]
    pub fn interval(self) -> Option<Duration> {
        let shortest = Duration::from_millis(100);
        self.watch.map(|every| every.get().max(shortest))
    }
}

/// `stockstream inspect cost`.
#[derive(Debug, Clone, Args)]
pub struct CostArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineFile,
    /// Different tickers between two rounds of publishing
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub tickers: u32,
    /// Ticks a second over all shards [default: one a ticker]
    #[arg(long, value_name = "N")]
    pub ticks_per_second: Option<u32>,
    /// Bytes of a record
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub tick_bytes: u32,
    /// Open shards [default: as the YAML says, 4 for an on-demand stream]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shards: Option<u32>,
    /// Workers [default: as the YAML says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: Option<u32>,
}

/// `stockstream dashboard`.
#[derive(Debug, Clone, Args)]
pub struct DashboardArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineFile,
    /// Where to serve the page [default: 127.0.0.1:8080, or a free port if that is taken]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where s3:// paths lie on this machine: the --data-dir of `stockstream dev` [default: they lie in S3]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
}

/// `stockstream validate`.
#[derive(Debug, Clone, Args)]
pub struct ValidateArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineFile,
    /// Different tickers between two rounds of publishing: warns when they make too many small files
    #[arg(long, value_name = "N")]
    pub tickers: Option<u32>,
    /// The form of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `stockstream completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
