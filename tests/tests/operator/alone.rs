//! Trials that need the operators for themselves: they are upgraded, taken away, killed, and their rights are cut.
//!
//! Owns giving back what was taken: who comes after finds the operators as the stage has installed them. Nothing may run
//! beside these.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use stockstream_tests::{PATIENCE, http, wait_until};

use crate::life::ticks;
use crate::stage::{CHART, HOME, Tenant};

/// The workers' image, as `scripts/images.sh` names it.
const IMAGE: &str = concat!("stockstream.dev/stockstream:", env!("CARGO_PKG_VERSION"));
/// The same image by another tag.
const NEXT_TAG: &str = concat!(env!("CARGO_PKG_VERSION"), "-next");
const NEXT_IMAGE: &str = concat!(
    "stockstream.dev/stockstream:",
    env!("CARGO_PKG_VERSION"),
    "-next"
);
/// The chart's ClusterRole.
const ROLE: &str = "clusterrole/stockstream";

/// One worker and nothing else: what isn't about workers.
const SMALL: &str = "  workers: {replicas: 1}\n  dashboard: {enabled: false}";

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Kind and name of each object of a list, for messages.
fn names(list: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    items(list)
        .iter()
        .map(|object| {
            format!(
                "{} {}",
                text(&object["kind"]),
                text(&object["metadata"]["name"])
            )
        })
        .collect()
}

/// What a trial came to, and whether all was put back after it.
fn and_back(done: anyhow::Result<()>, back: anyhow::Result<()>) -> anyhow::Result<()> {
    match (done, back) {
        (Err(failed), Err(left)) => {
            Err(failed.context(format!("and it wasn't put back: {left:#}; before that")))
        }
        (done, back) => done.and(back),
    }
}

/// The pipeline of [`chart_life`], and how many workers it has.
const LIFE: &str = "life";
const WORKERS: usize = 2;

/// Upgrade, rollback, uninstall and installed again, by the commands of docs/kubernetes.md: no row is lost by any.
pub fn chart_life(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    match upgraded_and_taken_away(tenant) {
        Ok(()) => Ok(()),
        failed => and_back(failed, tenant.stage.reinstall()),
    }
}

fn upgraded_and_taken_away(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let (cluster, stage) = (tenant.cluster(), tenant.stage);
    cluster
        .run("ctr", ["images", "tag", "--force", IMAGE, NEXT_IMAGE])?
        .success()?;
    tenant.ready(LIFE, &tenant.yaml(LIFE, 2, ""))?;
    let begun = images(tenant)?;
    ensure!(begun == [IMAGE; WORKERS], "workers run {begun:?}");
    tenant.put(LIFE, &ticks(0..1))?;
    tenant.close(LIFE, 0)?;
    tenant.has_rows(LIFE, &ticks(0..1))?;

    let mut values = stage.values();
    values["workerImage"]["tag"] = json!(NEXT_TAG);
    let upgrade = || stage.helm(HOME, &["upgrade", "stockstream", CHART], Some(&values));
    let next = rolled(tenant, NEXT_IMAGE, 1, upgrade).context("upgrade")?;
    let rollback = || stage.helm(HOME, &["rollback", "stockstream"], None);
    let next = rolled(tenant, IMAGE, next, rollback).context("rollback")?;

    let pods = workers(tenant)?;
    stage.helm(HOME, &["uninstall", "stockstream"], None)?;
    no_operator(tenant)?;
    cluster.get(HOME, &["crd", "stockstreams.stockstream.dev"])?;
    tenant.get(&["stockstream", LIFE])?;
    tenant.put(LIFE, &ticks(next..next + 1))?;
    tenant.close(LIFE, next)?;
    tenant
        .has_rows(LIFE, &ticks(0..next + 1))
        .context("without an operator")?;
    let now = workers(tenant)?;
    ensure!(
        now == pods,
        "{now:?} instead of {pods:?}, without an operator"
    );

    stage.install().context("installed again")?;
    stage.led()?;
    // A change that starts no worker anew shows that somebody looks after it again.
    tenant.patch(LIFE, &json!({"spec": {"dashboard": {"enabled": false}}}))?;
    cluster.wait(&tenant.namespace, "deployment/life-dashboard", "delete")?;
    let mut seen = json!(null);
    wait_until("a status of the spec that is", PATIENCE, || {
        seen = tenant.get(&["stockstream", LIFE])?;
        let (wanted, told) = (
            &seen["metadata"]["generation"],
            &seen["status"]["observedGeneration"],
        );
        Ok((wanted == told).then_some(()))
    })
    .with_context(|| format!("{:#}", seen["status"]))?;
    tenant.becomes(LIFE, "Ready", "True Running")?;
    tenant.put(LIFE, &ticks(next + 1..next + 2))?;
    tenant.close(LIFE, next + 1)?;
    tenant.has_rows(LIFE, &ticks(0..next + 2))?;
    let now = workers(tenant)?;
    ensure!(now == pods, "{now:?} instead of {pods:?}, installed again");
    Ok(())
}

/// Makes a change and puts ticks all the while, minute after minute, until workers of an image run and no others. Every row is
/// there then; and this is the minute that comes next.
fn rolled(
    tenant: &Tenant<'_>,
    image: &str,
    minute: u32,
    change: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<u32> {
    let mut next = minute;
    let mut seen = Vec::new();
    let (rolled, changed) = std::thread::scope(|scope| {
        let changing = scope.spawn(change);
        let rolled = wait_until("workers of the other image only", PATIENCE, || {
            tenant.put(LIFE, &ticks(next..next + 1))?;
            next += 1;
            seen = images(tenant)?;
            let is_so = seen.len() == WORKERS && seen.iter().all(|own| own == image);
            Ok(is_so.then_some(()))
        });
        (rolled, changing.join())
    });
    match changed {
        Ok(changed) => changed?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    rolled.with_context(|| format!("workers run {seen:?} and not {image}"))?;
    tenant
        .cluster()
        .rolled_out(&tenant.namespace, "deployment/life-workers")?;
    tenant.becomes(LIFE, "Ready", "True Running")?;
    tenant.close(LIFE, next - 1)?;
    tenant.has_rows(LIFE, &ticks(0..next))?;
    Ok(next)
}

/// The image of each worker that isn't going.
fn images(tenant: &Tenant<'_>) -> anyhow::Result<Vec<String>> {
    let list = tenant.get(&[
        "pods",
        "--selector=stockstream.dev/pipeline=life,app.kubernetes.io/component=worker",
    ])?;
    Ok(items(&list)
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| {
            let image = pod["spec"]["containers"][0]["image"].as_str()?;
            Some(image.to_owned())
        })
        .collect())
}

fn workers(tenant: &Tenant<'_>) -> anyhow::Result<BTreeSet<String>> {
    Ok(tenant.workers(LIFE)?.into_iter().collect())
}

/// All that the chart makes has the release's label, but the CRD. The Lease isn't the chart's.
fn no_operator(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let kinds = "deployments,replicasets,pods,services,serviceaccounts,networkpolicies,poddisruptionbudgets,roles,rolebindings,clusterroles,clusterrolebindings";
    let mut left = json!(null);
    wait_until("nothing of the operator is left", PATIENCE, || {
        left = tenant.cluster().get(
            HOME,
            &[kinds, "--selector=app.kubernetes.io/instance=stockstream"],
        )?;
        Ok(items(&left).is_empty().then_some(()))
    })
    .with_context(|| format!("{:?}", names(&left)))
}

/// The status says what is lacking and what to do, and it goes on by itself once the right is there.
pub fn rights_too_small(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let role = tenant.cluster().get(HOME, &[ROLE])?;
    let rules = role["rules"].as_array().context("rules")?;
    let cut = without_creating_services(rules)?;
    let told = set_rules(tenant, &cut).and_then(|()| refused(tenant));
    and_back(told, set_rules(tenant, rules))?;
    tenant.becomes("small", "WorkersAvailable", "True AllReady")?;
    tenant.becomes("small", "Ready", "True Running")?;
    tenant.get(&["service", "small-workers"]).map(drop)
}

fn refused(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    // What they were allowed before counts for nothing.
    tenant.stage.restart_operators()?;
    tenant.apply(&tenant.yaml("small", 1, SMALL))?;
    tenant.becomes("small", "WorkersAvailable", "False ApplyFailed")?;
    tenant.becomes("small", "Ready", "False ApplyFailed")?;
    let resource = tenant.get(&["stockstream", "small"])?;
    let conditions = resource["status"]["conditions"]
        .as_array()
        .context("conditions")?;
    let condition = conditions
        .iter()
        .find(|condition| condition["type"] == "WorkersAvailable");
    let message = condition.and_then(|condition| condition["message"].as_str());
    let message = message.with_context(|| format!("no message in {conditions:?}"))?;
    for part in [
        "small-workers",
        "cannot create resource \"services\"",
        "the chart's RBAC",
    ] {
        ensure!(message.contains(part), "no {part:?} in: {message}");
    }
    Ok(())
}

fn set_rules(tenant: &Tenant<'_>, rules: &[Value]) -> anyhow::Result<()> {
    let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
    tenant
        .cluster()
        .kubectl(["patch", ROLE, "--type=json", "--patch", &patch])
        .map(drop)
}

fn without_creating_services(rules: &[Value]) -> anyhow::Result<Vec<Value>> {
    let without = |list: &Value, text: &str| -> Vec<Value> {
        let list = list.as_array().cloned().unwrap_or_default();
        list.into_iter().filter(|own| own != text).collect()
    };
    let mut cut = Vec::new();
    let mut found = false;
    for rule in rules {
        let others = without(&rule["resources"], "services");
        if Some(others.len()) == rule["resources"].as_array().map(Vec::len) {
            cut.push(rule.clone());
            continue;
        }
        found = true;
        if !others.is_empty() {
            cut.push(
                json!({"apiGroups": rule["apiGroups"], "resources": others, "verbs": rule["verbs"]}),
            );
        }
        let verbs = without(&rule["verbs"], "create");
        cut.push(
            json!({"apiGroups": rule["apiGroups"], "resources": ["services"], "verbs": verbs}),
        );
    }
    ensure!(found, "no rule for services in {rules:?}");
    Ok(cut)
}

/// An operator that is told to end gives the Lease back; within so long another leads.
const HANDED_OVER: Duration = Duration::from_secs(10);
/// Twice the Lease's duration: the other one looks every two seconds, on a machine that is busy.
const TAKEN: Duration = Duration::from_secs(30);
/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(80);
/// And at which operators there are.
const LIST: Duration = Duration::from_millis(500);
/// An operator answers at once, or has ended.
const ANSWER: Duration = Duration::from_millis(300);

/// An operator's pod, and where it answers.
type Operator = (String, String);

/// Told to end, killed and rolled out anew: another leads in time, never two, and what changed meanwhile is done, once.
pub fn two_operators(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let (cluster, stage) = (tenant.cluster(), tenant.stage);
    // None that was killed before, and starts later and later.
    stage.restart_operators()?;
    tenant.ready("kept", &tenant.yaml("kept", 1, SMALL))?;

    let leader = leading(tenant)?;
    let begun = Instant::now();
    cluster.kubectl([
        "delete",
        "pod",
        "--namespace",
        HOME,
        &leader,
        "--wait=false",
    ])?;
    change(tenant, "ended")?;
    led_by_one(tenant, "another one leads", |leaders, _| {
        Ok(matches!(leaders, [other] if *other != leader).then_some(()))
    })?;
    in_time("told to end", begun, HANDED_OVER)?;
    has_effect(tenant, "ended")?;

    // Both are there: one waits for its turn.
    cluster.rolled_out(HOME, "deployment/stockstream")?;
    let leader = leading(tenant)?;
    let before = transitions(tenant)?;
    let begun = Instant::now();
    stage.kill_leader()?;
    change(tenant, "killed")?;
    led_by_one(tenant, "one leads again", |leaders, _| {
        // It may be the same pod: its container starts anew, and the Lease bears its name.
        let is_led = leaders.len() == 1 && transitions(tenant)? > before;
        Ok(is_led.then_some(()))
    })
    .with_context(|| format!("{leader} was killed"))?;
    in_time("killed", begun, TAKEN)?;
    has_effect(tenant, "killed")?;

    cluster.rolled_out(HOME, "deployment/stockstream")?;
    let old: Vec<String> = operators(tenant)?.into_iter().map(|(pod, _)| pod).collect();
    cluster.kubectl([
        "rollout",
        "restart",
        "--namespace",
        HOME,
        "deployment/stockstream",
    ])?;
    change(tenant, "rolled")?;
    led_by_one(tenant, "a new one leads", |leaders, pods| {
        let is_new = pods.len() == 2 && pods.iter().all(|(pod, _)| !old.contains(pod));
        Ok((is_new && leaders.len() == 1).then_some(()))
    })?;
    has_effect(tenant, "rolled")?;
    cluster.rolled_out(HOME, "deployment/stockstream")?;

    tenant.becomes("kept", "Ready", "True Running")?;
    made_once(tenant)
}

fn in_time(what: &str, begun: Instant, most: Duration) -> anyhow::Result<()> {
    let took = begun.elapsed();
    eprintln!("leader {what}: another leads after {} ms", took.as_millis());
    ensure!(took < most, "{what}: nobody led for {took:?}");
    Ok(())
}

/// Changes the spec in a way that starts no worker anew.
fn change(tenant: &Tenant<'_>, round: &str) -> anyhow::Result<()> {
    let annotations = json!({"example.test/round": round});
    tenant.patch(
        "kept",
        &json!({"spec": {"workers": {"serviceAccount": {"annotations": annotations}}}}),
    )
}

fn has_effect(tenant: &Tenant<'_>, round: &str) -> anyhow::Result<()> {
    led_by_one(tenant, "the change's effect", |_, _| {
        let account = tenant.get(&["serviceaccount", "kept-worker"])?;
        let annotation = &account["metadata"]["annotations"]["example.test/round"];
        Ok((annotation == round).then_some(()))
    })
    .with_context(|| format!("the change while one was {round}"))
}

/// One stream, and objects that have one owner each.
fn made_once(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let stream = format!("{}-kept", tenant.own());
    let streams = tenant.stage.kinesis(&["streams", tenant.own()])?;
    ensure!(streams == json!([stream]), "streams: {streams}");
    let resource = tenant.get(&["stockstream", "kept"])?;
    let kinds =
        "configmaps,serviceaccounts,services,networkpolicies,poddisruptionbudgets,deployments";
    let list = tenant.get(&[kinds, "--selector=stockstream.dev/pipeline=kept"])?;
    let objects = items(&list);
    ensure!(objects.len() == 6, "objects: {:?}", names(&list));
    for object in objects {
        let owners = object["metadata"]["ownerReferences"].as_array();
        let is_one = owners.is_some_and(|owners| {
            owners.len() == 1
                && owners
                    .iter()
                    .all(|owner| owner["uid"] == resource["metadata"]["uid"])
        });
        ensure!(is_one, "{} is owned by {owners:?}", object["kind"]);
    }
    Ok(())
}

/// How often the Lease has been taken.
fn transitions(tenant: &Tenant<'_>) -> anyhow::Result<u64> {
    let lease = tenant
        .cluster()
        .get(HOME, &["lease", "stockstream-operator"])?;
    lease["spec"]["leaseTransitions"]
        .as_u64()
        .with_context(|| format!("no count in {lease:#}"))
}

/// Who leads.
fn leading(tenant: &Tenant<'_>) -> anyhow::Result<String> {
    led_by_one(tenant, "one leads", |leaders, _| {
        Ok(match leaders {
            [one] => Some(one.clone()),
            _ => None,
        })
    })
}

/// Asks all operators whether they lead, about ten times a second, until it is over. That two lead at once is an error.
fn led_by_one<T>(
    tenant: &Tenant<'_>,
    what: &str,
    mut is_over: impl FnMut(&[String], &[Operator]) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let mut pods = operators(tenant)?;
    let mut listed = Instant::now();
    let mut seen = Vec::new();
    wait_until(what, PATIENCE, || {
        if listed.elapsed() > LIST {
            pods = operators(tenant)?;
            listed = Instant::now();
        }
        seen = leaders(tenant, &pods)?;
        ensure!(seen.len() < 2, "two lead at once: {seen:?}");
        let over = is_over(&seen, &pods)?;
        if over.is_none() {
            std::thread::sleep(LOOK);
        }
        Ok(over)
    })
    .with_context(|| format!("{seen:?} lead of {pods:?}"))
}

/// Every operator that has an address, also those that are going: they may lead still.
fn operators(tenant: &Tenant<'_>) -> anyhow::Result<Vec<Operator>> {
    let list = tenant.cluster().get(
        HOME,
        &["pods", "--selector=app.kubernetes.io/component=operator"],
    )?;
    Ok(items(&list)
        .iter()
        .filter_map(|pod| {
            let name = pod["metadata"]["name"].as_str()?;
            let address = pod["status"]["podIP"].as_str()?;
            Some((name.to_owned(), format!("{address}:8081")))
        })
        .collect())
}

/// The pods of those who say that they lead.
fn leaders(tenant: &Tenant<'_>, pods: &[Operator]) -> anyhow::Result<Vec<String>> {
    let ask = |pods: &[Operator]| {
        tenant.cluster().within(|| {
            let leading = pods.iter().filter(|(_, address)| leads(address));
            Ok(leading.cloned().collect::<Vec<Operator>>())
        })
    };
    let mut found = ask(pods)?;
    // One may have handed over to the other between the two questions: who leads still, has all the while.
    if found.len() > 1 {
        found = ask(&found)?;
    }
    Ok(found.into_iter().map(|(pod, _)| pod).collect())
}

/// One that has ended doesn't answer, and leads no more.
fn leads(address: &str) -> bool {
    let reached = address
        .parse::<SocketAddr>()
        .is_ok_and(|address| TcpStream::connect_timeout(&address, ANSWER).is_ok());
    reached
        && http::send(address, "GET", "/metrics", "").is_ok_and(|text| {
            text.lines()
                .any(|line| line.trim_end() == "stockstream_operator_leading 1")
        })
}

/// Prometheus' kind, and nothing of what it checks.
const MONITORS: &str = "servicemonitors.monitoring.coreos.com";
const MONITORS_CRD: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: ServiceMonitor, listKind: ServiceMonitorList, plural: servicemonitors, singular: servicemonitor}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          x-kubernetes-preserve-unknown-fields: true
";

/// Where Prometheus' operator came after ours: `helm upgrade` brings the right, and an operator that starts makes them.
pub fn service_monitor(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let done = monitored(tenant);
    let back = tenant
        .cluster()
        .kubectl(["delete", "crd", MONITORS, "--ignore-not-found"])
        .and_then(|_| knows_monitors(tenant, false));
    and_back(done, back)
}

fn monitored(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    tenant.cluster().apply(HOME, MONITORS_CRD)?;
    tenant.cluster().wait(
        HOME,
        "crd/servicemonitors.monitoring.coreos.com",
        "condition=Established",
    )?;
    knows_monitors(tenant, true)?;
    tenant.ready("seen", &tenant.yaml("seen", 1, SMALL))?;
    let monitor = wait_until("a ServiceMonitor", PATIENCE, || {
        Ok(tenant.get(&[MONITORS, "seen-workers"]).ok())
    })?;
    let selector =
        json!({"stockstream.dev/pipeline": "seen", "app.kubernetes.io/component": "worker"});
    ensure!(
        monitor["spec"]["selector"]["matchLabels"] == selector,
        "{monitor:#}"
    );
    let endpoint = &monitor["spec"]["endpoints"][0];
    ensure!(
        endpoint["port"] == "http" && endpoint["path"] == "/metrics",
        "{monitor:#}"
    );
    // It chooses the workers' Service, by its labels and its port's name.
    let service = tenant.get(&["service", "seen-workers"])?;
    for (label, value) in selector.as_object().into_iter().flatten() {
        ensure!(
            service["metadata"]["labels"][label] == *value,
            "no {label} in {service:#}"
        );
    }
    ensure!(service["spec"]["ports"][0]["name"] == "http", "{service:#}");
    let resource = tenant.get(&["stockstream", "seen"])?;
    let owners = monitor["metadata"]["ownerReferences"].as_array();
    let is_owned = owners.is_some_and(|owners| {
        owners.len() == 1
            && owners
                .iter()
                .all(|owner| owner["uid"] == resource["metadata"]["uid"])
    });
    ensure!(is_owned, "{monitor:#}");
    Ok(())
}

/// Upgrades until the chart has seen what the cluster knows now, which tells it a moment late, and starts the operators anew.
fn knows_monitors(tenant: &Tenant<'_>, wanted: bool) -> anyhow::Result<()> {
    let stage = tenant.stage;
    let mut role = json!(null);
    wait_until("the chart's rights on ServiceMonitors", PATIENCE, || {
        let upgrade = ["upgrade", "stockstream", CHART];
        stage.helm(HOME, &upgrade, Some(&stage.values()))?;
        role = tenant.cluster().get(HOME, &[ROLE])?;
        let has = role["rules"].to_string().contains("servicemonitors");
        Ok((has == wanted).then_some(()))
    })
    .with_context(|| format!("rules: {}", role["rules"]))?;
    stage.restart_operators()
}

/// An operator of one namespace, with rights there and nowhere else: it leaves another namespace alone.
pub fn namespaced(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let home = format!("{}-operator", tenant.namespace);
    let other = format!("{}-other", tenant.namespace);
    let done = looked_after(tenant, &home, &other);
    and_back(done, first_again(tenant, &home, &other))
}

fn looked_after(tenant: &Tenant<'_>, home: &str, other: &str) -> anyhow::Result<()> {
    let (cluster, stage) = (tenant.cluster(), tenant.stage);
    scale_first(tenant, 0)?;
    let mut left = Vec::new();
    wait_until("the first operators are gone", PATIENCE, || {
        left = operators(tenant)?;
        Ok(left.is_empty().then_some(()))
    })
    .with_context(|| format!("{left:?}"))?;
    cluster.kubectl(["create", "namespace", other])?;
    cluster.apply(other, &tenant.yaml("other", 1, SMALL))?;
    // As tests/chart/namespaced.yaml: the CRD is there already.
    let mut values = stage.values();
    values["watchNamespace"] = json!(tenant.namespace);
    values["crds"] = json!({"install": false});
    values["rbac"] = json!({"aggregate": false});
    values["replicas"] = json!(1);
    stage.helm(
        home,
        &["install", "second", CHART, "--create-namespace"],
        Some(&values),
    )?;
    tenant.ready("own", &tenant.yaml("own", 1, SMALL))?;
    tenant.put("own", &ticks(0..1))?;
    tenant.close("own", 0)?;
    tenant.has_rows("own", &ticks(0..1))?;

    let rights = cluster.get(
        home,
        &[
            "clusterroles,clusterrolebindings",
            "--selector=app.kubernetes.io/instance=second",
        ],
    )?;
    ensure!(items(&rights).is_empty(), "{:?}", names(&rights));
    let resource = cluster.get(other, &["stockstream", "other"])?;
    ensure!(resource["status"].is_null(), "{:#}", resource["status"]);
    let objects = cluster.get(
        other,
        &[
            "configmaps,serviceaccounts,services,networkpolicies,poddisruptionbudgets,deployments,pods",
            "--selector=stockstream.dev/pipeline=other",
        ],
    )?;
    ensure!(items(&objects).is_empty(), "{:?}", names(&objects));
    let stream = stage.kinesis(&["describe", &format!("{}-other", tenant.own())])?;
    ensure!(stream == json!({}), "a stream was made: {stream}");
    Ok(())
}

fn scale_first(tenant: &Tenant<'_>, replicas: u32) -> anyhow::Result<()> {
    let replicas = format!("--replicas={replicas}");
    tenant
        .cluster()
        .kubectl([
            "scale",
            "--namespace",
            HOME,
            "deployment/stockstream",
            &replicas,
        ])
        .map(drop)
}

fn first_again(tenant: &Tenant<'_>, home: &str, other: &str) -> anyhow::Result<()> {
    let (cluster, stage) = (tenant.cluster(), tenant.stage);
    let gone = stage
        .helm(home, &["uninstall", "second", "--ignore-not-found"], None)
        // Before the first operators look at all namespaces again.
        .and_then(|()| {
            cluster.kubectl([
                "delete",
                "namespace",
                other,
                home,
                "--ignore-not-found",
                "--timeout=100s",
            ])
        });
    let back = scale_first(tenant, 2)
        .and_then(|()| cluster.rolled_out(HOME, "deployment/stockstream"))
        .and_then(|()| stage.led());
    and_back(gone.map(drop), back)
}
