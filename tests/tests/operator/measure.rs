//! How fast the operator and its workers are, printed beside the goals: `make bench-operator`. Nothing is asserted about times.
//!
//! One trial after the other, with nothing else in the cluster.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use stockstream_tests::{PATIENCE, http, wait_until};

use crate::life::ticks;
use crate::stage::Tenant;

/// How often a time is taken.
const TIMES: usize = 5;
/// Between two looks at a worker.
const LOOK: Duration = Duration::from_millis(20);
/// Pipelines of one operator.
const MANY: usize = 100;

fn told(what: &str, goal: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let millis = |index: usize| times.get(index).map_or(0, Duration::as_millis);
    let (last, middle) = (times.len().saturating_sub(1), times.len() / 2);
    eprintln!(
        "{what}: {} / {} / {} ms (minimum, median, maximum of {}); goal {goal}",
        millis(0),
        millis(middle),
        millis(last),
        times.len()
    );
}

/// A pod's own word: shards that it reads, with their epochs. Nothing when it doesn't answer.
fn reads(tenant: &Tenant<'_>, address: &str) -> BTreeMap<String, u64> {
    let url = format!("{address}:8080");
    let answer = tenant
        .cluster()
        .within(|| http::send(&url, "GET", "/api/state?tickers=false", ""));
    let Some(state) = answer
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
    else {
        return BTreeMap::new();
    };
    let shards = state["shards"].as_array().cloned().unwrap_or_default();
    shards
        .iter()
        .filter(|shard| {
            shard["phase"] == "Reading" && shard["owner"] == state["worker"]["memberId"]
        })
        .filter_map(|shard| {
            Some((
                shard["shard"].as_str()?.to_owned(),
                shard["epoch"].as_u64()?,
            ))
        })
        .collect()
}

/// Name and address of each worker pod that isn't going.
fn workers(tenant: &Tenant<'_>, name: &str) -> anyhow::Result<Vec<(String, String)>> {
    let selector =
        format!("--selector=stockstream.dev/pipeline={name},app.kubernetes.io/component=worker");
    let list = tenant.get(&["pods", &selector])?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| {
            let name = pod["metadata"]["name"].as_str()?;
            Some((name.to_owned(), pod["status"]["podIP"].as_str()?.to_owned()))
        })
        .collect())
}

/// Waits until all shards are read, and says by whom.
fn settled(
    tenant: &Tenant<'_>,
    name: &str,
    shards: usize,
) -> anyhow::Result<BTreeMap<String, (String, u64)>> {
    wait_until("every shard is read", PATIENCE, || {
        let mut all = BTreeMap::new();
        for (pod, address) in workers(tenant, name)? {
            for (shard, epoch) in reads(tenant, &address) {
                all.insert(shard, (pod.clone(), epoch));
            }
        }
        Ok((all.len() >= shards).then_some(all))
    })
}

pub fn apply_to_ready(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for number in 0..TIMES {
        let name = format!("p{number}");
        times.push(tenant.ready(&name, &tenant.yaml(&name, 2, ""))?);
        tenant.cluster().kubectl([
            "delete",
            "--namespace",
            &tenant.namespace,
            &format!("stockstream/{name}"),
        ])?;
        wait_until("its pods are gone", PATIENCE, || {
            Ok(workers(tenant, &name)?.is_empty().then_some(()))
        })?;
    }
    told("apply to Ready", "10000", times);
    Ok(())
}

/// From a disturbance of a pod until its shards are read by another, or by itself again.
fn disturbed(
    tenant: &Tenant<'_>,
    what: &str,
    goal: &str,
    disturb: impl Fn(&str) -> anyhow::Result<()>,
    mend: impl Fn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    const SHARDS: usize = 3;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let before = settled(tenant, "hurt", SHARDS)?;
        // Shards move until the plan is balanced: those moves aren't what is measured.
        std::thread::sleep(Duration::from_secs(14));
        let before = if before == settled(tenant, "hurt", SHARDS)? {
            before
        } else {
            settled(tenant, "hurt", SHARDS)?
        };
        let (victim, _) = before.values().next().context("an owner")?.clone();
        let hit: BTreeMap<&String, u64> = before
            .iter()
            .filter(|(_, (pod, _))| *pod == victim)
            .map(|(shard, (_, epoch))| (shard, *epoch))
            .collect();
        // Before the command: what it takes to start counts, too.
        let begun = Instant::now();
        disturb(&victim)?;
        // By address: who is cut off would hold each look up.
        let others: Vec<(String, String)> = workers(tenant, "hurt")?;
        wait_until("its shards are read again", PATIENCE, || {
            let mut taken: BTreeMap<String, u64> = BTreeMap::new();
            for (pod, address) in &others {
                if *pod == victim && what.contains("cut off") {
                    continue;
                }
                for (shard, epoch) in reads(tenant, address) {
                    let known = taken.entry(shard).or_default();
                    *known = (*known).max(epoch);
                }
            }
            std::thread::sleep(LOOK);
            let all = hit
                .iter()
                .all(|(shard, epoch)| taken.get(*shard).is_some_and(|now| now > epoch));
            Ok(all.then_some(()))
        })?;
        times.push(begun.elapsed());
        mend(&victim)?;
        tenant.has_workers("hurt", 3)?;
        tenant.becomes("hurt", "Ready", "True Running")?;
    }
    told(what, goal, times);
    Ok(())
}

pub fn recovery(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready(
        "hurt",
        &tenant.yaml(
            "hurt",
            3,
            "  workers: {replicas: 3}\n  dashboard: {enabled: false}",
        ),
    )?;
    let cluster = tenant.cluster();
    let namespace = tenant.namespace.as_str();
    disturbed(
        tenant,
        "container killed: until its shards are read again",
        "2000",
        |pod| cluster.kill_container(namespace, pod),
        |_| Ok(()),
    )?;
    disturbed(
        tenant,
        "pod deleted: until its shards are read again",
        "2000",
        |pod| {
            cluster
                .kubectl([
                    "delete",
                    "pod",
                    "--namespace",
                    namespace,
                    pod,
                    "--wait=false",
                ])
                .map(drop)
        },
        |_| Ok(()),
    )?;
    disturbed(
        tenant,
        "pod cut off: until its shards are read again",
        "10000",
        |pod| cluster.plug(namespace, pod, false),
        |pod| cluster.plug(namespace, pod, true),
    )
}

/// A changed spec under load: the longest that any shard wasn't read.
pub fn roll(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    const SHARDS: usize = 2;
    tenant.ready(
        "rolled",
        &tenant.yaml("rolled", 2, "  dashboard: {enabled: false}"),
    )?;
    tenant.put("rolled", &ticks(0..1))?;
    let before = settled(tenant, "rolled", SHARDS)?;
    let old = tenant.workers("rolled")?;
    std::thread::sleep(Duration::from_secs(14));
    let begun = Instant::now();
    tenant.patch(
        "rolled",
        &json!({"spec": {"output": {"publishInterval": "2s"}}}),
    )?;
    let mut silent: BTreeMap<String, Instant> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    let mut listed = Instant::now();
    let mut pods = workers(tenant, "rolled")?;
    let mut rolled = None;
    while rolled.is_none_or(|at: Instant| at.elapsed() < Duration::from_secs(5)) {
        ensure!(begun.elapsed() < PATIENCE, "not rolled out in time");
        if listed.elapsed() > Duration::from_millis(300) {
            listed = Instant::now();
            // Those that are going may still read.
            let list = tenant.get(&["pods", "--selector=app.kubernetes.io/component=worker"])?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            pods = items
                .iter()
                .filter_map(|pod| {
                    let name = pod["metadata"]["name"].as_str()?;
                    Some((name.to_owned(), pod["status"]["podIP"].as_str()?.to_owned()))
                })
                .collect();
            let is_new = pods.len() == old.len() && pods.iter().all(|(pod, _)| !old.contains(pod));
            if is_new && rolled.is_none() {
                rolled = Some(Instant::now());
            }
        }
        let read: Vec<String> = pods
            .iter()
            .flat_map(|(_, address)| reads(tenant, address).into_keys())
            .collect();
        for shard in before.keys() {
            match read.contains(shard) {
                true => {
                    if let Some(since) = silent.remove(shard) {
                        longest = longest.max(since.elapsed());
                    }
                }
                false => {
                    silent.entry(shard.clone()).or_insert_with(Instant::now);
                }
            }
        }
        std::thread::sleep(LOOK);
    }
    eprintln!(
        "roll-out of two workers: {} ms; a shard wasn't read for {} ms at most; goal 2000",
        rolled.map_or(0, |at| at.duration_since(begun).as_millis()),
        longest.as_millis()
    );
    Ok(())
}

/// From the leader's SIGKILL until a change that came right after it has had its effect.
pub fn operator_restart(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready(
        "kept",
        &tenant.yaml("kept", 1, "  dashboard: {enabled: false}"),
    )?;
    let mut times = Vec::new();
    for number in 0..3_u32 {
        let begun = Instant::now();
        tenant.stage.kill_leader()?;
        let interval = format!("{}s", number + 2);
        tenant.patch(
            "kept",
            &json!({"spec": {"output": {"publishInterval": interval}}}),
        )?;
        let wanted = format!("publishInterval: {interval}");
        wait_until("the change's effect", PATIENCE, || {
            let config = tenant.get(&["configmap", "kept-pipeline"])?;
            let yaml = config["data"]["pipeline.yaml"].as_str().unwrap_or_default();
            Ok(yaml.contains(&wanted).then_some(()))
        })?;
        times.push(begun.elapsed());
        tenant.becomes("kept", "Ready", "True Running")?;
        std::thread::sleep(Duration::from_secs(20));
    }
    told("operator killed: until a change takes effect", "-", times);
    Ok(())
}

/// A hundred pipelines on nodes that only kwok knows: what they cost the API server and the operator when nothing happens.
pub fn many(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let cluster = tenant.cluster();
    let stages = format!("--config={}", cluster.built("kwok-stages.yaml")?.display());
    let mut kwok = cluster.command("kwok");
    kwok.args([
        stages.as_str(),
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        "--node-lease-duration-seconds=40",
    ]);
    let kwok = cluster.spawn(&mut kwok)?;
    cluster.apply(
        &tenant.namespace,
        "{apiVersion: v1, kind: Node, metadata: {name: fake, annotations: {kwok.x-k8s.io/node: fake}, labels: {type: fake}},
spec: {taints: [{key: fake, effect: NoSchedule}]}}",
    )?;
    cluster.wait(&tenant.namespace, "node/fake", "condition=Ready")?;
    let more = "  workers: {replicas: 1, nodeSelector: {type: fake}, tolerations: [{operator: Exists}]}\n  dashboard: {enabled: false}";
    let mut all = String::new();
    for number in 0..MANY {
        writeln!(all, "{}\n---", tenant.yaml(&format!("m{number}"), 1, more))?;
    }
    let begun = Instant::now();
    tenant.apply(&all)?;
    let mut ready = 0;
    let waited = wait_until(
        "a hundred pipelines are ready",
        Duration::from_secs(400),
        || {
            let list = tenant.get(&["stockstreams"])?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            ready = items
                .iter()
                .filter(|item| {
                    let conditions = item["status"]["conditions"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default();
                    conditions
                        .iter()
                        .any(|one| one["type"] == "Ready" && one["status"] == "True")
                })
                .count();
            std::thread::sleep(Duration::from_secs(1));
            Ok((ready == MANY).then_some(()))
        },
    );
    waited.with_context(|| format!("{ready} of {MANY} are ready"))?;
    eprintln!(
        "{MANY} pipelines: ready after {} s",
        begun.elapsed().as_secs()
    );
    // Until what began has settled.
    std::thread::sleep(Duration::from_secs(90));
    let count = |name: &str| tenant.stage.counter(name);
    let names = [
        "reconciles_total",
        "kubernetes_requests_total",
        "aws_requests_total",
        "applies_total",
        "status_writes_total",
    ];
    let before: Vec<u64> = names
        .iter()
        .map(|name| count(name))
        .collect::<Result<_, _>>()?;
    std::thread::sleep(Duration::from_secs(60));
    for (name, before) in names.iter().zip(before) {
        eprintln!(
            "{MANY} idle pipelines: {name} {} a minute",
            count(name)? - before
        );
    }
    let memory = tenant.stage.operator_memory()?;
    eprintln!("{MANY} idle pipelines: operators' memory (RSS, MiB): {memory:?}");
    let own = ["--namespace", tenant.namespace.as_str()];
    cluster.kubectl(own.iter().chain(&["delete", "stockstreams", "--all"]))?;
    cluster.kubectl(own.iter().chain(&["delete", "pods", "--all"]))?;
    cluster.kubectl(["delete", "node", "fake"])?;
    drop(kwok);
    Ok(())
}
