//! From a pipeline to the objects that it is made of in Kubernetes.
//!
//! Owns what those objects say. Pure: the same pipeline, settings and scale always give the same objects, and nothing here
//! can fail. Must never set a field that it has no opinion on: others may own it.

mod config;
mod network;
mod pods;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use serde_json::Value;
use stockstream_crds::Pipeline;

use crate::kinds::Kind;
use crate::names;
use crate::settings::PodSettings;

pub use config::worker_yaml;

/// How many pods there shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Worker pods.
    pub workers: u32,
    /// Dashboard pods: one or none.
    pub dashboard: u32,
}

impl Scale {
    /// Workers that the spec asks for, but no more than there are shards to read; none while suspended.
    pub fn of(pipeline: &Pipeline, open_shards: u32) -> Self {
        if pipeline.is_suspended() {
            return Self {
                workers: 0,
                dashboard: 0,
            };
        }
        Self {
            workers: pipeline.workers().replicas.min(open_shards.max(1)),
            dashboard: u32::from(pipeline.dashboard_enabled()),
        }
    }
}

/// An object as it shall be, for server-side apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Its kind.
    pub kind: Kind,
    /// Its name; its namespace is the pipeline's.
    pub name: String,
    /// The whole object, as JSON.
    pub body: Value,
}

/// Every object of a pipeline, in the order in which they are applied. `owner` refers to the StockStream; `settings` are the
/// operator's own.
pub fn build(
    pipeline: &Pipeline,
    owner: &OwnerReference,
    settings: &PodSettings,
    scale: Scale,
) -> Vec<Desired> {
    let maker = Maker {
        pipeline,
        owner,
        settings,
    };
    let mut objects = vec![maker.config_map()];
    objects.extend(maker.service_account());
    objects.push(maker.headless_service());
    objects.push(maker.network_policy());
    objects.push(maker.disruption_budget());
    objects.push(maker.workers(scale.workers));
    if pipeline.dashboard_enabled() {
        objects.push(maker.dashboard_service());
        objects.push(maker.dashboard(scale.dashboard));
    }
    if settings.has_service_monitors {
        objects.push(maker.service_monitor());
    }
    objects.sort_by_key(|object| object.kind);
    objects
}

/// What every object is made from.
struct Maker<'a> {
    pipeline: &'a Pipeline,
    owner: &'a OwnerReference,
    settings: &'a PodSettings,
}

impl Maker<'_> {
    fn name(&self) -> &str {
        self.pipeline.name()
    }

    fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.pipeline.namespace().to_owned()),
            labels: Some(names::labels(self.name())),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }

    fn component_metadata(&self, name: &str, component: names::Component) -> ObjectMeta {
        ObjectMeta {
            labels: Some(names::component_labels(self.name(), component)),
            ..self.metadata(name)
        }
    }
}

/// An object's JSON. The types of k8s-openapi have nothing in them that JSON has no form for.
fn desired(kind: Kind, name: String, object: &impl Serialize) -> Desired {
    Desired {
        kind,
        name,
        body: serde_json::to_value(object).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
