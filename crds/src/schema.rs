//! The schemas that are generated from the types.
//!
//! Owns what kube's derive leaves to be done: a CRD that a real API server takes as structural, the
//! schema `parse` walks, and the JSON schema for editors. All three come from one source.

use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::spec::{API_VERSION, KIND, StockStream};

/// Names that Deployments, Services and labels can be made from, with room for a suffix.
pub(crate) const NAME_PATTERN: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
const NAME_MAX_LENGTH: u32 = 50;

/// The CustomResourceDefinition to install. Use this one, not `StockStream::crd()`: it adds the rules
/// on the name and takes out what API servers do not want.
pub fn custom_resource_definition() -> CustomResourceDefinition {
    #[expect(
        clippy::expect_used,
        reason = "the input is fixed at compile time, and tests call this"
    )]
    serde_json::from_value(definition().clone()).expect("the generated CRD is a CRD")
}

/// The CRD as JSON.
pub(crate) fn definition() -> &'static Value {
    static DEFINITION: OnceLock<Value> = OnceLock::new();
    DEFINITION.get_or_init(|| {
        #[expect(
            clippy::expect_used,
            reason = "the input is fixed at compile time, and tests call this"
        )]
        let mut crd = serde_json::to_value(StockStream::crd()).expect("a CRD is JSON");
        let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        clean(schema);
        schema["properties"]["metadata"] = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_MAX_LENGTH}
            }
        });
        crd
    })
}

/// The schema of the resource as the API server has it.
pub(crate) fn structural() -> &'static Value {
    &definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// The structural schema and what the API server itself knows of every resource: `apiVersion`, `kind`
/// and `metadata`. This is what text is checked against.
pub(crate) fn resource() -> &'static Value {
    static RESOURCE: OnceLock<Value> = OnceLock::new();
    RESOURCE.get_or_init(|| {
        let mut schema = structural().clone();
        let name = schema["properties"]["metadata"]["properties"]["name"].take();
        let properties = &mut schema["properties"];
        properties["apiVersion"] = json!({
            "type": "string", "enum": [API_VERSION],
            "description": "Version of the resource's schema."
        });
        properties["kind"] = json!({
            "type": "string", "enum": [KIND], "description": "Kind of the resource."
        });
        properties["metadata"] = metadata(name);
        schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
        schema
    })
}

/// What Kubernetes allows under `metadata`; fields that only the API server writes are left open.
fn metadata(name: Value) -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let open = json!({"x-kubernetes-preserve-unknown-fields": true});
    json!({
        "type": "object",
        "description": "Name, namespace, labels and annotations, as in every Kubernetes resource.",
        "required": ["name"],
        "properties": {
            "name": name,
            "namespace": {
                "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
            },
            "labels": texts,
            "annotations": texts,
            "finalizers": {"type": "array", "items": {"type": "string"}},
            "ownerReferences": {"type": "array", "items": open},
            "managedFields": {"type": "array", "items": open},
            "generateName": {"type": "string"},
            "creationTimestamp": open,
            "deletionTimestamp": open,
            "deletionGracePeriodSeconds": {"type": "integer"},
            "generation": {"type": "integer"},
            "resourceVersion": {"type": "string"},
            "selfLink": {"type": "string"},
            "uid": {"type": "string"}
        }
    })
}

/// The JSON schema for editors: the same rules in plain JSON Schema, with unknown fields refused.
pub fn editor_schema() -> Value {
    let mut schema = resource().clone();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove("status");
    }
    to_json_schema(&mut schema);
    let mut root = Map::new();
    root.insert(
        "$schema".to_owned(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    root.insert("title".to_owned(), json!(KIND));
    if let Value::Object(fields) = schema {
        root.extend(fields);
    }
    Value::Object(root)
}

/// Takes out of a schema what the derive puts in and API servers refuse or warn about.
fn clean(schema: &mut Value) {
    each_schema(schema, &mut |node| {
        // Null then means "not given": the API server drops it, as for any field that is not nullable.
        node.remove("nullable");
        node.remove("title");
        if let Some(Value::Array(values)) = node.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        // Not among the formats Kubernetes knows; `minimum` says it.
        if matches!(
            node.get("format").and_then(Value::as_str),
            Some("uint32" | "uint64")
        ) {
            node.remove("format");
        }
        if let Some(Value::String(text)) = node.get_mut("description") {
            *text = text
                .replace("\n\n", "\u{0}")
                .replace('\n', " ")
                .replace('\u{0}', "\n\n");
        }
    });
}

fn to_json_schema(schema: &mut Value) {
    each_schema(schema, &mut |node| {
        let open = node.contains_key("anyOf")
            && node
                .remove("x-kubernetes-preserve-unknown-fields")
                .is_some();
        let closed = node.contains_key("properties")
            || (node.get("type").and_then(Value::as_str) == Some("object")
                && !node.contains_key("additionalProperties"));
        if closed && !node.contains_key("x-kubernetes-preserve-unknown-fields") {
            node.insert("additionalProperties".to_owned(), json!(false));
        }
        if open {
            node.insert("type".to_owned(), json!(["string", "object"]));
        }
        if node.get("x-kubernetes-int-or-string").is_some() {
            node.insert("type".to_owned(), json!(["integer", "string"]));
            node.remove("anyOf");
        }
        node.retain(|key, _| !key.starts_with("x-kubernetes-"));
    });
}

/// Calls `edit` for a schema node and for every one below it.
fn each_schema(schema: &mut Value, edit: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(node) = schema.as_object_mut() else {
        return;
    };
    edit(node);
    if let Some(Value::Object(properties)) = node.get_mut("properties") {
        for property in properties.values_mut() {
            each_schema(property, edit);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = node.get_mut(key) {
            each_schema(inner, edit);
        }
    }
}
