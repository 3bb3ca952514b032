//! Who may have a stream, a table or a path.
//!
//! Owns the rule by which two StockStreams that claim the same thing are told apart: the older one has it. Pure. Must never
//! depend on the order in which they are seen.

use std::sync::Arc;

use jiff::Timestamp;
use stockstream_crds::Pipeline;
use stockstream_crds::pipeline::KinesisSettings;
use stockstream_crds::spec::Management;

/// A pipeline and when it was made, which says who came first.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// What it claims.
    pub pipeline: Arc<Pipeline>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
}

/// Something that another pipeline has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The field by which it is claimed.
    pub field: &'static str,
    /// What it is, for people.
    pub what: String,
    /// `namespace/name` of who has it.
    pub holder: String,
}

impl Conflict {
    /// For people: what is claimed twice and what to do.
    pub fn message(&self) -> String {
        format!(
            "{}: {} belongs to the StockStream {}, which is older; nothing was made or changed for this one: give it another one, or delete that",
            self.field, self.what, self.holder
        )
    }
}

/// The first thing that `own` claims and an older one has. Whoever is being deleted, or isn't valid, claims nothing and isn't
/// among `others`.
pub fn conflict(own: &Claimant, others: &[Claimant]) -> Option<Conflict> {
    let mut older: Vec<&Claimant> = others
        .iter()
        .filter(|other| name(other) != name(own) && rank(other) < rank(own))
        .collect();
    older.sort_by_key(|other| rank(other));
    older.into_iter().find_map(|holder| {
        let (field, what) = both_claim(&own.pipeline, &holder.pipeline)?;
        Some(Conflict {
            field,
            what,
            holder: name(holder),
        })
    })
}

fn name(claimant: &Claimant) -> String {
    let pipeline = &claimant.pipeline;
    format!("{}/{}", pipeline.namespace(), pipeline.name())
}

/// The API server's stamps have whole seconds: names decide between equals.
fn rank(claimant: &Claimant) -> (Timestamp, String) {
    let created = claimant.created.unwrap_or(Timestamp::MAX);
    (created, name(claimant))
}

fn both_claim(own: &Pipeline, other: &Pipeline) -> Option<(&'static str, String)> {
    if let (Some(a), Some(b)) = (own.kinesis(), other.kinesis())
        && streams_clash(a, b)
    {
        let what = format!(
            "the stream {} in {}, with other settings,",
            a.stream_name, a.region
        );
        return Some(("spec.source.kinesis.streamName", what));
    }
    let own_paths = paths(own);
    for (field, path) in &own_paths {
        for (_, others) in &paths(other) {
            if path.starts_with(others.as_str()) || others.starts_with(path.as_str()) {
                return Some((field, format!("the path {}", path.trim_end_matches('/'))));
            }
        }
    }
    if let (Some(a), Some(b)) = (own.catalog(), other.catalog())
        && (&a.region, &a.database, &a.table) == (&b.region, &b.database, &b.table)
    {
        let what = format!("the table {}.{} in {}", a.database, a.table, a.region);
        return Some(("spec.catalog.glue.table", what));
    }
    None
}

/// Many may read one stream, as long as no two would change it to different ends.
fn streams_clash(a: &KinesisSettings, b: &KinesisSettings) -> bool {
    let managed = |settings: &KinesisSettings| settings.management == Management::Managed;
    (&a.stream_name, &a.region) == (&b.stream_name, &b.region)
        && managed(a)
        && managed(b)
        && (a.capacity, a.retention, &a.encryption_key)
            != (b.capacity, b.retention, &b.encryption_key)
}

/// With a slash at the end, so that a path begins with another only when it lies in it. Where pods have a disk of their own,
/// `file://` is no claim on another's.
fn paths(pipeline: &Pipeline) -> Vec<(&'static str, String)> {
    let slashed = |path: String| match path.ends_with('/') {
        true => path,
        false => path + "/",
    };
    [
        ("spec.output.path", &pipeline.output().path),
        ("spec.output.rejectsPath", &pipeline.output().rejects_path),
        ("spec.state.path", &pipeline.state().path),
    ]
    .into_iter()
    .map(|(field, path)| (field, slashed(path.to_string())))
    .filter(|(_, path)| path.starts_with("s3://"))
    .collect()
}

#[cfg(test)]
mod tests;
