//! What a schema allows, in words for people.
//!
//! Owns the wording of patterns, bounds and types. It decides nothing.

use serde_json::Value as Json;

use crate::duration::{DURATION_ALLOWED, DURATION_PATTERN};
use crate::path::{STORAGE_PATH_ALLOWED, STORAGE_PATH_PATTERN};
use crate::quantity::{BYTE_SIZE_ALLOWED, BYTE_SIZE_PATTERN};
use crate::schema::NAME_PATTERN;

/// Every pattern of the schema, in words. A test holds it complete.
const PATTERNS: [(&str, &str); 11] = [
    (DURATION_PATTERN, DURATION_ALLOWED),
    (STORAGE_PATH_PATTERN, STORAGE_PATH_ALLOWED),
    (BYTE_SIZE_PATTERN, BYTE_SIZE_ALLOWED),
    (
        NAME_PATTERN,
        "lower-case letters, digits and -, starting with a letter and ending with a letter or digit, at most 50",
    ),
    (
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "lower-case letters, digits and -, starting and ending with a letter or digit",
    ),
    (
        r"^(unbounded|([0-9]{1,9}(\.[0-9]{1,9})?(h|ms|m|s))+)$",
        "unbounded, or a duration such as 500ms, 90s, 2m or 1h30m (units: h, m, s, ms)",
    ),
    (
        "^[a-zA-Z0-9_.-]+$",
        "letters, digits, _, - and ., at most 128",
    ),
    (
        "^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$",
        "an AWS region such as us-east-1 or eu-central-1",
    ),
    (
        "^[a-z_][a-z0-9_]*$",
        "lower-case letters, digits and _, not starting with a digit, at most 63",
    ),
    ("^[a-z0-9_]+$", "lower-case letters, digits and _"),
    (
        r"^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[a-zA-Z0-9/_-]+|alias/[a-zA-Z0-9/_-]+|mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$",
        "a KMS key's ARN, its id, or alias/NAME",
    ),
];

/// The values a schema allows, in words. `None` for maps and lists.
pub(crate) fn describe(schema: &Json) -> Option<String> {
    let text = |key: &str| schema.get(key).and_then(Json::as_str);
    let number = |key: &str| schema.get(key).and_then(Json::as_f64);
    if let Some(branches) = schema.get("anyOf").and_then(Json::as_array)
        && schema.get("properties").is_some()
    {
        let branch = branches
            .iter()
            .find(|branch| branch.get("enum").is_some())?;
        return Some(format!(
            "{} or {{timestamp: <RFC 3339 time>}}",
            names(branch)
        ));
    }
    if schema.get("enum").is_some() {
        return Some(names(schema));
    }
    if let Some(pattern) = text("pattern") {
        let words = PATTERNS.iter().find(|(known, _)| *known == pattern);
        return Some(match words {
            Some((_, words)) => (*words).to_owned(),
            None if pattern.starts_with("^(s3://") => {
                "s3://bucket/key, file:///absolute/path or file://./relative/path, with * as wildcard"
                    .to_owned()
            }
            None => format!("text of the form {pattern}"),
        });
    }
    if text("format") == Some("date-time") {
        return Some("an RFC 3339 time such as 2024-01-02T00:00:00Z".to_owned());
    }
    match (text("type")?, number("minimum"), number("maximum")) {
        ("integer", Some(least), Some(most)) => Some(format!("an integer from {least} to {most}")),
        ("integer", Some(least), None) => Some(format!("an integer, at least {least}")),
        ("integer", _, _) => Some("an integer".to_owned()),
        ("boolean", _, _) => Some("true or false".to_owned()),
        ("string", _, _) => Some("text".to_owned()),
        _ => None,
    }
}

/// What a value of the wrong type, or one that is missing, should have been.
pub(crate) fn wanted_type(schema: &Json) -> String {
    if let Some(words) = describe(schema) {
        return words;
    }
    if schema.get("type").and_then(Json::as_str) == Some("array") {
        return "a list".to_owned();
    }
    let required = schema.get("required").and_then(Json::as_array);
    let properties = schema.get("properties").and_then(Json::as_object);
    let names: Vec<&str> = match (required, properties) {
        (Some(required), _) => required.iter().filter_map(Json::as_str).collect(),
        (None, Some(properties)) => properties.keys().map(String::as_str).collect(),
        (None, None) => return "a map".to_owned(),
    };
    let which = if required.is_some() { "at least " } else { "" };
    format!("a map with {which}the fields {}", names.join(", "))
}

fn names(schema: &Json) -> String {
    let values = schema.get("enum").and_then(Json::as_array);
    let names: Vec<&str> = values
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn check(path: &str, node: &Json) {
        if let Some(pattern) = node["pattern"].as_str() {
            regex::Regex::new(pattern).unwrap();
            let words = describe(node).unwrap();
            assert!(
                !words.starts_with("text of the form"),
                "{path}: {pattern} has no words"
            );
        }
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            if name != "resources" {
                check(&format!("{path}.{name}"), property);
            }
        }
        if node["items"].is_object() {
            check(&format!("{path}[]"), &node["items"]);
        }
    }

    #[test]
    fn every_pattern_compiles_and_has_words() {
        let schema = crate::schema::resource();
        check("spec", &schema["properties"]["spec"]);
        check("metadata", &schema["properties"]["metadata"]);
    }
}
