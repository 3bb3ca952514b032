//! One version of a chain, whole.

use std::fmt::Write as _;

use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec;
use stockstream_core::generation;

use super::url_of;
use crate::cli::output::{print, print_json};
use crate::cli::{Failure, Outcome, OutputFormat};
use crate::observe::terminal::text::visible;
use crate::storage::{Store, StoreOptions};

/// Open windows printed for people; JSON has all of them.
const SHOWN: usize = 20;

/// Longest name printed for people.
const MAX_NAME: usize = 64;

/// `stockstream inspect checkpoint`.
pub(super) async fn run(uri: &str, options: &StoreOptions, format: OutputFormat) -> Outcome {
    let url = url_of(uri)?;
    let Some((folder, name)) = url.rsplit_once('/') else {
        return Err(no_such(&url));
    };
    let store = Store::open(folder, options)
        .await
        .map_err(Failure::failed)?;
    let bytes = store.get(name).await.map_err(Failure::failed)?;
    let bytes = bytes.ok_or_else(|| no_such(&url))?;
    let checkpoint =
        codec::decode(&bytes).map_err(|error| Failure::failed(format!("{url}: {error}")))?;
    match format {
        OutputFormat::Text => print(&describe(&url, bytes.len(), &checkpoint)),
        OutputFormat::Json => print_json(&checkpoint),
    }
}

fn no_such(url: &str) -> Failure {
    Failure::failed(format!("there is no checkpoint {url}"))
        .hint("`stockstream inspect shards STATE_PATH` lists them")
}

fn describe(url: &str, bytes: usize, checkpoint: &Checkpoint) -> String {
    let mut text = String::new();
    let watermark = checkpoint
        .watermark
        .map_or("none yet".to_owned(), |at| at.to_string());
    let through = checkpoint
        .read_through
        .map_or("nothing yet".to_owned(), |at| at.to_string());
    let counters = &checkpoint.counters;
    let fields = [
        ("checkpoint", format!("{url} ({bytes} bytes)")),
        (
            "state",
            format!(
                "{}, incarnation {}",
                checkpoint.state_id, checkpoint.incarnation
            ),
        ),
        (
            "shard",
            format!("{} ({})", checkpoint.shard, checkpoint.range),
        ),
        (
            "version",
            format!(
                "{}, written by release {}",
                checkpoint.version, checkpoint.writer
            ),
        ),
        (
            "owner",
            format!("{}, epoch {}", checkpoint.owner, checkpoint.epoch),
        ),
        ("position", checkpoint.position.to_string()),
        ("read through", through),
        ("watermark", watermark),
        ("open windows", checkpoint.windows.len().to_string()),
        ("tickers", checkpoint.latest.len().to_string()),
        (
            "unsealed",
            format!(
                "{} rows, {} late ticks, {} dead letters",
                checkpoint.unsealed.rows.len(),
                checkpoint.unsealed.late.len(),
                checkpoint.unsealed.dead.len()
            ),
        ),
        ("outbox", format!("{} batches", checkpoint.outbox.len())),
        (
            "counted",
            format!(
                "{} ticks, {} late, {} duplicates, {} misrouted, {} dead letters, {} rows closed, {} published in {} files",
                counters.ticks,
                counters.late,
                counters.duplicates,
                counters.misrouted,
                counters.dead_letters(),
                counters.rows_closed,
                counters.rows_published,
                counters.files_published
            ),
        ),
    ];
    for (name, value) in fields {
        line(&mut text, name, &value);
    }
    for aggregate in generation::newest(&checkpoint.generations) {
        let value = format!("{:?}({})", aggregate.function, aggregate.field).to_lowercase();
        line(&mut text, &format!("figure {}", aggregate.name), &value);
    }
    for window in checkpoint.windows.iter().take(SHOWN) {
        let value = format!(
            "{} from {}, {} ticks",
            visible(&window.ticker, MAX_NAME),
            window.start,
            window.ticks
        );
        line(&mut text, "open", &value);
    }
    if checkpoint.windows.len() > SHOWN {
        line(
            &mut text,
            "open",
            &format!(
                "… and {} more (-o json has all)",
                checkpoint.windows.len() - SHOWN
            ),
        );
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<14} {value}"); // writing to a String can't fail
}
