//! Every call of AWS that Stockstream makes, and the action that allows it.
//!
//! Owns the list from which the least-privilege policies are generated (`stockstream-operator policy`). A call that isn't here
//! isn't allowed: the suite `iam` notices that, and an action that nobody needs.

use crate::cli::Role;

/// A call of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// kinesis:DescribeStreamSummary
    DescribeStreamSummary,
    /// kinesis:ListTagsForStream
    ListTagsForStream,
    /// kinesis:CreateStream
    CreateStream,
    /// kinesis:AddTagsToStream
    AddTagsToStream,
    /// kinesis:IncreaseStreamRetentionPeriod
    IncreaseStreamRetentionPeriod,
    /// kinesis:DecreaseStreamRetentionPeriod
    DecreaseStreamRetentionPeriod,
    /// kinesis:StartStreamEncryption
    StartStreamEncryption,
    /// kinesis:UpdateShardCount
    UpdateShardCount,
    /// kinesis:UpdateStreamMode
    UpdateStreamMode,
    /// kinesis:DeleteStream
    DeleteStream,
    /// kinesis:ListShards
    ListShards,
    /// kinesis:GetShardIterator
    GetShardIterator,
    /// kinesis:GetRecords
    GetRecords,
    /// kinesis:SubscribeToShard
    SubscribeToShard,
    /// kinesis:RegisterStreamConsumer
    RegisterStreamConsumer,
    /// kinesis:DescribeStreamConsumer
    DescribeStreamConsumer,
    /// glue:GetDatabase
    GetDatabase,
    /// glue:CreateDatabase
    CreateDatabase,
    /// glue:GetTable
    GetTable,
    /// glue:CreateTable
    CreateTable,
    /// glue:UpdateTable
    UpdateTable,
    /// glue:DeleteTable
    DeleteTable,
    /// glue:BatchCreatePartition
    BatchCreatePartition,
    /// s3:PutObject
    PutObject,
    /// s3:GetObject
    GetObject,
    /// s3:ListBucket
    ListBucket,
    /// s3:DeleteObject
    DeleteObject,
    /// s3:GetBucketVersioning
    GetBucketVersioning,
    /// s3:GetLifecycleConfiguration
    GetLifecycleConfiguration,
}

impl Call {
    /// All calls.
    pub const ALL: &[Self] = &[
        Self::DescribeStreamSummary,
        Self::ListTagsForStream,
        Self::CreateStream,
        Self::AddTagsToStream,
        Self::IncreaseStreamRetentionPeriod,
        Self::DecreaseStreamRetentionPeriod,
        Self::StartStreamEncryption,
        Self::UpdateShardCount,
        Self::UpdateStreamMode,
        Self::DeleteStream,
        Self::ListShards,
        Self::GetShardIterator,
        Self::GetRecords,
        Self::SubscribeToShard,
        Self::RegisterStreamConsumer,
        Self::DescribeStreamConsumer,
        Self::GetDatabase,
        Self::CreateDatabase,
        Self::GetTable,
        Self::CreateTable,
        Self::UpdateTable,
        Self::DeleteTable,
        Self::BatchCreatePartition,
        Self::PutObject,
        Self::GetObject,
        Self::ListBucket,
        Self::DeleteObject,
        Self::GetBucketVersioning,
        Self::GetLifecycleConfiguration,
    ];

    /// The IAM action.
    pub const fn action(self) -> &'static str {
        match self {
            Self::DescribeStreamSummary => "kinesis:DescribeStreamSummary",
            Self::ListTagsForStream => "kinesis:ListTagsForStream",
            Self::CreateStream => "kinesis:CreateStream",
            Self::AddTagsToStream => "kinesis:AddTagsToStream",
            Self::IncreaseStreamRetentionPeriod => "kinesis:IncreaseStreamRetentionPeriod",
            Self::DecreaseStreamRetentionPeriod => "kinesis:DecreaseStreamRetentionPeriod",
            Self::StartStreamEncryption => "kinesis:StartStreamEncryption",
            Self::UpdateShardCount => "kinesis:UpdateShardCount",
            Self::UpdateStreamMode => "kinesis:UpdateStreamMode",
            Self::DeleteStream => "kinesis:DeleteStream",
            Self::ListShards => "kinesis:ListShards",
            Self::GetShardIterator => "kinesis:GetShardIterator",
            Self::GetRecords => "kinesis:GetRecords",
            Self::SubscribeToShard => "kinesis:SubscribeToShard",
            Self::RegisterStreamConsumer => "kinesis:RegisterStreamConsumer",
            Self::DescribeStreamConsumer => "kinesis:DescribeStreamConsumer",
            Self::GetDatabase => "glue:GetDatabase",
            Self::CreateDatabase => "glue:CreateDatabase",
            Self::GetTable => "glue:GetTable",
            Self::CreateTable => "glue:CreateTable",
            Self::UpdateTable => "glue:UpdateTable",
            Self::DeleteTable => "glue:DeleteTable",
            Self::BatchCreatePartition => "glue:BatchCreatePartition",
            Self::PutObject => "s3:PutObject",
            Self::GetObject => "s3:GetObject",
            Self::ListBucket => "s3:ListBucket",
            Self::DeleteObject => "s3:DeleteObject",
            Self::GetBucketVersioning => "s3:GetBucketVersioning",
            Self::GetLifecycleConfiguration => "s3:GetLifecycleConfiguration",
        }
    }

    /// Who makes it.
    pub const fn roles(self) -> &'static [Role] {
        match self {
            Self::DescribeStreamSummary
            | Self::GetTable
            | Self::PutObject
            | Self::GetObject
            | Self::ListBucket
            | Self::DeleteObject => &[Role::Operator, Role::Worker],
            Self::ListTagsForStream
            | Self::CreateStream
            | Self::AddTagsToStream
            | Self::IncreaseStreamRetentionPeriod
            | Self::DecreaseStreamRetentionPeriod
            | Self::StartStreamEncryption
            | Self::UpdateShardCount
            | Self::UpdateStreamMode
            | Self::DeleteStream
            | Self::GetDatabase
            | Self::CreateDatabase
            | Self::CreateTable
            | Self::UpdateTable
            | Self::DeleteTable
            | Self::GetBucketVersioning
            | Self::GetLifecycleConfiguration => &[Role::Operator],
            Self::ListShards
            | Self::GetShardIterator
            | Self::GetRecords
            | Self::SubscribeToShard
            | Self::RegisterStreamConsumer
            | Self::DescribeStreamConsumer
            | Self::BatchCreatePartition => &[Role::Worker],
        }
    }
}

/// What Kinesis and S3 ask AWS KMS in the caller's name, where a key of the caller's own encrypts. A stream's reader decrypts, its
/// administrator describes the key (Kinesis' developer guide, "Permissions to use user-generated KMS keys"); who puts an object
/// needs a data key of it, who gets one decrypts it (S3's user guide, "Using server-side encryption with AWS KMS keys").
pub const fn key_actions(role: Role) -> &'static [&'static str] {
    match role {
        Role::Operator => &["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
        Role::Worker => &["kms:Decrypt", "kms:GenerateDataKey"],
    }
}
