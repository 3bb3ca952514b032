//! What an operator is told at its start about the pods it makes.
//!
//! Owns these settings as plain values. Must never read the environment: [`crate::cli`] does.

use k8s_openapi::api::core::v1::EnvVar;

/// What all pods have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodSettings {
    /// Image of workers and dashboards.
    pub image: String,
    /// `imagePullPolicy`; Kubernetes' own default when absent.
    pub image_pull_policy: Option<String>,
    /// Names of Secrets by which images are pulled.
    pub image_pull_secrets: Vec<String>,
    /// Environment of every pod, such as an endpoint; a pipeline's own comes after it and wins.
    pub env: Vec<EnvVar>,
    /// The namespace that the operator runs in: workers let it ask them.
    pub operator_namespace: Option<String>,
    /// Namespaces whose pods may read the workers' metrics.
    pub monitoring_namespaces: Vec<String>,
    /// Whether the cluster knows ServiceMonitors.
    pub has_service_monitors: bool,
}
