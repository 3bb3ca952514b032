//! The Deployments of workers and dashboard.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
    TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::config::{FILE, digest, worker_yaml};
use super::network::PORT_NAME;
use super::{Desired, Maker, desired};
use crate::kinds::Kind;
use crate::names::{self, Component, PORT};

/// Where the ConfigMap lies in the pods.
const CONFIG_DIRECTORY: &str = "/etc/stockstream";
/// The user that the image names too: nobody's.
const USER: i64 = 65_532;
/// A worker seals and publishes what it has before it goes: seconds, and a store that is slow just then takes longer.
const GRACE_SECONDS: i64 = 60;
/// Old ReplicaSets kept for `kubectl rollout undo`.
const REVISIONS: i32 = 3;
/// A roll-out that makes no progress for so long is told of.
const PROGRESS_SECONDS: i32 = 120;

impl Maker<'_> {
    pub(super) fn workers(&self, replicas: u32) -> Desired {
        let listen = format!("0.0.0.0:{PORT}");
        let advertise = format!("$(POD_IP):{PORT}");
        let arguments = [
            "worker",
            "--file",
            &format!("{CONFIG_DIRECTORY}/{FILE}"),
            "--listen",
            &listen,
            "--advertise",
            &advertise,
            "--name",
            "$(POD_NAME)",
            "--log-format",
            "json",
        ];
        let name = names::workers(self.name());
        // One more before one fewer: shards are handed over to pods that are ready.
        let rolling = RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        };
        let object = self.deployment(&name, Component::Worker, replicas, &arguments, rolling);
        desired(Kind::Deployment, name, &object)
    }

    pub(super) fn dashboard(&self, replicas: u32) -> Desired {
        let arguments = [
            "dashboard",
            "--file",
            &format!("{CONFIG_DIRECTORY}/{FILE}"),
            "--listen",
            &format!("0.0.0.0:{PORT}"),
            "--log-format",
            "json",
        ];
        let name = names::dashboard(self.name());
        let rolling = RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        };
        let object = self.deployment(&name, Component::Dashboard, replicas, &arguments, rolling);
        desired(Kind::Deployment, name, &object)
    }

    fn deployment(
        &self,
        name: &str,
        component: Component,
        replicas: u32,
        arguments: &[&str],
        rolling: RollingUpdateDeployment,
    ) -> Deployment {
        Deployment {
            metadata: self.component_metadata(name, component),
            spec: DeploymentSpec {
                replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
                selector: LabelSelector {
                    match_labels: Some(names::selector(self.name(), component)),
                    ..LabelSelector::default()
                },
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(rolling),
                }),
                revision_history_limit: Some(REVISIONS),
                progress_deadline_seconds: Some(PROGRESS_SECONDS),
                template: self.template(component, arguments),
                ..DeploymentSpec::default()
            },
            status: None,
        }
    }

    fn template(&self, component: Component, arguments: &[&str]) -> PodTemplateSpec {
        let workers = self.pipeline.workers();
        let mut labels = workers.pod_labels.clone();
        labels.extend(names::component_labels(self.name(), component));
        let mut annotations = workers.pod_annotations.clone();
        annotations.insert(
            names::PIPELINE_DIGEST.to_owned(),
            digest(&worker_yaml(self.pipeline)),
        );
        let secrets = &self.settings.image_pull_secrets;
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec {
                service_account_name: Some(names::service_account(self.pipeline)),
                automount_service_account_token: Some(false),
                enable_service_links: Some(false),
                image_pull_secrets: (!secrets.is_empty()).then(|| {
                    let names = secrets.iter().cloned();
                    names.map(|name| LocalObjectReference { name }).collect()
                }),
                node_selector: (!workers.node_selector.is_empty())
                    .then(|| workers.node_selector.clone()),
                tolerations: (!workers.tolerations.is_empty()).then(|| workers.tolerations.clone()),
                termination_grace_period_seconds: Some(GRACE_SECONDS),
                security_context: Some(PodSecurityContext {
                    run_as_non_root: Some(true),
                    run_as_user: Some(USER),
                    run_as_group: Some(USER),
                    fs_group: Some(USER),
                    seccomp_profile: Some(SeccompProfile {
                        type_: "RuntimeDefault".to_owned(),
                        ..SeccompProfile::default()
                    }),
                    ..PodSecurityContext::default()
                }),
                topology_spread_constraints: (component == Component::Worker)
                    .then(|| vec![self.spread("kubernetes.io/hostname")]),
                containers: vec![self.container(component, arguments)],
                volumes: Some(vec![
                    Volume {
                        name: "pipeline".to_owned(),
                        config_map: Some(ConfigMapVolumeSource {
                            name: names::config_map(self.name()),
                            ..ConfigMapVolumeSource::default()
                        }),
                        ..Volume::default()
                    },
                    Volume {
                        name: "tmp".to_owned(),
                        empty_dir: Some(EmptyDirVolumeSource::default()),
                        ..Volume::default()
                    },
                ]),
                ..PodSpec::default()
            }),
        }
    }

    fn spread(&self, topology: &str) -> TopologySpreadConstraint {
        TopologySpreadConstraint {
            max_skew: 1,
            topology_key: topology.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(names::selector(self.name(), Component::Worker)),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        }
    }

    fn container(&self, component: Component, arguments: &[&str]) -> Container {
        let workers = self.pipeline.workers();
        let resources = match component {
            Component::Worker => workers.resources.clone(),
            Component::Dashboard => None,
        };
        Container {
            name: component.label().to_owned(),
            image: Some(self.settings.image.clone()),
            image_pull_policy: self.settings.image_pull_policy.clone(),
            args: Some(arguments.iter().map(|&text| text.to_owned()).collect()),
            env: Some(self.environment()),
            ports: Some(vec![ContainerPort {
                name: Some(PORT_NAME.to_owned()),
                container_port: PORT,
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]),
            resources: Some(resources.unwrap_or_else(default_resources)),
            // Why a worker ended is told by its last lines, which the status repeats.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            // A worker is alive as long as it answers: what keeps a shard from going on is told of, and no restart mends it.
            liveness_probe: Some(Probe {
                period_seconds: Some(10),
                failure_threshold: Some(6),
                timeout_seconds: Some(5),
                ..probe("/healthz")
            }),
            readiness_probe: Some(Probe {
                period_seconds: Some(1),
                failure_threshold: Some(3),
                timeout_seconds: Some(2),
                ..probe(match component {
                    Component::Worker => "/readyz",
                    // It reads no shard that could be out of order.
                    Component::Dashboard => "/healthz",
                })
            }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                run_as_non_root: Some(true),
                capabilities: Some(Capabilities {
                    drop: Some(vec!["ALL".to_owned()]),
                    ..Capabilities::default()
                }),
                ..SecurityContext::default()
            }),
            volume_mounts: Some(vec![
                VolumeMount {
                    name: "pipeline".to_owned(),
                    mount_path: CONFIG_DIRECTORY.to_owned(),
                    read_only: Some(true),
                    ..VolumeMount::default()
                },
                VolumeMount {
                    name: "tmp".to_owned(),
                    mount_path: "/tmp".to_owned(),
                    ..VolumeMount::default()
                },
            ]),
            ..Container::default()
        }
    }

    /// The operator's, then the pipeline's own, which wins, then what the arguments name, which nobody can take away. Each name
    /// once: server-side apply takes no list with two.
    fn environment(&self) -> Vec<EnvVar> {
        let own =
            [("POD_NAME", "metadata.name"), ("POD_IP", "status.podIP")].map(|(name, path)| {
                EnvVar {
                    name: name.to_owned(),
                    value_from: Some(EnvVarSource {
                        field_ref: Some(ObjectFieldSelector {
                            field_path: path.to_owned(),
                            ..ObjectFieldSelector::default()
                        }),
                        ..EnvVarSource::default()
                    }),
                    ..EnvVar::default()
                }
            });
        let all = self.settings.env.iter().chain(&self.pipeline.workers().env);
        let mut variables: Vec<EnvVar> = Vec::new();
        for variable in all.chain(&own) {
            variables.retain(|other| other.name != variable.name);
            variables.push(variable.clone());
        }
        variables
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    }
}

/// Enough for dozens of shards; measured in docs/performance.md.
fn default_resources() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, quantity)| ((*name).to_owned(), Quantity((*quantity).to_owned())))
            .collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", "100m"), ("memory", "128Mi")])),
        limits: Some(quantities(&[("memory", "1Gi")])),
        ..ResourceRequirements::default()
    }
}
