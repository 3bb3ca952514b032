//! The kinds of objects that a pipeline owns.
//!
//! Owns the list: what is watched, applied and pruned are these kinds and no others.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind that the operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The pipeline's YAML.
    ConfigMap,
    /// Who the pods are.
    ServiceAccount,
    /// How workers and dashboard are found.
    Service,
    /// Who may connect to them.
    NetworkPolicy,
    /// How many workers may be evicted at once.
    PodDisruptionBudget,
    /// Workers and dashboard.
    Deployment,
    /// How Prometheus finds them, where it knows that kind.
    ServiceMonitor,
}

impl Kind {
    /// All kinds, in the order in which they are applied: what pods need comes before them.
    pub const ALL: [Self; 7] = [
        Self::ConfigMap,
        Self::ServiceAccount,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::Deployment,
        Self::ServiceMonitor,
    ];

    /// Group, version, kind and plural.
    pub fn resource(self) -> ApiResource {
        let (group, version, kind) = match self {
            Self::ConfigMap => ("", "v1", "ConfigMap"),
            Self::ServiceAccount => ("", "v1", "ServiceAccount"),
            Self::Service => ("", "v1", "Service"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget"),
            Self::Deployment => ("apps", "v1", "Deployment"),
            Self::ServiceMonitor => ("monitoring.coreos.com", "v1", "ServiceMonitor"),
        };
        let plural = match self {
            Self::NetworkPolicy => "networkpolicies".to_owned(),
            _ => format!("{}s", kind.to_lowercase()),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
    }

    /// The kind's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Deployment => "Deployment",
            Self::ServiceMonitor => "ServiceMonitor",
        }
    }
}
