//! Where the pipeline keeps its state: `spec.state`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::path::StoragePath;
use crate::quantity::ByteSize;
use crate::spec::rules;

/// Checkpoints and leases. The store must have create-if-absent, which S3 and a local disk have.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Directory of the pipeline's state: `s3://bucket/prefix`, `file:///absolute` or `file://./relative`
    /// (to the working directory). It belongs to one pipeline. Another path starts a new pipeline from
    /// nothing, which also needs another `output.path`.
    pub path: StoragePath,

    /// How often progress is saved when nothing is published, from 1s to 10m. After a crash at most this
    /// much is read again. Rows are exact whatever it is.
    #[serde(default = "default_commit_interval")]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('10m')")
            .message("must be from 1s to 10m")
    )]
    pub commit_interval: GoDuration,

    /// Unpublished bytes a shard may hold, from 64Ki to 1Gi. Beyond it rows are published at once, and
    /// reading waits until they are. Default: 4Mi for a stream, 32Mi for files, which are one shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_outbox: Option<ByteSize>,

    /// Format in which checkpoints are written, at least 1. Default: the newest that the previous release
    /// can read, too, so that an upgrade can be rolled back. Nobody raises it but you: when an upgrade won't be
    /// rolled back any more, and before the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub format: Option<u32>,

    /// Checkpoints of a shard that are kept, from 2 to 1000. Older ones are removed once they are an hour
    /// older than the newest.
    #[serde(default = "default_keep_versions")]
    #[schemars(range(min = 2, max = 1000))]
    pub keep_versions: u32,

    /// Timing of the workers' leases.
    #[serde(default)]
    pub lease: Lease,
}

const fn default_commit_interval() -> GoDuration {
    GoDuration::from_secs(10)
}

const fn default_keep_versions() -> u32 {
    10
}

/// Timing of the workers' leases.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("duration(self.expiry) >= duration(self.heartbeat) + duration(self.heartbeat)")
        .message("expiry must be at least twice the heartbeat, or one slow request would look like a death")
        .field_path(".expiry"),
    validation = rules::whole_heartbeats()
)]
pub struct Lease {
    /// How often a worker says that it lives, from 500ms to 1m. Each beat is one small PUT.
    #[serde(default = "default_heartbeat")]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('500ms') && duration(self) <= duration('1m')")
            .message("must be from 500ms to 1m")
    )]
    pub heartbeat: GoDuration,

    /// After how long without a heartbeat a worker counts as dead and its shards are taken, up to 5m. A
    /// whole multiple of `heartbeat`, at least twice.
    #[serde(default = "default_expiry")]
    #[x_kube(
        validation = Rule::new("duration(self) <= duration('5m')").message("must be at most 5m")
    )]
    pub expiry: GoDuration,
}

const fn default_heartbeat() -> GoDuration {
    GoDuration::from_secs(2)
}

const fn default_expiry() -> GoDuration {
    GoDuration::from_secs(6)
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            heartbeat: default_heartbeat(),
            expiry: default_expiry(),
        }
    }
}
