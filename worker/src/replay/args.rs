//! The command line of `stockstream replay`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, ValueHint};
use stockstream_core::plan::RecordMapping;
use stockstream_core::row::DeadReason;

use super::dead_letters::DeadLetterOptions;
use super::event_time::Speed;
use super::options::{ReplayOptions, RetryPolicy};
use super::pace::Rate;
use super::rows::{ColumnNames, Field, Format, MAX_ROWS};
use crate::cli::args::OutputArgs;
use crate::storage::StoreOptions;

const EXAMPLES: &str = "\
Examples:
  # One bar each 1.5 s into `stockstream kinesis` on this machine
  stockstream replay examples/data/daily.csv --stream stock_stream \\
      --create-stream 2 --endpoint-url http://127.0.0.1:4567

  # 100 records a second; a minute of event time passes each second
  stockstream replay examples/data/daily.csv --stream stock_stream \\
      --rate 100 --speed 60

  # Two tickers out of a Hive-partitioned data set on S3, at full speed
  stockstream replay s3://my-lake/processed/daily/ --stream stock_stream \\
      --ticker AAPL --ticker MSFT --rate max

  # Dead letters, once the mapping in mended.yaml can use them: try, then send
  stockstream replay --dead-letters s3://my-lake/avg_1min-rejects \\
      -f mended.yaml --stream stock_stream --dry-run
  stockstream replay --dead-letters s3://my-lake/avg_1min-rejects \\
      -f mended.yaml --stream stock_stream --reason missing_field";

/// Send historical rows into a Kinesis stream as if they were live ticks
///
/// Reads CSV, NDJSON or Parquet (text also compressed with gzip or zstd), orders the rows by date, stamps each with the
/// current time and sends it as JSON with its ticker as partition key. The order within a ticker is kept. Everything
/// is read and checked before the first record is sent. Ctrl-C stops with a summary.
///
/// With --dead-letters, sends the raw bytes of what a pipeline could not use again instead, and remembers what it sent.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ReplayArgs {
    /// A file, a directory, or a file:// or s3:// URL; values in a path like `ticker=AAPL/year=2024` count as columns
    #[arg(value_hint = ValueHint::AnyPath, required_unless_present = "dead_letters")]
    pub input: Option<String>,

    /// Send a pipeline's dead letters again: its rejects path, the folder dead-letters in it, or a file of that
    #[arg(
        long,
        value_name = "PATH",
        value_hint = ValueHint::AnyPath,
        conflicts_with_all = ["input", "speed", "start_time", "repeat", "format", "columns"]
    )]
    pub dead_letters: Option<String>,

    /// The stream to send to
    #[arg(long, value_name = "NAME")]
    pub stream: String,

    /// The AWS region [default: the standard AWS environment variables and profile]
    #[arg(long)]
    pub region: Option<String>,

    /// The Kinesis endpoint, such as that of `stockstream kinesis` [default: AWS, or AWS_ENDPOINT_URL_KINESIS]
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,

    /// Records per second (`10`, `0.5`), the time between two (`1.5s`, `500ms`), or `max` [default: 1.5s; dead letters: max]
    #[arg(long)]
    pub rate: Option<Rate>,

    /// Let event time run N times faster than the clock: the run begins in the past and meets the clock at its end
    #[arg(long, value_name = "N", default_value = "1")]
    pub speed: Speed,

    /// The event time of the first record, not ahead of the clock, such as 2024-01-02T14:30:00Z
    #[arg(long, value_name = "TIME")]
    pub start_time: Option<jiff::Timestamp>,

    /// Begin again after the last row, until stopped
    #[arg(long = "loop")]
    pub repeat: bool,

    /// Keep this ticker only; may be given several times
    #[arg(long = "ticker", value_name = "TICKER")]
    pub tickers: Vec<String>,

    /// Stop after this many records
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// Create the stream with this many shards if it is not there
    #[arg(long, value_name = "SHARDS", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub create_stream: Option<u16>,

    /// The format of files whose names don't tell it
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Read FIELD (ticker, date, open, high, low, close, volume) from the column NAME; may be given several times
    #[arg(long = "column", value_name = "FIELD=NAME", value_parser = column)]
    pub columns: Vec<(Field, String)>,

    /// Dead letters: find tickers with this pipeline's mapping, and hold back what it still can't use [default: the default
    /// mapping]
    #[arg(short = 'f', long = "file", value_name = "FILE", value_hint = ValueHint::FilePath, requires = "dead_letters", conflicts_with = "input")]
    pub file: Option<PathBuf>,

    /// Dead letters: keep those with this reason only; may be given several times
    #[arg(long = "reason", value_name = "REASON", value_parser = reasons(), requires = "dead_letters", conflicts_with = "input")]
    pub reasons: Vec<DeadReason>,

    /// Dead letters: say what would be sent, and send nothing
    #[arg(long, requires = "dead_letters", conflicts_with = "input")]
    pub dry_run: bool,

    /// Dead letters: send also what an earlier run sent to this stream
    #[arg(long, requires = "dead_letters", conflicts_with = "input")]
    pub again: bool,

    /// Dead letters: send also what the mapping still can't use, keyed by the name of the shard it came from
    #[arg(long, requires = "dead_letters", conflicts_with = "input")]
    pub unusable: bool,

    /// The summary.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The labels of reasons, as files of dead letters have them.
fn reasons() -> impl clap::builder::TypedValueParser<Value = DeadReason> {
    PossibleValuesParser::new(DeadReason::ALL.map(DeadReason::label)).try_map(|label| {
        let found = DeadReason::ALL.into_iter().find(|one| one.label() == label);
        found.ok_or("no such reason")
    })
}

fn column(text: &str) -> Result<(Field, String), String> {
    let (field, name) = text
        .split_once('=')
        .ok_or("allowed is FIELD=NAME, such as close=Closing")?;
    if name.trim().is_empty() {
        return Err("the column's name is empty".to_owned());
    }
    Ok((field.trim().parse()?, name.trim().to_owned()))
}

impl ReplayArgs {
    /// What the command line asks for when it names dead letters; `url` is where they lie.
    pub fn dead_letters(&self, url: String, mapping: RecordMapping) -> DeadLetterOptions {
        DeadLetterOptions {
            url,
            stream: self.stream.clone(),
            mapping,
            reasons: self.reasons.iter().copied().collect(),
            tickers: self.tickers.iter().cloned().collect(),
            rate: self.rate.unwrap_or(Rate::Max),
            limit: self.limit,
            create_shards: self.create_stream,
            dry_run: self.dry_run,
            again: self.again,
            unusable: self.unusable,
            retry: RetryPolicy::default(),
            store: StoreOptions {
                create_directory: false,
                region: self.region.clone(),
                ..StoreOptions::default()
            },
        }
    }

    /// What the command line asks for when it names rows.
    pub fn options(&self) -> ReplayOptions {
        let mut columns = ColumnNames::default();
        for (field, name) in &self.columns {
            columns.set(*field, name);
        }
        ReplayOptions {
            input: self.input.clone().unwrap_or_default(),
            stream: self.stream.clone(),
            format: self.format,
            columns,
            tickers: self.tickers.iter().cloned().collect(),
            rate: self.rate.unwrap_or_default(),
            speed: self.speed,
            start_time: self.start_time,
            repeat: self.repeat,
            limit: self.limit,
            create_shards: self.create_stream,
            retry: RetryPolicy::default(),
            max_rows: MAX_ROWS,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ReplayArgs,
    }

    fn parse(arguments: &[&str]) -> Result<ReplayOptions, clap::Error> {
        Cli::try_parse_from(
            ["replay", "in.csv", "--stream", "s"]
                .iter()
                .chain(arguments),
        )
        .map(|cli| cli.args.options())
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        assert_eq!(
            format!("{:?}", parse(&[]).unwrap()),
            format!("{:?}", ReplayOptions::new("in.csv", "s"))
        );
    }

    #[test]
    fn every_option_is_passed_on() {
        let options = parse(&[
            "--rate",
            "100",
            "--speed",
            "60",
            "--start-time",
            "2024-01-02T14:30:00Z",
            "--loop",
            "--ticker",
            "AAPL",
            "--ticker",
            "^GSPC",
            "--limit",
            "9",
            "--create-stream",
            "2",
            "--format",
            "ndjson",
            "--column",
            "close=Last",
        ])
        .unwrap();
        assert_eq!(options.rate, "10ms".parse().unwrap());
        assert_eq!(options.speed, "60".parse().unwrap());
        assert_eq!(
            options.start_time,
            Some("2024-01-02T14:30:00Z".parse().unwrap())
        );
        assert!(options.repeat);
        assert_eq!(
            options.tickers.into_iter().collect::<Vec<_>>(),
            ["AAPL", "^GSPC"]
        );
        assert_eq!(
            (options.limit, options.create_shards, options.format),
            (Some(9), Some(2), Some(Format::Ndjson))
        );
        let mut columns = ColumnNames::default();
        columns.set(Field::Close, "Last");
        assert_eq!(format!("{:?}", options.columns), format!("{columns:?}"));
    }

    #[test]
    fn bad_values_are_refused() {
        for arguments in [
            ["--rate", "soon"],
            ["--speed", "0.5"],
            ["--start-time", "2024-01-02"],
            ["--limit", "0"],
            ["--create-stream", "0"],
            ["--format", "xml"],
            ["--column", "close"],
            ["--column", "price=x"],
            ["--column", "close="],
            ["--reason", "bored"],
            ["--reason", "malformed"],
            ["--dead-letters", "rejects"],
        ] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
    }

    /// Every `stockstream replay …` in a text, with its continued lines joined.
    fn commands(text: &str) -> Vec<Vec<String>> {
        text.replace("\\\n", " ")
            .lines()
            .filter_map(|line| line.trim().strip_prefix("stockstream "))
            .filter(|line| line.starts_with("replay "))
            .map(|line| {
                line.split_whitespace()
                    .map(|word| word.trim_matches('\'').to_owned())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn the_commands_in_the_help_and_the_documentation_are_right() {
        let help = <Cli as clap::CommandFactory>::command()
            .render_long_help()
            .to_string();
        let pages = [help.as_str(), include_str!("../../../docs/replay.md")];
        for (page, least) in pages.into_iter().zip([5, 5]) {
            let commands = commands(page);
            assert!(commands.len() >= least, "{commands:?}");
            for command in commands {
                let parsed = Cli::try_parse_from(&command);
                assert!(parsed.is_ok(), "{command:?}: {}", parsed.unwrap_err());
            }
        }
    }
}
