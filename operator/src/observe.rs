//! What the cluster and the workers show of a pipeline.
//!
//! Owns reading pods, the workers' Deployment and the workers' own answers. Must never change anything, nor decide.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use stockstream_crds::Pipeline;
use tokio::time::Instant;

use crate::apply;
use crate::context::Context;
use crate::kinds::Kind;
use crate::memory::Memory;
use crate::names;
use crate::status::Rollout;
use crate::workers::Told;

/// The pipeline's worker pods.
pub fn pods_of(context: &Context, pipeline: &Pipeline) -> Vec<Arc<Pod>> {
    let selector = names::selector(pipeline.name(), names::Component::Worker);
    context.pods.state_filter(|pod| {
        pod.namespace().as_deref() == Some(pipeline.namespace())
            && selector
                .iter()
                .all(|(key, value)| pod.labels().get(key) == Some(value))
    })
}

/// The workers' Deployment; `None` when there is none.
pub fn rollout(
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
const TOLD_HOLDS: Duration = Duration::from_secs(5);

/// What the workers tell, and whether they were asked now.
pub async fn ask(context: &Context, memory: &mut Memory, pods: &[Arc<Pod>]) -> (Told, bool) {
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
