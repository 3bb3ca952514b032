//! Whose state and whose output it is.
//!
//! Owns `pipeline.json` and `_stockstream.json`: a state path belongs to one pipeline whose figures keep their meaning,
//! and an output path to one state. Must never let two of them mix.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stockstream_core::layout::{OUTPUT_OWNER, PIPELINE, SHARDS};
use stockstream_core::plan::RecordMapping;
use stockstream_core::row::hex;
use stockstream_crds::{Pipeline, SourceSettings};

use super::error::PipelineError;
use crate::ambient;
use crate::failpoint::{Point, meet};
use crate::storage::{Created, Store};

/// The version of both documents.
const DOCUMENT_VERSION: u32 = 1;

/// `pipeline.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineDocument {
    /// The document's version.
    pub version: u32,
    /// Random; names every file of rows.
    pub state_id: String,
    /// The pipeline's namespace.
    pub namespace: String,
    /// The pipeline's name.
    pub name: String,
    /// The stream's name, or `files`.
    pub source: String,
    /// What can't change for one state path, by the spec's path.
    pub meaning: Meaning,
}

/// What the numbers mean and where they lie: fixed for one state path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meaning {
    /// `spec.window.size` in microseconds.
    pub window_size: i64,
    /// `spec.record`.
    pub record: RecordMapping,
    /// `spec.output.path`
    pub output_path: String,
    /// `spec.output.rejectsPath`
    pub rejects_path: String,
    /// `spec.output.partitionBy`
    pub partition_by: Vec<String>,
    /// `spec.output.compression`
    pub compression: String,
}

/// `_stockstream.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutputDocument {
    version: u32,
    state_id: String,
    pipeline: String,
}

impl PipelineDocument {
    /// The document of a spec, with a new random state id. Paths stand as the YAML has them, so that a folder may move.
    pub fn of(pipeline: &Pipeline, settings: &super::Settings) -> Self {
        let output = pipeline.output();
        PipelineDocument {
            version: DOCUMENT_VERSION,
            state_id: random_id(),
            namespace: pipeline.namespace().to_owned(),
            name: pipeline.name().to_owned(),
            source: match pipeline.source() {
                SourceSettings::Kinesis(kinesis) => kinesis.stream_name.clone(),
                SourceSettings::Files(_) => "files".to_owned(),
            },
            meaning: Meaning {
                window_size: settings.plan.window_size,
                record: settings.plan.record.clone(),
                output_path: output.path.to_string(),
                rejects_path: output.rejects_path.to_string(),
                partition_by: settings
                    .partition_by
                    .iter()
                    .map(|column| column.name().to_owned())
                    .collect(),
                compression: format!("{:?}", settings.compression).to_lowercase(),
            },
        }
    }

    /// What in `self` (the stored document) differs from `wanted`, in the spec's words.
    fn differences(&self, wanted: &PipelineDocument) -> Vec<String> {
        let (a, b) = (&self.meaning, &wanted.meaning);
        let fields = [
            (
                "metadata.namespace",
                self.namespace.clone(),
                wanted.namespace.clone(),
            ),
            ("metadata.name", self.name.clone(), wanted.name.clone()),
            ("spec.source", self.source.clone(), wanted.source.clone()),
            (
                "spec.window.size",
                seconds(a.window_size),
                seconds(b.window_size),
            ),
            ("spec.record", json(&a.record), json(&b.record)),
            (
                "spec.output.path",
                a.output_path.clone(),
                b.output_path.clone(),
            ),
            (
                "spec.output.rejectsPath",
                a.rejects_path.clone(),
                b.rejects_path.clone(),
            ),
            (
                "spec.output.partitionBy",
                a.partition_by.join(", "),
                b.partition_by.join(", "),
            ),
            (
                "spec.output.compression",
                a.compression.clone(),
                b.compression.clone(),
            ),
        ];
        fields
            .into_iter()
            .filter(|(_, stored, wanted)| stored != wanted)
            .map(|(field, stored, wanted)| format!("{field} is {wanted}, the state says {stored}"))
            .collect()
    }
}

fn seconds(micros: i64) -> String {
    format!("{} s", micros / 1_000_000)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Claims the state and the output for the pipeline, or finds them its own already. Returns the state id.
///
/// # Errors
/// [`PipelineError::Ownership`] when either belongs to something else, or the state was removed while the output stayed.
pub async fn claim(
    wanted: &PipelineDocument,
    state: &Store,
    output: &Store,
) -> Result<String, PipelineError> {
    // In this order: the output is claimed after the state was made, so an owner that is there has its state.
    let owner = read::<OutputDocument>(output, OUTPUT_OWNER).await?;
    let stored = read::<PipelineDocument>(state, PIPELINE).await?;
    if let (None, Some(owner)) = (&stored, &owner) {
        return Err(PipelineError::Ownership(format!(
            "the output path {} belongs to the state {} (pipeline {}), but there is no state under {}: it was removed, or \
             state.path changed. Rows would be written twice. Restore the state, or choose a new output.path",
            output.url(),
            owner.state_id,
            owner.pipeline,
            state.url()
        )));
    }
    let document = match stored {
        None => create_or_read(state, wanted).await?,
        Some(stored) => stored,
    };
    let document = accept(document, wanted, state).await?;
    claim_output(&document, output).await?;
    Ok(document.state_id)
}

/// The stored document if it is this pipeline's; a new one in its place if nothing was ever committed under it.
async fn accept(
    stored: PipelineDocument,
    wanted: &PipelineDocument,
    state: &Store,
) -> Result<PipelineDocument, PipelineError> {
    let differences = stored.differences(wanted);
    if differences.is_empty() {
        return Ok(stored);
    }
    if state
        .list(SHARDS)
        .await?
        .iter()
        .all(|object| !object.key.ends_with(".ckpt"))
    {
        // The output may be claimed under this id already.
        let renewed = PipelineDocument {
            state_id: stored.state_id,
            ..wanted.clone()
        };
        let bytes = Bytes::from(json(&renewed));
        state.put_overwrite(PIPELINE, bytes).await?;
        return Ok(renewed);
    }
    Err(PipelineError::Ownership(format!(
        "the state path {} belongs to pipeline {}/{} and can't be used with this spec: {}. \
         These can't change for one state path: choose a new state.path and a new output.path, or undo the change",
        state.url(),
        stored.namespace,
        stored.name,
        differences.join("; ")
    )))
}

async fn create_or_read(
    state: &Store,
    wanted: &PipelineDocument,
) -> Result<PipelineDocument, PipelineError> {
    match state.create(PIPELINE, Bytes::from(json(wanted))).await? {
        Created::New | Created::AlreadyOurs => {
            meet(Point::AfterClaim);
            Ok(wanted.clone())
        }
        Created::Exists(bytes) => parse(&bytes, &state.url_of(PIPELINE)),
    }
}

async fn claim_output(document: &PipelineDocument, output: &Store) -> Result<(), PipelineError> {
    let claim = OutputDocument {
        version: DOCUMENT_VERSION,
        state_id: document.state_id.clone(),
        pipeline: format!("{}/{}", document.namespace, document.name),
    };
    let owner = match output
        .create(OUTPUT_OWNER, Bytes::from(json(&claim)))
        .await?
    {
        Created::New | Created::AlreadyOurs => return Ok(()),
        Created::Exists(bytes) => parse::<OutputDocument>(&bytes, &output.url_of(OUTPUT_OWNER))?,
    };
    if owner.state_id == document.state_id {
        return Ok(());
    }
    Err(PipelineError::Ownership(format!(
        "the output path {} belongs to the state {} of pipeline {}, not to {} of pipeline {}: choose another output.path",
        output.url(),
        owner.state_id,
        owner.pipeline,
        document.state_id,
        claim.pipeline
    )))
}

async fn read<T: serde::de::DeserializeOwned>(
    store: &Store,
    key: &str,
) -> Result<Option<T>, PipelineError> {
    match store.get(key).await? {
        Some(bytes) => parse(&bytes, &store.url_of(key)).map(Some),
        None => Ok(None),
    }
}

/// Reads one of our JSON documents.
pub(super) fn parse<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    url: &str,
) -> Result<T, PipelineError> {
    serde_json::from_slice(bytes).map_err(|error| PipelineError::Document {
        url: url.to_owned(),
        detail: error.to_string(),
    })
}

/// 64 random bits, as hex.
pub(super) fn random_id() -> String {
    let random = ambient::random_u64().unwrap_or_else(|_| {
        // No source of randomness: the process id and the time must do; the claim's create-if-absent still decides.
        let nanoseconds = ambient::boot_time().as_nanos() as u64;
        nanoseconds ^ u64::from(std::process::id()).rotate_left(32)
    });
    hex(&random.to_le_bytes())
}
