//! What is printed for others to install: the CRD, and the IAM policies.
//!
//! Owns which role makes which call. A policy is generated from [`crate::aws::calls`] and never written by hand.

use serde_json::{Value, json};
use stockstream_crds::schema;

use crate::aws::calls::Call;
use crate::cli::Role;

/// The CustomResourceDefinition as YAML.
///
/// # Errors
/// When it couldn't be written.
pub fn custom_resource_definition() -> anyhow::Result<String> {
    Ok(serde_saphyr::to_string(
        &schema::custom_resource_definition(),
    )?)
}

/// Put your bucket's name in its place.
const BUCKET: &str = "YOUR-BUCKET";

/// The least-privilege policy of a role, as JSON. Streams, tables and the bucket can be narrowed further by their names.
pub fn policy(role: Role) -> String {
    let mut statements: Vec<Value> = Vec::new();
    for service in Service::ALL {
        let mut actions: Vec<&str> = Call::ALL
            .iter()
            .filter(|call| call.roles().contains(&role) && service.has(call.action()))
            .map(|call| call.action())
            .collect();
        actions.sort_unstable();
        if !actions.is_empty() {
            statements.push(json!({
                "Sid": service.name(),
                "Effect": "Allow",
                "Action": actions,
                "Resource": service.resources(),
            }));
        }
    }
    let policy = json!({"Version": "2012-10-17", "Statement": statements});
    let mut text = serde_json::to_string_pretty(&policy).unwrap_or_default();
    text.push('\n');
    text
}

#[derive(Clone, Copy)]
enum Service {
    Streams,
    Catalog,
    Bucket,
    Objects,
}

impl Service {
    const ALL: [Self; 4] = [Self::Streams, Self::Catalog, Self::Bucket, Self::Objects];

    const fn name(self) -> &'static str {
        match self {
            Self::Streams => "Streams",
            Self::Catalog => "Catalog",
            Self::Bucket => "Bucket",
            Self::Objects => "Objects",
        }
    }

    fn has(self, action: &str) -> bool {
        match self {
            Self::Streams => action.starts_with("kinesis:"),
            Self::Catalog => action.starts_with("glue:"),
            Self::Bucket => action.starts_with("s3:") && !action.ends_with("Object"),
            Self::Objects => action.starts_with("s3:") && action.ends_with("Object"),
        }
    }

    fn resources(self) -> Vec<String> {
        match self {
            Self::Streams => vec![
                "arn:aws:kinesis:*:*:stream/*".to_owned(),
                "arn:aws:kinesis:*:*:stream/*/consumer/*".to_owned(),
            ],
            Self::Catalog => ["catalog", "database/*", "table/*"]
                .map(|part| format!("arn:aws:glue:*:*:{part}"))
                .to_vec(),
            Self::Bucket => vec![format!("arn:aws:s3:::{BUCKET}")],
            Self::Objects => vec![format!("arn:aws:s3:::{BUCKET}/*")],
        }
    }
}
