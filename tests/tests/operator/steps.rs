//! The operator killed after each step of a reconcile: the next one finds what was begun, and brings it to its end once.
//!
//! Owns the operators that run on this machine in place of the chart's, which rest meanwhile: no other trial may run beside
//! this one. A life is one process; what comes next is only changed between two lives, so that its point must be reached.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use stockstream_operator::failpoint;
use stockstream_tests::cluster::GATEWAY;
use stockstream_tests::servers::BUCKET;
use stockstream_tests::{Binary, PATIENCE, Process, isolate_from_aws, wait_until};

use crate::life::ticks;
use crate::stage::{HOME, Tenant, VERSION};

/// The pipeline that is made, changed and deleted.
const NAME: &str = "steps";
/// The one whose stream was there before.
const ADOPTED: &str = "adopted";
/// The tables of one pipeline.
const TABLES: [&str; 3] = ["bars", "bars_late", "bars_dead_letters"];
/// What a pipeline without a dashboard owns, but for its service account.
const OBJECTS: [&str; 6] = [
    "ConfigMap/steps-pipeline",
    "Deployment/steps-workers",
    "NetworkPolicy/steps-workers",
    "PodDisruptionBudget/steps-workers",
    "Service/steps-workers",
    "ServiceMonitor/steps-workers",
];
const SERVICE_ACCOUNT: &str = "ServiceAccount/steps-worker";
/// The kinds of these, as kubectl takes them.
const KINDS: &str = "configmaps,deployments,networkpolicies,poddisruptionbudgets,services,serviceaccounts,servicemonitors.monitoring.coreos.com";
const SERVICE_MONITORS: &str = "servicemonitors.monitoring.coreos.com";

/// A life that takes longer won't reach its point any more.
const LIFE: Duration = Duration::from_secs(60);

pub fn killed_at_each_step(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let lived = rest(tenant).and_then(|()| live(tenant));
    // Whatever became of it: other trials need the chart's operators.
    let woken = wake(tenant);
    lived?;
    woken
}

fn live(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let mut lives = Lives {
        tenant,
        reached: BTreeSet::new(),
    };
    lives.make().context("while it was made")?;
    lives.change().context("while it was changed")?;
    lives.delete().context("while it was deleted")?;
    let missed: Vec<&str> = failpoint::ALL
        .iter()
        .copied()
        .filter(|point| !lives.reached.contains(point))
        .collect();
    ensure!(missed.is_empty(), "no operator was killed at {missed:?}");
    Ok(())
}

/// The chart's operators end. Kubernetes learns what a ServiceMonitor is: whoever starts from now on makes one, too.
fn rest(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let cluster = tenant.cluster();
    scale(tenant, 0)?;
    wait_until("the chart's operators to end", PATIENCE, || {
        let pods = cluster.get(HOME, &["pods"])?;
        let is_empty = pods["items"].as_array().is_some_and(Vec::is_empty);
        Ok(is_empty.then_some(()))
    })?;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": SERVICE_MONITORS},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {
                "plural": "servicemonitors",
                "singular": "servicemonitor",
                "kind": "ServiceMonitor",
                "listKind": "ServiceMonitorList",
            },
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    cluster.apply(&tenant.namespace, &definition.to_string())?;
    wait_until("ServiceMonitors to be known", PATIENCE, || {
        let asked = cluster.run(
            "kubectl",
            ["get", "--raw", "/apis/monitoring.coreos.com/v1"],
        )?;
        let is_known = asked.stdout.contains(r#""kind":"ServiceMonitor""#);
        Ok(is_known.then_some(()))
    })
}

/// As it was before.
fn wake(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let stage = tenant.stage;
    let cluster = tenant.cluster();
    let healed = stage.kinesis_faults(tenant.own(), Vec::new());
    let removed = cluster.kubectl([
        "delete",
        "customresourcedefinition",
        SERVICE_MONITORS,
        "--ignore-not-found",
    ]);
    // Whatever went wrong: later trials need it.
    scale(tenant, 2)?;
    healed?;
    removed?;
    cluster.rolled_out(HOME, "deployment/stockstream")?;
    wait_until("an operator of the chart leads", PATIENCE, || {
        let log = stage.operator_log_since_start()?;
        Ok(log.contains(r#""event":"leading""#).then_some(()))
    })
}

fn scale(tenant: &Tenant<'_>, count: u32) -> anyhow::Result<()> {
    let replicas = format!("--replicas={count}");
    let arguments = [
        "scale",
        "--namespace",
        HOME,
        "deployment/stockstream",
        &replicas,
    ];
    tenant.cluster().kubectl(arguments).map(drop)
}

/// Operators one after the other, and the points that they were killed at.
struct Lives<'a> {
    tenant: &'a Tenant<'a>,
    reached: BTreeSet<&'static str>,
}

impl Lives<'_> {
    /// Stream, tables and objects are made.
    fn make(&mut self) -> anyhow::Result<()> {
        let tenant = self.tenant;
        // The stream is made beside the tables: it is held back, so that each of their points is reached.
        tenant.stage.kinesis_faults(
            tenant.own(),
            vec![json!({
                "operation": "DescribeStreamSummary",
                "stream": self.stream(NAME),
                "count": 10_000,
                "fault": {"throttle": {}},
            })],
        )?;
        let more = format!(
            "  workers: {{replicas: 1}}
  dashboard: {{enabled: false}}
  deletionPolicy: Delete
  catalog: {{glue: {{database: {}, table: bars}}}}",
            self.database()
        );
        tenant.apply(&tenant.yaml(NAME, 1, &more))?;
        self.killed_at_each(&[
            "finalizer_set",
            "database_created",
            // One table a life, and the third after the last of these.
            "table_created",
            "table_created",
            "before_status",
            "status_written",
            "storage_probed",
        ])?;
        tenant.stage.kinesis_faults(tenant.own(), Vec::new())?;
        self.killed_at_each(&[
            "stream:Create",
            "applied:ConfigMap",
            "applied:ServiceAccount",
            "applied:Service",
            "applied:NetworkPolicy",
            "applied:PodDisruptionBudget",
            "applied:Deployment",
            "applied:ServiceMonitor",
        ])?;
        let operator = self.operator(None)?;
        self.is_ready(NAME)?;
        self.has_stream(1, "PROVISIONED", None)?;
        self.has_tables()?;
        let mut objects = BTreeSet::from(OBJECTS.map(str::to_owned));
        objects.insert(SERVICE_ACCOUNT.to_owned());
        self.has_objects(&objects)?;
        drop(operator);
        // Workers need none.
        tenant.put(NAME, &ticks(0..1))?;
        tenant.close(NAME, 0)?;
        tenant.has_rows(NAME, &ticks(0..1))
    }

    /// A stream is adopted, a table grows, a stream is changed in every way, an object isn't wanted any more.
    fn change(&mut self) -> anyhow::Result<()> {
        let tenant = self.tenant;
        tenant
            .stage
            .kinesis(&["create", &self.stream(ADOPTED), "1"])?;
        tenant.apply(&tenant.yaml(
            ADOPTED,
            1,
            "  workers: {replicas: 1}\n  dashboard: {enabled: false}",
        ))?;
        self.killed_at("stream:Tag")?;
        let aggregates = json!([
            {"name": "avg_close", "function": "avg", "field": "close"},
            {"name": "last_close", "function": "last", "field": "close"},
            {"name": "ticks", "function": "count", "field": "close"},
        ]);
        tenant.patch(
            NAME,
            &json!({"spec": {"window": {"aggregates": aggregates}}}),
        )?;
        self.killed_at("table_updated")?;
        self.patch_stream(&json!({
            "retention": "48h",
            "encryption": {"kmsKeyId": "alias/aws/kinesis"},
            "mode": {"provisioned": {"shards": 2}},
        }))?;
        self.killed_at_each(&[
            "stream:IncreaseRetention",
            "stream:Encrypt",
            "stream:SetShards",
        ])?;
        self.patch_stream(&json!({
            "retention": "24h",
            "mode": {"provisioned": null, "onDemand": {}},
        }))?;
        self.killed_at_each(&["stream:DecreaseRetention", "stream:SetMode"])?;
        self.kubectl(&["create", "serviceaccount", "theirs"])?;
        let account = json!({"spec": {"workers": {"serviceAccount": {"name": "theirs"}}}});
        tenant.patch(NAME, &account)?;
        self.killed_at("pruned")?;
        let operator = self.operator(None)?;
        self.is_ready(NAME)?;
        self.is_ready(ADOPTED)?;
        // Who decides the number of shards was changed; the shards stay.
        self.has_stream(2, "ON_DEMAND", Some("alias/aws/kinesis"))?;
        self.has_tables()?;
        let bars = self.table("bars")?;
        ensure!(bars["columns"]["ticks"] == "bigint", "no column: {bars:#}");
        self.has_objects(&BTreeSet::from(OBJECTS.map(str::to_owned)))?;
        drop(operator);
        self.is_adopted()
    }

    /// Workers, data, tables and the stream go, in this order.
    fn delete(&mut self) -> anyhow::Result<()> {
        let tenant = self.tenant;
        // Nothing is to be deleted with this one: it needs no operator.
        self.kubectl(&["delete", &format!("stockstream/{ADOPTED}")])?;
        self.kubectl(&["delete", &format!("stockstream/{NAME}"), "--wait=false"])?;
        self.killed_at_each(&[
            "deployment_deleted",
            // Rows, then rejects; the state goes after them.
            "objects_deleted",
            "objects_deleted",
            "data_deleted",
            "table_deleted",
            "tables_deleted",
            "stream_deletion_asked",
            "before_release",
        ])?;
        // All has gone, and it is told so: until then it is held.
        let resource = tenant.get(&["stockstream", NAME])?;
        ensure!(has_finalizer(&resource), "it was let go: {resource:#}");
        let operator = self.operator(None)?;
        tenant
            .cluster()
            .wait(&tenant.namespace, &format!("stockstream/{NAME}"), "delete")?;
        drop(operator);
        let stream = self.describe(NAME)?;
        ensure!(stream == json!({}), "the stream stays: {stream:#}");
        for table in TABLES {
            let found = self.table(table)?;
            ensure!(found == json!({}), "the table {table} stays: {found:#}");
        }
        let prefix = format!("{}/", self.stream(NAME));
        let left = tenant.stage.s3("head", &[BUCKET, &prefix])?;
        ensure!(left == json!({}), "objects stay: {left:#}");
        let mut left = Value::Null;
        wait_until("every object to go", PATIENCE, || {
            let selector = format!("--selector=stockstream.dev/pipeline={NAME}");
            left = tenant.get(&[&format!("{KINDS},replicasets,pods"), &selector])?;
            let is_empty = left["items"].as_array().is_some_and(Vec::is_empty);
            Ok(is_empty.then_some(()))
        })
        .with_context(|| format!("left: {left:#}"))?;
        self.is_adopted()
    }

    fn killed_at_each(&mut self, points: &[&'static str]) -> anyhow::Result<()> {
        for &point in points {
            self.killed_at(point)?;
        }
        Ok(())
    }

    /// An operator's life that must end at this point.
    fn killed_at(&mut self, point: &'static str) -> anyhow::Result<()> {
        let finished = self
            .operator(Some(point))?
            .wait(LIFE)
            .with_context(|| format!("the point {point} wasn't reached"))?;
        let is_killed = finished.status.signal() == Some(Signal::KILL.as_raw());
        ensure!(
            is_killed
                && finished
                    .stderr
                    .contains(&format!("failpoint {point}: killed")),
            "it wasn't killed at {point} but {finished:?}"
        );
        self.reached.insert(point);
        Ok(())
    }

    /// An operator for this trial's namespace, told what the chart tells its own. Each has the name of the one before, as a
    /// container has that is started anew in its pod: it has the Lease still.
    fn operator(&self, point: Option<&str>) -> anyhow::Result<Process> {
        let Tenant { stage, namespace } = self.tenant;
        let program = Binary::OperatorFailpoints.path()?;
        let mut command = stage.cluster.command(&program.to_string_lossy());
        isolate_from_aws(&mut command);
        command
            .env("AWS_ENDPOINT_URL", &stage.s3.endpoint)
            .env("AWS_ENDPOINT_URL_KINESIS", &stage.kinesis_endpoint)
            .args(["run", "--namespace", namespace.as_str()])
            .args(["--own-namespace", namespace.as_str()])
            .args(["--identity", "killed-at-each-step"])
            .arg(format!("--listen={GATEWAY}:0"))
            .arg(format!(
                "--worker-image=stockstream.dev/stockstream:{VERSION}"
            ))
            .arg("--worker-image-pull-policy=Never");
        let variables = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", stage.s3.endpoint.as_str()),
            ("AWS_ENDPOINT_URL_KINESIS", stage.kinesis_endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        for (name, value) in variables {
            command.arg(format!("--worker-env={name}={value}"));
        }
        if let Some(point) = point {
            command.env("STOCKSTREAM_FAILPOINTS", format!("{point}=kill"));
        }
        stage.cluster.spawn(&mut command)
    }

    fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let own = ["--namespace", self.tenant.namespace.as_str()];
        self.tenant.cluster().kubectl(own.iter().chain(arguments))
    }

    fn patch_stream(&self, kinesis: &Value) -> anyhow::Result<()> {
        let patch = json!({"spec": {"source": {"kinesis": kinesis}}});
        self.tenant.patch(NAME, &patch)
    }

    fn stream(&self, name: &str) -> String {
        format!("{}-{name}", self.tenant.own())
    }

    fn database(&self) -> String {
        self.tenant.own().replace('-', "_")
    }

    fn describe(&self, name: &str) -> anyhow::Result<Value> {
        self.tenant.stage.kinesis(&["describe", &self.stream(name)])
    }

    fn table(&self, name: &str) -> anyhow::Result<Value> {
        self.tenant.stage.s3("table", &[&self.database(), name])
    }

    fn uid(&self) -> anyhow::Result<Value> {
        let resource = self.tenant.get(&["stockstream", NAME])?;
        Ok(resource["metadata"]["uid"].clone())
    }

    /// Waits until it is ready as its spec is now.
    fn is_ready(&self, name: &str) -> anyhow::Result<()> {
        let mut seen = Value::Null;
        wait_until("it to be ready", PATIENCE, || {
            seen = self.tenant.get(&["stockstream", name])?;
            let status = &seen["status"];
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            let is_ready = conditions
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            let is_current = status["observedGeneration"] == seen["metadata"]["generation"];
            Ok((is_ready && is_current).then_some(()))
        })
        .with_context(|| format!("{name}: {seen:#}"))
    }

    /// The stream is this pipeline's, was made for it, and is as its spec says.
    fn has_stream(&self, shards: u64, mode: &str, key: Option<&str>) -> anyhow::Result<()> {
        let wanted = json!({
            "status": "ACTIVE",
            "shards": shards,
            "retention": 24,
            "mode": mode,
            "key": key,
            "tags": {
                "stockstream.dev/owner": format!("{}/{NAME}", self.tenant.namespace),
                "stockstream.dev/made-for": self.uid()?,
            },
        });
        let mut seen = Value::Null;
        wait_until("the stream to be as it shall", PATIENCE, || {
            seen = self.describe(NAME)?;
            Ok((seen == wanted).then_some(()))
        })
        .with_context(|| format!("{seen:#} instead of {wanted:#}"))
    }

    /// The stream that was there stays, and is marked as adopted but not as made.
    fn is_adopted(&self) -> anyhow::Result<()> {
        let stream = self.describe(ADOPTED)?;
        let owner = format!("{}/{ADOPTED}", self.tenant.namespace);
        ensure!(
            stream["status"] == "ACTIVE"
                && stream["tags"] == json!({"stockstream.dev/owner": owner}),
            "the adopted stream: {stream:#}"
        );
        Ok(())
    }

    fn has_tables(&self) -> anyhow::Result<()> {
        let uid = self.uid()?;
        for name in TABLES {
            let table = self.table(name)?;
            ensure!(
                table["parameters"]["stockstream.dev/made-for"] == uid,
                "the table {name}: {table:#}"
            );
        }
        Ok(())
    }

    /// It has these objects and no others, each owned by nobody but it; and the finalizer once.
    fn has_objects(&self, wanted: &BTreeSet<String>) -> anyhow::Result<()> {
        let uid = self.uid()?;
        let selector = format!("--selector=stockstream.dev/pipeline={NAME}");
        let list = self.tenant.get(&[KINDS, &selector])?;
        let mut found = BTreeSet::new();
        for object in list["items"].as_array().context("objects")? {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = format!(
                "{}/{}",
                text(&object["kind"]),
                text(&object["metadata"]["name"])
            );
            let owners = &object["metadata"]["ownerReferences"];
            ensure!(
                owners.as_array().map(Vec::len) == Some(1) && owners[0]["uid"] == uid,
                "{name} is owned by {owners:#}"
            );
            ensure!(found.insert(name.clone()), "{name} is there twice");
        }
        ensure!(found == *wanted, "{found:?} instead of {wanted:?}");
        let resource = self.tenant.get(&["stockstream", NAME])?;
        ensure!(has_finalizer(&resource), "no finalizer: {resource:#}");
        Ok(())
    }
}

fn has_finalizer(resource: &Value) -> bool {
    resource["metadata"]["finalizers"] == json!(["stockstream.dev/cleanup"])
}
