//! The end of a StockStream whose stream, tables and data go with it.
//!
//! Owns the order: first the workers, then what they wrote, then the tables, last the stream. Deletes only what the operator
//! or this pipeline's workers made. Must never hang for good: a failure is told, and an annotation lets an admin release it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;
use stockstream_crds::pipeline::KinesisSettings;
use stockstream_crds::spec::{DeletionPolicy, StockStreamStatus};
use stockstream_crds::{Pipeline, StockStream};
use tokio::time::Instant;

use crate::apply;
use crate::aws::error::AwsError;
use crate::aws::storage::places;
use crate::aws::stream_plan::Owner;
use crate::aws::table_plan::tables;
use crate::context::Context;
use crate::events;
use crate::failpoint::{Point, meet};
use crate::kinds::Kind;
use crate::memory::Memory;
use crate::names;
use crate::provision::region;
use crate::reconcile::{ReconcileError, UNSEEN, write_status};
use crate::status;

/// Pods and streams that are going are looked at again after this.
const GOING_AGAIN: Duration = Duration::from_secs(2);
/// After a failure.
const FAILED_AGAIN: Duration = Duration::from_secs(20);
/// A pod that should have ended so long ago has a node that doesn't answer.
const OVERDUE: SignedDuration = SignedDuration::from_secs(30);
/// A reconcile waits so long for AWS; what takes longer goes on without it.
const WAIT: Duration = Duration::from_secs(2);
/// Objects are deleted for so long before the next look.
const DELETE_FOR: Duration = Duration::from_secs(20);

/// One step of the end.
///
/// # Errors
/// When Kubernetes doesn't take a change.
pub async fn finalize(
    resource: &Arc<StockStream>,
    context: &Arc<Context>,
    memory: &mut Memory,
) -> Result<Action, ReconcileError> {
    if !resource
        .finalizers()
        .iter()
        .any(|own| own == names::FINALIZER)
    {
        context.forget(&resource.uid().unwrap_or_default());
        return Ok(Action::await_change());
    }
    let is_abandoned = resource
        .annotations()
        .get(names::ABANDON)
        .is_some_and(|value| value == "true");
    if is_abandoned {
        let note = format!(
            "left in AWS what was made there, as the annotation {} says",
            names::ABANDON
        );
        events::warning(context, resource, "AwsResourcesAbandoned", note).await;
        return release(resource, context).await;
    }
    let pipeline = match Pipeline::from_resource(resource) {
        Ok(pipeline) => pipeline,
        Err(errors) => {
            let message =
                format!("the spec isn't valid, so that it can't be told what to delete: {errors}");
            return blocked(resource, context, memory, &message).await;
        }
    };
    // It was said otherwise after the finalizer had been set, and before anybody took it away.
    if pipeline.deletion_policy() != DeletionPolicy::Delete {
        return release(resource, context).await;
    }
    let now = Instant::now();
    // A look that is under way may still make what is to be deleted.
    memory.settle(now + WAIT).await;
    if memory.is_looking() {
        let why = "a call of AWS that began before isn't over";
        return waits(resource, context, memory, why).await;
    }
    if let Some(why) = workers_left(&pipeline, context).await? {
        return waits(resource, context, memory, &why).await;
    }
    // Whatever wakes this up makes AWS no faster.
    if let Some(again) = memory.end_again.filter(|again| *again > now) {
        return Ok(Action::requeue(again - now));
    }
    let generation = resource.metadata.generation.unwrap_or(0);
    memory.ending.begin(generation, || {
        let owner = Owner {
            name: names::owner(&pipeline),
            uid: resource.uid().unwrap_or_default(),
        };
        let (resource, context) = (resource.clone(), context.clone());
        async move { delete(&resource, &pipeline, &owner, &context).await }
    });
    let going = "data and the stream are being deleted";
    match memory.ending.wait_until(Instant::now() + WAIT).await {
        Some((_, Ok(true))) => release(resource, context).await,
        Some((_, Ok(false))) => {
            memory.end_again = Some(Instant::now() + GOING_AGAIN);
            waits(resource, context, memory, going).await
        }
        Some((_, Err(error))) => {
            memory.end_again = Some(Instant::now() + FAILED_AGAIN);
            blocked(resource, context, memory, &error.standing().message).await
        }
        None => waits(resource, context, memory, going).await,
    }
}

/// Asks the Deployments to go. Workers seal and publish before they end: what is waited for, `None` when no pod is left.
async fn workers_left(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Option<String>, ReconcileError> {
    // What hasn't been looked at yet isn't gone.
    if !context.has_seen_pods().await {
        return Ok(Some(UNSEEN.to_owned()));
    }
    let names = [
        names::workers(pipeline.name()),
        names::dashboard(pipeline.name()),
    ];
    let mut left = None;
    for name in names {
        let namespace = pipeline.namespace();
        if let Some(live) = apply::find(&context.owned, Kind::Deployment, namespace, &name) {
            left = Some(format!("the Deployment {name} is being deleted"));
            if live.metadata.deletion_timestamp.is_none() {
                apply::delete(&context.client, Kind::Deployment, namespace, &live).await?;
                meet(Point::DeploymentDeleted);
            }
        }
    }
    let pods = context.pods.state_filter(|pod| {
        pod.namespace().as_deref() == Some(pipeline.namespace())
            && pod.labels().get(names::PIPELINE).map(String::as_str) == Some(pipeline.name())
    });
    Ok(waiting_for(&pods, Timestamp::now()).or(left))
}

/// What is said of pods that haven't ended. `deletionTimestamp` is when a pod must have ended: later than that, its node no
/// longer does what it is told.
fn waiting_for(pods: &[Arc<Pod>], now: Timestamp) -> Option<String> {
    let overdue = pods.iter().find(|pod| {
        let ends = pod.metadata.deletion_timestamp.as_ref();
        ends.is_some_and(|ends| now.duration_since(ends.0) > OVERDUE)
    });
    match (overdue, pods) {
        (Some(pod), _) => Some(format!(
            "the pod {name} should have ended and its node doesn't tell that it has; if the node is gone for good: kubectl delete pod {name} --force",
            name = pod.name_any()
        )),
        (None, []) => None,
        (None, [_]) => Some("1 pod is ending".to_owned()),
        (None, pods) => Some(format!("{} pods are ending", pods.len())),
    }
}

/// What is in AWS; whether all has gone.
async fn delete(
    resource: &StockStream,
    pipeline: &Pipeline,
    owner: &Owner,
    context: &Context,
) -> Result<bool, AwsError> {
    let buckets = context.aws.of(region(pipeline)).await.buckets;
    let name = (pipeline.namespace(), pipeline.name());
    if let Some(id) = buckets.state_id(&places(pipeline), name).await? {
        let all_gone = buckets
            .delete_data(&places(pipeline), &id, DELETE_FOR)
            .await?;
        if !all_gone {
            return Ok(false);
        }
        meet(Point::DataDeleted);
    }
    if let Some(catalog) = pipeline.catalog() {
        let catalogs = context.aws.of(&catalog.region).await.catalogs;
        catalogs.delete(catalog, &tables(pipeline), owner).await?;
        meet(Point::TablesDeleted);
    }
    match pipeline.kinesis() {
        Some(kinesis) => {
            let streams = context.aws.of(&kinesis.region).await.streams;
            match another_reader(resource, kinesis, context) {
                Some(reader) => {
                    if streams.give(&kinesis.stream_name, owner, &reader).await? {
                        let note = format!(
                            "the stream {} is kept: {} reads it too, and has it from now on",
                            kinesis.stream_name, reader.name
                        );
                        events::warning(context, resource, "StreamKept", note).await;
                    }
                    Ok(true)
                }
                None => streams.delete(&kinesis.stream_name, owner).await,
            }
        }
        None => Ok(true),
    }
}

/// The oldest other StockStream that reads the same stream, and isn't being deleted itself.
fn another_reader(
    resource: &StockStream,
    kinesis: &KinesisSettings,
    context: &Context,
) -> Option<Owner> {
    let mut readers: Vec<Arc<StockStream>> = context.pipelines.state_filter(|other| {
        let own = other.spec.source.kinesis.as_ref();
        other.uid() != resource.uid()
            && other.metadata.deletion_timestamp.is_none()
            && own.is_some_and(|own| {
                (&own.stream_name, &own.region) == (&kinesis.stream_name, &kinesis.region)
            })
    });
    readers.sort_by_key(|other| {
        (
            other.creation_timestamp(),
            other.namespace(),
            other.name_any(),
        )
    });
    let reader = readers.first()?;
    Some(Owner {
        name: format!(
            "{}/{}",
            reader.namespace().unwrap_or_default(),
            reader.name_any()
        ),
        uid: reader.uid()?,
    })
}

/// Tells what comes by itself.
async fn waits(
    resource: &StockStream,
    context: &Context,
    memory: &mut Memory,
    why: &str,
) -> Result<Action, ReconcileError> {
    let message = format!("deletion waits: {why}");
    let told = |before: Option<&StockStreamStatus>, generation| {
        status::deleting(before, generation, &message, Timestamp::now())
    };
    tell(resource, context, memory, told).await?;
    Ok(Action::requeue(GOING_AGAIN))
}

/// Tells what somebody has to mend.
async fn blocked(
    resource: &StockStream,
    context: &Context,
    memory: &mut Memory,
    why: &str,
) -> Result<Action, ReconcileError> {
    let message = format!(
        "deletion waits: {why}; it is tried again by itself. To let go of what is left in AWS: kubectl annotate stockstream {} {}=true",
        resource.name_any(),
        names::ABANDON
    );
    let told = |before: Option<&StockStreamStatus>, generation| {
        let now = Timestamp::now();
        status::refused(before, generation, "DeletionBlocked", &message, now)
    };
    tell(resource, context, memory, told).await?;
    Ok(Action::requeue(FAILED_AGAIN))
}

async fn tell(
    resource: &StockStream,
    context: &Context,
    memory: &mut Memory,
    status: impl FnOnce(Option<&StockStreamStatus>, i64) -> StockStreamStatus,
) -> Result<(), ReconcileError> {
    // The watch may not have brought yet what was written a moment ago.
    let written = memory.written();
    let before = written.as_ref().or(resource.status.as_ref());
    let status = status(before, resource.metadata.generation.unwrap_or(0));
    if write_status(resource, context, before, &status).await? {
        memory.wrote(&status);
    }
    Ok(())
}

async fn release(resource: &StockStream, context: &Context) -> Result<Action, ReconcileError> {
    let mut finalizers: Vec<String> = resource.finalizers().to_vec();
    finalizers.retain(|own| own != names::FINALIZER);
    meet(Point::BeforeRelease);
    set_finalizers(resource, context, &finalizers).await?;
    context.forget(&resource.uid().unwrap_or_default());
    Ok(Action::await_change())
}

/// Sets the finalizers, unless somebody changed the resource meanwhile: then the next reconcile does.
///
/// # Errors
/// When Kubernetes doesn't take it.
pub async fn set_finalizers(
    resource: &StockStream,
    context: &Context,
    finalizers: &[String],
) -> Result<(), ReconcileError> {
    let name = resource.name_any();
    let body = json!({
        "metadata": {
            "finalizers": finalizers,
            "resourceVersion": resource.resource_version(),
        }
    });
    let api = context.api(&resource.namespace().unwrap_or_default());
    let patched = api
        .patch(&name, &PatchParams::default(), &Patch::Merge(&body))
        .await;
    match patched {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(ReconcileError::kubernetes(
            "setting the finalizer",
            &name,
            error,
        )),
    }
}

#[cfg(test)]
mod tests;
