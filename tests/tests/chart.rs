//! The Helm chart: what Helm makes of it, and that this is what the chart promises. No cluster is asked.
//!
//! `tests/chart` has files of values; each has a snapshot of all that is made of it, but for the CRD.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use serde_json::{Value, json};
use stockstream_tests::{Finished, PATIENCE, Process, helm, repository};

const CHART: &str = "charts/stockstream";
/// Helm renders for some Kubernetes when it asks none.
const KUBERNETES: &str = "--kube-version=1.35.0";
const CRD: &str = "stockstream/templates/crds/stockstreams.stockstream.dev.yaml";

/// A rendered object.
struct Document {
    /// The template that it comes from.
    source: String,
    text: String,
}

impl Document {
    fn value(&self) -> Value {
        serde_saphyr::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.source, self.text))
    }
}

fn run(command: &str, arguments: &[&str]) -> Finished {
    let mut helm = helm().unwrap();
    helm.arg(command).args(arguments);
    Process::spawn(&mut helm).unwrap().wait(PATIENCE).unwrap()
}

fn template(arguments: &[&str]) -> Finished {
    let common = [
        "stockstream",
        CHART,
        "--namespace=stockstream-system",
        KUBERNETES,
    ];
    run("template", &[&common[..], arguments].concat())
}

fn rendered(arguments: &[&str]) -> Vec<Document> {
    let text = template(arguments).success().unwrap().stdout;
    let documents = text.split("---\n# Source: ").skip(1);
    documents
        .map(|document| {
            let (source, text) = document.split_once('\n').unwrap();
            Document {
                source: source.to_owned(),
                text: text.to_owned(),
            }
        })
        .collect()
}

/// Names of the files of values, without `.yaml`.
fn files_of_values() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(repository().join("tests/chart"))
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".yaml").unwrap().to_owned()
        })
        .collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    names
}

fn values(name: &str) -> String {
    format!("--values=tests/chart/{name}.yaml")
}

fn kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let objects = objects.iter();
    objects.filter(|object| object["kind"] == kind).collect()
}

/// All but the CRD.
fn objects(arguments: &[&str]) -> Vec<Value> {
    rendered(arguments)
        .iter()
        .filter(|document| document.source != CRD)
        .map(Document::value)
        .collect()
}

#[test]
fn helm_finds_no_fault() {
    run("lint", &["--strict", CHART]).success().unwrap();
    for name in files_of_values() {
        let finished = run("lint", &["--strict", CHART, &values(&name)]);
        finished.success().unwrap();
    }
}

/// Reviewed by eye.
#[test]
fn what_is_made_of_each_file_of_values() {
    for name in files_of_values() {
        let documents = rendered(&[&values(&name)]);
        let texts: Vec<String> = documents
            .iter()
            .filter(|document| document.source != CRD)
            .map(|document| format!("# Source: {}\n{}", document.source, document.text))
            .collect();
        let text = texts.join("---\n");
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn the_crd_is_the_generated_one_and_stays_unless_told_otherwise() {
    let crd = |arguments: &[&str]| {
        let documents = rendered(arguments);
        let found = documents
            .into_iter()
            .find(|document| document.source == CRD);
        found.map(|document| document.text)
    };
    let path = repository().join("crds/generated/stockstreams.stockstream.dev.yaml");
    let generated = std::fs::read_to_string(path).unwrap();
    // The first line is a comment for people.
    let (_, generated) = generated.split_once('\n').unwrap();

    let plain = crd(&["--set=crds.keep=false"]).unwrap();
    assert!(
        plain.trim_end() == generated.trim_end(),
        "the chart's CRD isn't the generated one: run `make generate`"
    );
    let kept = "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n";
    let expected = generated.replacen("metadata:\n", kept, 1);
    assert!(
        crd(&[]).unwrap().trim_end() == expected.trim_end(),
        "it isn't kept"
    );
    assert_eq!(crd(&["--set=crds.install=false"]), None);
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    let cases: &[(&str, &str)] = &[
        (
            "--set=replica=2",
            "at '': additional properties 'replica' not allowed",
        ),
        (
            "--set=replicas=two",
            "at '/replicas': got string, want integer",
        ),
        ("--set=image.repository=", "at '/image/repository'"),
        ("--set=image.tag=a b", "at '/image/tag'"),
        (
            "--set=workerImage.digest=sha256:12",
            "at '/workerImage/digest'",
        ),
        (
            "--set=image.pullPolicy=Sometimes",
            "at '/image/pullPolicy': value must be one of",
        ),
        ("--set=watchNamespace=Team_A", "at '/watchNamespace'"),
        (
            "--set=log.level=loud",
            "at '/log/level': value must be one of 'error', 'warn', 'info', 'debug', 'trace'",
        ),
        ("--set=aws.endpointUrl=localhost", "at '/aws/endpointUrl'"),
        (
            "--set-json=workerEnv=[{\"name\":\"A\",\"valueFrom\":{}}]",
            "at '/workerEnv/0': missing property 'value'",
        ),
        ("--set=crds.keep=maybe", "at '/crds/keep'"),
        (
            "--set-json=monitoringNamespaces=[\"a\",\"a\"]",
            "at '/monitoringNamespaces'",
        ),
        ("--set=listenHost=::", "at '/listenHost'"),
        (
            "--set=serviceAccount.create=false",
            "serviceAccount.name: name the service account that exists",
        ),
    ];
    for (argument, expected) in cases {
        let finished = template(&[argument]);
        assert!(!finished.status.success(), "{argument} is taken");
        assert!(
            finished.stderr.contains(expected),
            "{argument}: {}",
            finished.stderr
        );
    }
}

/// The Pod Security Standard `restricted`, and what this chart promises beyond it.
fn assert_restricted(place: &str, pod: &Value) {
    for field in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
        assert!(pod[field].is_null(), "{place}: {field}");
    }
    assert!(pod["volumes"].is_null(), "{place}: volumes");
    let context = &pod["securityContext"];
    assert_eq!(context["runAsNonRoot"], true, "{place}");
    assert_eq!(context["runAsUser"], 65_532, "{place}");
    assert_eq!(
        context["seccompProfile"],
        json!({"type": "RuntimeDefault"}),
        "{place}"
    );
    let containers = pod["containers"].as_array().unwrap();
    let others = ["initContainers", "ephemeralContainers"];
    assert!(others.iter().all(|field| pod[field].is_null()), "{place}");
    assert!(!containers.is_empty(), "{place}");
    for container in containers {
        let context = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
        });
        assert_eq!(container["securityContext"], context, "{place}");
        for port in container["ports"].as_array().unwrap() {
            assert!(port["hostPort"].is_null(), "{place}: {port}");
        }
        for probe in ["livenessProbe", "readinessProbe"] {
            assert!(container[probe]["httpGet"].is_object(), "{place}: {probe}");
        }
        let resources = &container["resources"];
        assert!(resources["requests"]["memory"].is_string(), "{place}");
        assert!(resources["limits"]["memory"].is_string(), "{place}");
    }
}

#[test]
fn every_pod_is_restricted() {
    for name in files_of_values() {
        let objects = objects(&[&values(&name)]);
        let mut pods = 0;
        for object in &objects {
            let pod = &object["spec"]["template"]["spec"];
            if pod.is_object() {
                pods += 1;
                assert_restricted(&name, pod);
            }
        }
        assert_eq!(pods, 1, "{name}");
        let accounts = kind(&objects, "ServiceAccount");
        let is_off = |account: &&Value| account["automountServiceAccountToken"] == false;
        assert!(accounts.iter().all(is_off), "{name}");
    }
}

fn images(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(image) if name == "image" => found.push(image.clone()),
                    other => images(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| images(item, found)),
        Value::String(text) => {
            let image = text.strip_prefix("--worker-image=");
            found.extend(image.map(str::to_owned));
        }
        _ => {}
    }
}

#[test]
fn images_are_those_of_the_values_and_no_others() {
    let found = |arguments: &[&str]| {
        let mut found = Vec::new();
        for object in objects(arguments) {
            images(&object, &mut found);
        }
        found.sort();
        found
    };
    let version = env!("CARGO_PKG_VERSION");
    let named = ["--set=image.repository=a/one,workerImage.repository=b/two"];
    assert_eq!(
        found(&named),
        [format!("a/one:{version}"), format!("b/two:{version}")]
    );
    let tagged = ["--set=image.tag=main,workerImage.tag=next"];
    assert_eq!(
        found(&[named, tagged].concat()),
        ["a/one:main", "b/two:next"]
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    let pinned = format!("--set=image.digest={digest},workerImage.digest={digest}");
    let expected = ["a/one", "b/two"].map(|name| format!("{name}@{digest}"));
    assert_eq!(found(&[named[0], tagged[0], &pinned]), expected);
}

/// What it may do stands in the snapshots, rule by rule; this holds for all of them.
#[test]
fn no_role_has_a_wildcard_or_secrets() {
    for name in files_of_values() {
        let objects = objects(&[&values(&name)]);
        let roles = [kind(&objects, "Role"), kind(&objects, "ClusterRole")].concat();
        assert!(!roles.is_empty(), "{name}");
        for role in roles {
            for rule in role["rules"].as_array().unwrap() {
                let text = rule.to_string();
                for never in ["*", "secrets", "impersonate", "escalate", "bind", "exec"] {
                    let quoted = format!("\"{never}\"");
                    assert!(!text.contains(&quoted), "{name}: {text}");
                }
            }
        }
    }
}

#[test]
fn one_namespace_needs_no_right_in_others() {
    let objects = objects(&[&values("namespaced")]);
    assert_eq!(kind(&objects, "ClusterRole"), [] as [&Value; 0]);
    assert_eq!(kind(&objects, "ClusterRoleBinding"), [] as [&Value; 0]);
    let places: Vec<(&Value, &Value)> = kind(&objects, "Role")
        .into_iter()
        .map(|role| (&role["metadata"]["name"], &role["metadata"]["namespace"]))
        .collect();
    let expected = [
        (&json!("stockstream"), &json!("team-a")),
        (&json!("stockstream-lease"), &json!("stockstream-system")),
    ];
    assert_eq!(places, expected);
}

#[test]
fn rights_on_service_monitors_are_given_where_they_are_known() {
    let has = |arguments: &[&str]| {
        let objects = objects(arguments);
        let roles = kind(&objects, "ClusterRole");
        roles
            .iter()
            .any(|role| role.to_string().contains("servicemonitors"))
    };
    assert!(!has(&[]));
    assert!(has(&[
        "--api-versions=monitoring.coreos.com/v1/ServiceMonitor"
    ]));
    assert!(has(&["--set=rbac.serviceMonitors=always"]));
}

#[test]
fn the_charts_version_is_the_programs() {
    let path = repository().join(CHART).join("Chart.yaml");
    let chart: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_page_shows_values_that_are_tried() {
    let page = std::fs::read_to_string(repository().join("docs/kubernetes.md")).unwrap();
    for name in ["eks", "kind"] {
        let path = repository().join(format!("tests/chart/{name}.yaml"));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            page.contains(&format!("```yaml\n{text}```\n")),
            "docs/kubernetes.md doesn't show tests/chart/{name}.yaml"
        );
    }
}
