//! What a run says at its end, to people and to scripts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::output::{self, OutputFormat};
use crate::observe::PipelineReport;
use crate::observe::terminal::text::{count, visible};

/// Longest path shown.
const MAX_PATH: usize = 4_096;

/// The result of `dev --once` and of a worker over files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// `namespace/name`.
    pub pipeline: String,
    /// Records applied.
    pub ticks: u64,
    /// Distinct tickers.
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
    /// How long the run took.
    pub seconds: f64,
    /// Where the rows lie.
    pub output_path: String,
    /// Where late ticks and dead letters lie.
    pub rejects_path: String,
}

impl RunSummary {
    /// The summary of a finished run from its last report.
    #[must_use]
    pub fn of(report: &PipelineReport, seconds: f64) -> Self {
        let totals = &report.totals;
        Self {
            pipeline: format!("{}/{}", report.pipeline.namespace, report.pipeline.name),
            ticks: totals.ticks,
            tickers: report.tickers.len() as u64 + report.tickers_omitted,
            windows: totals.rows_closed,
            rows: totals.rows_published,
            files: totals.files_published,
            late: totals.late,
            dead_letters: totals.dead_letters.clone(),
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

    /// For people, with what to do next.
    #[must_use]
    pub fn text(&self) -> String {
        let dead: u64 = self
            .dead_letters
            .values()
            .fold(0, |sum, number| sum.saturating_add(*number));
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
            format!("{} from {} tickers", count(self.ticks), count(self.tickers)),
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
        line("output", visible(&self.output_path, MAX_PATH));
        if self.late > 0 || dead > 0 {
            line("rejects", visible(&self.rejects_path, MAX_PATH));
        }
        text.push_str("\nNext:\n");
        if self.rows > 0 {
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
            text.push_str("  No window was closed: was there any tick, and did event time pass the watermark delay?\n");
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
        insta::assert_snapshot!(RunSummary::of(&busy_observer(5).report(), 12.34).text());
    }

    #[test]
    fn a_run_without_rows_says_what_may_be_wrong_and_offers_no_query() {
        let text = RunSummary::of(&observer().report(), 0.5).text();
        assert!(
            text.contains("No window was closed") && !text.contains("duckdb"),
            "{text}"
        );
    }

    #[test]
    fn scripts_get_camel_case_json_that_reads_back() {
        let summary = RunSummary::of(&busy_observer(5).report(), 12.5);
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
        let mut summary = RunSummary::of(&busy_observer(1).report(), 1.0);
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
