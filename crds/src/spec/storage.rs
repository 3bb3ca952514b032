//! How objects are stored: `spec.storage`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How rows, rejects and state are stored in S3. Nothing here says what they mean, so that all of it may be changed at
/// any time; objects that exist stay as they are.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// How S3 encrypts what is written. Without it the bucket's default applies, which on AWS is SSE-S3 unless
    /// its owner chose another. Paths on a disk (`file://`) aren't encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

/// How S3 encrypts what is written. Exactly one of `sseS3` and `sseKms`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.sseS3) != has(self.sseKms)")
        .message("exactly one of sseS3 and sseKms must be given")
)]
pub struct Encryption {
    /// Keys that S3 holds (SSE-S3, AES-256): `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse_s3: Option<SseS3>,

    /// A key in AWS KMS (SSE-KMS). The workers' role needs kms:GenerateDataKey and kms:Decrypt on it, readers
    /// kms:Decrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse_kms: Option<SseKms>,
}

/// Keys that S3 holds. It has no settings.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub struct SseS3 {}

/// A key in AWS KMS.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SseKms {
    /// The key's ARN, id or alias (`alias/NAME`). Default: the account's own key for S3, `aws/s3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 2048),
        regex(
            pattern = "^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[a-zA-Z0-9/_-]+|alias/[a-zA-Z0-9/_-]+|mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"
        )
    )]
    pub key_id: Option<String>,

    /// Whether S3 asks KMS once for many objects (an S3 Bucket Key), which makes KMS far cheaper. Default: as the
    /// bucket says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_key: Option<bool>,
}
