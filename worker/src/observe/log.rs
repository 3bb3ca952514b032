//! Log lines on stderr: JSON for machines, short lines for people.
//!
//! Owns the set-up of `tracing`, once per process. Must never write to stdout, which belongs to results,
//! and never let another library's debug output through: it may hold credentials or records.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Lines of level warn and error kept while a [`Hold`] lasts; older ones are dropped.
const MAX_HELD_LINES: usize = 50;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Short lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The least that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// And what needs attention.
    Warn,
    /// And the events that matter.
    #[default]
    Info,
    /// And every commit and request.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The filter: this level for our own crates, warnings (or less) for all others.
    fn directives(self) -> String {
        let (own, others) = match self {
            Self::Error => ("error", "error"),
            Self::Warn => ("warn", "warn"),
            Self::Info => ("info", "warn"),
            Self::Debug => ("debug", "warn"),
            Self::Trace => ("trace", "warn"),
        };
        // Targets match by prefix, so this covers stockstream_core and stockstream_local too.
        format!("{others},stockstream={own}")
    }
}

/// Logging couldn't be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It was set up before in this process.
    #[error("logging was set up twice in this process")]
    SetUpTwice(#[from] tracing::dispatcher::SetGlobalDefaultError),
    /// A bug: the built-in filter doesn't parse.
    #[error("the log filter {directives} doesn't parse")]
    Filter {
        /// The filter.
        directives: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Sets logging up for the process, on stderr.
///
/// # Errors
/// [`LogError::SetUpTwice`] when called a second time.
pub fn init(
    format: LogFormat,
    level: LogLevel,
    colour: bool,
) -> Result<LogOutput<io::Stderr>, LogError> {
    let output = LogOutput::new(io::stderr);
    let json = match format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    if json {
        tracing::subscriber::set_global_default(json_subscriber(level, output.clone())?)?;
    } else {
        tracing::subscriber::set_global_default(text_subscriber(level, colour, output.clone())?)?;
    }
    Ok(output)
}

fn filter(level: LogLevel) -> Result<EnvFilter, LogError> {
    let directives = level.directives();
    EnvFilter::builder()
        .parse(&directives)
        .map_err(|source| LogError::Filter { directives, source })
}

/// One flat JSON object per line: `timestamp`, `level`, `message`, `event` and the event's fields.
fn json_subscriber<W: Write + 'static>(
    level: LogLevel,
    output: LogOutput<W>,
) -> Result<impl Subscriber + Send + Sync, LogError> {
    Ok(tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_span_events(FmtSpan::NONE)
        .with_env_filter(filter(level)?)
        .with_writer(output)
        .finish())
}

fn text_subscriber<W: Write + 'static>(
    level: LogLevel,
    colour: bool,
    output: LogOutput<W>,
) -> Result<impl Subscriber + Send + Sync, LogError> {
    Ok(tracing_subscriber::fmt()
        .compact()
        .with_ansi(colour)
        .with_target(false)
        .with_span_events(FmtSpan::NONE)
        .with_env_filter(filter(level)?)
        .with_writer(output)
        .finish())
}

/// Where log lines go; clones share it.
#[derive(Debug)]
pub struct LogOutput<W> {
    open: fn() -> W,
    held: Arc<Mutex<Option<VecDeque<Vec<u8>>>>>,
}

impl<W> Clone for LogOutput<W> {
    fn clone(&self) -> Self {
        Self {
            open: self.open,
            held: Arc::clone(&self.held),
        }
    }
}

impl<W: Write> LogOutput<W> {
    fn new(open: fn() -> W) -> Self {
        Self {
            open,
            held: Arc::new(Mutex::new(None)),
        }
    }

    /// Keeps lines off the terminal while something else is drawn there. When the hold is dropped, the newest
    /// warnings and errors are written.
    pub fn hold(&self) -> Hold<W> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_default();
        Hold {
            output: self.clone(),
        }
    }

    fn release(&self) {
        let lines = self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut out = (self.open)();
        for line in lines.into_iter().flatten() {
            // A closed stderr must not stop the pipeline.
            let _ = out.write_all(&line);
        }
    }
}

/// While it lives, log lines don't reach the terminal.
#[derive(Debug)]
#[must_use = "dropping it lets log lines through again"]
pub struct Hold<W: Write> {
    output: LogOutput<W>,
}

impl<W: Write> Drop for Hold<W> {
    fn drop(&mut self) {
        self.output.release();
    }
}

impl<'a, W: Write + 'a> MakeWriter<'a> for LogOutput<W> {
    type Writer = LineWriter<W>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            output: self.clone(),
            important: false,
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        LineWriter {
            output: self.clone(),
            important: *meta.level() <= Level::WARN,
        }
    }
}

/// Writes one log line.
#[derive(Debug)]
pub struct LineWriter<W> {
    output: LogOutput<W>,
    important: bool,
}

impl<W: Write> Write for LineWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut held = self
            .output
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = held.as_mut() else {
            drop(held);
            return (self.output.open)().write(line);
        };
        if self.important {
            if lines.len() == MAX_HELD_LINES {
                lines.pop_front();
            }
            lines.push_back(line.to_vec());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::cell::RefCell;

    use super::*;
    use crate::observe::Event;

    thread_local! {
        static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    /// A writer that keeps what this test's thread wrote.
    struct Memory;

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            WRITTEN.with(|written| written.borrow_mut().extend_from_slice(bytes));
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written() -> String {
        WRITTEN
            .with(|written| String::from_utf8(std::mem::take(&mut written.borrow_mut())).unwrap())
    }

    fn published() -> Event {
        Event::Published {
            shard: "shardId-0".into(),
            batch: 7,
            files: 2,
            rows: 5,
            bytes: 900,
            millis: 12,
        }
    }

    #[test]
    fn a_json_line_is_one_flat_object_with_a_stable_event_name() {
        let subscriber = json_subscriber(LogLevel::Info, LogOutput::new(|| Memory)).unwrap();
        tracing::subscriber::with_default(subscriber, || published().log());
        let text = written();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["event"], "published");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["shard"], "shardId-0");
        assert_eq!(line["rows"], 5);
        assert_eq!(line["message"], "published batch 7: 5 rows in 2 files");
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn every_event_is_one_line_with_its_own_name_whatever_its_texts_hold() {
        let hostile = "a\nb\u{1b}[31m".to_owned();
        let events = [
            Event::Retrying {
                operation: hostile.clone(),
                target: hostile.clone(),
                attempt: 1,
                cause: hostile.clone(),
            },
            Event::Failed {
                cause: hostile.clone(),
            },
            Event::Stopping { reason: hostile },
        ];
        for json in [true, false] {
            for event in &events {
                let output = LogOutput::new(|| Memory);
                if json {
                    let subscriber = json_subscriber(LogLevel::Info, output).unwrap();
                    tracing::subscriber::with_default(subscriber, || event.log());
                } else {
                    let subscriber = text_subscriber(LogLevel::Info, false, output).unwrap();
                    tracing::subscriber::with_default(subscriber, || event.log());
                }
                let text = written();
                assert!(text.contains(event.name()), "{text}");
                assert!(
                    !text.contains('\u{1b}'),
                    "an escape sequence reached the log: {text:?}"
                );
                if json {
                    assert_eq!(text.lines().count(), 1, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn commits_are_logged_at_debug_only_and_other_libraries_never_below_warn() {
        for (level, lines) in [
            (LogLevel::Info, 0),
            (LogLevel::Debug, 1),
            (LogLevel::Trace, 1),
        ] {
            let subscriber = text_subscriber(level, false, LogOutput::new(|| Memory)).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                Event::Committed {
                    shard: "s".into(),
                    version: 1,
                    bytes: 2,
                }
                .log();
                tracing::debug!(target: "aws_config", "secret");
            });
            let text = written();
            assert_eq!(text.lines().count(), lines, "{level:?}: {text}");
            assert!(!text.contains("secret"));
        }
    }

    #[test]
    fn while_held_nothing_is_written_and_afterwards_only_the_newest_warnings_are() {
        let output = LogOutput::new(|| Memory);
        let subscriber = text_subscriber(LogLevel::Info, false, output.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let hold = output.hold();
            published().log();
            for epoch in 0..MAX_HELD_LINES as u64 + 3 {
                Event::Fenced {
                    shard: "s".into(),
                    epoch,
                    by: None,
                }
                .log();
            }
            assert_eq!(written(), "");
            drop(hold);
            let text = written();
            assert_eq!(text.lines().count(), MAX_HELD_LINES);
            assert!(
                !text.contains("published") && text.contains("epoch 52"),
                "{text}"
            );
            published().log();
            assert_eq!(written().lines().count(), 1);
        });
    }

    #[test]
    fn text_carries_colours_only_when_asked() {
        for colour in [true, false] {
            let subscriber =
                text_subscriber(LogLevel::Info, colour, LogOutput::new(|| Memory)).unwrap();
            tracing::subscriber::with_default(subscriber, || published().log());
            assert_eq!(written().contains('\u{1b}'), colour);
        }
    }
}
