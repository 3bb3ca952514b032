//! `stockstream inspect`: state and files, for people and scripts.
//!
//! Owns reading and rendering. Must never write, nor make a folder that isn't there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec;
use stockstream_core::generation;
use stockstream_core::layout::{SHARDS, version_of};

use crate::cli::output::{print, print_json};
use crate::cli::{ExitStatus, Failure, InspectArgs, InspectWhat, Outcome, OutputFormat};
use crate::observe::terminal::text::visible;
use crate::sink::inspect_file;
use crate::storage::{Store, StoreOptions};

/// Open windows, tickers and partitions printed for people; JSON has all of them.
const SHOWN: usize = 20;

/// Longest name printed for people.
const MAX_NAME: usize = 64;

/// `stockstream inspect`.
pub async fn run(args: InspectArgs) -> Outcome {
    let options = StoreOptions {
        create_directory: false,
        ..StoreOptions::default()
    };
    match &args.what {
        InspectWhat::Checkpoint { uri } => checkpoint(uri, &options, args.output).await,
        InspectWhat::Shards { uri } => shards(uri, &options, args.output).await,
        InspectWhat::File { uri } => {
            let summary = inspect_file(uri, &options).await.map_err(Failure::failed)?;
            match args.output {
                OutputFormat::Text => print(&format!("{summary}\n")),
                OutputFormat::Json => print_json(&summary),
            }
        }
    }
}

async fn checkpoint(uri: &str, options: &StoreOptions, format: OutputFormat) -> Outcome {
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

/// The newest version of a shard's chain.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardLine {
    incarnation: String,
    shard: String,
    version: u64,
    epoch: u64,
    owner: String,
    position: String,
    watermark: Option<String>,
    read_through: Option<String>,
    open_windows: usize,
    tickers: usize,
    outbox_batches: usize,
    ticks: u64,
    late: u64,
    dead_letters: u64,
    rows_published: u64,
    /// Why the newest version can't be read; the other fields are empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn shards(uri: &str, options: &StoreOptions, format: OutputFormat) -> Outcome {
    let url = url_of(uri)?;
    let store = Store::open(&url, options).await.map_err(Failure::failed)?;
    let mut newest: BTreeMap<(String, String), (u64, String)> = BTreeMap::new();
    for object in store.list(SHARDS).await.map_err(Failure::failed)? {
        let parts: Vec<&str> = object.key.split('/').collect();
        if let [_, incarnation, shard, name] = parts[..]
            && let Some(version) = version_of(name)
        {
            let entry = newest
                .entry((incarnation.to_owned(), shard.to_owned()))
                .or_default();
            if version >= entry.0 {
                *entry = (version, object.key.clone());
            }
        }
    }
    if newest.is_empty() {
        return Err(Failure::failed(format!("there are no checkpoints under {url}"))
            .hint("give the pipeline's state.path; with `dev`, s3://BUCKET/PREFIX lies under .stockstream/s3/BUCKET/PREFIX"));
    }
    let mut lines = Vec::new();
    for ((incarnation, shard), (version, key)) in newest {
        let bytes = store
            .get(&key)
            .await
            .map_err(Failure::failed)?
            .unwrap_or_default();
        lines.push(match codec::decode(&bytes) {
            Ok(checkpoint) => shard_line(checkpoint),
            Err(error) => unreadable(incarnation, shard, version, error.to_string()),
        });
    }
    match format {
        OutputFormat::Json => print_json(&lines)?,
        OutputFormat::Text => print(&table(&lines))?,
    };
    Ok(status(&lines))
}

/// A script must notice a chain whose newest version can't be read.
fn status(lines: &[ShardLine]) -> ExitStatus {
    match lines.iter().any(|line| line.error.is_some()) {
        true => ExitStatus::Failed,
        false => ExitStatus::Done,
    }
}

fn shard_line(checkpoint: Checkpoint) -> ShardLine {
    ShardLine {
        version: checkpoint.version,
        epoch: checkpoint.epoch,
        position: checkpoint.position.to_string(),
        watermark: checkpoint.watermark.map(|at| at.to_string()),
        read_through: checkpoint.read_through.map(|at| at.to_string()),
        open_windows: checkpoint.windows.len(),
        tickers: checkpoint.latest.len(),
        outbox_batches: checkpoint.outbox.len(),
        ticks: checkpoint.counters.ticks,
        late: checkpoint.counters.late,
        dead_letters: checkpoint.counters.dead_letters(),
        rows_published: checkpoint.counters.rows_published,
        incarnation: checkpoint.incarnation,
        shard: checkpoint.shard,
        owner: checkpoint.owner,
        error: None,
    }
}

fn unreadable(incarnation: String, shard: String, version: u64, error: String) -> ShardLine {
    ShardLine {
        incarnation,
        shard,
        version,
        epoch: 0,
        owner: String::new(),
        position: String::new(),
        watermark: None,
        read_through: None,
        open_windows: 0,
        tickers: 0,
        outbox_batches: 0,
        ticks: 0,
        late: 0,
        dead_letters: 0,
        rows_published: 0,
        error: Some(error),
    }
}

fn table(lines: &[ShardLine]) -> String {
    // A stream that was made anew has chains of each of its lives.
    let several = lines
        .windows(2)
        .any(|pair| pair[0].incarnation != pair[1].incarnation);
    let mut head = vec![
        "SHARD",
        "VERSION",
        "EPOCH",
        "OWNER",
        "WATERMARK",
        "OPEN",
        "OUTBOX",
        "TICKS",
        "LATE",
        "DEAD",
        "ROWS",
        "POSITION",
    ];
    if several {
        head.insert(0, "INCARNATION");
    }
    let mut rows: Vec<Vec<String>> = vec![head.iter().map(|name| (*name).to_owned()).collect()];
    for line in lines {
        let mut row = match several {
            true => vec![line.incarnation.clone()],
            false => Vec::new(),
        };
        if let Some(error) = &line.error {
            row.extend([
                line.shard.clone(),
                line.version.to_string(),
                format!("unreadable: {error}"),
            ]);
            rows.push(row);
            continue;
        }
        row.extend([
            line.shard.clone(),
            line.version.to_string(),
            line.epoch.to_string(),
            line.owner.clone(),
            line.watermark.clone().unwrap_or_else(|| "-".to_owned()),
            line.open_windows.to_string(),
            line.outbox_batches.to_string(),
            line.ticks.to_string(),
            line.late.to_string(),
            line.dead_letters.to_string(),
            line.rows_published.to_string(),
            line.position.clone(),
        ]);
        rows.push(row);
    }
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() == head.len());
        cells
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end()); // writing to a String can't fail
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(incarnation: &str, shard: &str) -> ShardLine {
        ShardLine {
            position: "after 49590338".to_owned(),
            error: None,
            ..unreadable(incarnation.to_owned(), shard.to_owned(), 7, String::new())
        }
    }

    #[test]
    fn a_table_shows_positions_and_the_incarnation_only_when_there_are_several() {
        let text = table(&[read("k1", "a"), read("k1", "b")]);
        assert!(
            text.starts_with("SHARD") && !text.contains("INCARNATION"),
            "{text}"
        );
        let (head, rows) = text.split_once('\n').unwrap_or_default();
        assert!(head.ends_with("POSITION"), "{text}");
        assert_eq!(rows.matches("after 49590338\n").count(), 2, "{text}");
        let text = table(&[read("k1", "a"), read("k2", "a")]);
        assert!(text.starts_with("INCARNATION  SHARD"), "{text}");
        assert!(text.contains("\nk1") && text.contains("\nk2"), "{text}");
    }

    #[test]
    fn one_unreadable_line_fails_the_command_and_hides_no_other() {
        let lines = [
            read("k1", "a"),
            unreadable(
                "k1".to_owned(),
                "b".to_owned(),
                9,
                "it is cut off".to_owned(),
            ),
        ];
        assert_eq!(status(&lines), ExitStatus::Failed);
        assert_eq!(status(&lines[..1]), ExitStatus::Done);
        let text = table(&lines);
        assert!(
            text.contains("after 49590338") && text.contains("unreadable: it is cut off"),
            "{text}"
        );
    }
}
