//! Where ticks come from: `spec.source`.

use std::borrow::Cow;

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::duration::GoDuration;
use crate::quantity::ByteSize;
use crate::spec::rules;

/// Where ticks come from. Exactly one of `kinesis` and `files`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.kinesis) != has(self.files)")
        .message("exactly one of kinesis and files must be given")
)]
pub struct Source {
    /// A Kinesis data stream, read for as long as the pipeline lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinesis: Option<KinesisSource>,

    /// A bounded list of files, read once to their end. For backfills and for tests on one machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSource>,
}

/// A Kinesis data stream.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KinesisSource {
    /// Name of the stream: letters, digits, `_`, `-` and `.`, at most 128.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-zA-Z0-9_.-]+$"))]
    pub stream_name: String,

    /// AWS region of the stream.
    #[serde(default = "default_region")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = "^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$")
    )]
    pub region: String,

    /// Where reading starts when the pipeline has no checkpoint yet: Latest (ticks that arrive after
    /// the start), TrimHorizon (the oldest tick the stream still holds), or `{timestamp: …}` (ticks that
    /// arrived at or after this RFC 3339 time). Ignored once there is a checkpoint.
    #[serde(default)]
    pub initial_position: InitialPosition,

    /// Capacity of the stream, used when the operator makes it: `{provisioned: {shards: N}}` or
    /// `{onDemand: {}}`. Default: `{provisioned: {shards: 2}}`.
    // No default of the schema: the API server would store it, and an `onDemand` that is applied later would stand beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<StreamMode>,

    /// How long the stream keeps ticks: whole hours, from 24h to 8760h (a year). A pipeline that stands
    /// still for longer loses ticks.
    #[serde(default = "default_retention")]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('24h') && duration(self) <= duration('8760h')")
            .message("must be from 24h to 8760h"),
        validation = rules::whole_hours("Kinesis keeps ticks for whole hours")
    )]
    pub retention: GoDuration,

    /// Encryption at rest, by a key in AWS KMS. Left as it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<StreamEncryption>,

    /// Who makes and changes the stream. Managed: the operator. External: somebody else; the operator
    /// only checks it.
    #[serde(default)]
    pub management: Management,

    /// How shards are read. Polling: GetRecords, 5 calls and 2 MiB a second and shard, shared by all
    /// readers. EnhancedFanOut: SubscribeToShard, 2 MiB a second for this pipeline alone; AWS bills it.
    #[serde(default)]
    pub consumer: Consumer,

    /// Bytes that a worker may have read, over all its shards, and not yet applied, from 16Mi to 64Gi. When
    /// rows can't be written as fast as ticks come, reading waits here and memory doesn't grow.
    #[serde(default = "default_max_read_ahead")]
    pub max_read_ahead: ByteSize,

    /// What happens when ticks were trimmed from the stream before they were read. Fail: the shard stops
    /// with a condition, and somebody decides. Continue: reading goes on at the oldest tick there is, and
    /// the loss is counted in seconds.
    #[serde(default)]
    pub on_data_loss: OnDataLoss,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

const fn default_retention() -> GoDuration {
    GoDuration::from_secs(24 * 3_600)
}

const fn default_max_read_ahead() -> ByteSize {
    ByteSize::from_bytes(256 << 20)
}

/// Encryption of a stream at rest.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct StreamEncryption {
    /// The key: an ARN, an id, or an alias. Default: the account's own key for Kinesis.
    #[serde(default = "default_stream_key")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key_id: String,
}

fn default_stream_key() -> String {
    "alias/aws/kinesis".to_owned()
}

/// Where reading starts without a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialPosition {
    /// Ticks that arrive after the start.
    #[default]
    Latest,
    /// The oldest tick the stream still holds.
    TrimHorizon,
    /// Ticks that arrived at or after this time.
    Timestamp(Timestamp),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum InitialPositionForm {
    Name(String),
    At(At),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    timestamp: Timestamp,
}

impl Serialize for InitialPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Latest => serializer.serialize_str("Latest"),
            Self::TrimHorizon => serializer.serialize_str("TrimHorizon"),
            Self::Timestamp(timestamp) => At {
                timestamp: *timestamp,
            }
            .serialize(serializer),
        }
    }
}

/// Why a value is not an initial position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an initial position: Latest, TrimHorizon or {{timestamp: <RFC 3339>}}")]
pub struct InitialPositionError(String);

impl<'de> Deserialize<'de> for InitialPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match InitialPositionForm::deserialize(deserializer)? {
            InitialPositionForm::Name(name) if name == "Latest" => Ok(Self::Latest),
            InitialPositionForm::Name(name) if name == "TrimHorizon" => Ok(Self::TrimHorizon),
            InitialPositionForm::Name(name) => {
                Err(serde::de::Error::custom(InitialPositionError(name)))
            }
            InitialPositionForm::At(at) => Ok(Self::Timestamp(at.timestamp)),
        }
    }
}

impl JsonSchema for InitialPosition {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "InitialPosition".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A string or an object: a structural schema can only leave the type open, which asks for
        // preserve-unknown-fields. The second branch then refuses every string, number and list by
        // limits that contradict each other; they say nothing about objects.
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {
                "timestamp": {
                    "type": "string",
                    "format": "date-time",
                    "maxLength": 40,
                    "description": "Arrival time at the stream, RFC 3339, for example 2024-01-02T00:00:00Z."
                }
            },
            "anyOf": [
                {"enum": ["Latest", "TrimHorizon"]},
                {
                    "required": ["timestamp"], "maxProperties": 1,
                    "minLength": 1, "maxLength": 0,
                    "minItems": 1, "maxItems": 0,
                    "minimum": 1, "maximum": 0,
                    "not": {"enum": [true, false]}
                }
            ],
        })
    }
}

/// Capacity of the stream. Exactly one of `provisioned` and `onDemand`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.provisioned) != has(self.onDemand)")
        .message("exactly one of provisioned and onDemand must be given")
)]
pub struct StreamMode {
    /// A fixed number of shards. Each takes 1 MiB or 1,000 ticks a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<Provisioned>,

    /// AWS adds and removes shards as the traffic asks: `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemand>,
}

impl Default for StreamMode {
    fn default() -> Self {
        Self {
            provisioned: Some(Provisioned { shards: 2 }),
            on_demand: None,
        }
    }
}

/// A fixed number of shards.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Provisioned {
    /// Number of shards, from 1 to 10000.
    #[serde(default = "default_shards")]
    #[schemars(range(min = 1, max = 10_000))]
    pub shards: u32,
}

const fn default_shards() -> u32 {
    2
}

/// Capacity as the traffic asks. It has no settings.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub struct OnDemand {}

/// Who makes and changes the stream.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum Management {
    #[default]
    Managed,
    External,
}

/// How shards are read.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum Consumer {
    #[default]
    Polling,
    EnhancedFanOut,
}

/// What happens when ticks were trimmed before they were read.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum OnDataLoss {
    #[default]
    Fail,
    Continue,
}

/// A bounded list of files.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.format) || self.paths.all(p, p.matches('[.]((ndjson|jsonl|csv)([.](gz|zst))?|parquet)$'))")
        .message("the format can't be told from the paths: give format, or paths that end in .ndjson, .jsonl, .csv (each also with .gz or .zst) or .parquet")
        .field_path(".paths")
)]
pub struct FilesSource {
    /// Files, or patterns of files with `*`: `s3://…`, `file:///absolute` or `file://./relative`. At least
    /// one, at most 1000 entries. The list is fixed at the first start; a changed one is refused.
    #[schemars(
        length(min = 1, max = 1000),
        inner(
            length(max = 512),
            regex(
                pattern = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|file://\.?)/[^/\x00-\x1f][^\x00-\x1f]*$"
            )
        )
    )]
    pub paths: Vec<String>,

    /// How the files are written: ndjson (one JSON object a line), csv (with a header line) or parquet.
    /// Default: told by each file's extension, without `.gz` or `.zst`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<FileFormat>,
}

/// How files are written.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum FileFormat {
    Ndjson,
    Csv,
    Parquet,
}
