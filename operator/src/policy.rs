//! What is printed for others to install: the CRD, and the IAM policies.
//!
//! Owns which role makes which call. A policy is generated from [`crate::aws::calls`] and never written by hand.

use serde_json::{Value, json};
use stockstream_crds::schema;

use crate::aws::calls::{Call, key_actions};
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
/// `keys`: ARNs of the keys, if any, that encrypt streams and buckets.
pub fn policy(role: Role, keys: &[String]) -> String {
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
                "Resource": service.resources(role),
            }));
        }
    }
    if !keys.is_empty() {
        statements.extend(of_keys(role, keys));
    }
    let policy = json!({"Version": "2012-10-17", "Statement": statements});
    let mut text = serde_json::to_string_pretty(&policy).unwrap_or_default();
    text.push('\n');
    text
}

/// What keys add. They are for Kinesis and S3 alone.
fn of_keys(role: Role, keys: &[String]) -> Vec<Value> {
    let mut statements = vec![json!({
        "Sid": "Keys",
        "Effect": "Allow",
        "Action": key_actions(role),
        "Resource": keys,
        "Condition": {"StringLike": {"kms:ViaService": ["kinesis.*.amazonaws.com", "s3.*.amazonaws.com"]}},
    })];
    let encrypts = Call::StartStreamEncryption;
    if encrypts.roles().contains(&role) {
        // It is about a stream and a key, and both must be named.
        statements.push(json!({
            "Sid": "EncryptStreams",
            "Effect": "Allow",
            "Action": encrypts.action(),
            "Resource": keys,
        }));
    }
    statements
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

    fn resources(self, role: Role) -> Vec<String> {
        match self {
            Self::Streams => {
                let streams = "arn:aws:kinesis:*:*:stream/*";
                // Spelt out, though the first matches them too: for whoever narrows it.
                let consumers = (role == Role::Worker).then(|| format!("{streams}/consumer/*"));
                std::iter::once(streams.to_owned())
                    .chain(consumers)
                    .collect()
            }
            Self::Catalog => ["catalog", "database/*", "table/*"]
                .map(|part| format!("arn:aws:glue:*:*:{part}"))
                .to_vec(),
            Self::Bucket => vec![format!("arn:aws:s3:::{BUCKET}")],
            Self::Objects => vec![format!("arn:aws:s3:::{BUCKET}/*")],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    const ROLES: [(Role, &str); 2] = [
        (Role::Operator, "operator.json"),
        (Role::Worker, "worker.json"),
    ];

    fn checked_in(name: &str) -> PathBuf {
        // Of the checkout that runs this, not of the one that compiled it.
        let crate_root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        PathBuf::from(crate_root).join("../deploy/iam").join(name)
    }

    #[test]
    fn the_policies_that_are_checked_in_are_those_of_the_code() {
        for (role, name) in ROLES {
            let (path, policy) = (checked_in(name), policy(role, &[]));
            if std::env::var_os("STOCKSTREAM_UPDATE_IAM").is_some() {
                std::fs::write(&path, &policy).unwrap();
            }
            assert_eq!(
                std::fs::read_to_string(&path).unwrap_or_default(),
                policy,
                "{} is stale: STOCKSTREAM_UPDATE_IAM=1 cargo test -p stockstream-operator --lib policy",
                path.display()
            );
        }
    }

    #[test]
    fn every_call_is_allowed_once_to_each_role_that_makes_it_and_to_no_other() {
        for (role, _) in ROLES {
            let policy: Value = serde_json::from_str(&policy(role, &[])).unwrap();
            let statements = policy["Statement"].as_array().unwrap().iter();
            let allowed: Vec<&str> = statements
                .flat_map(|statement| statement["Action"].as_array().unwrap())
                .map(|action| action.as_str().unwrap())
                .collect();
            let calls = Call::ALL.iter();
            let made: BTreeSet<&str> = calls
                .filter(|call| call.roles().contains(&role))
                .map(|call| call.action())
                .collect();
            assert_eq!(allowed.len(), made.len(), "{role:?}");
            assert_eq!(BTreeSet::from_iter(allowed), made, "{role:?}");
        }
    }

    #[test]
    fn keys_are_allowed_by_name_and_only_through_kinesis_and_s3() {
        let keys = ["arn:aws:kms:us-east-1:123456789012:key/k".to_owned()];
        for (role, _) in ROLES {
            let policy: Value = serde_json::from_str(&policy(role, &keys)).unwrap();
            let statements = policy["Statement"].as_array().unwrap();
            let of = |sid: &str| statements.iter().find(|one| one["Sid"] == sid).cloned();
            let kms = of("Keys").unwrap();
            assert_eq!(kms["Resource"], json!(keys));
            assert_eq!(kms["Action"], json!(key_actions(role)));
            assert!(kms["Condition"]["StringLike"]["kms:ViaService"].is_array());
            assert_eq!(of("EncryptStreams").is_some(), role == Role::Operator);
        }
    }
}
