//! The loop: what is watched, and what a change leads to.
//!
//! Owns the watches. Must never decide anything: [`crate::reconcile`] does.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject};
use kube::runtime::controller::{Config as ControllerConfig, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use stockstream_crds::StockStream;
use tokio::time::Instant;

use crate::apply::Owned;
use crate::context::{Context, Regions};
use crate::kinds::Kind;
use crate::metrics::Metrics;
use crate::names;
use crate::reconcile::{chain, on_error, reconcile};
use crate::settings::PodSettings;
use crate::validate::Specs;
use crate::workers::Workers;

/// Pipelines that are reconciled at the same time. Each mostly waits for AWS or Kubernetes.
const AT_ONCE: u16 = 32;

/// Looks at AWS that are under way when the operator is told to end are waited for so long: Kubernetes waits 30 seconds.
const FINISH_WITHIN: Duration = Duration::from_secs(15);

/// What the loop is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that is looked after; all of them when absent.
    pub namespace: Option<String>,
    /// What all pods have in common.
    pub pods: PodSettings,
    /// The name of this process in events.
    pub identity: String,
}

/// Looks after StockStreams until `stop` is ready; reconciles that have begun are finished.
pub async fn run<F>(client: Client, settings: Settings, metrics: Metrics, stop: F)
where
    F: Future<Output = ()> + Send + Sync + 'static,
{
    let pipelines: Api<StockStream> = match &settings.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let config = ControllerConfig::default().concurrency(AT_ONCE);
    let mut controller = Controller::new(pipelines, watcher::Config::default()).with_config(config);
    let mut owned = Owned::new();
    for kind in Kind::ALL {
        if kind == Kind::ServiceMonitor && !settings.pods.has_service_monitors {
            continue;
        }
        let writer = Writer::new(kind.resource());
        owned.insert(kind, writer.as_reader());
        let stream = watch(&client, &settings, kind, writer);
        controller = controller.owns_stream_with(stream, kind.resource());
    }
    let (pods, pod_writer) = reflector::store();
    let pod_api: Api<Pod> = match &settings.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let watching = tokio::spawn(watch_pods(pod_api, pod_writer));
    let reporter = Reporter {
        controller: names::MANAGER.to_owned(),
        instance: Some(settings.identity.clone()),
    };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        settings: settings.pods,
        pipelines: controller.store(),
        owned,
        pods,
        workers: Workers::default(),
        aws: Regions::new(metrics.clone()),
        metrics,
        specs: Specs::default(),
        is_ending: AtomicBool::new(false),
        memories: Mutex::default(),
    });
    controller
        .graceful_shutdown_on(stop)
        .run(timed, on_error, context.clone())
        .for_each(|done| {
            let context = context.clone();
            async move {
                match done {
                    // Told by `on_error`.
                    Ok(_) | Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                    // Deleted before its turn came.
                    Err(kube::runtime::controller::Error::ObjectNotFound(_)) => {
                        context.forget_gone()
                    }
                    Err(error) => tracing::warn!(event = "watch_failed", error = %chain(&error)),
                }
            }
        })
        .await;
    finish(&context).await;
    watching.abort();
}

/// What was asked of AWS and isn't answered yet is waited for, and told: a change that nobody heard of would be asked for again.
async fn finish(context: &Arc<Context>) {
    context.is_ending.store(true, Ordering::Relaxed);
    let until = Instant::now() + FINISH_WITHIN;
    let pipelines = context.pipelines.state();
    let last = pipelines.into_iter().map(|resource| async move {
        let memory = context.memory(&resource.uid().unwrap_or_default());
        let mut memory = memory.lock().await;
        if !memory.is_looking() || resource.metadata.deletion_timestamp.is_some() {
            return;
        }
        memory.settle(until).await;
        drop(memory);
        if let Err(error) = reconcile(resource.clone(), context.clone()).await {
            tracing::warn!(event = "last_reconcile_failed", name = resource.name_any(), error = %chain(&error));
        }
    });
    futures::future::join_all(last).await;
}

async fn timed(
    resource: Arc<StockStream>,
    context: Arc<Context>,
) -> Result<kube::runtime::controller::Action, crate::reconcile::ReconcileError> {
    let begun = Instant::now();
    let done = reconcile(resource.clone(), context.clone()).await;
    let seconds = begun.elapsed().as_secs_f64();
    if done.is_ok() {
        context.metrics.reconciled(seconds, context.pipelines.len());
    }
    tracing::debug!(
        event = "reconciled",
        namespace = resource.namespace(),
        name = resource.name_any(),
        seconds,
    );
    done
}

fn watch(
    client: &Client,
    settings: &Settings,
    kind: Kind,
    writer: Writer<DynamicObject>,
) -> impl Stream<Item = Result<DynamicObject, watcher::Error>> + Send + 'static {
    let resource = kind.resource();
    let api: Api<DynamicObject> = match &settings.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let config = watcher::Config::default().labels(&names::managed_selector());
    watcher(api, config)
        .default_backoff()
        .modify(move |object| {
            object.managed_fields_mut().clear();
            // Versions tell whether it is as it was applied; only a Deployment's status is read.
            if kind != Kind::Deployment {
                object.data = serde_json::Value::Null;
            }
        })
        .reflect(writer)
        .touched_objects()
}

/// Pods are only looked at when a reconcile runs: their Deployment's status wakes it up.
async fn watch_pods(api: Api<Pod>, writer: Writer<Pod>) {
    let config = watcher::Config::default().labels(&names::managed_selector());
    let watched = watcher(api, config)
        .default_backoff()
        .modify(|pod| {
            pod.managed_fields_mut().clear();
            pod.spec = None;
        })
        .reflect(writer)
        .touched_objects();
    let mut watched = std::pin::pin!(watched);
    loop {
        match watched.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(event = "watch_failed", kind = "Pod", error = %chain(&error))
            }
        }
    }
}
