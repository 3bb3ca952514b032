//! How pods are found, who may connect to them, and how many may go at once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::{Desired, Maker, desired};
use crate::kinds::Kind;
use crate::names::{self, Component, PORT};

/// Name of the port in Services and pods.
pub(super) const PORT_NAME: &str = "http";

/// The label that Kubernetes itself puts on each namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

impl Maker<'_> {
    /// Gives each worker a name of its own; workers find one another by the state, not by this.
    pub(super) fn headless_service(&self) -> Desired {
        let name = names::workers(self.name());
        let object = self.service(&name, Component::Worker, Some("None"));
        desired(Kind::Service, name, &object)
    }

    pub(super) fn dashboard_service(&self) -> Desired {
        let name = names::dashboard(self.name());
        let object = self.service(&name, Component::Dashboard, None);
        desired(Kind::Service, name, &object)
    }

    fn service(&self, name: &str, component: Component, cluster_ip: Option<&str>) -> Service {
        Service {
            metadata: self.component_metadata(name, component),
            spec: Some(ServiceSpec {
                selector: Some(names::selector(self.name(), component)),
                cluster_ip: cluster_ip.map(str::to_owned),
                ports: Some(vec![ServicePort {
                    name: Some(PORT_NAME.to_owned()),
                    port: PORT,
                    protocol: Some("TCP".to_owned()),
                    target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                    ..ServicePort::default()
                }]),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    /// Connections to the pods only from the pipeline's own pods, the operator and Prometheus. The page is for `kubectl
    /// port-forward`, which comes from the node, or for whoever the user lets in by a policy of their own. Where pods
    /// connect to is left open: AWS has no addresses that could be named.
    pub(super) fn network_policy(&self) -> Desired {
        let name = names::workers(self.name());
        let own = NetworkPolicyPeer {
            pod_selector: Some(LabelSelector {
                match_labels: Some(BTreeMap::from([(
                    names::PIPELINE.to_owned(),
                    self.name().to_owned(),
                )])),
                ..LabelSelector::default()
            }),
            ..NetworkPolicyPeer::default()
        };
        let namespaces = self
            .settings
            .operator_namespace
            .iter()
            .chain(&self.settings.monitoring_namespaces);
        let others = namespaces.map(|namespace| NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector {
                match_labels: Some(BTreeMap::from([(
                    NAMESPACE_NAME.to_owned(),
                    namespace.clone(),
                )])),
                ..LabelSelector::default()
            }),
            ..NetworkPolicyPeer::default()
        });
        let object = NetworkPolicy {
            metadata: self.metadata(&name),
            spec: Some(NetworkPolicySpec {
                pod_selector: own.pod_selector.clone(),
                policy_types: Some(vec!["Ingress".to_owned()]),
                ingress: Some(vec![NetworkPolicyIngressRule {
                    from: Some(std::iter::once(own).chain(others).collect()),
                    ports: Some(vec![NetworkPolicyPort {
                        port: Some(IntOrString::String(PORT_NAME.to_owned())),
                        protocol: Some("TCP".to_owned()),
                        ..NetworkPolicyPort::default()
                    }]),
                }]),
                ..NetworkPolicySpec::default()
            }),
        };
        desired(Kind::NetworkPolicy, name, &object)
    }

    /// A drained node takes one worker at a time, however many there are.
    pub(super) fn disruption_budget(&self) -> Desired {
        let name = names::workers(self.name());
        let object = PodDisruptionBudget {
            metadata: self.component_metadata(&name, Component::Worker),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(LabelSelector {
                    match_labels: Some(names::selector(self.name(), Component::Worker)),
                    ..LabelSelector::default()
                }),
                // A pod that can't become ready must not keep a node from being drained.
                unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: None,
        };
        desired(Kind::PodDisruptionBudget, name, &object)
    }

    pub(super) fn service_monitor(&self) -> Desired {
        let name = names::workers(self.name());
        let object = json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": self.component_metadata(&name, Component::Worker),
            "spec": {
                "selector": {"matchLabels": names::selector(self.name(), Component::Worker)},
                "endpoints": [{"port": PORT_NAME, "path": "/metrics"}],
                // Each series says which pipeline it is about.
                "targetLabels": [names::PIPELINE],
            },
        });
        desired(Kind::ServiceMonitor, name, &object)
    }
}
