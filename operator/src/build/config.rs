//! The pipeline's YAML as workers get it, and who they are.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::core::ObjectMeta;
use sha2::{Digest, Sha256};
use stockstream_crds::Pipeline;
use stockstream_crds::spec::{DeletionPolicy, StockStream};

use super::{Desired, Maker, desired};
use crate::kinds::Kind;
use crate::names;

/// Key of the ConfigMap and name of the file in the pods.
pub(super) const FILE: &str = "pipeline.yaml";

/// The YAML that a worker reads: the pipeline without what only the operator looks at, so that changing that starts no worker
/// anew.
pub fn worker_yaml(pipeline: &Pipeline) -> String {
    let mut spec = pipeline.resource().spec.clone();
    spec.workers = Default::default();
    spec.dashboard = Default::default();
    spec.suspend = false;
    spec.deletion_policy = DeletionPolicy::default();
    let resource = StockStream {
        metadata: ObjectMeta {
            name: Some(pipeline.name().to_owned()),
            namespace: Some(pipeline.namespace().to_owned()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    };
    let mut value = serde_json::to_value(&resource).unwrap_or_default();
    if let Some(spec) = value
        .pointer_mut("/spec")
        .and_then(|spec| spec.as_object_mut())
    {
        for key in ["workers", "dashboard", "suspend", "deletionPolicy"] {
            spec.remove(key);
        }
    }
    // JSON is YAML: should the writer ever fail, workers read that.
    serde_saphyr::to_string(&value).unwrap_or_else(|_| value.to_string())
}

/// A short digest of what workers read: pods that were started with another one are replaced.
pub(super) fn digest(yaml: &str) -> String {
    let digest = Sha256::digest(yaml.as_bytes());
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Maker<'_> {
    pub(super) fn config_map(&self) -> Desired {
        let name = names::config_map(self.name());
        let object = ConfigMap {
            metadata: self.metadata(&name),
            data: Some(BTreeMap::from([(
                FILE.to_owned(),
                worker_yaml(self.pipeline),
            )])),
            ..ConfigMap::default()
        };
        desired(Kind::ConfigMap, name, &object)
    }

    /// None when the spec names one that somebody else made.
    pub(super) fn service_account(&self) -> Option<Desired> {
        let wished = &self.pipeline.workers().service_account;
        if wished.name.is_some() {
            return None;
        }
        let name = names::service_account(self.pipeline);
        let annotations = &wished.annotations;
        let object = ServiceAccount {
            metadata: ObjectMeta {
                annotations: (!annotations.is_empty()).then(|| annotations.clone()),
                ..self.metadata(&name)
            },
            // Nothing in the pods talks to Kubernetes. EKS brings its own token for AWS.
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        };
        Some(desired(Kind::ServiceAccount, name, &object))
    }
}
