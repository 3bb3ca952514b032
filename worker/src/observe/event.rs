//! The events that matter in a worker's life, each with a stable name.
//!
//! Owns their names, levels, fields and sentences. Must never hold a ticker, a record or a credential:
//! every field is a name of ours, a number, a path or an error's text.

use tracing::{Level, debug, error, info, warn};

use super::iso8601;
use super::state::EventReport;

/// Something that happened and that an operator of the pipeline may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are what their names say; times are microseconds since 1970 UTC"
)]
pub enum Event {
    /// The pipeline's store, stream and state are checked; reading begins.
    PipelineStarted {
        pipeline: String,
        stream: String,
        incarnation: String,
        state_id: String,
        version: String,
    },
    /// A server of this process listens.
    Listening { what: String, url: String },
    /// This worker owns the shard from now on.
    ShardTaken {
        shard: String,
        epoch: u64,
        version: u64,
        previous_owner: Option<String>,
    },
    /// A version of the chain was created.
    Committed {
        shard: String,
        version: u64,
        bytes: u64,
    },
    /// Closed rows and rejects became a batch.
    Sealed {
        shard: String,
        batch: u64,
        rows: u64,
        rejects: u64,
    },
    /// All files of a batch exist.
    Published {
        shard: String,
        batch: u64,
        files: u64,
        rows: u64,
        bytes: u64,
        millis: u64,
    },
    /// Another worker took the shard.
    Fenced {
        shard: String,
        epoch: u64,
        by: Option<String>,
    },
    /// A shard was read to its end and everything of it is published.
    ShardEnded {
        shard: String,
        children: Vec<String>,
    },
    /// Ticks came after their window had closed. A summary: see [`super::summaries::Summaries`].
    LateTicks { shard: String, count: u64 },
    /// Records couldn't be used. A summary: see [`super::summaries::Summaries`].
    DeadLetters {
        shard: String,
        reason: String,
        count: u64,
    },
    /// The watermark moved on without a tick and closed windows.
    IdleAdvance {
        shard: String,
        watermark: i64,
        windows_closed: u64,
    },
    /// Reading waits until unpublished bytes are out.
    BackPressure {
        shard: String,
        unpublished_bytes: u64,
    },
    /// The stream dropped data before it was read.
    DataLost {
        shard: String,
        seconds: u64,
        action: String,
    },
    /// A request failed and is sent again.
    Retrying {
        operation: String,
        target: String,
        attempt: u32,
        cause: String,
    },
    /// A condition changed its status.
    ConditionChanged {
        kind: String,
        status: String,
        reason: String,
        message: String,
    },
    /// The worker was told to stop, or has nothing left to do.
    Stopping { reason: String },
    /// The worker has stopped and everything committed is published.
    Stopped { ticks: u64, rows: u64, files: u64 },
    /// The pipeline stopped with an error.
    Failed { cause: String },
}

impl Event {
    /// The stable name, as in the `event` field of the log.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PipelineStarted { .. } => "pipeline_started",
            Self::Listening { .. } => "listening",
            Self::ShardTaken { .. } => "shard_taken",
            Self::Committed { .. } => "committed",
            Self::Sealed { .. } => "sealed",
            Self::Published { .. } => "published",
            Self::Fenced { .. } => "fenced",
            Self::ShardEnded { .. } => "shard_ended",
            Self::LateTicks { .. } => "late_ticks",
            Self::DeadLetters { .. } => "dead_letters",
            Self::IdleAdvance { .. } => "idle_advance",
            Self::BackPressure { .. } => "back_pressure",
            Self::DataLost { .. } => "data_lost",
            Self::Retrying { .. } => "retrying",
            Self::ConditionChanged { .. } => "condition_changed",
            Self::Stopping { .. } => "stopping",
            Self::Stopped { .. } => "stopped",
            Self::Failed { .. } => "failed",
        }
    }

    /// How much it matters.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Committed { .. } => Level::DEBUG,
            Self::Fenced { .. }
            | Self::LateTicks { .. }
            | Self::DeadLetters { .. }
            | Self::BackPressure { .. }
            | Self::Retrying { .. } => Level::WARN,
            Self::DataLost { .. } | Self::Failed { .. } => Level::ERROR,
            _ => Level::INFO,
        }
    }

    /// The shard it is about.
    #[must_use]
    pub fn shard(&self) -> Option<&str> {
        match self {
            Self::ShardTaken { shard, .. }
            | Self::Committed { shard, .. }
            | Self::Sealed { shard, .. }
            | Self::Published { shard, .. }
            | Self::Fenced { shard, .. }
            | Self::ShardEnded { shard, .. }
            | Self::LateTicks { shard, .. }
            | Self::DeadLetters { shard, .. }
            | Self::IdleAdvance { shard, .. }
            | Self::BackPressure { shard, .. }
            | Self::DataLost { shard, .. } => Some(shard),
            _ => None,
        }
    }

    /// One plain sentence, without the shard.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::PipelineStarted {
                pipeline, stream, ..
            } => format!("pipeline {pipeline} reads {stream}"),
            Self::Listening { what, url } => format!("{what} at {url}"),
            Self::ShardTaken {
                epoch,
                previous_owner: None,
                ..
            } => format!("taken with epoch {epoch}"),
            Self::ShardTaken {
                epoch,
                previous_owner: Some(owner),
                ..
            } => {
                format!("taken from {owner} with epoch {epoch}")
            }
            Self::Committed { version, .. } => format!("committed version {version}"),
            Self::Sealed {
                batch,
                rows,
                rejects,
                ..
            } => {
                format!("sealed batch {batch}: {rows} rows, {rejects} rejects")
            }
            Self::Published {
                batch, files, rows, ..
            } => {
                format!("published batch {batch}: {rows} rows in {files} files")
            }
            Self::Fenced {
                epoch, by: None, ..
            } => format!("fenced at epoch {epoch}: another worker took the shard"),
            Self::Fenced {
                epoch,
                by: Some(owner),
                ..
            } => format!("fenced at epoch {epoch} by {owner}"),
            Self::ShardEnded { children, .. } if children.is_empty() => {
                "read to its end".to_owned()
            }
            Self::ShardEnded { children, .. } => {
                format!("read to its end; goes on in {}", children.join(", "))
            }
            Self::LateTicks { count, .. } => format!("{count} late ticks"),
            Self::DeadLetters { reason, count, .. } => format!("{count} dead letters: {reason}"),
            Self::IdleAdvance {
                watermark,
                windows_closed,
                ..
            } => format!(
                "idle: watermark moved to {}, {windows_closed} windows closed",
                iso8601::format(*watermark)
            ),
            Self::BackPressure {
                unpublished_bytes, ..
            } => {
                format!("reading waits: {unpublished_bytes} bytes are not yet published")
            }
            Self::DataLost {
                seconds, action, ..
            } => format!("{seconds} s of data were trimmed unread; {action}"),
            Self::Retrying {
                operation,
                target,
                attempt,
                cause,
            } => {
                format!("{operation} {target} failed (attempt {attempt}), trying again: {cause}")
            }
            Self::ConditionChanged {
                kind,
                status,
                reason,
                message,
            } => {
                format!("{kind}={status} ({reason}): {message}")
            }
            Self::Stopping { reason } => format!("stopping: {reason}"),
            Self::Stopped { ticks, rows, files } => {
                format!("stopped: {ticks} ticks, {rows} rows, {files} files")
            }
            Self::Failed { cause } => format!("the pipeline failed: {cause}"),
        }
    }

    /// The event for a report; none for debug events.
    #[must_use]
    pub fn report(&self, at: i64) -> Option<EventReport> {
        let level = match self.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => return None,
        };
        Some(EventReport {
            at,
            level: level.to_owned(),
            event: self.name().to_owned(),
            shard: self.shard().map(str::to_owned),
            message: self.message(),
        })
    }

    /// Writes one log line.
    pub fn log(&self) {
        let (event, message) = (self.name(), self.message());
        match self {
            Self::PipelineStarted {
                pipeline,
                stream,
                incarnation,
                state_id,
                version,
            } => {
                info!(
                    event,
                    pipeline, stream, incarnation, state_id, version, "{message}"
                );
            }
            Self::Listening { what, url } => info!(event, what, url, "{message}"),
            Self::ShardTaken {
                shard,
                epoch,
                version,
                previous_owner,
            } => {
                info!(event, shard, epoch, version, previous_owner, "{message}");
            }
            Self::Committed {
                shard,
                version,
                bytes,
            } => debug!(event, shard, version, bytes, "{message}"),
            Self::Sealed {
                shard,
                batch,
                rows,
                rejects,
            } => info!(event, shard, batch, rows, rejects, "{message}"),
            Self::Published {
                shard,
                batch,
                files,
                rows,
                bytes,
                millis,
            } => {
                info!(event, shard, batch, files, rows, bytes, millis, "{message}");
            }
            Self::Fenced { shard, epoch, by } => warn!(event, shard, epoch, by, "{message}"),
            Self::ShardEnded { shard, children } => {
                info!(event, shard, children = children.join(","), "{message}");
            }
            Self::LateTicks { shard, count } => warn!(event, shard, count, "{message}"),
            Self::DeadLetters {
                shard,
                reason,
                count,
            } => warn!(event, shard, reason, count, "{message}"),
            Self::IdleAdvance {
                shard,
                watermark,
                windows_closed,
            } => {
                info!(
                    event,
                    shard,
                    watermark = iso8601::format(*watermark),
                    windows_closed,
                    "{message}"
                );
            }
            Self::BackPressure {
                shard,
                unpublished_bytes,
            } => warn!(event, shard, unpublished_bytes, "{message}"),
            Self::DataLost {
                shard,
                seconds,
                action,
            } => error!(event, shard, seconds, action, "{message}"),
            Self::Retrying {
                operation,
                target,
                attempt,
                cause,
            } => {
                // `target` is a word of tracing's own.
                warn!(
                    event,
                    operation,
                    object = target,
                    attempt,
                    cause,
                    "{message}"
                );
            }
            Self::ConditionChanged {
                kind,
                status,
                reason,
                message: detail,
            } => {
                info!(event, condition = kind, status, reason, detail, "{message}");
            }
            Self::Stopping { reason } => info!(event, reason, "{message}"),
            Self::Stopped { ticks, rows, files } => info!(event, ticks, rows, files, "{message}"),
            Self::Failed { cause } => error!(event, cause, "{message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn debug_events_are_logged_but_not_reported() {
        let committed = Event::Committed {
            shard: "s".into(),
            version: 3,
            bytes: 10,
        };
        assert_eq!(committed.report(0), None);
        let fenced = Event::Fenced {
            shard: "s".into(),
            epoch: 4,
            by: Some("w-1".into()),
        };
        let report = fenced.report(7).unwrap();
        assert_eq!(
            (report.level.as_str(), report.event.as_str(), report.at),
            ("warn", "fenced", 7)
        );
        assert_eq!(report.shard.as_deref(), Some("s"));
        assert_eq!(report.message, "fenced at epoch 4 by w-1");
    }
}
