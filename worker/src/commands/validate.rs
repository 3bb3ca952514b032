//! `stockstream validate`, and reading a pipeline's YAML for every other command.

use std::path::Path;

use serde_json::json;
use stockstream_core::codec::{FORMAT, OLDEST_FORMAT};
use stockstream_core::cost::files_a_round;
use stockstream_core::row::PartitionColumn;
use stockstream_crds::pipeline::StreamCapacity;
use stockstream_crds::spec::WindowLimits;
use stockstream_crds::{MAX_TEXT_BYTES, Pipeline};

use crate::cli::output::{print, print_json};
use crate::cli::{ExitStatus, Failure, Outcome, OutputFormat, ValidateArgs};
use crate::pipeline::Settings;
use crate::pipeline::small_files::Filing;

/// `stockstream validate`.
pub fn run(args: &ValidateArgs) -> Outcome {
    let path = &args.pipeline.file;
    let name = path.display().to_string();
    let text = read(path)?;
    match (stockstream_crds::parse(&text), args.output.output) {
        (Ok(pipeline), OutputFormat::Text) => {
            let warning = small_files(&pipeline, args.tickers);
            let warning = warning.map_or(String::new(), |warning| format!("warning: {warning}\n"));
            print(&format!(
                "{name}: pipeline {}/{} is valid\n{warning}",
                pipeline.namespace(),
                pipeline.name()
            ))
        }
        (Ok(pipeline), OutputFormat::Json) => {
            let warning = small_files(&pipeline, args.tickers);
            let warnings: Vec<String> = warning.into_iter().collect();
            print_json(&json!({"file": name, "valid": true, "errors": [], "warnings": warnings}))
        }
        (Err(errors), OutputFormat::Text) => Err(Failure::bad_input(errors.render(&name))),
        (Err(errors), OutputFormat::Json) => {
            print_json(&errors.to_json(&name))?;
            Ok(ExitStatus::BadInput)
        }
    }
}

/// A warning of too many small files. How many tickers there are, only the user knows, or the YAML when its
/// `window.limits.maxTickers` is set; shards that the stream grows by itself aren't counted.
fn small_files(pipeline: &Pipeline, tickers: Option<u32>) -> Option<String> {
    let settings = Settings::of(pipeline);
    let shards = match pipeline.kinesis().map(|kinesis| &kinesis.capacity) {
        Some(StreamCapacity::Provisioned { shards }) => f64::from(*shards),
        _ => 1.0,
    };
    let limit = pipeline.window().limits.max_tickers;
    let named = (limit != WindowLimits::default().max_tickers).then_some(limit);
    let tickers = tickers
        .map(f64::from)
        .or(named.map(|limit| f64::from(limit) * shards));
    let by_ticker = settings.partition_by.contains(&PartitionColumn::Ticker);
    let files = files_a_round(by_ticker, tickers.unwrap_or(0.0), shards, 1.0);
    let every = pipeline
        .output()
        .publish_interval
        .max(pipeline.window().size);
    let filing = Filing {
        partition_by: &settings.partition_by,
        every,
        shards,
    };
    pipeline.kinesis().and_then(|_| filing.advice(files))
}

/// Reads and validates a pipeline's YAML; paths in it are taken relative to the working directory.
pub fn load(path: &Path) -> Result<Pipeline, Failure> {
    let name = path.display().to_string();
    let told = |errors: stockstream_crds::SpecErrors| {
        Failure::bad_input(errors.render(&name)).hint(
            "docs/stockstream.md lists every field; `stockstream validate -f FILE` checks without starting anything",
        )
    };
    let pipeline = stockstream_crds::parse(&read(path)?).map_err(told)?;
    let formats = u32::from(OLDEST_FORMAT)..=u32::from(FORMAT);
    match pipeline.state().format {
        Some(format) if !formats.contains(&format) => Err(Failure::bad_input(format!(
            "{name}: spec.state.format: found {format}; this release writes formats {OLDEST_FORMAT} to {FORMAT}"
        ))),
        _ => Ok(pipeline),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let refused = |error: std::io::Error| {
        Failure::bad_input(format!(
            "can't read the pipeline {}: {error}",
            path.display()
        ))
        .hint("-f names a YAML file such as examples/quickstart.yaml")
    };
    let size = std::fs::metadata(path).map_err(refused)?.len();
    if size > MAX_TEXT_BYTES as u64 {
        return Err(Failure::bad_input(format!(
            "the pipeline {} has {size} bytes, allowed are {MAX_TEXT_BYTES}",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(refused)
}
