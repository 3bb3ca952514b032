//! Rules that CEL can't state, or not to the last nanosecond.
//!
//! Sizes are integers or strings, which the CEL of our own evaluator can't tell apart; comparing 1000 paths with each other
//! costs more than an API server allows; and CEL's durations are no exact numbers everywhere, so that those rules stand on
//! the types, too, with the same words, and only what they let through is found here.
//!
//! Each rule reads the fields it needs and is skipped when one of them is already known to be wrong, so
//! that all mistakes of a text are told at once.

use std::collections::HashSet;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::duration::GoDuration;
use crate::error::{Problem, SpecError};
use crate::quantity::ByteSize;
use crate::walk::{join, parent};

/// The fewest bytes `state.maxOutbox` may have: one row group of a small file.
const MIN_OUTBOX: ByteSize = ByteSize::from_bytes(64 << 10);
/// The fewest bytes `source.kinesis.maxReadAhead` may have: one reply of GetRecords, and some of others.
const MIN_READ_AHEAD: ByteSize = ByteSize::from_bytes(16 << 20);
/// The most bytes `source.kinesis.maxReadAhead` may have: more memory than a worker should be given.
const MAX_READ_AHEAD: ByteSize = ByteSize::from_bytes(64 << 30);
/// The most bytes `state.maxOutbox` may have: it is held in memory and in a checkpoint.
const MAX_OUTBOX: ByteSize = ByteSize::from_bytes(1 << 30);

/// A resource with defaults filled in, and the paths that are known to be wrong.
pub(crate) struct Fields<'a> {
    value: &'a Json,
    broken: &'a HashSet<String>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(value: &'a Json, broken: &'a HashSet<String>) -> Self {
        Self { value, broken }
    }

    /// A field's typed value. `None` when it is not given, or something in it is wrong.
    fn get<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let wrong = self.broken.iter().any(|broken| {
            broken
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                || path
                    .strip_prefix(broken.as_str())
                    .is_some_and(|rest| rest.starts_with(['.', '[']))
        });
        if wrong {
            return None;
        }
        serde_json::from_value(at(self.value, path)?.clone()).ok()
    }
}

/// Every rule.
pub(crate) fn all(fields: &Fields<'_>) -> Vec<SpecError> {
    [
        whole_hours(fields),
        whole_milliseconds(fields),
        whole_heartbeats(fields),
        outbox_size(fields),
        read_ahead_size(fields),
    ]
    .into_iter()
    .flatten()
    .chain(files_named_once(fields))
    .collect()
}

/// Kinesis takes the retention in hours.
fn whole_hours(fields: &Fields<'_>) -> Option<SpecError> {
    const PATH: &str = "spec.source.kinesis.retention";
    let retention: GoDuration = fields.get(PATH)?;
    (!retention.get().as_nanos().is_multiple_of(3_600_000_000_000)).then(|| {
        SpecError::new(
            PATH,
            Problem::InvalidValue,
            "Kinesis keeps ticks for whole hours",
        )
        .found(retention.to_string())
        .allowed("whole hours, from 24h to 8760h")
    })
}

/// Window bounds are stored in microseconds, and every source has at least milliseconds.
fn whole_milliseconds(fields: &Fields<'_>) -> Option<SpecError> {
    const PATH: &str = "spec.window.size";
    let size: GoDuration = fields.get(PATH)?;
    (!size.get().as_nanos().is_multiple_of(1_000_000)).then(|| {
        SpecError::new(
            PATH,
            Problem::InvalidValue,
            "a window is a whole number of milliseconds long",
        )
        .found(size.to_string())
        .allowed("whole milliseconds, from 1s to 24h")
    })
}

/// Death is counted in missed heartbeats.
fn whole_heartbeats(fields: &Fields<'_>) -> Option<SpecError> {
    const PATH: &str = "spec.state.lease.expiry";
    let heartbeat: GoDuration = fields.get("spec.state.lease.heartbeat")?;
    let expiry: GoDuration = fields.get(PATH)?;
    if heartbeat.get() == Duration::ZERO {
        return None;
    }
    let rest = expiry.get().as_nanos() % heartbeat.get().as_nanos();
    (rest != 0).then(|| {
        SpecError::new(
            PATH,
            Problem::Conflict,
            "expiry must be a whole multiple of heartbeat",
        )
        .found(format!("{expiry} with a heartbeat of {heartbeat}"))
        .allowed("a whole multiple of heartbeat, at least twice, at most 5m")
    })
}

fn outbox_size(fields: &Fields<'_>) -> Option<SpecError> {
    const PATH: &str = "spec.state.maxOutbox";
    let size: ByteSize = fields.get(PATH)?;
    (size < MIN_OUTBOX || size > MAX_OUTBOX).then(|| {
        SpecError::new(PATH, Problem::OutOfRange, "the value is out of range")
            .found(size.to_string())
            .allowed(format!("from {MIN_OUTBOX} to {MAX_OUTBOX}"))
    })
}

fn read_ahead_size(fields: &Fields<'_>) -> Option<SpecError> {
    const PATH: &str = "spec.source.kinesis.maxReadAhead";
    let size: ByteSize = fields.get(PATH)?;
    (size < MIN_READ_AHEAD || size > MAX_READ_AHEAD).then(|| {
        SpecError::new(PATH, Problem::OutOfRange, "the value is out of range")
            .found(size.to_string())
            .allowed(format!("from {MIN_READ_AHEAD} to {MAX_READ_AHEAD}"))
    })
}

/// A file that is listed twice would be counted twice.
fn files_named_once(fields: &Fields<'_>) -> Vec<SpecError> {
    let mut seen = HashSet::new();
    input_files(fields)
        .into_iter()
        .filter(|(_, text)| !seen.insert(text.clone()))
        .map(|(path, text)| {
            SpecError::new(path, Problem::Duplicate, "the path is listed twice").found(text)
        })
        .collect()
}

fn input_files(fields: &Fields<'_>) -> Vec<(String, String)> {
    const PATH: &str = "spec.source.files.paths";
    let paths: Vec<String> = fields.get(PATH).unwrap_or_default();
    paths
        .into_iter()
        .enumerate()
        .map(|(i, text)| (format!("{PATH}[{i}]"), text))
        .collect()
}

/// The value at a path such as `spec.window.aggregates[1].name`.
fn at<'a>(value: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(value, |value, segment| {
        let (name, indexes) = segment.split_once('[').unwrap_or((segment, ""));
        indexes
            .split('[')
            .filter_map(|index| index.strip_suffix(']'))
            .try_fold(value.get(name)?, |list, index| {
                list.get(index.parse::<usize>().ok()?)
            })
    })
}

/// The value at a path, for messages.
pub(crate) fn describe_at(value: &Json, path: &str) -> Option<String> {
    match at(value, path)? {
        Json::Null => None,
        found => Some(found.to_string()),
    }
}

/// The fields a CEL rule reads, as `name: value`, for messages. `path` is where the rule reports; it
/// stands there, on the parent, or on the spec.
pub(crate) fn values_read(value: &Json, path: &str, rule: &str) -> Vec<String> {
    let names = names_read(rule);
    let values = |base: &str| -> Vec<String> {
        let found = names.iter().filter_map(|name| {
            let found = describe_at(value, &join(base, name))?;
            Some(format!("{name}: {found}"))
        });
        found.collect()
    };
    [path, parent(path), "spec"]
        .into_iter()
        .map(values)
        .find(|values| !values.is_empty())
        .unwrap_or_default()
}

/// Every `self.a.b` of a rule, once each, without methods and the words CEL escapes.
fn names_read(rule: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in rule.split("self.").skip(1) {
        let end = part
            .find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_'))
            .unwrap_or(part.len());
        let mut name = &part[..end];
        if part[end..].starts_with('(') {
            name = parent(name);
        }
        let name = name.replace("__", "");
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
