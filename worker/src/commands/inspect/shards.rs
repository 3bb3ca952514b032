//! Every shard of a pipeline: who has it since when, how far it is, and what it has counted.

use std::collections::BTreeMap;

use serde::Serialize;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::time::Micros;

use super::ask::{Word, ask};
use super::chains::{self, Newest};
use super::table::table;
use super::{Picture, ago, members};
use crate::cli::{ExitStatus, Failure};
use crate::clock::Clock;
use crate::observe::terminal::text::{lag, visible};
use crate::storage::Store;

/// Longest name printed for people.
const MAX_NAME: usize = 40;

/// All shards, each as its newest version and its living owner say.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Shards {
    lines: Vec<ShardLine>,
    #[serde(skip)]
    now: Micros,
}

/// The newest version of a shard's chain.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardLine {
    incarnation: String,
    shard: String,
    version: u64,
    epoch: u64,
    owner: String,
    /// Who had it before; empty when nobody.
    taken_from: String,
    taken_at: Option<String>,
    #[serde(skip)]
    taken: Option<Micros>,
    /// How far reading is behind the newest record, as the owner says at this moment; null when it can't be asked.
    behind_latest_millis: Option<u64>,
    committed_at: String,
    #[serde(skip)]
    committed: Option<Micros>,
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

/// Reads them.
///
/// # Errors
/// The store's fault, or that there are none.
pub(super) async fn load(store: &Store) -> Result<Shards, Failure> {
    let newest = chains::newest(store).await?;
    let words = ask(&members::load(store).await?).await;
    Ok(Shards {
        lines: newest
            .into_iter()
            .map(|newest| line(newest, &words))
            .collect(),
        now: Clock::system().wall(),
    })
}

fn line(newest: Newest, words: &BTreeMap<(String, String), Word>) -> ShardLine {
    let Newest {
        incarnation,
        shard,
        version,
        committed,
        checkpoint,
    } = newest;
    let known = ShardLine {
        incarnation,
        shard,
        version,
        committed: Some(committed),
        committed_at: committed.to_string(),
        ..ShardLine::default()
    };
    match checkpoint {
        Ok(checkpoint) => read(known, *checkpoint, words),
        Err(error) => ShardLine {
            error: Some(error),
            ..known
        },
    }
}

fn read(
    known: ShardLine,
    checkpoint: Checkpoint,
    words: &BTreeMap<(String, String), Word>,
) -> ShardLine {
    let word = words.get(&(known.incarnation.clone(), known.shard.clone()));
    // Who was overtaken has nothing to say.
    let word =
        word.filter(|word| word.member == checkpoint.owner && word.epoch == checkpoint.epoch);
    let (taken_from, taken) = checkpoint
        .handover
        .map_or((String::new(), None), |handover| {
            (handover.from, Some(handover.at))
        });
    ShardLine {
        epoch: checkpoint.epoch,
        owner: checkpoint.owner,
        taken_from,
        taken_at: taken.map(|at| at.to_string()),
        taken,
        behind_latest_millis: word.and_then(|word| word.behind_millis),
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
        ..known
    }
}

const HEAD: [&str; 15] = [
    "SHARD",
    "VERSION",
    "EPOCH",
    "OWNER",
    "TAKEN",
    "LAG",
    "COMMITTED",
    "WATERMARK",
    "OPEN",
    "OUTBOX",
    "TICKS",
    "LATE",
    "DEAD",
    "ROWS",
    "POSITION",
];

impl Picture for Shards {
    fn text(&self) -> String {
        // A stream that was made anew has chains of each of its lives.
        let mut lives = self.lines.windows(2);
        let several = lives.any(|pair| pair[0].incarnation != pair[1].incarnation);
        let mut head = HEAD.to_vec();
        if several {
            head.insert(0, "INCARNATION");
        }
        let rows: Vec<Vec<String>> = self
            .lines
            .iter()
            .map(|line| {
                let life = several.then(|| line.incarnation.clone());
                life.into_iter().chain(self.cells(line)).collect()
            })
            .collect();
        table(&head, &rows)
    }

    /// A script must notice a chain whose newest version can't be read.
    fn status(&self) -> ExitStatus {
        match self.lines.iter().any(|line| line.error.is_some()) {
            true => ExitStatus::Failed,
            false => ExitStatus::Done,
        }
    }
}

impl Shards {
    fn cells(&self, line: &ShardLine) -> Vec<String> {
        if let Some(error) = &line.error {
            return vec![
                line.shard.clone(),
                line.version.to_string(),
                format!("unreadable: {error}"),
            ];
        }
        vec![
            line.shard.clone(),
            line.version.to_string(),
            line.epoch.to_string(),
            visible(&line.owner, MAX_NAME),
            ago(line.taken, self.now),
            lag(line.behind_latest_millis),
            ago(line.committed, self.now),
            line.watermark.clone().unwrap_or_else(|| "-".to_owned()),
            line.open_windows.to_string(),
            line.outbox_batches.to_string(),
            line.ticks.to_string(),
            line.late.to_string(),
            line.dead_letters.to_string(),
            line.rows_published.to_string(),
            line.position.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(incarnation: &str, shard: &str) -> ShardLine {
        ShardLine {
            incarnation: incarnation.to_owned(),
            shard: shard.to_owned(),
            version: 7,
            position: "after 49590338".to_owned(),
            ..ShardLine::default()
        }
    }

    fn shards(lines: Vec<ShardLine>) -> Shards {
        Shards {
            lines,
            now: Micros(0),
        }
    }

    #[test]
    fn a_table_shows_positions_and_the_incarnation_only_when_there_are_several() {
        let text = shards(vec![known("k1", "a"), known("k1", "b")]).text();
        assert!(
            text.starts_with("SHARD") && !text.contains("INCARNATION"),
            "{text}"
        );
        let (head, rows) = text.split_once('\n').unwrap_or_default();
        assert!(head.ends_with("POSITION"), "{text}");
        assert_eq!(rows.matches("after 49590338\n").count(), 2, "{text}");
        let text = shards(vec![known("k1", "a"), known("k2", "a")]).text();
        assert!(text.starts_with("INCARNATION  SHARD"), "{text}");
        assert!(text.contains("\nk1") && text.contains("\nk2"), "{text}");
    }

    #[test]
    fn one_unreadable_line_fails_the_command_and_hides_no_other() {
        let unreadable = ShardLine {
            error: Some("it is cut off".to_owned()),
            ..known("k1", "b")
        };
        let both = shards(vec![known("k1", "a"), unreadable]);
        assert_eq!(both.status(), ExitStatus::Failed);
        assert_eq!(shards(vec![known("k1", "a")]).status(), ExitStatus::Done);
        let text = both.text();
        assert!(
            text.contains("after 49590338") && text.contains("unreadable: it is cut off"),
            "{text}"
        );
    }
}
