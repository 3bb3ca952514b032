//! Checks a tree against a structural schema and collects every mistake.
//!
//! Owns unknown and missing fields, types, enums, patterns, bounds and duplicates: what an API server
//! checks before it evaluates CEL. It never stops at the first mistake, and hands on what is right.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::error::{MAX_ERRORS, Position, Problem, SpecError};
use crate::path::{STORAGE_PATH_PATTERN, StoragePath};
use crate::words::{describe, wanted_type};
use crate::yaml::{Entry, Node, Value};

/// What the walk found.
pub(crate) struct Walk {
    /// Every mistake, at most [`MAX_ERRORS`].
    pub(crate) errors: Vec<SpecError>,
    /// Where each value stands, by path.
    pub(crate) positions: BTreeMap<String, Position>,
}

impl Walk {
    /// Checks the whole text. Gives the tree as JSON, without what was wrong and without nulls.
    pub(crate) fn of(schema: &Json, root: &Node) -> (Self, Json) {
        let mut walk = Self {
            errors: Vec::new(),
            positions: BTreeMap::new(),
        };
        let value = walk.node("", schema, root).unwrap_or(Json::Null);
        (walk, value)
    }

    /// The place of a path, or of the nearest value around it.
    pub(crate) fn position(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(position) = self.positions.get(path) {
                return Some(*position);
            }
            if path.is_empty() {
                return None;
            }
            path = parent(path);
        }
    }

    fn report(&mut self, error: SpecError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    fn node(&mut self, path: &str, schema: &Json, node: &Node) -> Option<Json> {
        if let Some(position) = node.position {
            self.positions.insert(path.to_owned(), position);
        }
        if schema.get("x-kubernetes-int-or-string").is_some() {
            return self.int_or_string(path, schema, node);
        }
        if let Some(branches) = schema.get("anyOf").and_then(Json::as_array) {
            return self.name_or_object(path, schema, branches, node);
        }
        match (schema.get("type").and_then(Json::as_str), &node.value) {
            (Some("object"), Value::Map(entries)) => self.object(path, schema, node, entries),
            (Some("array"), Value::List(items)) => self.list(path, schema, node, items),
            (Some("string"), Value::String(text)) => self.string(path, schema, node, text),
            (Some("integer"), Value::Integer(number)) => self.integer(path, schema, node, *number),
            (Some("boolean"), Value::Bool(value)) => Some(json!(value)),
            // A place whose form only the API server knows.
            (None, _) => Some(untyped(&node.value)),
            (Some(_), _) => {
                self.wrong_type(path, node, &wanted_type(schema));
                None
            }
        }
    }

    fn wrong_type(&mut self, path: &str, node: &Node, allowed: &str) {
        let found = match &node.value {
            value @ (Value::List(_) | Value::Map(_) | Value::Null) => value.describe(),
            value => format!("{} ({})", value.describe(), value.type_name()),
        };
        self.report(
            SpecError::new(path, Problem::WrongType, "the value is of the wrong type")
                .found(found)
                .allowed(allowed)
                .at(node.position),
        );
    }

    fn object(
        &mut self,
        path: &str,
        schema: &Json,
        node: &Node,
        entries: &[Entry],
    ) -> Option<Json> {
        let empty = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Json::as_object)
            .unwrap_or(&empty);
        let additional = schema.get("additionalProperties");
        let mut object = Map::new();
        let mut seen: BTreeMap<&str, Option<Position>> = BTreeMap::new();
        for entry in entries {
            let child_path = join(path, &entry.key);
            if let Some(first) = seen.insert(&entry.key, entry.key_position) {
                self.duplicate_key(&child_path, entry, first);
                continue;
            }
            let Some(child) = properties.get(&entry.key).or(additional) else {
                self.unknown_field(&child_path, path, entry, properties);
                continue;
            };
            if entry.node.value == Value::Null && child.get("type").is_some() {
                // As the API server does: a null field counts as not given. Its place is kept.
                self.positions
                    .extend(entry.node.position.map(|position| (child_path, position)));
                continue;
            }
            if let Some(value) = self.node(&child_path, child, &entry.node) {
                object.insert(entry.key.clone(), value);
            }
        }
        if let Some(most) = schema.get("maxProperties").and_then(Json::as_u64)
            && entries.len() as u64 > most
        {
            self.out_of_range(
                path,
                node,
                format!("{} entries", entries.len()),
                format!("at most {most} entries"),
            );
        }
        self.required(path, schema, properties, node, &seen, &object);
        Some(Json::Object(object))
    }

    fn duplicate_key(&mut self, path: &str, entry: &Entry, first: Option<Position>) {
        let message = match first {
            Some(first) => format!("the field is given twice, first in line {}", first.line),
            None => "the field is given twice".to_owned(),
        };
        let position = entry.key_position.or(entry.node.position);
        self.report(SpecError::new(path, Problem::Duplicate, message).at(position));
    }

    fn unknown_field(
        &mut self,
        path: &str,
        parent: &str,
        entry: &Entry,
        properties: &Map<String, Json>,
    ) {
        let place = if parent.is_empty() {
            "the resource"
        } else {
            parent
        };
        let error = SpecError::new(path, Problem::UnknownField, "there is no such field")
            .found(&*entry.key)
            .meant(&entry.key, properties.keys().map(String::as_str))
            .at(entry.key_position.or(entry.node.position));
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        self.report(if names.is_empty() {
            error.allowed(format!("no fields in {place}"))
        } else {
            error.allowed(names.join(", "))
        });
    }

    fn required(
        &mut self,
        path: &str,
        schema: &Json,
        properties: &Map<String, Json>,
        node: &Node,
        seen: &BTreeMap<&str, Option<Position>>,
        object: &Map<String, Json>,
    ) {
        let required = schema.get("required").and_then(Json::as_array);
        for name in required.into_iter().flatten().filter_map(Json::as_str) {
            let child_path = join(path, name);
            // A field that is there but wrong has been reported; null is as good as nothing.
            let wrong = || self.errors.iter().any(|error| error.path == child_path);
            if object.contains_key(name) || (seen.contains_key(name) && wrong()) {
                continue;
            }
            let position = self.position(&child_path).or(node.position);
            let error = SpecError::new(&*child_path, Problem::Missing, "the field must be given")
                .found("nothing")
                .at(position);
            let schema = properties.get(name).unwrap_or(&Json::Null);
            self.report(error.allowed(wanted_type(schema)));
        }
    }

    fn list(&mut self, path: &str, schema: &Json, node: &Node, items: &[Node]) -> Option<Json> {
        let bound = |key| schema.get(key).and_then(Json::as_u64);
        let count = items.len() as u64;
        let found = format!("{count} entries");
        if let Some(least) = bound("minItems").filter(|least| count < *least) {
            self.out_of_range(path, node, found, format!("at least {least}"));
            return None;
        }
        if let Some(most) = bound("maxItems").filter(|most| count > *most) {
            self.out_of_range(path, node, found, format!("at most {most} entries"));
            return None;
        }
        let keys = schema
            .get("x-kubernetes-list-map-keys")
            .and_then(Json::as_array)
            .and_then(|keys| keys.first())
            .and_then(Json::as_str);
        let any = json!({});
        let item_schema = schema.get("items").unwrap_or(&any);
        let mut values = Vec::new();
        let mut seen: Vec<(Json, usize)> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let item_path = format!("{path}[{index}]");
            let Some(value) = self.node(&item_path, item_schema, item) else {
                continue;
            };
            if let Some(key) = keys
                && let Some(name) = value.get(key)
            {
                if let Some((_, first)) = seen.iter().find(|(other, _)| other == name) {
                    let key_path = join(&item_path, key);
                    let error = SpecError::new(
                        &*key_path,
                        Problem::Duplicate,
                        format!("the {key} is taken by {path}[{first}]"),
                    );
                    let position = self.position(&key_path);
                    self.report(
                        error
                            .found(name.to_string())
                            .allowed(format!("a {key} of its own for each entry"))
                            .at(position),
                    );
                }
                seen.push((name.clone(), index));
            }
            values.push(value);
        }
        Some(Json::Array(values))
    }

    fn string(&mut self, path: &str, schema: &Json, node: &Node, text: &str) -> Option<Json> {
        let invalid = |message: &str| {
            SpecError::new(path, Problem::InvalidValue, message)
                .found(node.value.describe())
                .at(node.position)
        };
        if let Some(values) = schema.get("enum").and_then(Json::as_array) {
            let names: Vec<&str> = values.iter().filter_map(Json::as_str).collect();
            if !names.contains(&text) {
                self.report(
                    invalid("the value is not one of those allowed")
                        .allowed(names.join(", "))
                        .meant(text, names.iter().copied()),
                );
                return None;
            }
        }
        let bound = |key| schema.get(key).and_then(Json::as_u64);
        let length = text.chars().count() as u64;
        if bound("minLength").is_some_and(|least| length < least) {
            self.report(invalid("the value is empty").allowed("at least one character"));
            return None;
        }
        if let Some(most) = bound("maxLength").filter(|most| length > *most) {
            let error = invalid("the value is too long");
            self.report(error.allowed(format!("at most {most} characters")));
            return None;
        }
        if let Some(pattern) = schema.get("pattern").and_then(Json::as_str)
            && !matches_pattern(pattern, text)
        {
            let error = invalid("the value does not have the right form");
            let allowed = match text.parse::<StoragePath>() {
                Err(refused) if pattern == STORAGE_PATH_PATTERN => refused.rule().to_owned(),
                _ => describe(schema).unwrap_or_default(),
            };
            self.report(error.allowed(allowed));
            return None;
        }
        if schema.get("format").and_then(Json::as_str) == Some("date-time")
            && text.parse::<jiff::Timestamp>().is_err()
        {
            let error = invalid("the value is not a point in time");
            self.report(error.allowed(describe(schema).unwrap_or_default()));
            return None;
        }
        Some(json!(text))
    }

    fn integer(&mut self, path: &str, schema: &Json, node: &Node, number: i64) -> Option<Json> {
        let bound = |key| schema.get(key).and_then(Json::as_f64);
        // The bounds of the spec are far below 2^53, so the comparison is exact where it matters.
        let value = number as f64;
        if bound("minimum").is_some_and(|least| value < least)
            || bound("maximum").is_some_and(|most| value > most)
        {
            let allowed = describe(schema).unwrap_or_default();
            self.out_of_range(path, node, number.to_string(), allowed);
            return None;
        }
        Some(json!(number))
    }

    fn int_or_string(&mut self, path: &str, schema: &Json, node: &Node) -> Option<Json> {
        match &node.value {
            Value::Integer(number) => self.integer(path, schema, node, *number),
            Value::String(text) => self.string(path, schema, node, text),
            _ => {
                let allowed = describe(schema).unwrap_or_default();
                self.wrong_type(path, node, &allowed);
                None
            }
        }
    }

    /// One of some names, or an object with one field. The one union a structural schema can hold: its
    /// first branch lists the names, its second the required field.
    fn name_or_object(
        &mut self,
        path: &str,
        schema: &Json,
        branches: &[Json],
        node: &Node,
    ) -> Option<Json> {
        match &node.value {
            Value::Map(entries) => {
                let mut object = schema.clone();
                if let Some(required) = branches.iter().find_map(|branch| branch.get("required")) {
                    object["required"] = required.clone();
                }
                self.object(path, &object, node, entries)
            }
            Value::String(text) => {
                let names = branches
                    .iter()
                    .find_map(|branch| branch.get("enum")?.as_array());
                let names: Vec<&str> = names
                    .into_iter()
                    .flatten()
                    .filter_map(Json::as_str)
                    .collect();
                if names.contains(&text.as_str()) {
                    return Some(json!(text));
                }
                let error = SpecError::new(
                    path,
                    Problem::InvalidValue,
                    "the value is not one of those allowed",
                );
                self.report(
                    error
                        .found(node.value.describe())
                        .allowed(describe(schema).unwrap_or_default())
                        .meant(text, names)
                        .at(node.position),
                );
                None
            }
            _ => {
                let allowed = describe(schema).unwrap_or_default();
                self.wrong_type(path, node, &allowed);
                None
            }
        }
    }

    fn out_of_range(&mut self, path: &str, node: &Node, found: String, allowed: String) {
        self.report(
            SpecError::new(path, Problem::OutOfRange, "the value is out of range")
                .found(found)
                .allowed(allowed)
                .at(node.position),
        );
    }
}

fn matches_pattern(pattern: &str, text: &str) -> bool {
    // The patterns are our own, all checked by a test; one that can't be compiled matches nothing.
    regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

/// The parent of a path: `a.b[1]` → `a.b` → `a` → the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rfind(['.', '[']).map_or("", |end| &path[..end])
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A tree as JSON, as it is.
fn untyped(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::String(value) => json!(value),
        Value::List(items) => items.iter().map(|item| untyped(&item.value)).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), untyped(&entry.node.value)))
            .collect(),
    }
}
