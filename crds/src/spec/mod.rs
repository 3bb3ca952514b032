//! The custom resource `StockStream`: its Rust types, from which every schema is generated.
//!
//! Owns names, nesting, defaults and the rules that CEL can state. Doc comments on fields are the
//! reference users read. What is read here is not yet checked as a whole: [`crate::Pipeline`] is.

#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns repeat `type_`, which the lint takes for a mistake"
)]

mod output;
mod record;
mod rules;
mod source;
mod state;
mod status;
mod storage;
mod window;
mod workers;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use output::{Catalog, Compression, GlueCatalog, Output, PartitionColumn, Projection};
pub use record::{MaxAhead, Record};
pub use source::{
    Consumer, FileFormat, FilesSource, InitialPosition, InitialPositionError, KinesisSource,
    Management, OnDataLoss, OnDemand, Provisioned, Source, StreamEncryption, StreamMode,
};
pub use state::{Lease, State};
pub use status::{
    CatalogStatus, ShardStatus, ShardSummary, StockStreamStatus, StreamStatus, WorkerStatus,
};
pub use storage::{Encryption, SseKms, SseS3, Storage};
pub use window::{
    Aggregate, AggregateFunction, NumericField, RESERVED_COLUMNS, Window, WindowLimits,
};
pub use workers::{Dashboard, WorkerServiceAccount, Workers};

/// API group of all of Stockstream's resources.
pub const GROUP: &str = "stockstream.dev";
/// Version of the `StockStream` resource.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of the `StockStream` resource.
pub const API_VERSION: &str = "stockstream.dev/v1alpha1";
/// `kind` of the `StockStream` resource.
pub const KIND: &str = "StockStream";

/// One pipeline: a stream of stock ticks in, one row per ticker and window out.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "stockstream.dev",
    version = "v1alpha1",
    kind = "StockStream",
    namespaced,
    status = "StockStreamStatus",
    shortname = "sst",
    category = "streaming",
    derive = "PartialEq",
    doc = "One pipeline: a stream of stock ticks in, one row per ticker and window out.",
    scale(
        spec_replicas_path = ".spec.workers.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the pipeline is as the spec says, and works"
    ),
    printcolumn(
        name = "Workers",
        type_ = "string",
        json_path = ".status.workers.ready",
        description = "Worker pods that are ready, of those that are wanted"
    ),
    printcolumn(
        name = "Shards",
        type_ = "integer",
        json_path = ".status.stream.openShards",
        description = "Open shards of the stream"
    ),
    printcolumn(
        name = "Lag",
        type_ = "string",
        json_path = ".status.lag",
        description = "How far the slowest shard is behind its tip"
    ),
    printcolumn(
        name = "Watermark",
        type_ = "string",
        json_path = ".status.watermark",
        description = "Event time up to which the windows of every shard are closed"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1,
        description = "Why it is ready or not"
    ),
    printcolumn(
        name = "Stream",
        type_ = "string",
        json_path = ".spec.source.kinesis.streamName",
        priority = 1,
        description = "The Kinesis stream that is read"
    ),
    printcolumn(
        name = "Window",
        type_ = "string",
        json_path = ".spec.window.size",
        priority = 1,
        description = "Length of a window"
    ),
    printcolumn(
        name = "Ticks/s",
        type_ = "string",
        json_path = ".status.tickRate",
        priority = 1,
        description = "Ticks a second, over all shards"
    ),
    printcolumn(
        name = "Published",
        type_ = "string",
        json_path = ".status.lastPublishedWindow",
        priority = 1,
        description = "End of the newest window whose rows were published"
    ),
    printcolumn(
        name = "Output",
        type_ = "string",
        json_path = ".spec.output.path",
        priority = 1,
        description = "Where rows are written"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = rules::apart("self.output.path", "self.state.path", ".output.path"),
    validation = rules::rejects_apart("self.output.path", ".output.rejectsPath"),
    validation = rules::rejects_apart("self.state.path", ".output.rejectsPath"),
    validation = rules::encryption_needs_s3(),
    validation = rules::files_outside("output.path"),
    validation = rules::files_outside("state.path"),
    validation = rules::files_outside_rejects(),
    validation = rules::immutable("source.kinesis.streamName"),
    validation = rules::immutable("source.kinesis.region"),
    validation = rules::immutable("source.files.paths"),
    validation = rules::immutable("record.ticker"),
    validation = rules::immutable("record.eventTime"),
    validation = rules::immutable("record.tradeDate"),
    validation = rules::immutable("record.open"),
    validation = rules::immutable("record.high"),
    validation = rules::immutable("record.low"),
    validation = rules::immutable("record.close"),
    validation = rules::immutable("record.volume"),
    validation = rules::immutable("record.id"),
    validation = rules::immutable("window.size"),
    validation = rules::immutable("output.path"),
    validation = rules::immutable("output.rejectsPath"),
    validation = rules::immutable("output.partitionBy"),
    validation = rules::immutable("output.compression"),
    validation = rules::aggregates_only_grow()
)]
pub struct StockStreamSpec {
    /// Where ticks come from: a Kinesis stream, or a bounded list of files. Exactly one of them.
    pub source: Source,

    /// The names that a tick's fields have in its JSON (or in the columns of a file).
    #[serde(default)]
    pub record: Record,

    /// How ticks become rows: tumbling windows in event time, and what is computed over them.
    #[serde(default)]
    pub window: Window,

    /// Where rows are written, and how.
    pub output: Output,

    /// Where the pipeline keeps its checkpoints and leases.
    pub state: State,

    /// How rows, rejects and state are stored in S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// The catalog in which the table and its partitions are registered, so that Athena finds them.
    /// Nothing is registered when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Catalog>,

    /// The worker processes. They share the stream's shards.
    #[serde(default)]
    pub workers: Workers,

    /// The web page that shows the pipeline live.
    #[serde(default)]
    pub dashboard: Dashboard,

    /// Stops the workers while true. Checkpoints, the stream and the data stay, and the pipeline goes
    /// on where it stopped, provided that the stream still holds the ticks of the pause.
    #[serde(default)]
    pub suspend: bool,

    /// What happens to the stream, the table and the data when this resource is deleted. Retain keeps
    /// them. Delete removes what the operator made.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What happens to the stream, the table and the data when the resource is deleted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[schemars(inline)]
pub enum DeletionPolicy {
    // No doc comments on variants of unit enums: they would turn the schema's `enum` into `oneOf`.
    #[default]
    #[allow(missing_docs)]
    Retain,
    #[allow(missing_docs)]
    Delete,
}
