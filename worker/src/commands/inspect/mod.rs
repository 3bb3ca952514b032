//! `stockstream inspect`: state and files, for people and scripts.
//!
//! Owns reading and rendering. Must never write, nor make a folder that isn't there.

mod ask;
mod chains;
mod checkpoint;
mod cost;
mod lineage;
mod members;
mod shards;
mod table;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use serde::Serialize;
use stockstream_core::time::Micros;

use crate::cli::output::{print, print_json};
use crate::cli::{
    ExitStatus, Failure, InspectArgs, InspectWhat, Outcome, OutputFormat, StateArgs, WatchArgs,
};
use crate::clock::Clock;
use crate::observe::terminal::text::duration;
use crate::sink::inspect_file;
use crate::storage::{Store, StoreOptions};

/// `stockstream inspect`.
pub async fn run(args: InspectArgs) -> Outcome {
    let options = StoreOptions {
        create_directory: false,
        ..StoreOptions::default()
    };
    let format = args.output;
    match &args.what {
        InspectWhat::Checkpoint { uri } => checkpoint::run(uri, &options, format).await,
        InspectWhat::Shards(state) => {
            let store = open(state, &options).await?;
            look(format, state.watch, async || shards::load(&store).await).await
        }
        InspectWhat::Members(state) => {
            let store = open(state, &options).await?;
            look(format, state.watch, async || members::load(&store).await).await
        }
        InspectWhat::Lineage(state) => {
            let store = open(state, &options).await?;
            look(format, state.watch, async || lineage::load(&store).await).await
        }
        InspectWhat::File { uri } => {
            let summary = inspect_file(uri, &options).await.map_err(Failure::failed)?;
            match format {
                OutputFormat::Text => print(&format!("{summary}\n")),
                OutputFormat::Json => print_json(&summary),
            }
        }
        InspectWhat::Cost(args) => cost::run(args, format),
    }
}

/// What a state path shows at one moment.
trait Picture: Serialize {
    /// For people.
    fn text(&self) -> String;

    /// Whether a script must take notice.
    fn status(&self) -> ExitStatus {
        ExitStatus::Done
    }
}

async fn open(state: &StateArgs, options: &StoreOptions) -> Result<Store, Failure> {
    let url = url_of(&state.uri)?;
    Store::open(&url, options).await.map_err(Failure::failed)
}

/// Shows it once, or again and again until the process is stopped: on a terminal in place, else one after the other, as
/// JSON one line each.
async fn look<P: Picture>(
    format: OutputFormat,
    watch: WatchArgs,
    load: impl AsyncFn() -> Result<P, Failure>,
) -> Outcome {
    let Some(every) = watch.interval() else {
        let picture = load().await?;
        match format {
            OutputFormat::Text => print(&picture.text())?,
            OutputFormat::Json => print_json(&picture)?,
        };
        return Ok(picture.status());
    };
    loop {
        let text = match (load().await, format) {
            (Ok(picture), OutputFormat::Text) => frame(&picture.text(), every),
            (Ok(picture), OutputFormat::Json) => {
                let line = serde_json::to_string(&picture).map_err(Failure::failed)?;
                format!("{line}\n")
            }
            // A store that is away for a moment is looked at again.
            (Err(failure), OutputFormat::Text) => frame(&failure.render(false), every),
            (Err(failure), OutputFormat::Json) => {
                tracing::warn!(
                    event = "inspect_failed",
                    cause = failure.render(false),
                    "trying again"
                );
                String::new()
            }
        };
        print(&text)?;
        tokio::time::sleep(every).await;
    }
}

/// Clears a terminal before the text; elsewhere a line tells the rounds apart.
fn frame(text: &str, every: Duration) -> String {
    let now = Clock::system().wall();
    let mut frame = String::new();
    if std::io::stdout().is_terminal() {
        frame.push_str("\x1b[H\x1b[2J");
    }
    let _ = writeln!(frame, "{now}, every {every:?}; Ctrl-C ends\n\n{text}"); // writing to a String can't fail
    frame
}

/// A URI as people type it: a URL, or a path.
pub(super) fn url_of(uri: &str) -> Result<String, Failure> {
    if uri.contains("://") {
        return Ok(uri.trim_end_matches('/').to_owned());
    }
    let path = std::path::absolute(uri).map_err(Failure::bad_input)?;
    Ok(format!("file://{}", path.display())
        .trim_end_matches('/')
        .to_owned())
}

/// Nothing of a pipeline lies there: most likely it is the wrong path.
fn no_pipeline(store: &Store, missing: &str) -> Failure {
    Failure::failed(format!("there are no {missing} under {}", store.url()))
        .hint("give the pipeline's state.path; with `dev`, s3://BUCKET/PREFIX lies under .stockstream/s3/BUCKET/PREFIX")
}

/// How long ago, for people.
fn ago(then: Option<Micros>, now: Micros) -> String {
    match then {
        None => "-".to_owned(),
        Some(then) => {
            let seconds = (now.0 - then.0).max(0).unsigned_abs() / 1_000_000;
            format!("{} ago", duration(seconds))
        }
    }
}
