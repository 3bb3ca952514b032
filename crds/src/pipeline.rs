//! A pipeline in which nothing can be wrong any more.
//!
//! Owns the types the worker and the operator read: durations, timestamps and paths are parsed,
//! defaults are filled in. Values are made by [`crate::parse`] and [`Pipeline::from_resource`] only.
//! Field docs stand on the spec's types in [`crate::spec`]; here only what differs is said.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::SpecErrors;
use crate::path::StoragePath;
use crate::quantity::ByteSize;
use crate::spec::{
    Aggregate, Compression, Consumer, DeletionPolicy, Encryption, FileFormat, GlueCatalog,
    InitialPosition, Management, MaxAhead, OnDataLoss, PartitionColumn, Record, StockStream,
    StockStreamSpec, StreamMode, WindowLimits, Workers,
};
use crate::validate;

/// The region of the catalog when neither the catalog nor a stream names one.
const DEFAULT_REGION: &str = "us-east-1";

/// The default of `state.maxOutbox` for a stream: each of its shards has one, and it is rewritten with every commit.
const MAX_OUTBOX_OF_STREAM: ByteSize = ByteSize::from_bytes(4 << 20);

/// The same for files: one shard, which is read as fast as it goes. Fewer and larger files.
const MAX_OUTBOX_OF_FILES: ByteSize = ByteSize::from_bytes(32 << 20);

/// What is put behind `output.path` for rejects when the spec names no path for them.
pub const REJECTS_SUFFIX: &str = "-rejects";

/// A validated `StockStream`. It can only be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    resource: StockStream,
    source: SourceSettings,
    record: RecordSettings,
    window: WindowSettings,
    output: OutputSettings,
    state: StateSettings,
    encryption: Option<ObjectEncryption>,
    catalog: Option<GlueTable>,
}

/// Where ticks come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSettings {
    /// A Kinesis data stream.
    Kinesis(KinesisSettings),
    /// A bounded list of files.
    Files(FilesSettings),
}

/// A Kinesis data stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KinesisSettings {
    /// Name of the stream.
    pub stream_name: String,
    /// AWS region.
    pub region: String,
    /// Where reading starts without a checkpoint.
    pub initial_position: InitialPosition,
    /// Capacity used when the stream is made.
    pub capacity: StreamCapacity,
    /// How long the stream keeps ticks; whole hours.
    pub retention: Duration,
    /// The key that encrypts the stream, if the spec names one.
    pub encryption_key: Option<String>,
    /// Who makes the stream.
    pub management: Management,
    /// How shards are read.
    pub consumer: Consumer,
    /// Bytes that a worker may have read, over all its shards, and not yet applied.
    pub max_read_ahead_bytes: u64,
    /// What happens when ticks were lost.
    pub on_data_loss: OnDataLoss,
}

impl KinesisSettings {
    /// The time of `initialPosition: {timestamp: …}`, if that is what was asked for.
    pub fn initial_timestamp(&self) -> Option<Timestamp> {
        match self.initial_position {
            InitialPosition::Timestamp(timestamp) => Some(timestamp),
            InitialPosition::Latest | InitialPosition::TrimHorizon => None,
        }
    }
}

/// Capacity of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamCapacity {
    /// A fixed number of shards.
    Provisioned {
        /// Number of shards, at least 1.
        shards: u32,
    },
    /// As the traffic asks.
    OnDemand,
}

/// A bounded list of files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilesSettings {
    /// Paths and patterns, as written.
    pub paths: Vec<String>,
    /// The format of every file. `None`: told by each file's extension (see
    /// [`FilesSettings::format_of`]), and every path of the spec has one that is known.
    pub format: Option<FileFormat>,
}

impl FilesSettings {
    /// The format of one file. `None` when neither the spec nor the extension tells it, which can
    /// only be for a file that no path of the spec matches.
    pub fn format_of(&self, path: &str) -> Option<FileFormat> {
        self.format.or_else(|| {
            let (_, extension) = path.rsplit_once('.')?;
            match extension {
                "ndjson" | "jsonl" => Some(FileFormat::Ndjson),
                "csv" => Some(FileFormat::Csv),
                "parquet" => Some(FileFormat::Parquet),
                _ => None,
            }
        })
    }
}

/// How a tick is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordSettings {
    /// Name of the field with the ticker.
    pub ticker: String,
    /// Name of the field with the event time.
    pub event_time: String,
    /// Name of the field with the trade date.
    pub trade_date: String,
    /// Name of the field with the opening price.
    pub open: String,
    /// Name of the field with the highest price.
    pub high: String,
    /// Name of the field with the lowest price.
    pub low: String,
    /// Name of the field with the closing price.
    pub close: String,
    /// Name of the field with the volume.
    pub volume: String,
    /// Name of the field with the id, if duplicates are dropped by it.
    pub id: Option<String>,
    /// How far event time may lie ahead of arrival. `None`: unbounded.
    pub max_ahead: Option<Duration>,
}

/// How ticks become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowSettings {
    /// Length of a window.
    pub size: Duration,
    /// How long a window waits for late ticks.
    pub watermark_delay: Duration,
    /// How long an idle shard waits before its watermark moves with the clock.
    pub idle_timeout: Duration,
    /// Output columns: 1 to 32, names unique.
    pub aggregates: Vec<Aggregate>,
    /// Bounds of one shard.
    pub limits: WindowLimits,
}

/// Where rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputSettings {
    /// Directory of the table.
    pub path: StoragePath,
    /// Directory of late ticks and dead letters.
    pub rejects_path: StoragePath,
    /// Columns that become directories, in order, each once.
    pub partition_by: Vec<PartitionColumn>,
    /// How often closed windows are published.
    pub publish_interval: Duration,
    /// Compression of the Parquet files.
    pub compression: Compression,
}

/// Where the pipeline keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateSettings {
    /// Directory of the state.
    pub path: StoragePath,
    /// How often progress is saved.
    pub commit_interval: Duration,
    /// Unpublished bytes a shard may hold.
    pub max_outbox_bytes: u64,
    /// Format of checkpoints, if the spec fixes it.
    pub format: Option<u32>,
    /// Checkpoints kept for each shard, at least 2.
    pub keep_versions: u32,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Time without a heartbeat after which a worker counts as dead; a multiple of `heartbeat`.
    pub expiry: Duration,
}

impl StateSettings {
    /// How many heartbeats in a row may be missed: `expiry / heartbeat`, at least 2.
    pub fn beats_to_expiry(&self) -> u32 {
        let beats = self.expiry.as_nanos() / self.heartbeat.as_nanos().max(1);
        u32::try_from(beats).unwrap_or(u32::MAX)
    }
}

/// How S3 encrypts what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectEncryption {
    /// With keys that S3 holds.
    SseS3,
    /// With a key in AWS KMS.
    SseKms {
        /// ARN, id or alias; `None`: the account's own key for S3.
        key_id: Option<String>,
        /// Whether an S3 Bucket Key is used; `None`: as the bucket says.
        bucket_key: Option<bool>,
    },
}

/// A table in AWS Glue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GlueTable {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// AWS region.
    pub region: String,
    /// Who makes it.
    pub management: Management,
    /// All tickers, if Athena shall work out the partitions.
    pub projected_tickers: Option<Vec<String>>,
}

impl Pipeline {
    /// Validates a resource that was read from the API server.
    ///
    /// # Errors
    /// Every rule it breaks. None has a line, as there is no text.
    pub fn from_resource(resource: &StockStream) -> Result<Self, SpecErrors> {
        validate::resource(resource)
    }

    /// Puts the typed parts together. The caller has checked every rule.
    pub(crate) fn assemble(resource: StockStream) -> Option<Self> {
        let spec = &resource.spec;
        let source = source(spec)?;
        Some(Self {
            record: record(&spec.record, spec.window.watermark_delay.get()),
            window: window(spec),
            output: output(spec),
            state: state(spec),
            encryption: spec
                .storage
                .as_ref()
                .and_then(|storage| encryption(storage.encryption.as_ref()?)),
            catalog: spec
                .catalog
                .as_ref()
                .map(|catalog| glue(&catalog.glue, &source)),
            source,
            resource,
        })
    }

    /// The resource with its defaults filled in.
    pub fn resource(&self) -> &StockStream {
        &self.resource
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.resource.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`, or `default`.
    pub fn namespace(&self) -> &str {
        self.resource
            .metadata
            .namespace
            .as_deref()
            .unwrap_or("default")
    }

    /// Where ticks come from.
    pub fn source(&self) -> &SourceSettings {
        &self.source
    }

    /// The Kinesis stream, unless the source is files.
    pub fn kinesis(&self) -> Option<&KinesisSettings> {
        match &self.source {
            SourceSettings::Kinesis(kinesis) => Some(kinesis),
            SourceSettings::Files(_) => None,
        }
    }

    /// The files, unless the source is a stream.
    pub fn files(&self) -> Option<&FilesSettings> {
        match &self.source {
            SourceSettings::Files(files) => Some(files),
            SourceSettings::Kinesis(_) => None,
        }
    }

    /// How a tick is read.
    pub fn record(&self) -> &RecordSettings {
        &self.record
    }

    /// How ticks become rows.
    pub fn window(&self) -> &WindowSettings {
        &self.window
    }

    /// Where rows go.
    pub fn output(&self) -> &OutputSettings {
        &self.output
    }

    /// Where the state lies.
    pub fn state(&self) -> &StateSettings {
        &self.state
    }

    /// How S3 encrypts rows, rejects and state, if the spec says so.
    pub fn encryption(&self) -> Option<&ObjectEncryption> {
        self.encryption.as_ref()
    }

    /// The catalog's table, if rows are registered in one.
    pub fn catalog(&self) -> Option<&GlueTable> {
        self.catalog.as_ref()
    }

    /// The same pipeline without its catalog, for places where there is none.
    #[must_use]
    pub fn without_catalog(mut self) -> Self {
        self.catalog = None;
        self
    }

    /// The worker pods.
    pub fn workers(&self) -> &Workers {
        &self.resource.spec.workers
    }

    /// Whether the live page is served.
    pub fn dashboard_enabled(&self) -> bool {
        self.resource.spec.dashboard.enabled
    }

    /// Whether the workers are stopped.
    pub fn is_suspended(&self) -> bool {
        self.resource.spec.suspend
    }

    /// What happens to stream, table and data at deletion.
    pub fn deletion_policy(&self) -> DeletionPolicy {
        self.resource.spec.deletion_policy
    }

    /// The same pipeline with relative paths made absolute. Relative and absolute paths can only now
    /// be compared, so the rule that they must not lie within each other is checked again.
    ///
    /// # Errors
    /// When a path can't be resolved below `directory`, or lies within another one.
    pub fn resolved_at(mut self, directory: &Path) -> Result<Self, SpecErrors> {
        validate::resolve_paths(
            directory,
            [
                ("spec.output.path", &mut self.output.path),
                ("spec.output.rejectsPath", &mut self.output.rejects_path),
                ("spec.state.path", &mut self.state.path),
            ],
        )?;
        Ok(self)
    }
}

fn source(spec: &StockStreamSpec) -> Option<SourceSettings> {
    let source = match (&spec.source.kinesis, &spec.source.files) {
        (Some(kinesis), None) => SourceSettings::Kinesis(KinesisSettings {
            stream_name: kinesis.stream_name.clone(),
            region: kinesis.region.clone(),
            initial_position: kinesis.initial_position,
            capacity: capacity(&kinesis.mode.clone().unwrap_or_default()),
            retention: kinesis.retention.get(),
            encryption_key: kinesis
                .encryption
                .as_ref()
                .map(|encryption| encryption.kms_key_id.clone()),
            management: kinesis.management,
            consumer: kinesis.consumer,
            max_read_ahead_bytes: kinesis.max_read_ahead.bytes(),
            on_data_loss: kinesis.on_data_loss,
        }),
        (None, Some(files)) => SourceSettings::Files(FilesSettings {
            paths: files.paths.clone(),
            format: files.format,
        }),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    Some(source)
}

fn capacity(mode: &StreamMode) -> StreamCapacity {
    match &mode.provisioned {
        Some(provisioned) => StreamCapacity::Provisioned {
            shards: provisioned.shards,
        },
        None => StreamCapacity::OnDemand,
    }
}

fn record(record: &Record, watermark_delay: Duration) -> RecordSettings {
    RecordSettings {
        ticker: record.ticker.clone(),
        event_time: record.event_time.clone(),
        trade_date: record.trade_date.clone(),
        open: record.open.clone(),
        high: record.high.clone(),
        low: record.low.clone(),
        close: record.close.clone(),
        volume: record.volume.clone(),
        id: record.id.clone(),
        max_ahead: match record.max_ahead {
            None => Some(watermark_delay),
            Some(MaxAhead::Within(duration)) => Some(duration.get()),
            Some(MaxAhead::Unbounded) => None,
        },
    }
}

fn window(spec: &StockStreamSpec) -> WindowSettings {
    WindowSettings {
        size: spec.window.size.get(),
        watermark_delay: spec.window.watermark_delay.get(),
        idle_timeout: spec.window.idle_timeout.get(),
        aggregates: spec.window.aggregates.clone(),
        limits: spec.window.limits.clone(),
    }
}

fn output(spec: &StockStreamSpec) -> OutputSettings {
    let output = &spec.output;
    OutputSettings {
        path: output.path.clone(),
        rejects_path: match &output.rejects_path {
            Some(path) => path.clone(),
            None => output.path.with_suffix(REJECTS_SUFFIX),
        },
        partition_by: output.partition_by.clone(),
        publish_interval: output.publish_interval.get(),
        compression: output.compression,
    }
}

fn state(spec: &StockStreamSpec) -> StateSettings {
    let state = &spec.state;
    let max_outbox = match spec.source.files {
        Some(_) => MAX_OUTBOX_OF_FILES,
        None => MAX_OUTBOX_OF_STREAM,
    };
    StateSettings {
        path: state.path.clone(),
        commit_interval: state.commit_interval.get(),
        max_outbox_bytes: state.max_outbox.unwrap_or(max_outbox).bytes(),
        format: state.format,
        keep_versions: state.keep_versions,
        heartbeat: state.lease.heartbeat.get(),
        expiry: state.lease.expiry.get(),
    }
}

fn encryption(encryption: &Encryption) -> Option<ObjectEncryption> {
    match (&encryption.sse_s3, &encryption.sse_kms) {
        (_, Some(kms)) => Some(ObjectEncryption::SseKms {
            key_id: kms.key_id.clone(),
            bucket_key: kms.bucket_key,
        }),
        (Some(_), None) => Some(ObjectEncryption::SseS3),
        (None, None) => None,
    }
}

fn glue(glue: &GlueCatalog, source: &SourceSettings) -> GlueTable {
    let stream_region = match source {
        SourceSettings::Kinesis(kinesis) => kinesis.region.as_str(),
        SourceSettings::Files(_) => DEFAULT_REGION,
    };
    GlueTable {
        database: glue.database.clone(),
        table: glue.table.clone(),
        region: glue
            .region
            .clone()
            .unwrap_or_else(|| stream_region.to_owned()),
        management: glue.management,
        projected_tickers: glue
            .projection
            .as_ref()
            .map(|projection| projection.tickers.clone()),
    }
}
