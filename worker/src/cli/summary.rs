//! What a run says at its end, to people and to scripts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::output::{self, OutputFormat};
use crate::observe::terminal::text::{count, visible};
use crate::observe::{Counters, PipelineReport};

/// Longest path shown.
const MAX_PATH: usize = 4_096;

/// What the checkpoints have counted since the pipeline's first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Ticks in windows.
    pub ticks: u64,
    /// Windows closed.
    pub windows: u64,
    /// Rows published.
    pub rows: u64,
    /// Parquet files of rows.
    pub files: u64,
    /// Late ticks.
    pub late: u64,
    /// Dead letters of all reasons.
    pub dead_letters: u64,
}

/// The result of `dev --once` and of a worker over files. The figures are this run's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// `namespace/name`.
    pub pipeline: String,
    /// Ticks in windows.
    pub ticks: u64,
    /// Distinct tickers seen since the beginning.
    pub tickers: u64,
    /// Windows closed.
    pub windows: u64,
    /// Rows published.
    pub rows: u64,
    /// Parquet files of rows.
    pub files: u64,
    /// Late ticks.
    pub late: u64,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// The same since the beginning.
    pub since_beginning: Totals,
    /// How long the run took.
    pub seconds: f64,
    /// Where the rows lie.
    pub output_path: String,
    /// Where late ticks and dead letters lie.
    pub rejects_path: String,
}

impl RunSummary {
    /// The summary of a finished run from its last report and from what had been counted when it took its shards.
    #[must_use]
    pub fn of(report: &PipelineReport, at_take: &Counters, seconds: f64) -> Self {
        let totals = &report.totals;
        let mut dead_letters = totals.dead_letters.clone();
        for (reason, before) in &at_take.dead_letters {
            if let Some(count) = dead_letters.get_mut(reason) {
                *count = count.saturating_sub(*before);
            }
        }
        dead_letters.retain(|_, count| *count > 0);
        Self {
            pipeline: format!("{}/{}", report.pipeline.namespace, report.pipeline.name),
            ticks: totals.ticks.saturating_sub(at_take.ticks),
            tickers: report.tickers.len() as u64 + report.tickers_omitted,
            windows: totals.rows_closed.saturating_sub(at_take.rows_closed),
            rows: totals.rows_published.saturating_sub(at_take.rows_published),
            files: totals
                .files_published
                .saturating_sub(at_take.files_published),
            late: totals.late.saturating_sub(at_take.late),
            dead_letters,
            since_beginning: Totals {
                ticks: totals.ticks,
                windows: totals.rows_closed,
                rows: totals.rows_published,
                files: totals.files_published,
                late: totals.late,
                dead_letters: totals.dead_letters_total(),
            },
            seconds,
            output_path: report.output_path.clone(),
            rejects_path: report.rejects_path.clone(),
        }
    }

    /// Prints it on stdout.
    ///
    /// # Errors
    /// When stdout can't be written to.
    pub fn print(&self, format: OutputFormat) -> Outcome {
        match format {
            OutputFormat::Text => output::print(&self.text()),
            OutputFormat::Json => output::print_json(self),
        }
    }

    /// This run's dead letters of all reasons.
    fn dead(&self) -> u64 {
        self.dead_letters
            .values()
            .fold(0, |sum, number| sum.saturating_add(*number))
    }

    /// The totals since the beginning, when they aren't this run's.
    fn earlier(&self) -> Option<String> {
        let this_run = Totals {
            ticks: self.ticks,
            windows: self.windows,
            rows: self.rows,
            files: self.files,
            late: self.late,
            dead_letters: self.dead(),
        };
        let all = &self.since_beginning;
        (*all != this_run).then(|| {
            format!(
                "{} ticks, {} windows, {} rows in {} files, {} late, {} dead letters",
                count(all.ticks),
                count(all.windows),
                count(all.rows),
                count(all.files),
                count(all.late),
                count(all.dead_letters)
            )
        })
    }

    /// For people, with what to do next.
    #[must_use]
    pub fn text(&self) -> String {
        let dead = self.dead();
        let earlier = self.earlier();
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "Pipeline {} is done in {:.1} s.\n",
            visible(&self.pipeline, 200),
            self.seconds
        );
        let mut line = |label: &str, value: String| {
            let _ = writeln!(text, "  {label:<14}{value}");
        };
        line(
            "ticks",
            match earlier {
                None => format!("{} from {} tickers", count(self.ticks), count(self.tickers)),
                // Tickers are remembered, not counted run by run.
                Some(_) => count(self.ticks),
            },
        );
        line("windows", format!("{} closed", count(self.windows)));
        line(
            "rows",
            format!(
                "{} in {} Parquet files",
                count(self.rows),
                count(self.files)
            ),
        );
        line("late ticks", count(self.late));
        let reasons: Vec<String> = self
            .dead_letters
            .iter()
            .map(|(reason, number)| format!("{} {}", visible(reason, 80), count(*number)))
            .collect();
        let reasons = if reasons.is_empty() {
            String::new()
        } else {
            format!(" ({})", reasons.join(", "))
        };
        line("dead letters", format!("{}{reasons}", count(dead)));
        if let Some(earlier) = earlier {
            line("with earlier", earlier);
        }
        line("output", visible(&self.output_path, MAX_PATH));
        if self.late > 0 || dead > 0 {
            line("rejects", visible(&self.rejects_path, MAX_PATH));
        }
        text.push_str("\nNext:\n");
        if self.since_beginning.rows > 0 {
            let _ = writeln!(text, "  {}", self.query());
        }
        if dead > 0 {
            let _ = writeln!(
                text,
                "  See why ticks became dead letters: {}",
                visible(&self.rejects_path, MAX_PATH)
            );
        }
        if self.rows == 0 && dead == 0 {
            text.push_str(if self.ticks == 0 && self.late > 0 {
                "  No window was closed: all ticks were late, their windows had been closed before. They lie under rejects.\n"
            } else {
                "  No window was closed: was there any tick, and did event time pass the watermark delay?\n"
            });
        }
        text
    }

    /// A shell command that shows the newest rows with DuckDB.
    fn query(&self) -> String {
        let path = self
            .output_path
            .strip_prefix("file://")
            .unwrap_or(&self.output_path)
            .trim_end_matches('/');
        let glob = format!("{path}/**/*.parquet").replace('\'', "''");
        let sql = format!(
            "SELECT * FROM read_parquet('{glob}', hive_partitioning = true) ORDER BY window_start DESC, ticker LIMIT 10"
        );
        format!("duckdb -c {}", shell_quoted(&visible(&sql, MAX_PATH)))
    }
}

/// One word for a POSIX shell.
fn shell_quoted(text: &str) -> String {
    if text.contains('\'') && !text.contains(['"', '$', '`', '\\', '!']) {
        return format!("\"{text}\"");
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::observe::fixtures::{busy_observer, observer};

    #[test]
    fn people_get_the_figures_the_paths_and_a_query_to_run_next() {
        insta::assert_snapshot!(
            RunSummary::of(&busy_observer(5).report(), &Counters::default(), 12.34).text()
        );
    }

    #[test]
    fn a_second_run_tells_its_own_figures_and_those_since_the_beginning() {
        let report = busy_observer(5).report();
        let mut at_take = Counters {
            ticks: 12_000,
            late: 3,
            rows_closed: 20,
            rows_published: 20,
            files_published: 8,
            ..Counters::default()
        };
        at_take.add_dead_letters("malformed_json", 1);
        at_take.add_dead_letters("wrong_shard", 1);
        let summary = RunSummary::of(&report, &at_take, 0.9);
        assert_eq!(
            (summary.ticks, summary.windows, summary.rows, summary.late),
            (345, 5, 0, 0)
        );
        assert_eq!(
            summary.dead_letters,
            BTreeMap::from([("malformed_json".to_owned(), 1)])
        );
        let text = summary.text();
        assert!(
            text.contains("12,345 ticks, 25 windows, 20 rows in 8 files, 3 late, 3 dead letters")
                && text.contains("345\n")
                && text.contains("duckdb"),
            "{text}"
        );
    }

    #[test]
    fn a_run_whose_ticks_were_all_late_says_so() {
        let observer = observer();
        let mut shard = crate::observe::ShardReport::new("shardId-000000000000");
        shard.counters.late = 1;
        observer.update_shard_only(shard.clone());
        shard.counters.late = 8;
        observer.update_shard_only(shard);
        let summary = RunSummary::of(&observer.report(), &observer.totals_at_take(), 0.5);
        assert_eq!((summary.late, summary.since_beginning.late), (7, 8));
        let text = summary.text();
        assert!(text.contains("all ticks were late"), "{text}");
    }

    #[test]
    fn a_run_without_rows_says_what_may_be_wrong_and_offers_no_query() {
        let text = RunSummary::of(&observer().report(), &Counters::default(), 0.5).text();
        assert!(
            text.contains("No window was closed") && !text.contains("duckdb"),
            "{text}"
        );
    }

    #[test]
    fn scripts_get_camel_case_json_that_reads_back() {
        let summary = RunSummary::of(&busy_observer(5).report(), &Counters::default(), 12.5);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["deadLetters"]["malformed_json"], 2);
        assert_eq!(
            json["outputPath"],
            "file:///home/me/.stockstream/lake/avg_1min"
        );
        assert_eq!(
            (json["rows"].as_u64(), json["tickers"].as_u64()),
            (Some(20), Some(5))
        );
        assert_eq!(serde_json::from_value::<RunSummary>(json).unwrap(), summary);
    }

    #[test]
    fn a_path_with_quotes_or_a_dollar_sign_stays_one_word_of_the_shell() {
        assert_eq!(shell_quoted("it's"), "\"it's\"");
        assert_eq!(shell_quoted("it's $HOME"), r"'it'\''s $HOME'");
        let mut summary = RunSummary::of(&busy_observer(1).report(), &Counters::default(), 1.0);
        summary.output_path = "file:///tmp/$(reboot)/o'x".into();
        let query = summary.query();
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(query.replacen("duckdb -c", "printf %s", 1))
            .output();
        let sql = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(
            sql.contains("read_parquet('/tmp/$(reboot)/o''x/**/*.parquet'"),
            "{sql}"
        );
    }
}
