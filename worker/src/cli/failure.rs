//! How commands end: exit codes, and errors as people read them.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;

use super::output::ColourChoice;
use crate::observe::terminal::text::visible;

/// Longest line of an error, in characters; the rest is cut.
const MAX_LINE: usize = 1_000;
/// Most causes printed.
const MAX_CAUSES: usize = 16;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: what was asked is done.
    Done,
    /// 1: it was tried and failed.
    Failed,
    /// 2: what was asked can't be done; nothing was started.
    BadInput,
}

impl ExitStatus {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub struct Failure {
    status: ExitStatus,
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl Failure {
    /// Something was tried and failed: exit code 1.
    #[must_use]
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            status: ExitStatus::Failed,
            error: error.into(),
            hint: None,
        }
    }

    /// What was asked can't be done: exit code 2.
    #[must_use]
    pub fn bad_input(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            status: ExitStatus::BadInput,
            error: error.into(),
            hint: None,
        }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// How the process ends.
    #[must_use]
    pub const fn status(&self) -> ExitStatus {
        self.status
    }

    /// `error: …`, one line per line of the error and per cause, and the hint.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let (red, cyan, plain) = if colour {
            ("\u{1b}[1;31m", "\u{1b}[1;36m", "\u{1b}[0m")
        } else {
            ("", "", "")
        };
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "{red}error:{plain} {}",
            indented(&self.error.to_string())
        );
        let mut last = self.error.to_string();
        let mut cause = self.error.source();
        let mut told = 0;
        while let Some(error) = cause
            && told < MAX_CAUSES
        {
            let message = error.to_string();
            // Some libraries repeat their source in their own message.
            if !last.contains(&message) {
                let _ = writeln!(text, "  caused by: {}", indented(&message));
                told += 1;
            }
            last = message;
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  {cyan}hint:{plain} {}", indented(hint));
        }
        text
    }

    /// Prints it on stderr.
    pub fn print(&self, colour: ColourChoice) -> ExitStatus {
        let text = self.render(colour.enabled(io::stderr().is_terminal()));
        // A closed stderr leaves the exit code, which says the same.
        let _ = io::stderr().write_all(text.as_bytes());
        self.status
    }
}

/// Each line made visible, further lines indented below the first.
fn indented(text: &str) -> String {
    text.lines()
        .map(|line| visible(line, MAX_LINE))
        .collect::<Vec<_>>()
        .join("\n    ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("can't write {path}")]
    struct Outer {
        path: String,
        #[source]
        source: Middle,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the store refused")]
    struct Middle(#[source] io::Error);

    fn outer(path: &str) -> Outer {
        Outer {
            path: path.into(),
            source: Middle(io::Error::other("disk is full")),
        }
    }

    #[test]
    fn the_chain_of_causes_and_the_hint_are_told_in_order() {
        let failure = Failure::failed(outer("/x")).hint("free some space");
        assert_eq!(
            failure.render(false),
            "error: can't write /x\n  caused by: the store refused\n  caused by: disk is full\n  hint: free some space\n"
        );
        assert_eq!(failure.status().code(), 1);
    }

    #[test]
    fn hostile_text_is_spelt_out_and_lines_are_kept_apart() {
        let text = Failure::bad_input(outer("a\nb\u{1b}[2J")).render(false);
        assert!(
            text.starts_with("error: can't write a\n    b\\u{1b}[2J\n"),
            "{text:?}"
        );
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_message_that_repeats_its_source_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("reading failed: {0}")]
        struct Repeats(#[source] io::Error);
        let text = Failure::failed(Repeats(io::Error::other("no such bucket"))).render(false);
        assert_eq!(text.matches("no such bucket").count(), 1, "{text}");
    }

    #[test]
    fn colours_only_when_asked_and_codes_as_documented() {
        assert!(
            Failure::bad_input("x")
                .render(true)
                .contains("\u{1b}[1;31merror:\u{1b}[0m x")
        );
        assert_eq!(Failure::bad_input("x").status().code(), 2);
        assert_eq!(ExitStatus::Done.code(), 0);
    }
}
