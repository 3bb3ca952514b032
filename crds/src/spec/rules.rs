//! CEL rules that several fields share, as functions that write them.
//!
//! Owns the wording of these rules and of their messages. Rules of one struct only stand on it.

use kube::core::{Reason, Rule};

/// A rule that fails when one of two required paths lies within the other. Storage paths have one
/// spelling (see `STORAGE_PATH_PATTERN`), so comparing prefixes is exact.
pub(super) fn apart(a: &str, b: &str, field_path: &str) -> Rule {
    let rule = format!("{} && {}", outside(a, b), outside(b, a));
    Rule::new(rule)
        .message(
            format!(
                "{} and {} must not lie within each other",
                plain(a),
                plain(b)
            )
            .as_str(),
        )
        .reason(Reason::FieldValueInvalid)
        .field_path(field_path)
}

/// Like [`apart`] for `output.rejectsPath`, whose default is the output path and `-rejects`.
pub(super) fn rejects_apart(other: &str, field_path: &str) -> Rule {
    let rejects = "self.output.rejectsPath";
    let written = format!("{} && {}", outside(rejects, other), outside(other, rejects));
    let slashed = "(self.output.path.endsWith('/') ? self.output.path : self.output.path + '/')";
    // `<output>/` with its slash taken off by split, then the suffix of the default.
    let default = format!("({slashed} + '|').replace('/|', '-rejects')");
    let unwritten = format!(
        "!({other} + '/').startsWith({default} + '/') && !({default} + '/').startsWith({})",
        with_slash(other)
    );
    Rule::new(format!("has({rejects}) ? ({written}) : ({unwritten})"))
        .message(
            format!(
                "{} (default: output.path and -rejects) and {} must not lie within each other",
                plain(rejects),
                plain(other)
            )
            .as_str(),
        )
        .reason(Reason::FieldValueInvalid)
        .field_path(field_path)
}

/// A rule that fails when encryption by S3 is asked for and nothing lies in S3.
pub(super) fn encryption_needs_s3() -> Rule {
    Rule::new(
        "!has(self.storage) || !has(self.storage.encryption) || self.output.path.startsWith('s3://') || self.state.path.startsWith('s3://')",
    )
    .message("only S3 encrypts, and neither output.path nor state.path begins with s3://")
    .reason(Reason::FieldValueInvalid)
    .field_path(".storage.encryption")
}

/// A transition rule: the field may not change while `state.path` stays the same. Optional fields on
/// the way may neither appear nor disappear.
pub(super) fn immutable(field: &str) -> Rule {
    const OPTIONAL: [&str; 6] = [
        "source.kinesis",
        "source.files",
        "record.id",
        "output.rejectsPath",
        "source.kinesis.streamName",
        "source.files.paths",
    ];
    let guard = OPTIONAL
        .iter()
        .filter(|optional| field == **optional || field.starts_with(&format!("{optional}.")))
        .min_by_key(|optional| optional.len());
    let rule = match guard {
        None => format!("self.{field} == oldSelf.{field}"),
        Some(guard) => format!(
            "has(self.{guard}) == has(oldSelf.{guard}) && (!has(self.{guard}) || self.{field} == oldSelf.{field})"
        ),
    };
    Rule::new(format!("self.state.path != oldSelf.state.path || ({rule})"))
        .message(
            format!(
                "{field} can't be changed for one state.path, as the figures would change their meaning: start a new pipeline, with a new state.path and output.path"
            )
            .as_str(),
        )
        .reason(Reason::FieldValueForbidden)
        .field_path(format!(".{field}"))
}

/// A transition rule: aggregates may be added, but neither removed nor given another meaning.
/// `function` is a reserved word of CEL, which Kubernetes escapes as `__function__`.
/// At most 32 × 32 comparisons of three short strings: far below the API server's cost limit.
pub(super) fn aggregates_only_grow() -> Rule {
    Rule::new(
        "self.state.path != oldSelf.state.path || oldSelf.window.aggregates.all(o, self.window.aggregates.exists(n, n.name == o.name && n.__function__ == o.__function__ && n.field == o.field))",
    )
    .message("window.aggregates may be added, but not removed or changed for one state.path: add one under a new name, or start a new pipeline, with a new state.path and output.path")
    .reason(Reason::FieldValueForbidden)
    .field_path(".window.aggregates")
}

/// How far a duration that CEL reads may be off: some evaluators go by floating-point numbers, and then `1.001s` is a
/// nanosecond short. What is closer to a whole number than this is left to `checks`, which reads exactly.
const SLACK: &str = "duration('10ns')";

/// A rule that fails when a duration is no whole number of milliseconds. It is for at most 24 days.
pub(super) fn whole_milliseconds(message: &str) -> Rule {
    whole("getMilliseconds", message)
}

/// A rule that fails when a duration is no whole number of hours.
pub(super) fn whole_hours(message: &str) -> Rule {
    whole("getHours", message)
}

/// A unit ends within [`SLACK`] of the duration: just before and just after it, different numbers of whole units are over.
fn whole(units: &str, message: &str) -> Rule {
    Rule::new(format!(
        "(duration(self) + {SLACK}).{units}() != (duration(self) - {SLACK}).{units}()"
    ))
    .message(message)
    .reason(Reason::FieldValueInvalid)
}

/// A rule that fails when `expiry` is no multiple of `heartbeat`, for a heartbeat of whole milliseconds. What other rules
/// refuse passes here, and so do fractions, which CEL can't divide: `checks` has both exactly.
pub(super) fn whole_heartbeats() -> Rule {
    let (heartbeat, expiry) = ("duration(self.heartbeat)", "duration(self.expiry)");
    let millis = |duration: &str| format!("({duration} + {SLACK}).getMilliseconds()");
    let before = format!("({heartbeat} - {SLACK}).getMilliseconds()");
    Rule::new(format!(
        "{expiry} < {heartbeat} + {heartbeat} || {expiry} > duration('5m') || {} == {before} || {} % {} == 0",
        millis(heartbeat),
        millis(expiry),
        millis(heartbeat)
    ))
    .message("expiry must be a whole multiple of heartbeat")
    .reason(Reason::FieldValueInvalid)
    .field_path(".expiry")
}

/// A rule that fails when files that are read lie within a directory that the pipeline writes. Paths that climb (`..`) are
/// left alone: where they lead is no matter of prefixes. At most 1000 comparisons of prefixes: below the API server's cost
/// limit.
pub(super) fn files_outside(field: &str) -> Rule {
    let directory = with_slash(&format!("self.{field}"));
    Rule::new(format!(
        "!has(self.source.files) || {}",
        files_not_in(&directory)
    ))
    .message(format!("the files must not lie within spec.{field}").as_str())
    .reason(Reason::FieldValueInvalid)
    .field_path(".source.files.paths")
}

/// Like [`files_outside`] for `output.rejectsPath`, whose default is the output path and `-rejects`.
pub(super) fn files_outside_rejects() -> Rule {
    let (output, rejects) = ("self.output.path", "self.output.rejectsPath");
    let default = format!(
        "({output}.endsWith('/') ? {output}.substring(0, {output}.size() - 1) : {output}) + '-rejects/'"
    );
    Rule::new(format!(
        "!has(self.source.files) || (has({rejects}) ? {} : {})",
        files_not_in(&with_slash(rejects)),
        files_not_in(&format!("({default})"))
    ))
    .message("the files must not lie within spec.output.rejectsPath")
    .reason(Reason::FieldValueInvalid)
    .field_path(".source.files.paths")
}

/// CEL for "no file lies below `directory`", which ends in a slash.
fn files_not_in(directory: &str) -> String {
    format!(
        "self.source.files.paths.all(p, !p.startsWith({directory}) || p.contains('/../') || p.contains('/./'))"
    )
}

/// CEL for "`a` is neither `b` nor below it".
fn outside(a: &str, b: &str) -> String {
    format!("!({a} + '/').startsWith({})", with_slash(b))
}

fn with_slash(path: &str) -> String {
    format!("({path}.endsWith('/') ? {path} : {path} + '/')")
}

fn plain(path: &str) -> &str {
    path.strip_prefix("self.").unwrap_or(path)
}
