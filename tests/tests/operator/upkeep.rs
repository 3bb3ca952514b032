//! What the operator looks after, and what it leaves alone.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use stockstream_tests::{PATIENCE, wait_until};

use crate::life::ticks;
use crate::stage::Tenant;

pub fn drift(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready("kept", &tenant.yaml("kept", 2, ""))?;
    let cluster = tenant.cluster();
    let own = ["--namespace", tenant.namespace.as_str()];
    let kubectl = |arguments: &[&str]| cluster.kubectl(own.iter().chain(arguments));
    // Somebody else's: an annotation, a label, and a container that an injector put in.
    kubectl(&["annotate", "deployment/kept-workers", "theirs=kept"])?;
    kubectl(&["label", "service/kept-workers", "theirs=kept"])?;
    // Ours: the Service's port, the image, the whole ConfigMap.
    kubectl(&[
        "patch",
        "service",
        "kept-workers",
        "--type=json",
        "--patch",
        r#"[{"op": "replace", "path": "/spec/ports/0/port", "value": 9999}]"#,
    ])?;
    kubectl(&["delete", "configmap", "kept-pipeline"])?;
    kubectl(&[
        "patch",
        "networkpolicy",
        "kept-workers",
        "--type=json",
        "--patch",
        r#"[{"op": "remove", "path": "/spec/ingress"}]"#,
    ])?;
    let injected = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "kept-workers"},
        "spec": {"template": {"spec": {"containers": [
            {"name": "theirs", "image": "stockstream.dev/stockstream:0.1.0", "imagePullPolicy": "Never",
             "args": ["kinesis", "--memory"],
             "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}}});
    let folder = stockstream_tests::scratch()?;
    let file = folder.path().join("injected.json");
    std::fs::write(&file, injected.to_string())?;
    let file = format!("--filename={}", file.display());
    kubectl(&["apply", "--server-side", "--field-manager=injector", &file])?;
    kubectl(&[
        "set",
        "image",
        "deployment/kept-workers",
        "worker=example.test/other:1",
    ])?;
    kubectl(&["scale", "deployment/kept-workers", "--replicas=7"])?;
    let mut seen = json!(null);
    wait_until("all is as it was", PATIENCE, || {
        let Ok(config) = tenant.get(&["configmap", "kept-pipeline"]) else {
            return Ok(None);
        };
        let service = tenant.get(&["service", "kept-workers"])?;
        let policy = tenant.get(&["networkpolicy", "kept-workers"])?;
        let deployment = tenant.get(&["deployment", "kept-workers"])?;
        seen = json!([
            service["spec"]["ports"],
            policy["spec"]["ingress"],
            deployment["spec"]["replicas"]
        ]);
        let is_right = service["spec"]["ports"][0]["port"] == 8080
            && service["spec"]["ports"].as_array().map(Vec::len) == Some(1)
            && policy["spec"]["ingress"].is_array()
            && deployment["spec"]["replicas"] == 2
            && containers(&deployment).contains(&("worker".to_owned(), OUR_IMAGE.to_owned()))
            && config["data"]["pipeline.yaml"].is_string();
        Ok(is_right.then_some(()))
    })
    .with_context(|| format!("{seen:#}"))?;
    let deployment = tenant.get(&["deployment", "kept-workers"])?;
    ensure!(
        deployment["metadata"]["annotations"]["theirs"] == "kept",
        "{deployment:#}"
    );
    ensure!(
        containers(&deployment)
            .iter()
            .any(|(name, _)| name == "theirs"),
        "the injected container is gone: {deployment:#}"
    );
    let service = tenant.get(&["service", "kept-workers"])?;
    ensure!(
        service["metadata"]["labels"]["theirs"] == "kept",
        "{service:#}"
    );
    tenant.becomes("kept", "Ready", "True Running")
}

/// The workers' image, as `scripts/images.sh` names it.
const OUR_IMAGE: &str = concat!("stockstream.dev/stockstream:", env!("CARGO_PKG_VERSION"));

/// Name and image of each container of a Deployment.
fn containers(deployment: &serde_json::Value) -> Vec<(String, String)> {
    let list = deployment["spec"]["template"]["spec"]["containers"].as_array();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    list.into_iter()
        .flatten()
        .map(|one| (text(&one["name"]), text(&one["image"])))
        .collect()
}

pub fn prune(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready("pruned", &tenant.yaml("pruned", 1, ""))?;
    tenant.get(&["deployment", "pruned-dashboard"])?;
    tenant.get(&["service", "pruned-dashboard"])?;
    tenant.patch(
        "pruned",
        &json!({"spec": {"dashboard": {"enabled": false}}}),
    )?;
    tenant
        .cluster()
        .wait(&tenant.namespace, "deployment/pruned-dashboard", "delete")?;
    tenant
        .cluster()
        .wait(&tenant.namespace, "service/pruned-dashboard", "delete")?;
    tenant.get(&["deployment", "pruned-workers"]).map(drop)
}

/// Whatever two claim: the path of rows, the table, the stream with other settings.
pub fn conflict(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let own = tenant.own();
    let database = own.replace('-', "_");
    let glue = format!("  catalog: {{glue: {{database: {database}, table: bars}}}}");
    tenant.ready(
        "older",
        &tenant.yaml("older", 1, &format!("{glue}\n  deletionPolicy: Delete")),
    )?;
    // Stamps have whole seconds; names would decide.
    std::thread::sleep(Duration::from_millis(1_100));
    let path = tenant
        .yaml("path", 1, "")
        .replace(&format!("{own}-path/rows"), &format!("{own}-older/rows"));
    let table = tenant.yaml("table", 1, &glue);
    let stream = tenant.yaml("stream", 3, "").replace(
        &format!("streamName: {own}-stream"),
        &format!("streamName: {own}-older"),
    );
    let seen = || -> anyhow::Result<_> {
        let stage = tenant.stage;
        let stream = stage.kinesis(&["describe", &format!("{own}-older")])?;
        Ok((stream, stage.s3("table", &[&database, "bars"])?))
    };
    let before = seen()?;
    for (name, yaml, field) in [
        ("path", &path, "spec.output.path: "),
        ("table", &table, "spec.catalog.glue.table: "),
        ("stream", &stream, "spec.source.kinesis.streamName: "),
    ] {
        tenant.apply(yaml)?;
        tenant.becomes(name, "Stalled", "True Conflict")?;
        tenant.becomes(name, "Ready", "False Conflict")?;
        let message = tenant.message(name, "Ready")?;
        ensure!(message.starts_with(field), "no {field} in: {message}");
        let selector = format!("--selector=stockstream.dev/pipeline={name}");
        let objects = tenant.get(&["deployments,services,configmaps", &selector])?;
        ensure!(
            objects["items"].as_array().is_some_and(Vec::is_empty),
            "{objects:#}"
        );
        let stream = tenant
            .stage
            .kinesis(&["describe", &format!("{own}-{name}")])?;
        ensure!(stream == json!({}), "a stream was made: {stream}");
    }
    ensure!(seen()? == before, "the older one's were touched");
    tenant.becomes("older", "Ready", "True Running")?;
    // Once the older one is gone with all it wrote, a younger one has it.
    tenant.delete("table")?;
    tenant.delete("stream")?;
    tenant.delete("older")?;
    tenant.becomes("path", "Ready", "True Running")
}

/// A pipeline that runs, and then is told what can't be: its workers go on, and stop when it is suspended.
pub fn refused(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let own = tenant.own();
    let database = own.replace('-', "_");
    let glue =
        |table: &str| format!("  catalog: {{glue: {{database: {database}, table: {table}}}}}");
    tenant.ready("first", &tenant.yaml("first", 1, &glue("bars")))?;
    std::thread::sleep(Duration::from_millis(1_100));
    tenant.ready("second", &tenant.yaml("second", 1, &glue("others")))?;
    let claim = |table: &str| json!({"spec": {"catalog": {"glue": {"table": table}}}});
    tenant.patch("second", &claim("bars"))?;
    tenant.becomes("second", "Stalled", "True Conflict")?;
    let message = tenant.message("second", "Ready")?;
    ensure!(message.contains("its workers go on"), "{message}");
    // What was said of its parts stands.
    tenant.becomes("second", "WorkersAvailable", "True AllReady")?;
    tenant.put("second", &ticks(0..1))?;
    tenant.close("second", 0)?;
    tenant.has_rows("second", &ticks(0..1))?;
    tenant.patch("second", &json!({"spec": {"suspend": true}}))?;
    tenant.has_workers("second", 0)?;
    tenant.becomes("second", "WorkersAvailable", "False Suspended")?;
    tenant.becomes("second", "Ready", "False Conflict")?;
    tenant.patch("second", &json!({"spec": {"suspend": false}}))?;
    tenant.patch("second", &claim("others"))?;
    tenant.becomes("second", "Ready", "True Running")?;
    tenant.has_workers("second", 1)
}

/// Its status was written and its objects applied: from then on nothing, whatever the workers tell.
pub fn idle(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready(
        "idle",
        &tenant.yaml(
            "idle",
            1,
            "  workers: {replicas: 1}\n  dashboard: {enabled: false}",
        ),
    )?;
    tenant.put("idle", &ticks(0..1))?;
    let version = || -> anyhow::Result<String> {
        let resource = tenant.get(&["stockstream", "idle"])?;
        Ok(resource["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    };
    let deployment = || -> anyhow::Result<String> {
        let found = tenant.get(&["deployment", "idle-workers", "--show-managed-fields"])?;
        let fields = found["metadata"]["managedFields"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ours = fields
            .iter()
            .find(|field| field["manager"] == "stockstream-operator");
        Ok(ours.map_or_else(String::new, |ours| ours["time"].to_string()))
    };
    // Until the workers have told of the ticks, and that no more come.
    let status = || -> anyhow::Result<serde_json::Value> {
        Ok(tenant.get(&["stockstream", "idle"])?["status"].clone())
    };
    wait_until("a status without ticks", PATIENCE, || {
        let status = status()?;
        Ok((status["watermark"].is_string() && status["tickRate"] == "0").then_some(()))
    })?;
    let before = (version()?, deployment()?, status()?);
    // Workers are asked ten, twenty and forty seconds after one another.
    std::thread::sleep(Duration::from_secs(75));
    let after = (version()?, deployment()?, status()?);
    ensure!(
        before == after,
        "written or applied again: {before:#?}, {after:#?}"
    );
    Ok(())
}

/// SIGKILL at moments that nobody chose, of whoever leads: while things are made, changed and deleted.
pub fn killed_operator(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let more = "  deletionPolicy: Delete\n  workers: {replicas: 1}";
    let kill = |after: u64| -> anyhow::Result<()> {
        std::thread::sleep(Duration::from_millis(after));
        tenant.stage.kill_leader()
    };
    tenant.apply(&tenant.yaml("survives", 1, more))?;
    for after in [150, 700, 1_500] {
        kill(after)?;
    }
    tenant.becomes("survives", "Ready", "True Running")?;
    tenant.put("survives", &ticks(0..1))?;
    let shards = json!({"spec": {"source": {"kinesis": {"mode": {"provisioned": {"shards": 2}}}}}});
    tenant.patch("survives", &shards)?;
    kill(300)?;
    wait_until("two shards in the status", PATIENCE, || {
        let resource = tenant.get(&["stockstream", "survives"])?;
        Ok((resource["status"]["stream"]["openShards"] == 2).then_some(()))
    })?;
    tenant.put("survives", &ticks(1..2))?;
    tenant.close("survives", 1)?;
    tenant.has_rows("survives", &ticks(0..2))?;
    let own = ["--namespace", tenant.namespace.as_str()];
    tenant.cluster().kubectl(own.iter().chain(&[
        "delete",
        "stockstream/survives",
        "--wait=false",
    ]))?;
    for after in [500, 3_000] {
        kill(after)?;
    }
    tenant
        .cluster()
        .wait(&tenant.namespace, "stockstream/survives", "delete")?;
    let stream = tenant
        .stage
        .kinesis(&["describe", &format!("{}-survives", tenant.own())])?;
    ensure!(
        stream == json!({}) || stream["status"] == "DELETING",
        "the stream stays: {stream}"
    );
    ensure!(tenant.stage.leaders()? <= 1, "two lead at once");
    Ok(())
}

/// Rules that CEL can't state: the API server takes it, and the operator says what is wrong and where.
pub fn invalid(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let odd = tenant
        .yaml("odd", 1, "")
        .replace("commitInterval: 1s}", "commitInterval: 1s, maxOutbox: 1k}");
    tenant.apply(&odd)?;
    tenant.becomes("odd", "Stalled", "True InvalidSpec")?;
    let resource = tenant.get(&["stockstream", "odd"])?;
    let conditions = resource["status"]["conditions"].to_string();
    ensure!(
        conditions.contains("spec.state.maxOutbox"),
        "no field in: {conditions}"
    );
    let files = "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {name: files}
spec:
  source: {files: {paths: [\"s3://lake/ticks/*.ndjson\"]}}
  output: {path: \"s3://lake/files/rows\"}
  state: {path: \"s3://lake/files/state\"}
";
    tenant.apply(files)?;
    tenant.becomes("files", "Stalled", "True FilesNotSupported")?;
    // Mended, it goes on.
    tenant.apply(&tenant.yaml("odd", 1, ""))?;
    tenant.becomes("odd", "Ready", "True Running")
}

/// A service account of the very name that the operator would give its own.
pub fn theirs(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let own = ["--namespace", tenant.namespace.as_str()];
    let kubectl = |arguments: &[&str]| tenant.cluster().kubectl(own.iter().chain(arguments));
    kubectl(&["create", "serviceaccount", "mine-worker"])?;
    tenant.apply(&tenant.yaml("mine", 1, ""))?;
    tenant.becomes("mine", "WorkersAvailable", "False ApplyFailed")?;
    let found = tenant.get(&["serviceaccount", "mine-worker"])?;
    ensure!(
        found["metadata"]["ownerReferences"].is_null(),
        "it was taken: {found:#}"
    );
    let conditions = tenant.get(&["stockstream", "mine"])?["status"]["conditions"].to_string();
    ensure!(
        conditions.contains("spec.workers.serviceAccount.name"),
        "no advice: {conditions}"
    );
    tenant.patch(
        "mine",
        &json!({"spec": {"workers": {"serviceAccount": {"name": "mine-worker"}}}}),
    )?;
    tenant.becomes("mine", "Ready", "True Running")?;
    kubectl(&["delete", "stockstream/mine"])?;
    tenant
        .cluster()
        .wait(&tenant.namespace, "deployment/mine-workers", "delete")?;
    tenant.get(&["serviceaccount", "mine-worker"]).map(drop)
}

/// The old workers go on, and the status says why the new ones don't come.
pub fn stuck_roll_out(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.ready(
        "stuck",
        &tenant.yaml("stuck", 1, "  workers: {replicas: 1}"),
    )?;
    let before = tenant.workers("stuck")?;
    // A pod with it can't be made: its Secret isn't there.
    let variable =
        json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "a"}}}]);
    tenant.patch("stuck", &json!({"spec": {"workers": {"env": variable}}}))?;
    tenant.becomes("stuck", "WorkersAvailable", "False PodsFailing")?;
    let conditions = tenant.get(&["stockstream", "stuck"])?["status"]["conditions"].to_string();
    ensure!(conditions.contains("nowhere"), "no reason: {conditions}");
    let now = tenant.workers("stuck")?;
    ensure!(
        before.iter().all(|pod| now.contains(pod)),
        "{before:?} went for {now:?}"
    );
    tenant.put("stuck", &ticks(0..1))?;
    tenant.close("stuck", 0)?;
    tenant.has_rows("stuck", &ticks(0..1))?;
    tenant.patch("stuck", &json!({"spec": {"workers": {"env": null}}}))?;
    tenant.becomes("stuck", "Ready", "True Running")
}
