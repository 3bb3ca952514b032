//! `stockstream validate`, and reading a pipeline's YAML for every other command.

use std::path::Path;

use serde_json::json;
use stockstream_core::codec::{FORMAT, OLDEST_FORMAT};
use stockstream_crds::{MAX_TEXT_BYTES, Pipeline};

use crate::cli::output::{print, print_json};
use crate::cli::{ExitStatus, Failure, Outcome, OutputFormat, ValidateArgs};

/// `stockstream validate`.
pub fn run(args: &ValidateArgs) -> Outcome {
    let path = &args.pipeline.file;
    let name = path.display().to_string();
    let text = read(path)?;
    match (stockstream_crds::parse(&text), args.output.output) {
        (Ok(pipeline), OutputFormat::Text) => print(&format!(
            "{name}: pipeline {}/{} is valid\n",
            pipeline.namespace(),
            pipeline.name()
        )),
        (Ok(_), OutputFormat::Json) => {
            print_json(&json!({"file": name, "valid": true, "errors": []}))
        }
        (Err(errors), OutputFormat::Text) => Err(Failure::bad_input(errors.render(&name))),
        (Err(errors), OutputFormat::Json) => {
            print_json(&errors.to_json(&name))?;
            Ok(ExitStatus::BadInput)
        }
    }
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
