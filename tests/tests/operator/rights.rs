//! The least that the operator may do in Kubernetes: each verb of each resource is taken away in turn, and the operator says
//! what it lacks. `make operator-rights`; it takes minutes.

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use stockstream_tests::{PATIENCE, wait_until};

use crate::stage::Tenant;

/// The chart's ClusterRole.
const ROLE: &str = "clusterrole/stockstream";

/// What can't be shown so, and why.
const NOT_SHOWN: &[(&str, &str, &str)] = &[
    (
        "stockstreams/finalizers",
        "update",
        "asked for only where OwnerReferencesPermissionEnforcement runs",
    ),
    (
        "events",
        "patch",
        "asked for only when the same event comes again within minutes",
    ),
];

pub fn rights(tenant: &Tenant<'_>) -> anyhow::Result<()> {
    let cluster = tenant.cluster();
    let role = cluster.get("default", &[ROLE])?;
    let rules = role["rules"].as_array().context("rules")?.clone();
    let set = |rules: &Value| {
        let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
        cluster.kubectl(["patch", ROLE, "--type=json", "--patch", &patch])
    };
    let mut shown = 0;
    for (number, (resource, verb)) in pairs(&rules).into_iter().enumerate() {
        if let Some((_, _, why)) = NOT_SHOWN
            .iter()
            .find(|(r, v, _)| (*r, *v) == (resource.as_str(), verb.as_str()))
        {
            eprintln!("{verb} {resource}: not shown: {why}");
            continue;
        }
        set(&json!(without(&rules, &resource, &verb)))?;
        tenant.stage.restart_operators()?;
        let lacking = lacks(tenant, number, &resource, &verb);
        set(&json!(rules))?;
        lacking.with_context(|| format!("{verb} {resource} isn't missed"))?;
        eprintln!("{verb} {resource}: missed");
        shown += 1;
    }
    ensure!(shown >= 20, "only {shown} rights were taken away");
    tenant.stage.restart_operators()?;
    tenant
        .ready("after", &tenant.yaml("after", 1, ""))
        .map(drop)
}

/// Resources and verbs, one by one.
fn pairs(rules: &[Value]) -> Vec<(String, String)> {
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().cloned().unwrap_or_default();
        list.iter()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    let mut pairs = Vec::new();
    for rule in rules {
        for resource in texts(&rule["resources"]) {
            for verb in texts(&rule["verbs"]) {
                pairs.push((resource.clone(), verb));
            }
        }
    }
    pairs
}

/// The rules without one verb of one resource.
fn without(rules: &[Value], resource: &str, verb: &str) -> Vec<Value> {
    let mut left = Vec::new();
    for rule in rules {
        for own in rule["resources"].as_array().into_iter().flatten() {
            let verbs: Vec<&Value> = rule["verbs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|own_verb| !(own == resource && *own_verb == verb))
                .collect();
            left.push(json!({"apiGroups": rule["apiGroups"], "resources": [own], "verbs": verbs}));
        }
    }
    left
}

/// A pipeline's life in short, until the operator says that it lacks the right.
fn lacks(tenant: &Tenant<'_>, number: usize, resource: &str, verb: &str) -> anyhow::Result<()> {
    let name = format!("r{number}");
    let wanted = format!("cannot {verb} resource \\\"{}\\\"", resource);
    let said = |what: &str| {
        wait_until(what, PATIENCE / 4, || {
            let log = tenant.stage.operator_log_since_start()?;
            Ok(log.contains(&wanted).then_some(()))
        })
    };
    tenant.apply(&tenant.yaml(
        &name,
        1,
        "  deletionPolicy: Delete\n  workers: {replicas: 1}",
    ))?;
    if said("a refusal after apply").is_ok() {
        return release(tenant, &name);
    }
    // What is deleted: the dashboard, and a service account that somebody else brings.
    tenant.patch(&name, &json!({"spec": {"dashboard": {"enabled": false}, "workers": {"serviceAccount": {"name": "default"}}}}))?;
    if said("a refusal after a change").is_ok() {
        return release(tenant, &name);
    }
    let _ = release(tenant, &name);
    bail!(
        "no {wanted} in: {}",
        tenant.stage.operator_log_since_start()?
    )
}

fn release(tenant: &Tenant<'_>, name: &str) -> anyhow::Result<()> {
    let own = ["--namespace", tenant.namespace.as_str()];
    let kubectl = |arguments: &[&str]| tenant.cluster().kubectl(own.iter().chain(arguments));
    kubectl(&["delete", "stockstream", name, "--wait=false"])?;
    // Whether the operator may do its part or not.
    let patch = [
        "patch",
        "stockstream",
        name,
        "--type=merge",
        "--patch",
        r#"{"metadata": {"finalizers": []}}"#,
    ];
    let _ = kubectl(&patch);
    tenant
        .cluster()
        .wait(&tenant.namespace, &format!("stockstream/{name}"), "delete")
}
