//! A pipeline's life: it begins, is hurt, stopped, scaled and changed, and its rows stay right.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use stockstream_tests::{PATIENCE, wait_until};

use crate::stage::{Tenant, Tick};

const TICKERS: [&str; 8] = [
    "AAPL", "MSFT", "AMZN", "TSLA", "NVDA", "GOOG", "META", "IBM",
];

/// Ticks of some minutes, in order of time, some a minute and ticker.
pub fn ticks(minutes: std::ops::Range<u32>) -> Vec<Tick<'static>> {
    let mut ticks = Vec::new();
    for minute in minutes {
        for second in [1, 20, 40, 55] {
            for (index, ticker) in (0_u32..).zip(TICKERS) {
                ticks.push((
                    ticker,
                    minute,
                    second,
                    f64::from(100 + index * 10 + minute * 2 + second),
                ));
            }
        }
    }
    ticks
}

pub fn quickstart(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let yaml = tenant.yaml("first", 2, "");
    let took = tenant.ready("first", &yaml)?;
    eprintln!("apply to Ready: {} ms", took.as_millis());
    tenant.put("first", &ticks(0..3))?;
    tenant.close("first", 2)?;
    tenant.has_rows("first", &ticks(0..3))?;
    // What people look at.
    tenant.becomes("first", "ShardCoverage", "True Covered")?;
    let mut status = json!(null);
    wait_until("a status of both shards", PATIENCE, || {
        status = tenant.get(&["stockstream", "first"])?["status"].clone();
        let read = status["shards"].as_array().is_some_and(|shards| {
            shards.len() == 2
                && shards
                    .iter()
                    .all(|shard| shard["owner"].is_string() && shard["watermark"].is_string())
        });
        Ok(read.then_some(()))
    })
    .with_context(|| format!("{status:#}"))?;
    ensure!(status["workers"]["ready"] == "2/2", "{status:#}");
    ensure!(status["stream"]["openShards"] == 2, "{status:#}");
    ensure!(status["stream"]["madeByOperator"] == true, "{status:#}");
    let printed = tenant
        .cluster()
        .kubectl(["get", "sst", "--namespace", &tenant.namespace])?;
    let mut words = printed.lines().flat_map(str::split_whitespace);
    for column in [
        "NAME",
        "READY",
        "WORKERS",
        "SHARDS",
        "LAG",
        "WATERMARK",
        "AGE",
        "first",
        "True",
        "2/2",
        "2",
    ] {
        ensure!(words.next() == Some(column), "no {column} in: {printed}");
    }
    ensure!(
        tenant.stage.counter("reconciles_total")? > 0,
        "no reconcile was counted"
    );
    // kstatus, from sigs.k8s.io/cli-utils.
    let resource = tenant.get(&["stockstream", "first"])?;
    let told = kstatus(tenant, &resource.to_string())?;
    ensure!(told == "Current", "kstatus says {told}");
    Ok(())
}

fn kstatus(tenant: &Tenant<'_>, resource: &str) -> anyhow::Result<String> {
    let folder = stockstream_tests::scratch()?;
    let file = folder.path().join("resource.json");
    std::fs::write(&file, resource)?;
    let script = format!("kstatus <{}", file.display());
    let told = tenant
        .cluster()
        .run("bash", ["-c", &script])?
        .success()?
        .stdout;
    Ok(told.lines().next().unwrap_or_default().to_owned())
}

pub fn kills(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready("hurt", &tenant.yaml("hurt", 3, "  workers: {replicas: 3}"))?;
    let cluster = tenant.cluster();
    tenant.put("hurt", &ticks(0..2))?;
    let victim = tenant.workers("hurt")?.first().context("a worker")?.clone();
    cluster.kill_container(&tenant.namespace, &victim)?;
    tenant.put("hurt", &ticks(2..4))?;
    let victim = tenant.workers("hurt")?.get(1).context("a worker")?.clone();
    cluster.kubectl([
        "delete",
        "pod",
        "--namespace",
        &tenant.namespace,
        &victim,
        "--grace-period=0",
        "--force",
    ])?;
    tenant.put("hurt", &ticks(4..6))?;
    tenant.has_workers("hurt", 3)?;
    let victim = tenant.workers("hurt")?.last().context("a worker")?.clone();
    cluster.plug(&tenant.namespace, &victim, false)?;
    tenant.put("hurt", &ticks(6..8))?;
    tenant.close("hurt", 7)?;
    tenant.has_rows("hurt", &ticks(0..8))?;
    cluster.plug(&tenant.namespace, &victim, true)?;
    tenant.becomes("hurt", "Ready", "True Running")?;
    tenant.has_rows("hurt", &ticks(0..8))
}

pub fn suspend(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready("paused", &tenant.yaml("paused", 2, ""))?;
    tenant.put("paused", &ticks(0..2))?;
    tenant.close("paused", 0)?;
    tenant.patch("paused", &json!({"spec": {"suspend": true}}))?;
    tenant.becomes("paused", "Ready", "True Suspended")?;
    tenant.has_workers("paused", 0)?;
    wait_until("no pod is left", PATIENCE, || {
        let pods = tenant.get(&["pods"])?;
        Ok(pods["items"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(()))
    })?;
    let resource = tenant.get(&["stockstream", "paused"])?;
    let told = kstatus(tenant, &resource.to_string())?;
    ensure!(
        told == "Current",
        "a suspended pipeline is as it shall be, and kstatus says {told}"
    );
    tenant.put("paused", &ticks(2..4))?;
    tenant.close("paused", 3)?;
    tenant.patch("paused", &json!({"spec": {"suspend": false}}))?;
    tenant.becomes("paused", "Ready", "True Running")?;
    // Those of minute 1 were open when it was suspended: ticks came before and, had there been any, after.
    tenant.has_rows("paused", &ticks(0..4))
}

pub fn scale(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready(
        "scaled",
        &tenant.yaml("scaled", 3, "  workers: {replicas: 1}"),
    )?;
    tenant.has_workers("scaled", 1)?;
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        tenant.cluster().kubectl([
            "scale",
            "--namespace",
            &tenant.namespace,
            "stockstream/scaled",
            &replicas,
        ])
    };
    tenant.put("scaled", &ticks(0..2))?;
    scale("9")?;
    tenant.has_workers("scaled", 3)?;
    tenant.becomes("scaled", "WorkersAvailable", "True AllReady")?;
    tenant.put("scaled", &ticks(2..4))?;
    scale("1")?;
    tenant.has_workers("scaled", 1)?;
    tenant.put("scaled", &ticks(4..5))?;
    tenant.close("scaled", 4)?;
    tenant.has_rows("scaled", &ticks(0..5))?;
    // Held above what the shards can feed for a while: nobody may see more workers.
    scale("4")?;
    tenant.has_workers("scaled", 3)?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(
        tenant.workers("scaled")?.len() == 3,
        "more workers than shards"
    );
    Ok(())
}

pub fn roll(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready("rolled", &tenant.yaml("rolled", 2, ""))?;
    let before = tenant.workers("rolled")?;
    tenant.put("rolled", &ticks(0..2))?;
    tenant.patch(
        "rolled",
        &json!({"spec": {"output": {"publishInterval": "2s"}}}),
    )?;
    // Ticks come all the while.
    let mut minute = 2;
    wait_until("new workers only", PATIENCE, || {
        tenant.put("rolled", &ticks(minute..minute + 1))?;
        minute += 1;
        let now = tenant.workers("rolled")?;
        let is_new = now.len() == before.len() && now.iter().all(|pod| !before.contains(pod));
        Ok(is_new.then_some(()))
    })?;
    tenant.becomes("rolled", "Ready", "True Running")?;
    tenant.close("rolled", minute - 1)?;
    tenant.has_rows("rolled", &ticks(0..minute))?;
    let late = tenant.stage.s3(
        "head",
        &[
            "lake",
            &format!("{}-rolled/rows-rejects/late/", tenant.own()),
        ],
    )?;
    ensure!(
        late.as_object().is_some_and(serde_json::Map::is_empty),
        "late ticks: {late}"
    );
    Ok(())
}
