//! One reconcile of one StockStream: dereference → validate → provision → build → apply → status.
//!
//! Owns the order, and what is left undone when a part fails: only what needs that part. Must never wait for AWS to be done
//! with something: it comes back.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use stockstream_crds::spec::{API_VERSION, DeletionPolicy, KIND, StockStreamStatus};
use stockstream_crds::{Pipeline, StockStream};
use tokio::time::Instant;

use crate::apply::{self, ApplyError};
use crate::aws::storage::places;
use crate::aws::stream_plan::Owner;
use crate::aws::table_plan::tables;
use crate::aws::{Standing, State};
use crate::build::{Scale, build};
use crate::claims::{Claimant, Conflict, conflict};
use crate::context::Context;
use crate::events;
use crate::finalize;
use crate::kinds::Kind;
use crate::memory::{Look, Memory, backed_off};
use crate::names;
use crate::status::{self, Findings, Rollout, refusal};
use crate::workers::Told;

/// The region of buckets when no stream and no catalog names one.
const DEFAULT_REGION: &str = "us-east-1";

/// A pipeline that can't be looked after is looked at again after this: a conflict may be over.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// What is said while pods and Deployments can't be seen.
const UNSEEN: &str = "pods and Deployments couldn't be listed: the operator's role must allow list and watch of both, as the chart's does; nothing is known of the workers";

/// Why a reconcile broke off. Everything else is a condition.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Kubernetes didn't take the status or the finalizer.
    #[error("{action} of StockStream {name} failed: {detail}")]
    Kubernetes {
        /// What was tried.
        action: &'static str,
        /// On what.
        name: String,
        /// Why, in the API server's words.
        detail: String,
    },
    /// An object couldn't be deleted.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl ReconcileError {
    /// Of a call of Kubernetes on a StockStream.
    pub fn kubernetes(action: &'static str, name: &str, source: kube::Error) -> Self {
        Self::Kubernetes {
            action,
            name: name.to_owned(),
            detail: apply::words(&source),
        }
    }
}

/// Brings one StockStream nearer to its spec and says when to look again.
///
/// # Errors
/// When not even the status could be written.
pub async fn reconcile(
    resource: Arc<StockStream>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let Some(uid) = resource.uid() else {
        return Ok(Action::await_change()); // never: the API server gives each one
    };
    let memory = context.memory(&uid);
    let mut memory = memory.lock().await;
    let action = match resource.metadata.deletion_timestamp {
        Some(_) => finalize::finalize(&resource, &context).await?,
        None => ensure(&resource, &context, &mut memory).await?,
    };
    memory.failures = 0;
    Ok(action)
}

/// What is done after a reconcile that broke off.
pub fn on_error(
    resource: Arc<StockStream>,
    error: &ReconcileError,
    context: Arc<Context>,
) -> Action {
    let uid = resource.uid().unwrap_or_default();
    let memory = context.memory(&uid);
    let failures = match memory.try_lock() {
        Ok(mut memory) => {
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        }
        Err(_) => 1,
    };
    context.metrics.failed();
    tracing::warn!(
        event = "reconcile_failed",
        namespace = resource.namespace(),
        name = resource.name_any(),
        failures,
        error = %chain(error),
    );
    Action::requeue(backed_off(failures))
}

/// An error and its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

async fn ensure(
    resource: &Arc<StockStream>,
    context: &Context,
    memory: &mut Memory,
) -> Result<Action, ReconcileError> {
    // An operator that has just started must not tell of workers that are gone only because it hasn't looked yet.
    let has_seen = context.has_seen_pods().await;
    let now = Timestamp::now();
    // The watch may not have brought yet what was written a moment ago.
    let written = memory.written();
    let before = written.as_ref().or(resource.status.as_ref());
    let generation = resource.metadata.generation.unwrap_or(0);

    // Validate.
    let pipeline = match validate(resource, context) {
        Ok(pipeline) => pipeline,
        Err(refused) => {
            let status = refused.status(before, generation, now);
            write_status(resource, context, before, &status).await?;
            memory.wrote(&status);
            return Ok(Action::requeue(REFUSED_AGAIN));
        }
    };
    ensure_finalizer(resource, context, &pipeline).await?;
    let owner = Owner {
        name: names::owner(&pipeline),
        uid: resource.uid().unwrap_or_default(),
    };

    // Provision. What AWS has is looked at all at once: one part that is slow or down holds up no other.
    recall_scalings(memory, before);
    provision(&pipeline, &owner, generation, memory, context, now).await;
    announce(resource, context, memory).await;

    // Build and apply.
    let facts = memory
        .stream
        .as_ref()
        .and_then(|look| look.found.facts.as_ref());
    let open = facts
        .map(|facts| facts.open_shards)
        .or_else(|| Some(u32::try_from(before?.stream.as_ref()?.open_shards).unwrap_or(1)));
    let scale = Scale::of(&pipeline, open.unwrap_or(pipeline.workers().replicas));
    let workers = names::workers(pipeline.name());
    let exists = apply::find(
        &context.owned,
        Kind::Deployment,
        pipeline.namespace(),
        &workers,
    )
    .is_some();
    let mut apply_error = (!has_seen).then(|| UNSEEN.to_owned());
    if exists || may_start(memory) {
        let reference = owner_reference(resource);
        let objects = build(&pipeline, &reference, &context.settings, scale);
        let applied = apply::apply(
            &context.client,
            pipeline.namespace(),
            &owner.uid,
            &objects,
            &context.owned,
            &mut memory.applied,
        )
        .await;
        match applied {
            Ok(calls) => context.metrics.applied(calls),
            Err(error) => apply_error = Some(chain(&error)),
        }
    }

    // Status.
    let pods = pods_of(context, &pipeline);
    let rollout = rollout(context, memory, &pipeline, &pods);
    let (told, is_fresh) = ask(context, memory, &pods).await;
    let nothing = Standing::new(State::Waiting, "NotLookedAt", "");
    let findings = Findings {
        pipeline: &pipeline,
        generation,
        owner: &owner,
        stream: memory
            .stream
            .as_ref()
            .map(|look| (&look.found.standing, look.found.facts.as_ref())),
        scalings: &memory.scalings,
        catalog: memory
            .catalog
            .as_ref()
            .map(|look| (&look.found.standing, look.found.is_ours)),
        storage: memory.storage.as_ref().map_or(&nothing, |look| &look.found),
        rollout: rollout.as_ref(),
        apply_error: apply_error.as_deref(),
        scale,
        image: &context.settings.image,
        told: (!pods.is_empty()).then_some(&told),
        tick_rate: memory.tick_rate,
        now,
    };
    let status = status::status(before, &findings);
    let is_new = write_status(resource, context, before, &status).await?;
    if is_new {
        memory.wrote(&status);
    }
    match (is_new, is_fresh) {
        (true, _) => memory.quiet = 0,
        (false, true) => memory.quiet = memory.quiet.saturating_add(1),
        (false, false) => {}
    }
    Ok(Action::requeue(again(
        memory,
        &status,
        apply_error.is_some(),
    )))
}

/// When to look again: when a part is due, or the workers are to be asked.
fn again(memory: &Memory, status: &StockStreamStatus, failed: bool) -> Duration {
    let is_ready = status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let ask = match is_ready && !failed {
        true => memory.ask_again(),
        // What comes next is mostly told by a watch; workers' own conditions aren't.
        false => Duration::from_secs(5),
    };
    let due = memory
        .due()
        .map(|due| due.saturating_duration_since(Instant::now()));
    due.map_or(ask, |due| due.min(ask))
        .max(Duration::from_millis(500))
}

/// Why a StockStream isn't looked after.
enum Refused {
    Invalid(String),
    Files,
    Conflict(Conflict),
}

impl Refused {
    fn status(
        &self,
        before: Option<&StockStreamStatus>,
        generation: i64,
        now: Timestamp,
    ) -> StockStreamStatus {
        match self {
            Self::Invalid(message) => {
                status::refused(before, generation, refusal::INVALID, message, now)
            }
            Self::Files => status::refused(
                before,
                generation,
                refusal::FILES,
                "spec.source.files: files are read by `stockstream worker -f` where they lie; in a cluster, spec.source.kinesis is read",
                now,
            ),
            Self::Conflict(conflict) => status::conflicted(before, generation, conflict, now),
        }
    }
}

fn validate(resource: &StockStream, context: &Context) -> Result<Pipeline, Refused> {
    let pipeline =
        Pipeline::from_resource(resource).map_err(|errors| Refused::Invalid(errors.to_string()))?;
    if pipeline.kinesis().is_none() {
        return Err(Refused::Files);
    }
    let own = claimant(resource, pipeline);
    let others: Vec<Claimant> = context
        .pipelines
        .state()
        .iter()
        // One that is being deleted has what it has until all of it is gone.
        .filter(|other| {
            other.metadata.deletion_timestamp.is_none()
                || other.finalizers().iter().any(|own| own == names::FINALIZER)
        })
        .filter_map(|other| Some(claimant(other, Pipeline::from_resource(other).ok()?)))
        .collect();
    match conflict(&own, &others) {
        Some(conflict) => Err(Refused::Conflict(conflict)),
        None => Ok(own.pipeline),
    }
}

fn claimant(resource: &StockStream, pipeline: Pipeline) -> Claimant {
    Claimant {
        pipeline,
        created: resource.creation_timestamp().map(|time| time.0),
    }
}

/// The finalizer is there as long as something is to be deleted with the pipeline, and no longer: a StockStream whose stream and
/// data are kept goes at once, whether the operator runs or not.
async fn ensure_finalizer(
    resource: &StockStream,
    context: &Context,
    pipeline: &Pipeline,
) -> Result<(), ReconcileError> {
    let is_wanted = pipeline.deletion_policy() == DeletionPolicy::Delete;
    let has = resource
        .finalizers()
        .iter()
        .any(|own| own == names::FINALIZER);
    if is_wanted == has {
        return Ok(());
    }
    let mut finalizers: Vec<String> = resource.finalizers().to_vec();
    finalizers.retain(|own| own != names::FINALIZER);
    if is_wanted {
        finalizers.push(names::FINALIZER.to_owned());
    }
    finalize::set_finalizers(resource, context, &finalizers).await
}

/// Changes of the number of shards that an operator before this one asked for.
fn recall_scalings(memory: &mut Memory, before: Option<&StockStreamStatus>) {
    let stream = before.and_then(|status| status.stream.as_ref());
    for text in stream
        .map(|stream| stream.scalings.as_slice())
        .unwrap_or_default()
    {
        if let Ok(at) = text.parse::<Timestamp>()
            && !memory.scalings.contains(&at)
        {
            memory.scalings.push(at);
        }
    }
    memory.scalings.sort_unstable();
}

async fn provision(
    pipeline: &Pipeline,
    owner: &Owner,
    generation: i64,
    memory: &mut Memory,
    context: &Context,
    wall: Timestamp,
) {
    let now = Instant::now();
    let holds_stream = memory
        .stream
        .as_ref()
        .is_some_and(|look| look.holds(generation, now));
    let holds_catalog = memory
        .catalog
        .as_ref()
        .is_some_and(|look| look.holds(generation, now));
    let holds_storage = memory
        .storage
        .as_ref()
        .is_some_and(|look| look.holds(generation, now));
    let scalings = memory.scalings.clone();
    let stream = async {
        let kinesis = pipeline.kinesis().filter(|_| !holds_stream)?;
        let clients = context.aws.of(&kinesis.region).await;
        let look = clients.streams.reconcile(kinesis, owner, &scalings, wall);
        Some(look.await)
    };
    let catalog = async {
        let catalog = pipeline.catalog().filter(|_| !holds_catalog)?;
        let clients = context.aws.of(&catalog.region).await;
        let wishes = tables(pipeline);
        Some(clients.catalogs.reconcile(catalog, &wishes, owner).await)
    };
    let storage = async {
        if holds_storage {
            return None;
        }
        let clients = context.aws.of(region(pipeline)).await;
        Some(
            clients
                .buckets
                .look(&places(pipeline), pipeline.encryption())
                .await,
        )
    };
    let (stream, catalog, storage) = tokio::join!(stream, catalog, storage);
    let now = Instant::now();
    if let Some(found) = stream {
        memory.scalings.extend(&found.scaled);
        memory.stream = Some(Look::new(found, generation, memory.stream.as_ref(), now));
    }
    match catalog {
        Some(found) => {
            memory.catalog = Some(Look::new(found, generation, memory.catalog.as_ref(), now));
        }
        None if pipeline.catalog().is_none() => memory.catalog = None,
        None => {}
    }
    if let Some(found) = storage {
        memory.storage = Some(Look::new(found, generation, memory.storage.as_ref(), now));
    }
}

/// The region of a pipeline's buckets, where nothing else says it.
pub fn region(pipeline: &Pipeline) -> &str {
    match (pipeline.kinesis(), pipeline.catalog()) {
        (Some(kinesis), _) => &kinesis.region,
        (None, Some(catalog)) => &catalog.region,
        (None, None) => DEFAULT_REGION,
    }
}

/// Workers are started once what they can't do without was there: the stream and the buckets.
fn may_start(memory: &Memory) -> bool {
    let is_ready = |state| state == Some(State::Ready);
    is_ready(memory.stream.as_ref().map(|look| look.found.standing.state))
        && is_ready(memory.storage.as_ref().map(|look| look.found.state))
}

/// Events of the steps that were taken, each once.
async fn announce(resource: &StockStream, context: &Context, memory: &mut Memory) {
    let mut done = Vec::new();
    if let Some(look) = &mut memory.stream {
        done.append(&mut look.found.standing.done);
    }
    if let Some(look) = &mut memory.catalog {
        done.append(&mut look.found.standing.done);
    }
    // Steps of one kind are one event: Kubernetes would make a series of them that shows the first only.
    for steps in done.chunk_by(|(a, _), (b, _)| a == b) {
        let notes: Vec<&str> = steps.iter().map(|(_, note)| note.as_str()).collect();
        events::step(context, resource, steps[0].0, notes.join("; ")).await;
    }
}

fn owner_reference(resource: &StockStream) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: resource.name_any(),
        uid: resource.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The pipeline's worker pods.
fn pods_of(context: &Context, pipeline: &Pipeline) -> Vec<Arc<Pod>> {
    let selector = names::selector(pipeline.name(), names::Component::Worker);
    context.pods.state_filter(|pod| {
        pod.namespace().as_deref() == Some(pipeline.namespace())
            && selector
                .iter()
                .all(|(key, value)| pod.labels().get(key) == Some(value))
    })
}

fn rollout(
    context: &Context,
    memory: &Memory,
    pipeline: &Pipeline,
    pods: &[Arc<Pod>],
) -> Option<Rollout> {
    let name = names::workers(pipeline.name());
    let live = apply::find(
        &context.owned,
        Kind::Deployment,
        pipeline.namespace(),
        &name,
    )?;
    let number = |pointer: &str| {
        let value = live
            .data
            .pointer(pointer)
            .and_then(serde_json::Value::as_i64);
        i32::try_from(value.unwrap_or(0)).unwrap_or(i32::MAX)
    };
    let observed = live
        .data
        .pointer("/status/observedGeneration")
        .and_then(serde_json::Value::as_i64);
    Some(Rollout {
        desired: number("/spec/replicas"),
        replicas: number("/status/replicas"),
        ready: number("/status/readyReplicas"),
        updated: number("/status/updatedReplicas"),
        // What was applied just now may not have been seen yet.
        is_observed: observed
            >= live
                .metadata
                .generation
                .max(memory.applied.generation(Kind::Deployment, &name)),
        trouble: trouble(&live.data, pods),
    })
}

/// Why a pod can't start: what its containers say, or why there is none.
fn trouble(deployment: &serde_json::Value, pods: &[Arc<Pod>]) -> Option<String> {
    let of_pods = pods.iter().find_map(|pod| {
        let status = pod.status.as_ref()?;
        let container = status.container_statuses.as_ref()?.first()?;
        let state = container.state.as_ref()?;
        let waiting = state.waiting.as_ref()?;
        let reason = waiting.reason.clone()?;
        if matches!(reason.as_str(), "ContainerCreating" | "PodInitializing") {
            return None;
        }
        let last = container
            .last_state
            .as_ref()
            .and_then(|last| last.terminated.as_ref());
        let detail = match last {
            Some(last) => {
                let lines = last.message.as_deref().unwrap_or_default();
                let line = lines.lines().rev().find(|line| !line.trim().is_empty());
                format!(
                    "it ended with exit code {}: {}; see `kubectl logs {} --previous`",
                    last.exit_code,
                    line.unwrap_or("without a word").trim(),
                    pod.name_any()
                )
            }
            None => waiting.message.clone().unwrap_or_default(),
        };
        Some(format!("pod {}: {reason}: {detail}", pod.name_any()))
    });
    let failure = || {
        let conditions = deployment.pointer("/status/conditions")?.as_array()?;
        let failure = conditions.iter().find(|condition| {
            (condition["type"] == "ReplicaFailure" && condition["status"] == "True")
                || condition["reason"] == "ProgressDeadlineExceeded"
        })?;
        Some(failure["message"].as_str()?.to_owned())
    };
    of_pods.or_else(failure)
}

/// What was told a moment ago isn't asked for again: a status that is written leads to a reconcile, and so do pods one by one.
const TOLD_HOLDS: Duration = Duration::from_secs(2);

/// What the workers tell, and whether they were asked now.
async fn ask(context: &Context, memory: &mut Memory, pods: &[Arc<Pod>]) -> (Told, bool) {
    let addresses: Vec<String> = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| {
            let status = pod.status.as_ref()?;
            let is_running = status.phase.as_deref() == Some("Running");
            status.pod_ip.clone().filter(|_| is_running)
        })
        .collect();
    if let Some((at, asked, told)) = &memory.asked
        && *asked == addresses
        && at.elapsed() < TOLD_HOLDS
    {
        return (told.clone(), false);
    }
    let told = context.workers.ask(addresses.clone()).await;
    measure(memory, &told);
    memory.asked = Some((Instant::now(), addresses, told.clone()));
    (told, true)
}

/// Ticks a second since the workers were asked before. A hand-over may count a few twice or not at all: it is for people.
fn measure(memory: &mut Memory, told: &Told) {
    if told.answered == 0 {
        memory.ticks = None;
        return;
    }
    let now = Instant::now();
    let ticks: u64 = told.shards.values().map(|shard| shard.counters.ticks).sum();
    let Some((before, at)) = memory.ticks.replace((ticks, now)) else {
        return;
    };
    let millis = u64::try_from(now.duration_since(at).as_millis()).unwrap_or(u64::MAX);
    memory.tick_rate = Some(ticks.saturating_sub(before).saturating_mul(1_000) / millis.max(1));
}

/// Writes the status if it differs; whether it did. Tells of what changed in it.
///
/// # Errors
/// When Kubernetes doesn't take it.
pub async fn write_status(
    resource: &StockStream,
    context: &Context,
    before: Option<&StockStreamStatus>,
    status: &StockStreamStatus,
) -> Result<bool, ReconcileError> {
    if before == Some(status) {
        return Ok(false);
    }
    let name = resource.name_any();
    let namespace = resource.namespace().unwrap_or_default();
    let body = json!({
        "apiVersion": StockStream::api_version(&()),
        "kind": StockStream::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    let parameters = PatchParams::apply(names::STATUS_MANAGER).force();
    let written = context
        .api(&namespace)
        .patch_status(&name, &parameters, &Patch::Apply(&body))
        .await;
    match written {
        Ok(_) => {}
        // Deleted meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
        Err(error) => {
            return Err(ReconcileError::kubernetes(
                "writing the status",
                &name,
                error,
            ));
        }
    }
    context.metrics.status_written();
    let before = before
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    events::transitions(context, resource, before, &status.conditions).await;
    Ok(true)
}
