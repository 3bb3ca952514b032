//! What Kubernetes' own controllers do with a pipeline: a node is drained, an autoscaler scales.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use stockstream_tests::{PATIENCE, Process, wait_until};

use crate::stage::Tenant;

/// Nodes that only kwok knows, label and taint of this trial's own.
const NODES: [&str; 2] = ["drained-a", "drained-b"];
const MARK: &str = "drained";
/// The pipeline that is drained.
const MOVED: &str = "moved";

/// A drained node gives its workers away one by one: the PodDisruptionBudget keeps two of three.
pub fn drain(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let kwok = kwok(tenant)?;
    let done = drained(tenant);
    let said = format!("kwok said: {}{}", kwok.stdout(), kwok.stderr());
    // kwok, which takes the pods' end for done, must live until they are gone.
    let cleared = clear(tenant);
    drop(kwok);
    done.context(said)?;
    cleared
}

fn kwok(tenant: &Tenant<'_>) -> anyhow::Result<Process> {
    let cluster = tenant.cluster();
    let stages = format!("--config={}", cluster.built("kwok-stages.yaml")?.display());
    let selector = format!("--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node={MARK}");
    let mut command = cluster.command("kwok");
    command.args([
        stages.as_str(),
        "--manage-all-nodes=false",
        selector.as_str(),
        "--node-lease-duration-seconds=40",
    ]);
    cluster.spawn(&mut command)
}

fn drained(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let cluster = tenant.cluster();
    let [from, to] = NODES;
    for node in NODES {
        cluster.apply(
            &tenant.namespace,
            &json!({"apiVersion": "v1", "kind": "Node",
                "metadata": {"name": node, "annotations": {"kwok.x-k8s.io/node": MARK},
                    "labels": {"type": MARK, "kubernetes.io/hostname": node}},
                "spec": {"taints": [{"key": MARK, "effect": "NoSchedule"}]}})
            .to_string(),
        )?;
        cluster.wait(
            &tenant.namespace,
            &format!("node/{node}"),
            "condition=Ready",
        )?;
    }
    // All of them begin on one node.
    cluster.kubectl(["cordon", to])?;
    // That taint only: who tolerates all is put on a node that is drained, too.
    let more = format!(
        "  workers:
    replicas: 3
    nodeSelector: {{type: {MARK}}}
    tolerations: [{{key: {MARK}, operator: Exists, effect: NoSchedule}}]
  dashboard: {{enabled: false}}"
    );
    tenant.ready(MOVED, &tenant.yaml(MOVED, 3, &more))?;
    all_on(tenant, from)?;
    cluster.kubectl(["uncordon", to])?;
    let mut budget = json!(null);
    wait_until("one worker may go", PATIENCE, || {
        budget = tenant.get(&["poddisruptionbudget", "moved-workers"])?;
        Ok((budget["status"]["disruptionsAllowed"] == 1).then_some(()))
    })
    .with_context(|| format!("{budget:#}"))?;

    let mut command = cluster.command("kubectl");
    command.args([
        "drain",
        from,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=100s",
    ]);
    let mut draining = cluster.spawn(&mut command)?;
    let mut fewest = usize::MAX;
    wait_until("the node is drained", PATIENCE, || {
        // Asked before counting, so that the last count is of what the end has left.
        let ended = !draining.is_running()?;
        let workers = workers(tenant)?;
        let ready = workers.iter().filter(|pod| is_ready(pod)).count();
        fewest = fewest.min(ready);
        ensure!(
            ready >= 2,
            "only {ready} of 3 are ready: {}",
            told(&workers)
        );
        Ok(ended.then_some(()))
    })?;
    draining.wait(PATIENCE)?.success()?;
    eprintln!("a drained node: at least {fewest} of 3 workers were ready");
    all_on(tenant, to)?;
    tenant.becomes(MOVED, "Ready", "True Running")
}

/// Waits until three workers are ready on this node, and none is elsewhere.
fn all_on(tenant: &Tenant<'_>, node: &str) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    wait_until("all workers on one node", PATIENCE, || {
        seen = workers(tenant)?;
        let are_there = seen.len() == 3
            && seen
                .iter()
                .all(|pod| pod["spec"]["nodeName"] == node && is_ready(pod));
        Ok(are_there.then_some(()))
    })
    .with_context(|| format!("not all on {node}: {}", told(&seen)))
}

/// The worker pods that aren't going.
fn workers(tenant: &Tenant<'_>) -> anyhow::Result<Vec<Value>> {
    let list = tenant.get(&[
        "pods",
        "--selector=stockstream.dev/pipeline=moved,app.kubernetes.io/component=worker",
    ])?;
    let mut pods = list["items"].as_array().cloned().unwrap_or_default();
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(pods)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}

/// Name, node, phase and readiness of pods, for messages.
fn told(pods: &[Value]) -> String {
    let pods: Vec<String> = pods
        .iter()
        .map(|pod| {
            format!(
                "{} on {} {} ready {}",
                pod["metadata"]["name"],
                pod["spec"]["nodeName"],
                pod["status"]["phase"],
                is_ready(pod)
            )
        })
        .collect();
    pods.join(", ")
}

fn clear(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let cluster = tenant.cluster();
    cluster.kubectl([
        "delete",
        "--namespace",
        &tenant.namespace,
        "stockstream",
        MOVED,
        "--ignore-not-found",
    ])?;
    let mut left = Vec::new();
    wait_until("the workers' pods are gone", PATIENCE, || {
        left = tenant.get(&["pods"])?["items"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(left.is_empty().then_some(()))
    })
    .with_context(|| told(&left))?;
    let [one, other] = NODES;
    cluster
        .kubectl(["delete", "node", one, other, "--ignore-not-found"])
        .map(drop)
}

/// A HorizontalPodAutoscaler that knows no metric raises to its minimum, by the scale subresource; what it set stays.
pub fn autoscaler(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready(
        "grown",
        &tenant.yaml(
            "grown",
            3,
            "  workers: {replicas: 1}\n  dashboard: {enabled: false}",
        ),
    )?;
    tenant.has_workers("grown", 1)?;
    tenant.apply(
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: grown},
spec: {scaleTargetRef: {apiVersion: stockstream.dev/v1alpha1, kind: StockStream, name: grown}, minReplicas: 3, maxReplicas: 4}}",
    )?;
    let replicas = || -> anyhow::Result<Value> {
        let resource = tenant.get(&["stockstream", "grown"])?;
        Ok(resource["spec"]["workers"]["replicas"].clone())
    };
    let autoscaler = || tenant.get(&["horizontalpodautoscaler", "grown"]);
    // It looks every fifteen seconds.
    let mut seen = json!(null);
    wait_until("the autoscaler's minimum", PATIENCE, || {
        seen = replicas()?;
        Ok((seen == 3).then_some(()))
    })
    .with_context(|| match autoscaler() {
        Ok(autoscaler) => format!("replicas: {seen}; {:#}", autoscaler["status"]),
        Err(error) => format!("replicas: {seen}; {error:#}"),
    })?;
    tenant.has_workers("grown", 3)?;
    tenant.becomes("grown", "WorkersAvailable", "True AllReady")?;
    // Its next look sees, by the scale subresource again, that they run.
    let mut status = json!(null);
    wait_until("the autoscaler sees three", PATIENCE, || {
        status = autoscaler()?["status"].clone();
        Ok((status["currentReplicas"] == 3).then_some(()))
    })
    .with_context(|| format!("{status:#}"))?;
    // Long enough for somebody to set it back.
    std::thread::sleep(Duration::from_secs(5));
    let now = replicas()?;
    ensure!(now == 3, "replicas were set back to {now}");
    let workers = tenant.workers("grown")?;
    ensure!(workers.len() == 3, "{workers:?}");
    tenant.becomes("grown", "Ready", "True Running")
}
