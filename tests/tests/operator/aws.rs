//! What lies in AWS: made, grown, kept, deleted, and told of when it can't be had.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use stockstream_tests::servers::BUCKET;
use stockstream_tests::{PATIENCE, wait_until};

use crate::life::ticks;
use crate::stage::Tenant;

fn stream(tenant: &Tenant<'_>, name: &str) -> anyhow::Result<Value> {
    tenant
        .stage
        .kinesis(&["describe", &format!("{}-{name}", tenant.own())])
}

fn objects(tenant: &Tenant<'_>, name: &str) -> anyhow::Result<usize> {
    let prefix = format!("{}-{name}/", tenant.own());
    let found = tenant.stage.s3("head", &[BUCKET, &prefix])?;
    Ok(found.as_object().map_or(0, serde_json::Map::len))
}

fn database(tenant: &Tenant<'_>) -> String {
    tenant.own().replace('-', "_")
}

fn catalog(tenant: &Tenant<'_>) -> String {
    format!(
        "  catalog: {{glue: {{database: {}, table: bars}}}}",
        database(tenant)
    )
}

fn table(tenant: &Tenant<'_>, name: &str) -> anyhow::Result<Value> {
    tenant.stage.s3("table", &[&database(tenant), name])
}

pub fn retain(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready("stays", &tenant.yaml("stays", 1, &catalog(tenant)))?;
    tenant.put("stays", &ticks(0..1))?;
    tenant.close("stays", 0)?;
    tenant.has_rows("stays", &ticks(0..1))?;
    let resource = tenant.get(&["stockstream", "stays"])?;
    ensure!(
        resource["metadata"]["finalizers"].is_null(),
        "nothing is to be deleted: {resource:#}"
    );
    tenant.cluster().kubectl([
        "delete",
        "--namespace",
        &tenant.namespace,
        "stockstream/stays",
    ])?;
    tenant
        .cluster()
        .wait(&tenant.namespace, "deployment/stays-workers", "delete")?;
    ensure!(
        stream(tenant, "stays")?["status"] == "ACTIVE",
        "the stream is gone"
    );
    ensure!(table(tenant, "bars")? != json!({}), "the table is gone");
    ensure!(objects(tenant, "stays")? > 2, "the data is gone");
    // Applied again, it goes on where it was.
    tenant.ready("stays", &tenant.yaml("stays", 1, &catalog(tenant)))?;
    tenant.put("stays", &ticks(1..3))?;
    tenant.close("stays", 2)?;
    tenant.has_rows("stays", &ticks(0..3))
}

pub fn delete(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let more = format!("{}\n  deletionPolicy: Delete", catalog(tenant));
    tenant.ready("goes", &tenant.yaml("goes", 1, &more))?;
    tenant.put("goes", &ticks(0..1))?;
    tenant.close("goes", 0)?;
    tenant.has_rows("goes", &ticks(0..1))?;
    // Somebody else's file among the rows.
    let theirs = format!("{}-goes/rows/theirs.txt", tenant.own());
    tenant.stage.s3("put", &[BUCKET, &theirs, "theirs"])?;
    tenant.cluster().kubectl([
        "delete",
        "--namespace",
        &tenant.namespace,
        "stockstream/goes",
        "--timeout=100s",
    ])?;
    ensure!(
        stream(tenant, "goes")? == json!({}),
        "the stream stays: {}",
        stream(tenant, "goes")?
    );
    for name in ["bars", "bars_late", "bars_dead_letters"] {
        ensure!(table(tenant, name)? == json!({}), "the table {name} stays");
    }
    let prefix = format!("{}-goes/", tenant.own());
    let left = tenant.stage.s3("head", &[BUCKET, &prefix])?;
    let left: Vec<&String> = left.as_object().context("objects")?.keys().collect();
    ensure!(left == [&theirs], "left: {left:?}");
    // A stream that was there before isn't the operator's to delete.
    let adopted = format!("{}-adopted", tenant.own());
    tenant.stage.kinesis(&["create", &adopted, "1"])?;
    tenant.ready(
        "adopted",
        &tenant.yaml("adopted", 1, "  deletionPolicy: Delete"),
    )?;
    let seen = stream(tenant, "adopted")?;
    let owner = format!("{}/adopted", tenant.namespace);
    ensure!(
        seen["tags"]["stockstream.dev/owner"] == owner.as_str(),
        "{seen:#}"
    );
    tenant.cluster().kubectl([
        "delete",
        "--namespace",
        &tenant.namespace,
        "stockstream/adopted",
        "--timeout=100s",
    ])?;
    ensure!(
        stream(tenant, "adopted")?["status"] == "ACTIVE",
        "an adopted stream was deleted"
    );
    Ok(())
}

pub fn reshard(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready(
        "grown",
        &tenant.yaml("grown", 1, "  workers: {replicas: 4}"),
    )?;
    tenant.put("grown", &ticks(0..2))?;
    let shards = |count: u32| json!({"spec": {"source": {"kinesis": {"mode": {"provisioned": {"shards": count}}}}}});
    // More than double: in steps.
    tenant.patch("grown", &shards(4))?;
    wait_until("four open shards", PATIENCE, || {
        Ok((stream(tenant, "grown")?["shards"] == 4).then_some(()))
    })?;
    tenant.has_workers("grown", 4)?;
    tenant.put("grown", &ticks(2..4))?;
    tenant.patch("grown", &shards(3))?;
    wait_until("three open shards", PATIENCE, || {
        Ok((stream(tenant, "grown")?["shards"] == 3).then_some(()))
    })?;
    tenant.put("grown", &ticks(4..6))?;
    tenant.close("grown", 5)?;
    tenant.has_rows("grown", &ticks(0..6))?;
    let status = tenant.get(&["stockstream", "grown"])?["status"]["stream"].clone();
    ensure!(
        status["scalingsLeft"] == 7,
        "1 → 2 → 4 → 3 are three of ten: {status:#}"
    );
    Ok(())
}

pub fn tables(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready("listed", &tenant.yaml("listed", 1, &catalog(tenant)))?;
    let bars = table(tenant, "bars")?;
    ensure!(
        bars["location"] == format!("s3://{BUCKET}/{}-listed/rows/", tenant.own()),
        "{bars:#}"
    );
    ensure!(bars["columns"]["avg_close"] == "double", "{bars:#}");
    ensure!(bars["keys"] == json!(["ticker", "trade_date"]), "{bars:#}");
    ensure!(
        table(tenant, "bars_late")?["columns"]["data"] == "binary",
        "late ticks"
    );
    ensure!(
        table(tenant, "bars_dead_letters")?["columns"]["reason"] == "string",
        "dead letters"
    );
    tenant.put("listed", &ticks(0..1))?;
    tenant.close("listed", 0)?;
    tenant.has_rows("listed", &ticks(0..1))?;
    wait_until("partitions of all tickers", PATIENCE, || {
        let found = tenant
            .stage
            .s3("partitions", &[&database(tenant), "bars"])?;
        Ok(found
            .as_array()
            .is_some_and(|found| found.len() >= 8)
            .then_some(()))
    })?;
    let more = json!({"spec": {"window": {"aggregates": [
        {"name": "avg_close", "function": "avg", "field": "close"},
        {"name": "last_close", "function": "last", "field": "close"},
        {"name": "ticks", "function": "count", "field": "close"},
    ]}}});
    tenant.patch("listed", &more)?;
    wait_until("the new column", PATIENCE, || {
        Ok((table(tenant, "bars")?["columns"]["ticks"] == "bigint").then_some(()))
    })?;
    tenant.becomes("listed", "CatalogReady", "True TableReady")
}

pub fn no_bucket(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let lost = tenant
        .yaml("lost", 1, "")
        .replace(&format!("s3://{BUCKET}/"), "s3://nowhere/");
    tenant.apply(&lost)?;
    tenant.becomes("lost", "StorageReady", "False NoSuchBucket")?;
    tenant.becomes("lost", "Stalled", "True NoSuchBucket")?;
    // The stream doesn't need the bucket, and no worker is started without one.
    tenant.becomes("lost", "StreamReady", "True Active")?;
    tenant.becomes("lost", "WorkersAvailable", "False NotStarted")?;
    let told = tenant.kstatus("lost")?;
    ensure!(told == "Failed", "kstatus says {told}");
    ensure!(
        tenant.workers("lost")?.is_empty(),
        "workers without a bucket"
    );
    tenant.stage.s3("make-bucket", &["nowhere"])?;
    tenant.becomes("lost", "Ready", "True Running")
}

/// Kinesis refuses to tell of one pipeline's stream, again and again: that one says so, and neither its table nor another
/// pipeline waits.
pub fn throttled(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let stream = format!("{}-slow", tenant.own());
    let fault = json!({"operation": "DescribeStreamSummary", "stream": stream, "count": 10_000, "fault": {"throttle": {}}});
    tenant.stage.kinesis_faults(tenant.own(), vec![fault])?;
    tenant.apply(&tenant.yaml("slow", 1, &catalog(tenant)))?;
    tenant.ready("other", &tenant.yaml("other", 1, ""))?;
    tenant.becomes("slow", "StreamReady", "False Throttled")?;
    tenant.becomes("slow", "CatalogReady", "True TableReady")?;
    tenant.becomes("slow", "StorageReady", "True Writable")?;
    tenant.becomes("slow", "Reconciling", "True Throttled")?;
    let told = tenant.kstatus("slow")?;
    ensure!(told == "InProgress", "kstatus says {told}");
    // Told once for each condition, however often it is tried.
    let events = tenant.events("slow")?;
    ensure!(
        events.values().all(|times| *times <= 4),
        "a storm: {events:?}"
    );
    tenant.stage.kinesis_faults(tenant.own(), Vec::new())?;
    tenant.becomes("slow", "Ready", "True Running")
}

/// Kinesis doesn't answer at all for one pipeline's stream: its objects are kept right and it is suspended all the same.
pub fn silent(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready(
        "mute",
        &tenant.yaml("mute", 1, "  dashboard: {enabled: false}"),
    )?;
    let stream = format!("{}-mute", tenant.own());
    let fault = json!({"operation": "DescribeStreamSummary", "stream": stream, "count": 10_000, "fault": {"delay": {"millis": 600_000}}});
    tenant.stage.kinesis_faults(tenant.own(), vec![fault])?;
    // Another spec is another look at AWS, which hangs.
    tenant.patch(
        "mute",
        &json!({"spec": {"output": {"publishInterval": "3s"}}}),
    )?;
    wait_until("the changed pipeline", PATIENCE, || {
        let config = tenant.get(&["configmap", "mute-pipeline"])?;
        let yaml = config["data"]["pipeline.yaml"].as_str().unwrap_or_default();
        Ok(yaml.contains("publishInterval: 3s").then_some(()))
    })?;
    // Nothing that was found before is said of the new spec.
    tenant.becomes("mute", "Ready", "Unknown NotLookedAt")?;
    tenant.patch("mute", &json!({"spec": {"suspend": true}}))?;
    tenant.has_workers("mute", 0)?;
    // Told, once it has been tried for long enough.
    tenant.becomes("mute", "StreamReady", "False Unavailable")?;
    tenant.stage.kinesis_faults(tenant.own(), Vec::new())?;
    tenant.patch("mute", &json!({"spec": {"suspend": false}}))?;
    tenant.becomes("mute", "Ready", "True Running")
}

/// AWS refuses what the spec asks for: it is told with the field, and what is there stays.
pub fn refused(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready("odd", &tenant.yaml("odd", 1, ""))?;
    let stream = format!("{}-odd", tenant.own());
    let fault = json!({"operation": "UpdateShardCount", "stream": stream, "count": 10_000, "fault": {"error": {
        "type": "LimitExceededException",
        "message": "This request would exceed the shard limit for the account 000000000000 in us-east-1."}}});
    tenant.stage.kinesis_faults(tenant.own(), vec![fault])?;
    let shards = json!({"spec": {"source": {"kinesis": {"mode": {"provisioned": {"shards": 2}}}}}});
    tenant.patch("odd", &shards)?;
    tenant.becomes("odd", "Stalled", "True LimitExceeded")?;
    let message = tenant.message("odd", "StreamReady")?;
    ensure!(
        message.starts_with("spec.source.kinesis.mode: "),
        "no field in: {message}"
    );
    let told = tenant.kstatus("odd")?;
    ensure!(told == "Failed", "kstatus says {told}");
    tenant.put("odd", &ticks(0..1))?;
    tenant.close("odd", 0)?;
    tenant.has_rows("odd", &ticks(0..1))?;
    tenant.stage.kinesis_faults(tenant.own(), Vec::new())?;
    tenant.becomes("odd", "Ready", "True Running")
}

/// The stream can't be deleted: that is told, and an admin lets go of it.
pub fn blocked(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready("held", &tenant.yaml("held", 1, "  deletionPolicy: Delete"))?;
    let name = format!("{}-held", tenant.own());
    let fault = json!({"operation": "DeleteStream", "stream": name, "count": 10_000, "fault": {"error": {
        "type": "AccessDeniedException", "message": "an explicit deny"}}});
    tenant.stage.kinesis_faults(tenant.own(), vec![fault])?;
    let own = ["--namespace", tenant.namespace.as_str()];
    let kubectl = |arguments: &[&str]| tenant.cluster().kubectl(own.iter().chain(arguments));
    kubectl(&["delete", "stockstream/held", "--wait=false"])?;
    tenant.becomes("held", "Stalled", "True DeletionBlocked")?;
    let message = tenant.message("held", "Stalled")?;
    for word in [
        "kinesis:DeleteStream",
        "stockstream.dev/abandon-aws-resources=true",
    ] {
        ensure!(message.contains(word), "no {word} in: {message}");
    }
    let told = tenant.kstatus("held")?;
    ensure!(told == "Terminating", "kstatus says {told}");
    ensure!(tenant.workers("held")?.is_empty(), "workers go first");
    kubectl(&[
        "annotate",
        "stockstream/held",
        "stockstream.dev/abandon-aws-resources=true",
    ])?;
    tenant
        .cluster()
        .wait(&tenant.namespace, "stockstream/held", "delete")?;
    ensure!(
        stream(tenant, "held")?["status"] == "ACTIVE",
        "the stream is gone"
    );
    let events = tenant.events("held")?;
    ensure!(
        events.contains_key("AwsResourcesAbandoned"),
        "not told: {events:?}"
    );
    tenant.stage.kinesis_faults(tenant.own(), Vec::new())
}

/// Whoever says `External` brings stream and table: they are used, and never touched.
pub fn external(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let more = format!(
        "  deletionPolicy: Delete\n{}",
        catalog(tenant).replace("table: bars", "table: bars, management: External")
    );
    let yaml = tenant.yaml("brought", 1, &more).replace(
        "      initialPosition:",
        "      management: External\n      initialPosition:",
    );
    tenant.apply(&yaml)?;
    tenant.becomes("brought", "StreamReady", "False NotFound")?;
    tenant.becomes("brought", "CatalogReady", "False NotFound")?;
    let message = tenant.message("brought", "StreamReady")?;
    ensure!(
        message.contains("spec.source.kinesis.management"),
        "no field in: {message}"
    );
    ensure!(stream(tenant, "brought")? == json!({}), "a stream was made");
    ensure!(table(tenant, "bars")? == json!({}), "a table was made");
    let name = format!("{}-brought", tenant.own());
    tenant.stage.kinesis(&["create", &name, "2"])?;
    let location = format!("s3://{BUCKET}/{name}/rows/");
    let keys = "ticker,trade_date";
    tenant
        .stage
        .s3("make-table", &[&database(tenant), "bars", &location, keys])?;
    let before = (stream(tenant, "brought")?, table(tenant, "bars")?);
    tenant.becomes("brought", "Ready", "True Running")?;
    // Columns that it lacks are told, and not added.
    tenant.becomes("brought", "CatalogReady", "True TableDiffers")?;
    tenant.put("brought", &ticks(0..1))?;
    tenant.close("brought", 0)?;
    tenant.has_rows("brought", &ticks(0..1))?;
    tenant.delete("brought")?;
    let after = (stream(tenant, "brought")?, table(tenant, "bars")?);
    ensure!(before == after, "touched: {before:#?} {after:#?}");
    ensure!(objects(tenant, "brought")? == 0, "the data stays");
    Ok(())
}

/// Everything else that a stream and a table can be told to be.
pub fn settings(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let listed = "  record: {maxAhead: unbounded}";
    let yaml = tenant
        .yaml("full", 1, &catalog(tenant).replace("table: bars", "table: bars, projection: {tickers: [AAPL, MSFT]}"))
        .replace(
            "mode: {provisioned: {shards: 1}}",
            "mode: {onDemand: {}}\n      retention: 48h\n      encryption: {kmsKeyId: alias/aws/kinesis}",
        )
        .replace("  record: {maxAhead: unbounded}", listed);
    tenant.ready("full", &yaml)?;
    let seen = stream(tenant, "full")?;
    ensure!(
        seen["retention"] == 48 && seen["mode"] == "ON_DEMAND",
        "{seen:#}"
    );
    ensure!(seen["key"] == "alias/aws/kinesis", "{seen:#}");
    let parameters = table(tenant, "bars")?["parameters"].clone();
    ensure!(
        parameters["projection.enabled"] == "true"
            && parameters["projection.ticker.values"] == "AAPL,MSFT",
        "{parameters:#}"
    );
    // Less again, step by step.
    tenant.patch(
        "full",
        &json!({"spec": {"source": {"kinesis": {
            "retention": "24h", "mode": {"onDemand": null, "provisioned": {"shards": 4}}}}}}),
    )?;
    wait_until("a provisioned stream of a day", PATIENCE, || {
        let seen = stream(tenant, "full")?;
        let is_so = seen["retention"] == 24 && seen["mode"] == "PROVISIONED" && seen["shards"] == 4;
        Ok(is_so.then_some(()))
    })?;
    tenant.becomes("full", "Ready", "True Running")
}

/// Two pipelines, one stream: the one that made it goes with all it has but that.
pub fn shared(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready(
        "maker",
        &tenant.yaml("maker", 1, "  deletionPolicy: Delete"),
    )?;
    let name = format!("{}-maker", tenant.own());
    let stream_of = |yaml: String| {
        yaml.replace(
            &format!("streamName: {}-reader", tenant.own()),
            &format!("streamName: {name}"),
        )
    };
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    tenant.ready(
        "reader",
        &stream_of(tenant.yaml("reader", 1, "  deletionPolicy: Delete")),
    )?;
    tenant.put("maker", &ticks(0..1))?;
    tenant.cluster().kubectl([
        "delete",
        "--namespace",
        &tenant.namespace,
        "stockstream/maker",
        "--timeout=100s",
    ])?;
    let seen = stream(tenant, "maker")?;
    ensure!(
        seen["status"] == "ACTIVE",
        "the stream went with its maker: {seen}"
    );
    let reader = format!("{}/reader", tenant.namespace);
    ensure!(
        seen["tags"]["stockstream.dev/owner"] == reader.as_str(),
        "{seen:#}"
    );
    tenant.put("maker", &ticks(1..2))?;
    tenant.close("maker", 1)?;
    tenant.has_rows("reader", &ticks(0..2))?;
    // It has the stream from now on, and takes it along.
    tenant.cluster().kubectl([
        "delete",
        "--namespace",
        &tenant.namespace,
        "stockstream/reader",
        "--timeout=100s",
    ])?;
    ensure!(
        stream(tenant, "maker")? == json!({}),
        "the stream stays for nobody"
    );
    Ok(())
}
