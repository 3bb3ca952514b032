//! One reconcile of one StockStream: dereference → validate → provision → build → apply → status.
//!
//! Owns the order, and what is left undone when a part fails: only what needs that part. Must never wait for AWS to be done
//! with something: it comes back.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use stockstream_crds::spec::{API_VERSION, DeletionPolicy, KIND, StockStreamStatus};
use stockstream_crds::{Pipeline, StockStream};
use tokio::time::Instant;

use crate::apply::{self, ApplyError};
use crate::aws::stream_plan::Owner;
use crate::aws::{Standing, State};
use crate::build::{Scale, build};
use crate::context::Context;
use crate::events;
use crate::failpoint::{Point, meet};
use crate::finalize;
use crate::kinds::Kind;
use crate::look::backed_off;
use crate::memory::Memory;
use crate::names;
use crate::observe::{ask, pods_of, rollout};
use crate::provision::{announce, may_start, provision, recall_scalings};
use crate::status::{self, Findings};
use crate::validate::{Refused, validate};

/// A pipeline that can't be looked after is looked at again after this: a conflict may be over. It asks nobody, as long as
/// nothing differs.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// What is said while pods and Deployments can't be seen.
pub const UNSEEN: &str = "pods and Deployments couldn't be listed: the operator's role must allow list and watch of both, as the chart's does; nothing is known of the workers";

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
        Some(_) => finalize::finalize(&resource, &context, &mut memory).await?,
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
    context: &Arc<Context>,
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
            refuse(resource, context, memory, before, &refused).await?;
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
    let done = provision(&pipeline, &owner, generation, memory, context).await;
    announce(resource, context, &done).await;

    // Build and apply.
    let facts = memory.stream.found().and_then(|found| found.facts.as_ref());
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
    if exists || may_start(memory, generation) {
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
    let nothing = Standing::new(State::Unseen, status::UNSEEN, "AWS hasn't answered yet");
    // What was found of the spec before this one says nothing of this one.
    let stream = memory.stream.found_for(generation);
    let catalog = memory.catalog.found_for(generation);
    let storage = memory.storage.found_for(generation);
    let findings = Findings {
        pipeline: &pipeline,
        generation,
        owner: &owner,
        stream: Some(match stream {
            Some(found) => (&found.standing, found.facts.as_ref()),
            None => (&nothing, None),
        }),
        scalings: &memory.scalings,
        catalog: match (catalog, pipeline.catalog()) {
            (Some(found), _) => Some((&found.standing, found.is_ours)),
            (None, Some(_)) => Some((&nothing, false)),
            (None, None) => None,
        },
        storage: storage.unwrap_or(&nothing),
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
    let has_failed = apply_error.is_some();
    Ok(Action::requeue(again(
        memory, generation, &status, has_failed,
    )))
}

/// Tells why a StockStream isn't looked after. What was started for it goes on as it was last told, but for one thing: who
/// suspends it wants its workers to stop, whatever else the spec says.
async fn refuse(
    resource: &StockStream,
    context: &Context,
    memory: &mut Memory,
    before: Option<&StockStreamStatus>,
    refused: &Refused,
) -> Result<(), ReconcileError> {
    let namespace = resource.namespace().unwrap_or_default();
    let uid = resource.uid().unwrap_or_default();
    let name = names::workers(&resource.name_any());
    let workers = apply::find(&context.owned, Kind::Deployment, &namespace, &name)
        .filter(|live| apply::is_owned(&live.metadata, &uid));
    let mut goes_on = workers
        .as_ref()
        .is_some_and(|live| apply::replicas(live) > 0);
    let mut trouble = None;
    if let Some(live) = workers.filter(|_| resource.spec.suspend && goes_on) {
        match apply::park(&context.client, &namespace, &live).await {
            Ok(()) => goes_on = false,
            Err(error) => trouble = Some(chain(&error)),
        }
    }
    let generation = resource.metadata.generation.unwrap_or(0);
    let now = Timestamp::now();
    let mut status = refused.status(before, generation, goes_on, trouble.as_deref(), now);
    if resource.spec.suspend && !goes_on {
        status::park(&mut status, generation, now);
    }
    if write_status(resource, context, before, &status).await? {
        memory.wrote(&status);
    }
    Ok(())
}

/// When to look again: when a part is due, or the workers are to be asked.
fn again(memory: &Memory, generation: i64, status: &StockStreamStatus, failed: bool) -> Duration {
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
        .due(generation)
        .map(|due| due.saturating_duration_since(Instant::now()));
    due.map_or(ask, |due| due.min(ask))
        .max(Duration::from_millis(500))
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
    finalize::set_finalizers(resource, context, &finalizers).await?;
    if is_wanted {
        meet(Point::FinalizerSet);
    }
    Ok(())
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
    meet(Point::BeforeStatus);
    let written = context
        .api(&namespace)
        .patch_status(&name, &parameters, &Patch::Apply(&body))
        .await;
    match written {
        Ok(_) => meet(Point::StatusWritten),
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
