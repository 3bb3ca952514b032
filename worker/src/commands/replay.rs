//! `stockstream replay`.

use stockstream_core::plan::RecordMapping;

use super::aws;
use super::inspect::url_of;
use super::signals::StopSignals;
use super::validate::load;
use crate::cli::output::{print, print_json};
use crate::cli::{ExitStatus, Failure, Outcome, OutputFormat};
use crate::pipeline::settings::mapping;
use crate::replay::progress::ConsoleObserver;
use crate::replay::{ReplayArgs, dead_letters, run as replay};

/// `stockstream replay`.
pub async fn run(args: ReplayArgs) -> Outcome {
    if let Some(path) = &args.dead_letters {
        return send_dead_letters(&args, path).await;
    }
    let mut signals = StopSignals::listen()?;
    let client = aws::kinesis(args.region.as_deref(), args.endpoint_url.as_deref()).await?;
    let mut observer = ConsoleObserver::new();
    let summary = replay(&client, args.options(), &mut observer, signals.next())
        .await
        .map_err(Failure::failed)?;
    match args.output.output {
        OutputFormat::Text => print(&format!("{summary}\n")),
        OutputFormat::Json => print_json(&summary),
    }
}

async fn send_dead_letters(args: &ReplayArgs, path: &str) -> Outcome {
    let mapping = match &args.file {
        Some(file) => mapping(&load(file)?),
        None => RecordMapping::default(),
    };
    let mut signals = StopSignals::listen()?;
    let options = args.dead_letters(url_of(path)?, mapping);
    let client = aws::kinesis(args.region.as_deref(), args.endpoint_url.as_deref()).await?;
    let mut observer = ConsoleObserver::new();
    let summary = dead_letters::run(&client, options, &mut observer, signals.next())
        .await
        .map_err(Failure::failed)?;
    match args.output.output {
        OutputFormat::Text => print(&format!("{summary}\n"))?,
        OutputFormat::Json => print_json(&summary)?,
    };
    // A script must notice lines that can't be sent.
    Ok(match summary.malformed {
        0 => ExitStatus::Done,
        _ => ExitStatus::Failed,
    })
}
