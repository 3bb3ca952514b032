//! Pods of the stand-in operator `tests/cluster/probe`, and what happens to them.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use stockstream_tests::cluster::{Cluster, GATEWAY};
use stockstream_tests::servers::{BUCKET, S3Server};
use stockstream_tests::{PATIENCE, http, python_json, repository, wait_until};

/// Starts the probe, with a URL to ask for.
fn start(cluster: &Cluster, namespace: &str, url: &str) -> anyhow::Result<()> {
    let manifest = repository().join("tests/cluster/probe/probe.yaml");
    let manifest = std::fs::read_to_string(manifest)?.replace("PROBE_URL_OF_THE_SUITE", url);
    cluster.apply(namespace, &manifest)?;
    cluster.rolled_out(namespace, "deployment/probe")
}

fn pods(cluster: &Cluster, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let list = cluster.get(namespace, &["pods", "--selector=app=probe"])?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn name(pod: &Value) -> anyhow::Result<&str> {
    pod["metadata"]["name"].as_str().context("a pod has a name")
}

fn first(cluster: &Cluster, namespace: &str) -> anyhow::Result<String> {
    let pods = pods(cluster, namespace)?;
    Ok(name(pods.first().context("no pod")?)?.to_owned())
}

/// Waits for a line of a pod's log.
fn logged(cluster: &Cluster, namespace: &str, pod: &str, wanted: &str) -> anyhow::Result<()> {
    let mut log = String::new();
    wait_until("a line of the pod's log", PATIENCE, || {
        log = cluster.kubectl(["logs", "--namespace", namespace, pod])?;
        Ok(log.lines().any(|line| line.contains(wanted)).then_some(()))
    })
    .with_context(|| format!("no {wanted:?} in: {log}"))
}

pub fn rights(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    start(cluster, namespace, "")?;
    let pod = first(cluster, namespace)?;
    logged(cluster, namespace, &pod, "pods: 200 items 2")?;
    logged(cluster, namespace, &pod, "secrets of kube-system: 403")
}

pub fn emulated_aws(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    for server in [S3Server::Moto, S3Server::Ministack] {
        let running = cluster.within(|| server.start_on(GATEWAY))?;
        let told = format!(r#"{{"told": "by {}"}}"#, server.name());
        let put = ["put", &running.endpoint, BUCKET, "said.json", &told];
        let put = cluster.within(|| python_json("s3.py", put))?;
        let url = put["url"].as_str().context("a URL")?;
        start(cluster, namespace, url)?;
        let pod = wait_until("a pod that asks this server", PATIENCE, || {
            for pod in pods(cluster, namespace)? {
                if pod["spec"]["containers"][0]["env"][0]["value"] == url {
                    return Ok(Some(name(&pod)?.to_owned()));
                }
            }
            Ok(None)
        })?;
        logged(cluster, namespace, &pod, &format!("{url} 200 {told}"))?;
    }
    Ok(())
}

pub fn service(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    start(cluster, namespace, "")?;
    let service = cluster.get(namespace, &["service", "probe"])?;
    let address = service["spec"]["clusterIP"]
        .as_str()
        .context("an address")?;
    for pod in pods(cluster, namespace)? {
        let wanted = format!("hello from {}\n", name(&pod)?);
        wait_until("an answer of each pod", PATIENCE, || {
            let answer = cluster.within(|| http::send(&format!("{address}:80"), "GET", "/", ""));
            // The rules for a service are written a moment after its pods are ready.
            Ok(answer.ok().filter(|answer| *answer == wanted))
        })?;
    }
    Ok(())
}

pub fn replaced(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    start(cluster, namespace, "")?;
    let old = first(cluster, namespace)?;
    cluster.kubectl(["delete", "pod", "--namespace", namespace, &old])?;
    cluster.rolled_out(namespace, "deployment/probe")?;
    let pods = pods(cluster, namespace)?;
    ensure!(pods.len() == 2, "{} pods", pods.len());
    for pod in &pods {
        ensure!(name(pod)? != old, "{old} is still there");
    }
    Ok(())
}

pub fn scaled(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    start(cluster, namespace, "")?;
    for count in [4, 1] {
        let replicas = format!("--replicas={count}");
        cluster.kubectl([
            "scale",
            "--namespace",
            namespace,
            "deployment/probe",
            &replicas,
        ])?;
        cluster.rolled_out(namespace, "deployment/probe")?;
        let path = format!("jsonpath={{.status.replicas}}={count}");
        cluster.wait(namespace, "deployment/probe", &path)?;
        let deployment = cluster.get(namespace, &["deployment", "probe"])?;
        ensure!(
            deployment["status"]["readyReplicas"] == count,
            "{deployment}"
        );
    }
    Ok(())
}

pub fn crashed(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    start(cluster, namespace, "")?;
    let pod = first(cluster, namespace)?;
    cluster.kill_container(namespace, &pod)?;
    let again = "jsonpath={.status.containerStatuses[0].restartCount}=1";
    cluster.wait(namespace, &format!("pod/{pod}"), again)?;
    let pod = cluster.get(namespace, &["pod", &pod])?;
    let ended = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    ensure!(ended["exitCode"] == 137, "it ended with {ended}");
    Ok(())
}

pub fn unplugged(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    start(cluster, namespace, "")?;
    let pod = first(cluster, namespace)?;
    let object = format!("pod/{pod}");
    cluster.plug(namespace, &pod, false)?;
    cluster.wait(namespace, &object, "condition=Ready=false")?;
    cluster.plug(namespace, &pod, true)?;
    cluster.wait(namespace, &object, "condition=Ready")
}

pub fn helm(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let helm = |arguments: &[&str]| {
        let common = ["--namespace", namespace, "--wait", "--timeout=100s"];
        cluster
            .run("helm", arguments.iter().chain(&common))?
            .success()
    };
    let replicas = || -> anyhow::Result<Value> {
        let deployment = cluster.get(namespace, &["deployment", "mine"])?;
        Ok(deployment["status"]["readyReplicas"].clone())
    };
    helm(&["install", "mine", "tests/cluster/probe/chart"])?;
    ensure!(replicas()? == 1, "{:?}", replicas());
    helm(&[
        "upgrade",
        "mine",
        "tests/cluster/probe/chart",
        "--set=replicas=2",
    ])?;
    ensure!(replicas()? == 2, "{:?}", replicas());
    helm(&["uninstall", "mine"])?;
    let left = cluster.get(namespace, &["deployments"])?;
    ensure!(left["items"] == serde_json::json!([]), "{left}");
    Ok(())
}
