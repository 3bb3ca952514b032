//! The files that are generated from the types: CRD, its template in the Helm chart, editors' schema and reference page.
//!
//! Owns their text and where they lie in the repository. Only the generator binary writes them.

use std::fmt::Write as _;

use serde_json::Value;

use crate::schema;
use crate::walk::join;
use crate::words::describe;

/// The example at the top of the reference page: every field a user usually sets, with its default.
pub const EXAMPLE: &str = include_str!("example.yaml");

/// A generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Path from the root of the repository.
    pub path: &'static str,
    /// The whole text.
    pub text: String,
}

/// Every generated file, as it must be now.
///
/// # Errors
/// When the schema can't be written as YAML or JSON.
pub fn generated_files() -> Result<Vec<GeneratedFile>, Box<dyn std::error::Error + Send + Sync>> {
    const NOTE: &str = "# Generated from crds/src/spec by `make generate`. Do not edit.\n";
    let crd = serde_saphyr::to_string(schema::definition())?;
    let mut editor = serde_json::to_string_pretty(&schema::editor_schema())?;
    editor.push('\n');
    let template = chart_template(&crd).ok_or("the CRD has no metadata")?;
    Ok(vec![
        GeneratedFile {
            path: "crds/generated/stockstreams.stockstream.dev.yaml",
            text: format!("{NOTE}{crd}"),
        },
        GeneratedFile {
            path: "charts/stockstream/templates/crds/stockstreams.stockstream.dev.yaml",
            text: template,
        },
        GeneratedFile {
            path: "crds/generated/stockstream.schema.json",
            text: editor,
        },
        GeneratedFile {
            path: "docs/stockstream.md",
            text: page(),
        },
    ])
}

/// The CRD as a template of the Helm chart: installed and kept as the chart's values say. `None` when it has no metadata.
fn chart_template(crd: &str) -> Option<String> {
    const BEGIN: &str = "{{- /* Generated from crds/src/spec by `make generate`. Do not edit. */}}
{{- if .Values.crds.install }}
";
    const METADATA: &str = "
metadata:
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
";
    const END: &str = "{{- end }}\n";
    // Two braces in a description begin no action of Helm's.
    let crd = crd.replace("{{", "{{ \"{{\" }}");
    let (head, rest) = crd.split_once("\nmetadata:\n")?;
    Some([BEGIN, head, METADATA, rest, END].concat())
}

/// The reference page.
fn page() -> String {
    let mut text = String::from(
        "<!-- Generated from crds/src/spec by `make generate`. Do not edit. -->\n\n# The StockStream resource\n\n\
        One `StockStream` is one pipeline. The same YAML runs on one machine (`stockstream dev -f FILE`) and in a\n\
        cluster (`kubectl apply -f FILE`). `stockstream validate -f FILE` tells every mistake in it.\n\n\
        Only `metadata.name`, `source.kinesis.streamName` (or `source.files.paths`), `output.path` and `state.path`\n\
        must be given. The example shows the other fields with their defaults; without `catalog`, no table is\n\
        registered.\n\n```yaml\n",
    );
    text.push_str(EXAMPLE);
    text.push_str(
        "```\n\n\
        **Editors.** With `# yaml-language-server: $schema=<path to stockstream.schema.json>` in the first line, editors\n\
        that speak YAML complete and check the file. The schema lies in `crds/generated/`.\n\n\
        **Durations** are numbers with units, such as `500ms`, `90s`, `2m` or `1h30m`.\n\n\
        **Paths** are `s3://bucket/prefix`, `file:///absolute/path` or `file://./path/relative/to/the/working/directory`.\n\n\
        **Fixed** fields can't change for one `state.path`, because the rows already written would then mean something\n\
        else. To change one, start a new pipeline with a new `state.path` and `output.path`.\n\n\
        ## Fields\n",
    );
    let spec = &schema::structural()["properties"]["spec"];
    section(&mut text, "spec", spec, spec);
    text
}

/// A section with one table for an object, then sections for the objects in it.
fn section(text: &mut String, path: &str, schema: &Value, spec: &Value) {
    // Writing to a string can't fail.
    let _ = write!(text, "\n### `{path}`\n\n");
    if let Some(description) = schema["description"].as_str() {
        let _ = write!(text, "{description}\n\n");
    }
    for rule in own_rules(schema) {
        let _ = writeln!(text, "- Rule: {rule}.");
    }
    if own_rules(schema).next().is_some() {
        text.push('\n');
    }
    text.push_str("| Field | Type | Default | Allowed | Meaning |\n|---|---|---|---|---|\n");
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (name, field) in properties {
        row(text, path, schema, spec, name, field);
    }
    for (name, field) in properties {
        let child = join(path, name);
        if is_section(field) {
            section(text, &child, field, spec);
        } else if is_section(&field["items"]) {
            section(text, &format!("{child}[]"), &field["items"], spec);
        }
    }
}

fn row(text: &mut String, path: &str, parent: &Value, spec: &Value, name: &str, field: &Value) {
    let required = parent["required"]
        .as_array()
        .is_some_and(|names| names.iter().any(|required| required == name));
    let default = match &field["default"] {
        _ if required => "**required**".to_owned(),
        Value::Null => "—".to_owned(),
        Value::Object(_) => "see below".to_owned(),
        Value::String(default) => format!("`{default}`"),
        other => format!("`{other}`"),
    };
    let mut meaning = cell(field["description"].as_str().unwrap_or_default());
    // A section tells its own rules, and what "must be" is told as allowed.
    for rule in own_rules(field).filter(|rule| !is_section(field) && !rule.starts_with(BOUND)) {
        let _ = write!(meaning, " Rule: {}.", cell(rule));
    }
    if is_fixed(&join(path, name), spec) {
        meaning.push_str(" **Fixed** for one `state.path`.");
    }
    let _ = writeln!(
        text,
        "| `{name}` | {} | {default} | {} | {meaning} |",
        type_name(field),
        allowed(field)
    );
}

/// The rules that stand on a node itself and hold at creation.
fn own_rules(schema: &Value) -> impl Iterator<Item = &str> {
    schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|rule| {
            !rule["rule"]
                .as_str()
                .unwrap_or_default()
                .contains("oldSelf")
        })
        .filter_map(|rule| rule["message"].as_str())
}

/// Whether a transition rule of the spec names the field.
fn is_fixed(path: &str, spec: &Value) -> bool {
    let below = path.strip_prefix("spec").unwrap_or(path);
    spec["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|rule| {
            rule["rule"]
                .as_str()
                .unwrap_or_default()
                .contains("oldSelf")
        })
        // What may grow is told in the field's own words.
        .filter(|rule| {
            !rule["rule"]
                .as_str()
                .unwrap_or_default()
                .contains("oldSelf.window.aggregates")
        })
        .any(|rule| rule["fieldPath"] == below)
}

/// Objects of our own get a section; those of Kubernetes itself are documented there.
fn is_section(schema: &Value) -> bool {
    const OF_KUBERNETES: [&str; 2] = ["ResourceRequirements", "Toleration"];
    let description = schema["description"].as_str().unwrap_or_default();
    schema["type"] == "object"
        && schema["properties"].as_object().is_some_and(|properties| {
            !properties.contains_key("claims") && !properties.contains_key("tolerationSeconds")
        })
        && !OF_KUBERNETES
            .iter()
            .any(|name| description.starts_with(name))
}

fn type_name(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "quantity".to_owned();
    }
    if schema["anyOf"].is_array() {
        return "name or map".to_owned();
    }
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let kind = schema["type"].as_str().unwrap_or("any");
    match kind {
        "string" if pattern == crate::duration::DURATION_PATTERN => "duration".to_owned(),
        "string" if pattern == crate::path::STORAGE_PATH_PATTERN => "path".to_owned(),
        "string" if schema["enum"].is_array() => "name".to_owned(),
        "array" => format!("list of {}", plural(&type_name(&schema["items"]))),
        "object" if schema["additionalProperties"].is_object() => "map of strings".to_owned(),
        "object" => "map".to_owned(),
        other => other.to_owned(),
    }
}

fn plural(name: &str) -> String {
    format!("{name}s")
}

/// How messages of rules begin that tell the bounds of one field.
const BOUND: &str = "must be ";

fn allowed(schema: &Value) -> String {
    let bounds: Vec<&str> = own_rules(schema)
        .filter_map(|rule| rule.strip_prefix(BOUND))
        .collect();
    if !bounds.is_empty() {
        return cell(&bounds.join("; "));
    }
    let shown = match schema["type"].as_str() {
        Some("array") => describe(&schema["items"]),
        _ => describe(schema),
    };
    let general = [
        crate::duration::DURATION_ALLOWED,
        crate::path::STORAGE_PATH_ALLOWED,
        "text",
    ];
    match shown {
        Some(shown) if !general.contains(&shown.as_str()) => {
            match shown.strip_prefix("text of the form ") {
                Some(pattern) => format!("`{}`", cell(pattern)),
                None => cell(&shown),
            }
        }
        _ => "—".to_owned(),
    }
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace("\n\n", " ")
        .replace('\n', " ")
        .replace('|', "\\|")
}
