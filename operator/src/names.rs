//! Names, labels and annotations of everything the operator makes.
//!
//! Owns every such text: nothing else spells one out. Must never change one without a way for what exists already.

use std::collections::BTreeMap;

use stockstream_crds::Pipeline;

/// Field manager of server-side apply, and the reporter of events.
pub const MANAGER: &str = "stockstream-operator";
/// Field manager of `status`.
pub const STATUS_MANAGER: &str = "stockstream-operator-status";
/// Held while AWS may hold things that are to be deleted with the pipeline.
pub const FINALIZER: &str = "stockstream.dev/cleanup";
/// On a StockStream that is being deleted: lets it go although what it made in AWS couldn't be deleted.
pub const ABANDON: &str = "stockstream.dev/abandon-aws-resources";
/// On pods: a digest of the pipeline that they were started with.
pub const PIPELINE_DIGEST: &str = "stockstream.dev/pipeline-digest";
/// Label of all that the operator makes, by which it watches them.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label that says which pipeline an object belongs to.
pub const PIPELINE: &str = "stockstream.dev/pipeline";
/// Label that tells workers and dashboard apart.
pub const COMPONENT: &str = "app.kubernetes.io/component";

/// Port of the workers' and the dashboard's HTTP server.
pub const PORT: i32 = 8080;

/// What a pod of a pipeline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Reads shards.
    Worker,
    /// Serves the page.
    Dashboard,
}

impl Component {
    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Dashboard => "dashboard",
        }
    }
}

/// Selector of watches and deletions: all that the operator makes.
pub fn managed_selector() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// Labels of an object that belongs to the pipeline as a whole.
pub fn labels(pipeline: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "stockstream"),
        ("app.kubernetes.io/part-of", "stockstream"),
        ("app.kubernetes.io/instance", pipeline),
        (MANAGED_BY, MANAGER),
        (PIPELINE, pipeline),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Labels of an object of one component.
pub fn component_labels(pipeline: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = labels(pipeline);
    labels.insert(COMPONENT.to_owned(), component.label().to_owned());
    labels
}

/// Labels by which a component's pods are found. A Deployment's selector can't be changed: neither can these.
pub fn selector(pipeline: &str, component: Component) -> BTreeMap<String, String> {
    [(PIPELINE, pipeline), (COMPONENT, component.label())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// The workers' selector as text, for the scale subresource.
pub fn selector_text(pipeline: &str) -> String {
    let parts: Vec<String> = selector(pipeline, Component::Worker)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    parts.join(",")
}

/// Deployment, headless Service and PodDisruptionBudget of the workers.
pub fn workers(pipeline: &str) -> String {
    format!("{pipeline}-workers")
}

/// Deployment and Service of the dashboard.
pub fn dashboard(pipeline: &str) -> String {
    format!("{pipeline}-dashboard")
}

/// The ConfigMap with the pipeline's YAML.
pub fn config_map(pipeline: &str) -> String {
    format!("{pipeline}-pipeline")
}

/// The service account of workers and dashboard.
pub fn service_account(pipeline: &Pipeline) -> String {
    match &pipeline.workers().service_account.name {
        Some(name) => name.clone(),
        None => format!("{}-worker", pipeline.name()),
    }
}

/// `namespace/name`: who a stream or a table belongs to, as its tag says.
pub fn owner(pipeline: &Pipeline) -> String {
    format!("{}/{}", pipeline.namespace(), pipeline.name())
}
