//! What became of dead letters, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::super::drive::nothing_sent;
use super::super::summary::ReplaySummary;
use super::DeadLetterOptions;
use super::select::Selection;

/// Malformed lines shown to people; JSON has the first hundred.
const SHOWN: usize = 10;

/// A line that is no dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MalformedLine {
    /// The file's URL.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// The outcome of a run that was not ended by an error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetterSummary {
    /// Nothing was sent: it was only asked what would be.
    pub dry_run: bool,
    /// Where the letters lie.
    pub from: String,
    /// Files read.
    pub files: u64,
    /// Lines in them.
    pub lines: u64,
    /// Lines that are no dead letter, and could not be sent.
    pub malformed: u64,
    /// The first of them.
    pub malformed_lines: Vec<MalformedLine>,
    /// Letters of another reason or ticker than asked for, or beyond the limit.
    pub passed_over: u64,
    /// Letters with a receipt of an earlier run into this stream.
    pub already_sent: u64,
    /// Letters that the mapping still can't use, by reason; they were not sent.
    pub still_unusable: BTreeMap<String, u64>,
    /// Letters to send, by the reason for which they were dead.
    pub to_send: BTreeMap<String, u64>,
    /// The sending.
    pub replay: ReplaySummary,
}

impl DeadLetterSummary {
    pub(super) fn of(options: &DeadLetterOptions, selection: &Selection) -> Self {
        let owned = |counts: &BTreeMap<&'static str, u64>| {
            let counts = counts.iter();
            counts
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect()
        };
        DeadLetterSummary {
            dry_run: options.dry_run,
            from: options.url.clone(),
            files: selection.files.len() as u64,
            lines: selection.lines,
            malformed: selection.malformed,
            malformed_lines: selection.told.clone(),
            passed_over: selection.passed_over,
            already_sent: selection.already_sent,
            still_unusable: owned(&selection.unusable),
            to_send: owned(&selection.to_send),
            replay: nothing_sent(&options.stream, false),
        }
    }

    pub(super) fn stopped_early(options: &DeadLetterOptions) -> Self {
        DeadLetterSummary {
            replay: nothing_sent(&options.stream, true),
            ..Self::of(options, &Selection::default())
        }
    }
}

impl fmt::Display for DeadLetterSummary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "Found {} dead letters in {} files of {}.",
            self.lines - self.malformed,
            self.files,
            self.from
        )?;
        for (count, what) in [
            (self.already_sent, "were sent by an earlier run"),
            (
                self.passed_over,
                "are of another reason or ticker than asked for, or beyond the limit",
            ),
        ] {
            if count > 0 {
                writeln!(out, "  {count} {what}")?;
            }
        }
        for (reason, count) in &self.still_unusable {
            writeln!(
                out,
                "  {count} still can't be used with this mapping and are not sent: {reason}"
            )?;
        }
        let verb = if self.dry_run {
            "would be"
        } else {
            "were to be"
        };
        for (reason, count) in &self.to_send {
            writeln!(out, "  {count} {verb} sent: {reason}")?;
        }
        if self.malformed > 0 {
            writeln!(out, "{} lines are no dead letters:", self.malformed)?;
        }
        for line in self.malformed_lines.iter().take(SHOWN) {
            writeln!(out, "  {}, line {}: {}", line.file, line.line, line.problem)?;
        }
        match self.dry_run {
            true => writeln!(out, "A dry run: nothing was sent."),
            false => write!(out, "{}", self.replay),
        }
    }
}
