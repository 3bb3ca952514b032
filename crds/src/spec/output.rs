//! Where rows go: `spec.output` and `spec.catalog`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::path::StoragePath;
use crate::spec::source::Management;

/// Where rows are written, as Parquet files in Hive's directory layout.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Output {
    /// Directory of the table: `s3://bucket/prefix`, `file:///absolute` or `file://./relative` (to the
    /// working directory). It holds rows and nothing else, and belongs to one pipeline.
    pub path: StoragePath,

    /// Directory for late ticks (Parquet) and dead letters (NDJSON). Default: `path` and `-rejects`, so
    /// `s3://lake/avg_1min` has `s3://lake/avg_1min-rejects`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejects_path: Option<StoragePath>,

    /// Columns that become directories, in this order: any of ticker and trade_date, or none (`[]`).
    #[serde(default = "default_partition_by")]
    #[schemars(length(max = 2))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(a, self.exists_one(b, a == b))")
            .message("a column can be named once only")
    )]
    pub partition_by: Vec<PartitionColumn>,

    /// How often closed windows are written to files, from 1s to 1h. Longer means fewer and larger files,
    /// and rows that are seen later.
    #[serde(default = "default_publish_interval")]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')")
            .message("must be from 1s to 1h")
    )]
    pub publish_interval: GoDuration,

    /// Compression of the Parquet files.
    #[serde(default)]
    pub compression: Compression,
}

fn default_partition_by() -> Vec<PartitionColumn> {
    vec![PartitionColumn::Ticker, PartitionColumn::TradeDate]
}

const fn default_publish_interval() -> GoDuration {
    GoDuration::from_secs(60)
}

/// A column that can become a directory.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum PartitionColumn {
    Ticker,
    TradeDate,
}

/// Compression of the Parquet files.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum Compression {
    #[default]
    Zstd,
    Snappy,
    Lz4,
    Gzip,
    None,
}

/// The catalog in which the table is registered.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Catalog {
    /// AWS Glue, which Athena reads.
    pub glue: GlueCatalog,
}

/// A table in AWS Glue.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GlueCatalog {
    /// Database: lower-case letters, digits and `_`, at most 255.
    #[serde(default = "default_database")]
    #[schemars(length(min = 1, max = 255), regex(pattern = "^[a-z0-9_]+$"))]
    pub database: String,

    /// Table: lower-case letters, digits and `_`, at most 255.
    #[serde(default = "default_table")]
    #[schemars(length(min = 1, max = 255), regex(pattern = "^[a-z0-9_]+$"))]
    pub table: String,

    /// AWS region of the catalog. Default: the stream's region, or us-east-1 for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = "^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$")
    )]
    pub region: Option<String>,

    /// Who makes and changes the database and the tables. Managed: the operator. External: somebody else; the operator
    /// only checks them.
    #[serde(default)]
    pub management: Management,

    /// Lets Athena work out the partitions instead of having them registered, which needs the tickers to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<Projection>,
}

/// Partitions that Athena works out itself.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Projection {
    /// All tickers that there are: rows of any other are written, and not found by Athena.
    #[schemars(length(min = 1, max = 5000), inner(length(min = 1, max = 64)))]
    pub tickers: Vec<String>,
}

fn default_database() -> String {
    "stock_streaming_database".to_owned()
}

fn default_table() -> String {
    "avg_1min".to_owned()
}
