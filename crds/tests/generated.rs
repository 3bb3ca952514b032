//! The generated files are up to date, and are what an API server takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::process::Command;

use kube::CustomResourceExt;
use kube::core::cel::{ScopeContext, WarningKind, analyze_rule, compile_schema};
use serde_json::Value;
use stockstream_crds::StockStream;
use stockstream_crds::reference::generated_files;
use stockstream_crds::schema::{custom_resource_definition, editor_schema};

fn structural() -> Value {
    let crd = serde_json::to_value(custom_resource_definition()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn generated_files_are_up_to_date() {
    // Tests run in their package's directory.
    let root = Path::new("..");
    for file in generated_files().unwrap() {
        let text = std::fs::read_to_string(root.join(file.path)).unwrap_or_default();
        assert!(
            text == file.text,
            "{} is stale: run `make generate`",
            file.path
        );
    }
}

#[test]
fn the_generator_writes_what_is_stale_and_checks_without_writing() {
    let root = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_generate"))
            .arg("--root")
            .arg(root.path())
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), text)
    };
    let (success, text) = run(&["--check"]);
    assert!(
        !success && text.matches("make generate").count() == 4,
        "{text}"
    );
    assert!(std::fs::read_dir(root.path()).unwrap().next().is_none());
    assert!(run(&[]).0);
    assert_eq!(run(&["--check"]), (true, String::new()));
    for file in generated_files().unwrap() {
        assert_eq!(
            std::fs::read_to_string(root.path().join(file.path)).unwrap(),
            file.text
        );
    }
    assert!(!run(&["--chek"]).0);
}

/// Helm gives back the CRD itself, with an annotation more (`tests/tests/chart.rs` asks Helm).
#[test]
fn the_charts_template_is_the_crd_within_actions() {
    let files = generated_files().unwrap();
    let text = |part: &str| {
        let file = files.iter().find(|file| file.path.starts_with(part));
        file.unwrap().text.as_str()
    };
    let (template, crd) = (text("charts/"), text("crds/generated/stockstreams"));
    let rendered = template.replace("{{ \"{{\" }}", "{\u{0}{");
    let plain: Vec<&str> = rendered
        .lines()
        .filter(|line| !line.trim_start().starts_with("{{-"))
        .filter(|line| *line != "  annotations:" && !line.contains("helm.sh/resource-policy"))
        .collect();
    let plain = plain.join("\n").replace('\u{0}', "");
    let (_, crd) = crd.split_once('\n').unwrap();
    assert!(plain == crd.trim_end(), "the template isn't the CRD");
    assert!(template.contains("\n    helm.sh/resource-policy: keep\n"));
}

#[test]
fn the_crd_has_what_the_operator_and_kubectl_need() {
    let crd = custom_resource_definition();
    assert_eq!(
        crd.metadata.name.as_deref(),
        Some("stockstreams.stockstream.dev")
    );
    assert_eq!(crd.spec.names.short_names, Some(vec!["sst".to_owned()]));
    // A category like a name of one kind would list another kind, once there is one, by that name.
    let categories = crd.spec.names.categories.as_deref().unwrap_or_default();
    assert_eq!(categories, ["streaming".to_owned()]);
    assert_ne!(crd.spec.names.singular.as_deref(), Some("streaming"));
    assert_eq!(crd.spec.scope, "Namespaced");
    let version = &crd.spec.versions[0];
    let subresources = version.subresources.as_ref().unwrap();
    assert!(subresources.status.is_some());
    let scale = subresources.scale.as_ref().unwrap();
    assert_eq!(scale.spec_replicas_path, ".spec.workers.replicas");
    assert_eq!(scale.status_replicas_path, ".status.replicas");
    assert_eq!(
        scale.label_selector_path.as_deref(),
        Some(".status.selector")
    );
    assert_eq!(crd.metadata.name, StockStream::crd().metadata.name);
}

/// The rules of Kubernetes for structural schemas, as far as ours could break them.
#[test]
fn the_schema_is_structural() {
    fn value_validation_only(path: &str, node: &Value) {
        const FORBIDDEN: [&str; 7] = [
            "type",
            "description",
            "default",
            "title",
            "nullable",
            "additionalProperties",
            "x-kubernetes-preserve-unknown-fields",
        ];
        for key in FORBIDDEN {
            assert!(node.get(key).is_none(), "{path}: {key} within a junctor");
        }
        assert!(
            node.get("properties").is_none(),
            "{path}: properties within a junctor"
        );
    }
    fn check(path: &str, node: &Value) {
        let object = node
            .as_object()
            .unwrap_or_else(|| panic!("{path} is not a schema: {node}"));
        for key in [
            "$ref",
            "definitions",
            "oneOf",
            "uniqueItems",
            "patternProperties",
            "nullable",
            "title",
            "$schema",
        ] {
            assert!(!object.contains_key(key), "{path}: {key}");
        }
        let int_or_string = node["x-kubernetes-int-or-string"] == true;
        let open = node["x-kubernetes-preserve-unknown-fields"] == true;
        assert!(
            node["type"].is_string() || int_or_string || open,
            "{path} has no type"
        );
        assert!(
            !(int_or_string && node["type"].is_string()),
            "{path} has a type"
        );
        for branch in node["anyOf"].as_array().into_iter().flatten() {
            if !int_or_string {
                value_validation_only(path, branch);
                if let Some(not) = branch.get("not") {
                    value_validation_only(path, not);
                }
            }
        }
        if let Some(values) = node["enum"].as_array() {
            assert!(values.iter().all(Value::is_string), "{path}: {values:?}");
        }
        assert_ne!(
            node["additionalProperties"], false,
            "{path}: additionalProperties: false"
        );
        assert!(
            !(object.contains_key("properties") && object.contains_key("additionalProperties")),
            "{path}"
        );
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            check(&format!("{path}.{name}"), property);
        }
        if node["type"] == "array" {
            check(&format!("{path}[]"), &node["items"]);
        }
        if object.contains_key("additionalProperties") {
            check(&format!("{path}.*"), &node["additionalProperties"]);
        }
        if node["x-kubernetes-list-type"] == "map" {
            for key in node["x-kubernetes-list-map-keys"].as_array().unwrap() {
                let required = node["items"]["required"].as_array().unwrap();
                assert!(required.contains(key), "{path}: {key} is not required");
            }
        }
    }
    check("", &structural());
}

/// Every rule compiles, and everything it reads is bounded, or the API server refuses its cost.
#[test]
fn every_rule_compiles_and_is_bounded() {
    fn walk(path: &str, node: &Value, rules: &mut usize) {
        for rule in node["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            *rules += 1;
            assert!(
                rule["message"].is_string(),
                "{path}: a rule without a message"
            );
        }
        let compiled = compile_schema(node);
        assert!(
            compiled.compilation_errors().is_empty(),
            "{path}: {:?}",
            compiled.compilation_errors()
        );
        let warnings = analyze_rule_warnings(node);
        assert!(warnings.is_empty(), "{path}: {warnings:?}");
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, rules);
        }
        if node["items"].is_object() {
            walk(&format!("{path}[]"), &node["items"], rules);
        }
    }
    fn analyze_rule_warnings(node: &Value) -> Vec<String> {
        node["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|rule| {
                analyze_rule(
                    rule["rule"].as_str().unwrap(),
                    &compile_schema(node),
                    ScopeContext::CrdValidation,
                )
            })
            // The others are too coarse for nested comprehensions: they take `o` of `all(o, …)` for an
            // unknown variable, and unbounded sizes for lists that are not the node's own.
            .filter(|warning| warning.kind == WarningKind::MissingBounds)
            .map(|warning| format!("{warning:?}"))
            .collect()
    }
    let mut rules = 0;
    walk("spec", &structural()["properties"]["spec"], &mut rules);
    assert!(rules >= 35, "only {rules} rules were found");
}

#[test]
fn every_string_list_and_map_of_our_own_is_bounded() {
    fn walk(path: &str, node: &Value) {
        match node["type"].as_str() {
            Some("string") => assert!(
                node["maxLength"].is_number() || node["enum"].is_array(),
                "{path} has no maxLength"
            ),
            Some("array") => {
                // Two words are the most partitionBy can name; its items are an enum.
                assert!(node["maxItems"].is_number(), "{path} has no maxItems");
                // Kubernetes' own.
                if !path.ends_with("tolerations") && !path.ends_with(".env") {
                    walk(&format!("{path}[]"), &node["items"]);
                }
            }
            _ => {}
        }
        if node["additionalProperties"].is_object() {
            assert!(
                node["maxProperties"].is_number(),
                "{path} has no maxProperties"
            );
        }
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            if name != "resources" {
                walk(&format!("{path}.{name}"), property);
            }
        }
    }
    walk("spec", &structural()["properties"]["spec"]);
}

#[test]
fn every_field_is_documented() {
    fn walk(path: &str, node: &Value) {
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            let description = property["description"].as_str().unwrap_or_default();
            assert!(description.len() > 10, "{path} is not documented");
            walk(&path, property);
        }
        if node["items"].is_object() {
            walk(&format!("{path}[]"), &node["items"]);
        }
    }
    walk("spec", &structural()["properties"]["spec"]);
    walk("status", &structural()["properties"]["status"]);
}

#[test]
fn editors_refuse_unknown_fields_and_know_the_unions() {
    let schema = editor_schema();
    let spec = &schema["properties"]["spec"];
    assert_eq!(spec["additionalProperties"], false);
    let kinesis = &spec["properties"]["source"]["properties"]["kinesis"];
    assert_eq!(
        kinesis["properties"]["mode"]["properties"]["onDemand"]["additionalProperties"],
        false
    );
    let position = &kinesis["properties"]["initialPosition"];
    assert_eq!(position["type"], serde_json::json!(["string", "object"]));
    assert_eq!(schema["properties"]["kind"]["enum"][0], "StockStream");
    assert!(!schema.to_string().contains("x-kubernetes"));
}
