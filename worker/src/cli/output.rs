//! Results on stdout, in the form that was asked for.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::{ExitStatus, Failure, Outcome};

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document, for scripts.
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColourChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColourChoice {
    /// Whether to use colours on an output that is, or isn't, a terminal.
    #[must_use]
    pub fn enabled(self, terminal: bool) -> bool {
        self.decide(
            terminal,
            std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        )
    }

    const fn decide(self, terminal: bool, no_color: bool) -> bool {
        match self {
            Self::Auto => terminal && !no_color,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Prints text on stdout; a reader that went away (`| head`) is fine.
///
/// # Errors
/// When stdout can't be written to.
pub fn print(text: &str) -> Outcome {
    print_bytes(text.as_bytes())
}

/// Prints a value as indented JSON and a newline on stdout.
///
/// # Errors
/// When stdout can't be written to or the value has no JSON form.
pub fn print_json(value: &impl Serialize) -> Outcome {
    let mut text = serde_json::to_vec_pretty(value).map_err(Failure::failed)?;
    text.push(b'\n');
    print_bytes(&text)
}

pub(super) fn print_bytes(bytes: &[u8]) -> Outcome {
    written(write_all(&mut io::stdout().lock(), bytes))
}

fn write_all(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

fn written(result: io::Result<()>) -> Outcome {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(error).hint("stdout couldn't be written to"))
        }
        _ => Ok(ExitStatus::Done),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn colours_follow_the_flag_then_no_color_then_the_terminal() {
        assert!(ColourChoice::Always.decide(false, true));
        assert!(!ColourChoice::Never.decide(true, false));
        assert!(ColourChoice::Auto.decide(true, false));
        assert!(!ColourChoice::Auto.decide(true, true));
        assert!(!ColourChoice::Auto.decide(false, false));
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_but_a_full_disk_is() {
        assert_eq!(
            written(Err(ErrorKind::BrokenPipe.into())).unwrap(),
            ExitStatus::Done
        );
        assert_eq!(
            written(Err(ErrorKind::StorageFull.into()))
                .unwrap_err()
                .status(),
            ExitStatus::Failed
        );
    }
}
