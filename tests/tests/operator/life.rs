//! A pipeline's life: it begins, is hurt, stopped, scaled and changed, and its rows stay right.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stockstream_tests::{Binary, PATIENCE, wait_until};

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
                && shards.iter().all(|shard| {
                    shard["owner"].is_string()
                        && shard["watermark"].is_string()
                        && shard["position"].is_string()
                        && shard["lagMillis"] == 0
                        && shard["epoch"].as_i64().is_some_and(|epoch| epoch >= 1)
                })
        });
        let is_published = status["lastPublishedWindow"] == "2024-01-02T14:03:00Z";
        Ok((read && is_published && status["tickRate"].is_string()).then_some(()))
    })
    .with_context(|| format!("{status:#}"))?;
    let resource = tenant.get(&["stockstream", "first"])?;
    ensure!(
        status["observedGeneration"] == resource["metadata"]["generation"],
        "{resource:#}"
    );
    ensure!(status["workers"]["ready"] == "2/2", "{status:#}");
    ensure!(status["stream"]["openShards"] == 2, "{status:#}");
    ensure!(status["stream"]["madeByOperator"] == true, "{status:#}");
    ensure!(
        status["costEstimate"] == "22 USD a month for the stream",
        "{status:#}"
    );
    columns(tenant, &[])?;
    columns(tenant, &["--output=wide"])?;
    ensure!(
        tenant.stage.counter("reconciles_total")? > 0,
        "no reconcile was counted"
    );
    let told = tenant.kstatus("first")?;
    ensure!(told == "Current", "kstatus says {told}");
    // Each change once, however often the operator looks.
    let events = tenant.events("first")?;
    for reason in ["StreamCreated", "Running", "AllReady", "Active", "Writable"] {
        ensure!(events.get(reason) == Some(&1), "{reason}: {events:?}");
    }
    ensure!(
        events.values().all(|times| *times <= 4),
        "a storm: {events:?}"
    );
    Ok(())
}

/// `kubectl get sst` shows what the issue of a pipeline's state needs, and `-o wide` more.
fn columns(tenant: &Tenant<'_>, more: &[&str]) -> anyhow::Result<()> {
    let own = ["get", "sst", "--namespace", tenant.namespace.as_str()];
    let printed = tenant.cluster().kubectl(own.iter().chain(more))?;
    let mut lines = printed.lines().map(|line| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let heads = lines.next().context("a head line")?;
    let wanted = [
        "NAME",
        "READY",
        "WORKERS",
        "SHARDS",
        "LAG",
        "WATERMARK",
        "AGE",
    ];
    let narrow: Vec<&String> = heads
        .iter()
        .filter(|head| wanted.contains(&head.as_str()))
        .collect();
    ensure!(narrow == wanted.iter().collect::<Vec<_>>(), "{printed}");
    ensure!((heads.len() > wanted.len()) != more.is_empty(), "{printed}");
    let row = lines.next().context("a line")?;
    ensure!(row[..4] == ["first", "True", "2/2", "2"], "{printed}");
    Ok(())
}

/// The example of the README, untouched, and `stockstream replay`: what `make demo` does on a laptop. The oracle reads the stream
/// with boto3 and counts by itself.
pub fn example(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    const BUCKET: &str = "my-lake";
    const STREAM: &str = "stock_stream";
    let repository = stockstream_tests::repository();
    tenant.stage.s3("make-bucket", &[BUCKET])?;
    let yaml = std::fs::read_to_string(repository.join("examples/quickstart.yaml"))?;
    tenant.ready("stock-ticks", &yaml)?;
    let mut replay = Binary::Product.command()?;
    replay.current_dir(repository).args([
        "replay",
        "examples/data/daily.csv",
        "--stream",
        STREAM,
        "--rate",
        "300",
        "--speed",
        "120",
        "--region",
        "us-east-1",
        "--endpoint-url",
        &tenant.stage.kinesis_endpoint,
    ]);
    tenant
        .cluster()
        .spawn(&mut replay)?
        .wait(PATIENCE)?
        .success()?;
    let stream = tenant.stage.kinesis(&["read", STREAM])?;
    let (windows, closed) = averages(&stream)?;
    ensure!(
        closed.len() > 50,
        "{} windows of {} are closed: too few to tell",
        closed.len(),
        windows.len()
    );
    let mut rows = BTreeMap::new();
    wait_until("a row of every closed window", PATIENCE, || {
        let found = tenant.stage.s3("rows", &[BUCKET, "streaming/avg_1min/"])?;
        rows.clear();
        for row in found.as_array().context("rows")? {
            let text = |key: &str| row[key].as_str().unwrap_or_default();
            let start = text("window_start").get(..16).unwrap_or_default();
            let key = (text("ticker").to_owned(), start.to_owned());
            let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
            let figures = (number("avg_close"), number("last_close"));
            ensure!(rows.insert(key, figures).is_none(), "twice: {row}");
        }
        Ok(closed
            .iter()
            .all(|key| rows.contains_key(key))
            .then_some(()))
    })
    .with_context(|| format!("{} rows of {}", rows.len(), closed.len()))?;
    for (key, (average, last)) in &rows {
        let wanted = windows.get(key).with_context(|| format!("{key:?}"))?;
        let is_right = (average - wanted.0).abs() < 1e-9 && *last == wanted.1;
        ensure!(is_right, "{key:?}: {average} {last} instead of {wanted:?}");
    }
    Ok(())
}

/// A ticker and the minute in which its window starts, as `2024-01-02T14:30`.
type Window = (String, String);
/// Average and last close of each window.
type Figures = BTreeMap<Window, (f64, f64)>;

/// Average and last close of every window of what was read of a stream, and which are closed: two minutes before the newest tick
/// of their shard.
fn averages(stream: &serde_json::Value) -> anyhow::Result<(Figures, Vec<Window>)> {
    const DELAY: SignedDuration = SignedDuration::from_mins(2);
    const SIZE: SignedDuration = SignedDuration::from_mins(1);
    let mut windows = BTreeMap::new();
    let mut closed = Vec::new();
    for records in stream.as_object().context("shards")?.values() {
        let mut closes: BTreeMap<Window, Vec<f64>> = BTreeMap::new();
        let mut newest = Timestamp::MIN;
        for record in records.as_array().context("records")? {
            let tick: serde_json::Value =
                serde_json::from_str(record["data"].as_str().context("data")?)?;
            let time = tick["timestamp"].as_str().context("a timestamp")?;
            let ticker = tick["ticker"].as_str().context("a ticker")?.to_owned();
            let start = time.get(..16).context("minutes")?.to_owned();
            newest = newest.max(time.parse()?);
            let close = tick["close"].as_f64().context("a close")?;
            closes.entry((ticker, start)).or_default().push(close);
        }
        for (window, closes) in closes {
            let start: Timestamp = format!("{}:00Z", window.1).parse()?;
            if start + SIZE + DELAY <= newest {
                closed.push(window.clone());
            }
            let average = closes.iter().sum::<f64>() / closes.len() as f64;
            let last = *closes.last().context("a close")?;
            windows.insert(window, (average, last));
        }
    }
    Ok((windows, closed))
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
    let told = tenant.kstatus("paused")?;
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
