#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use k8s_openapi::api::core::v1::EnvVar;
use serde_json::Value;
use stockstream_crds::parse;

use super::*;
use crate::names::PIPELINE_DIGEST;

fn pipeline(more: &str) -> Pipeline {
    let yaml = format!(
        "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: stock-ticks, namespace: team-a}}
spec:
  source: {{kinesis: {{streamName: stock_stream, mode: {{provisioned: {{shards: 4}}}}}}}}
  output: {{path: s3://my-lake/streaming/avg_1min}}
  state: {{path: s3://my-lake/checkpoints/stock-ticks}}
{more}"
    );
    parse(&yaml).expect("a sound pipeline")
}

fn owner() -> OwnerReference {
    OwnerReference {
        api_version: "stockstream.dev/v1alpha1".to_owned(),
        kind: "StockStream".to_owned(),
        name: "stock-ticks".to_owned(),
        uid: "3f6d0000-0000-4000-8000-000000000001".to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn settings() -> PodSettings {
    PodSettings {
        image: "registry.example/stockstream:0.1.0".to_owned(),
        operator_namespace: Some("stockstream-system".to_owned()),
        monitoring_namespaces: vec!["monitoring".to_owned()],
        ..PodSettings::default()
    }
}

fn built(pipeline: &Pipeline, settings: &PodSettings) -> Vec<Desired> {
    build(pipeline, &owner(), settings, Scale::of(pipeline, 4))
}

fn object<'a>(objects: &'a [Desired], kind: Kind, name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object.kind == kind && object.name == name);
    &found
        .unwrap_or_else(|| panic!("no {} {name}", kind.name()))
        .body
}

/// Reviewed by eye: what a pipeline of defaults is made of.
#[test]
fn a_pipeline_of_defaults() {
    let objects = built(&pipeline(""), &settings());
    let texts: Vec<String> = objects
        .iter()
        .map(|object| serde_saphyr::to_string(&object.body).unwrap())
        .collect();
    insta::assert_snapshot!(texts.join("---\n"));
}

#[test]
fn everything_belongs_to_the_stock_stream_and_says_who_made_it() {
    let settings = PodSettings {
        has_service_monitors: true,
        ..settings()
    };
    let objects = built(&pipeline(""), &settings);
    assert_eq!(objects.len(), 9);
    for object in &objects {
        let metadata = &object.body["metadata"];
        assert_eq!(
            metadata["ownerReferences"][0]["uid"],
            owner().uid,
            "{object:?}"
        );
        assert_eq!(metadata["namespace"], "team-a", "{object:?}");
        assert_eq!(metadata["name"], object.name.as_str());
        assert_eq!(
            metadata["labels"][crate::names::MANAGED_BY],
            crate::names::MANAGER
        );
        let resource = object.kind.resource();
        assert_eq!(object.body["apiVersion"], resource.api_version);
        assert_eq!(object.body["kind"], resource.kind);
    }
}

/// Only what workers read may start them anew.
#[test]
fn workers_start_anew_when_what_they_read_changes_and_not_otherwise() {
    let digest = |more: &str| {
        let objects = built(&pipeline(more), &settings());
        let workers = object(&objects, Kind::Deployment, "stock-ticks-workers");
        let digest = &workers["spec"]["template"]["metadata"]["annotations"][PIPELINE_DIGEST];
        digest.as_str().unwrap().to_owned()
    };
    let before = digest("");
    for same in [
        "  workers: {replicas: 3}",
        "  suspend: true",
        "  dashboard: {enabled: false}",
        "  deletionPolicy: Delete",
    ] {
        assert_eq!(digest(same), before, "{same}");
    }
    for other in [
        "  window: {watermarkDelay: 3m}",
        "  catalog: {glue: {database: db, table: rows}}",
    ] {
        assert_ne!(digest(other), before, "{other}");
    }
}

/// What the ConfigMap holds is a pipeline that means the same.
#[test]
fn workers_read_the_pipeline_that_was_applied() {
    let pipeline = pipeline(
        "  window: {size: 5m, aggregates: [{name: top, function: max, field: high}]}
  workers: {replicas: 7, env: [{name: A, value: b}]}
  suspend: true",
    );
    let read = parse(&worker_yaml(&pipeline)).expect("workers can read it");
    assert_eq!(read.window(), pipeline.window());
    assert_eq!(read.source(), pipeline.source());
    assert_eq!(read.output(), pipeline.output());
    assert_eq!(read.state(), pipeline.state());
    assert_eq!((read.namespace(), read.name()), ("team-a", "stock-ticks"));
    assert!(
        !read.is_suspended(),
        "a suspended pipeline has no pods: who runs is to work"
    );
}

#[test]
fn no_more_workers_than_shards_and_none_while_suspended() {
    let workers = |more: &str, shards| Scale::of(&pipeline(more), shards).workers;
    assert_eq!(workers("  workers: {replicas: 3}", 4), 3);
    assert_eq!(workers("  workers: {replicas: 9}", 4), 4);
    assert_eq!(workers("  workers: {replicas: 0}", 4), 0);
    assert_eq!(workers("  suspend: true", 4), 0);
    let dashboard = |more: &str| Scale::of(&pipeline(more), 4).dashboard;
    assert_eq!(dashboard(""), 1);
    assert_eq!(dashboard("  suspend: true"), 0);
    assert_eq!(dashboard("  dashboard: {enabled: false}"), 0);
}

#[test]
fn a_dashboard_that_isn_t_wanted_is_not_built() {
    let objects = built(&pipeline("  dashboard: {enabled: false}"), &settings());
    assert!(
        objects
            .iter()
            .all(|object| !object.name.ends_with("-dashboard"))
    );
}

#[test]
fn a_service_account_of_somebody_else_is_used_and_not_made() {
    let objects = built(
        &pipeline("  workers: {serviceAccount: {name: theirs}}"),
        &settings(),
    );
    assert!(
        objects
            .iter()
            .all(|object| object.kind != Kind::ServiceAccount)
    );
    let workers = object(&objects, Kind::Deployment, "stock-ticks-workers");
    assert_eq!(
        workers["spec"]["template"]["spec"]["serviceAccountName"],
        "theirs"
    );
    let arn = "arn:aws:iam::1:role/worker";
    let objects = built(
        &pipeline(&format!(
            "  workers: {{serviceAccount: {{annotations: {{eks.amazonaws.com/role-arn: \"{arn}\"}}}}}}"
        )),
        &settings(),
    );
    let account = object(&objects, Kind::ServiceAccount, "stock-ticks-worker");
    assert_eq!(
        account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
        arn
    );
}

/// Server-side apply refuses a list in which a name stands twice; what the arguments rely on can't be taken away.
#[test]
fn each_variable_stands_once_and_the_pipeline_s_own_wins() {
    let variable = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    };
    let settings = PodSettings {
        env: vec![variable("REGION", "operator"), variable("ONLY", "operator")],
        ..settings()
    };
    let objects = built(
        &pipeline("  workers: {env: [{name: REGION, value: own}, {name: POD_IP, value: lie}]}"),
        &settings,
    );
    let workers = object(&objects, Kind::Deployment, "stock-ticks-workers");
    let variables = workers["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap();
    let names: Vec<&str> = variables
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ONLY", "REGION", "POD_NAME", "POD_IP"]);
    assert_eq!(variables[1]["value"], "own");
    assert_eq!(
        variables[3]["valueFrom"]["fieldRef"]["fieldPath"],
        "status.podIP"
    );
}

/// The restricted level of Kubernetes' Pod Security Standards.
#[test]
fn pods_are_restricted() {
    let objects = built(&pipeline(""), &settings());
    for name in ["stock-ticks-workers", "stock-ticks-dashboard"] {
        let pod = &object(&objects, Kind::Deployment, name)["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(pod["automountServiceAccountToken"], false);
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["capabilities"]["drop"][0], "ALL");
    }
}
