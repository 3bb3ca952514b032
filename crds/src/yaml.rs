//! YAML text to a tree that knows where each value stands.
//!
//! Owns the limits on hostile text, the one-document rule, and positions. It knows nothing of specs.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use crate::error::{Position, Problem, SpecError, SpecErrors};

/// The largest text that is read, in bytes. Kubernetes itself stores at most 1.5 MiB an object.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// The deepest nesting that is read; the spec itself needs 8 levels.
pub const MAX_DEPTH: usize = 32;
/// The most values a text may have, aliases expanded.
pub const MAX_NODES: usize = 50_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) position: Option<Position>,
}

/// What YAML can hold, with map entries in order and possibly twice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// Any other number.
    Float(f64),
    String(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_position: Option<Position>,
    pub(crate) node: Node,
}

impl Value {
    /// The type in words.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// The value as an excerpt for messages: scalars themselves, others by their type.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing (null)".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::String(value) => format!("\"{value}\""),
            Self::List(_) | Self::Map(_) => self.type_name().to_owned(),
        }
    }

    /// A tree from JSON, without positions.
    pub(crate) fn from_json(json: &serde_json::Value) -> Self {
        let node = |value| Node {
            value: Self::from_json(value),
            position: None,
        };
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => number.as_i64().map_or_else(
                || Self::Float(number.as_f64().unwrap_or(f64::NAN)),
                Self::Integer,
            ),
            serde_json::Value::String(value) => Self::String(value.clone()),
            serde_json::Value::Array(items) => Self::List(items.iter().map(node).collect()),
            serde_json::Value::Object(fields) => Self::Map(
                fields
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_position: None,
                        node: node(value),
                    })
                    .collect(),
            ),
        }
    }
}

/// Reads exactly one document.
pub(crate) fn read(text: &str) -> Result<Node, SpecErrors> {
    let fail = |message: String| SpecErrors::one(SpecError::new("", Problem::Syntax, message));
    if text.len() > MAX_TEXT_BYTES {
        return Err(fail(format!(
            "the text has {} bytes, more than the {MAX_TEXT_BYTES} that a resource may have",
            text.len()
        )));
    }
    let documents: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|error| SpecErrors::one(syntax_error(&error)))?;
    let mut documents = documents
        .into_iter()
        .filter(|document| document.value != Value::Null);
    match (documents.next(), documents.next()) {
        (Some(document), None) => Ok(document),
        (None, _) => Err(fail(
            "the text is empty: a StockStream is expected".to_owned(),
        )),
        (Some(_), Some(second)) => Err(SpecErrors::one(
            SpecError::new(
                "",
                Problem::Syntax,
                "the text has more than one document (separated by ---): put each in a file of its own",
            )
            .at(second.position),
        )),
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 16,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: MAX_NODES,
            max_total_scalar_bytes: 2 * MAX_TEXT_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
        // Reported by the walk, together with all other mistakes.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn syntax_error(error: &serde_saphyr::Error) -> SpecError {
    let error = error.without_snippet();
    let location = error.location();
    let mut message = error.to_string();
    // The place is told apart from the message.
    if let Some(location) = location {
        let (line, column) = (location.line(), location.column());
        for separator in [", ", " "] {
            let place = format!(" at line {line}{separator}column {column}");
            message = message.replace(&place, "");
        }
    }
    SpecError::new(
        "",
        Problem::Syntax,
        format!("not readable as YAML: {message}"),
    )
    .at(location.and_then(position))
}

fn position(location: Location) -> Option<Position> {
    (location.line() > 0).then(|| Position {
        line: location.line(),
        column: location.column(),
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            position: position(spanned.referenced),
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // Above i64 a value is out of every bound of the spec anyway.
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = fields.next_key::<Spanned<String>>()? {
            let node = fields.next_value()?;
            map.push(Entry {
                key: key.value,
                key_position: position(key.referenced),
                node,
            });
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn knows_where_keys_and_values_stand() {
        let node = read("a: 1\nb:\n  - x\n  - {c: 2.5}\n").unwrap();
        let Value::Map(entries) = &node.value else {
            panic!("{node:?}")
        };
        let place = |line, column| Some(Position { line, column });
        assert_eq!(entries[0].key_position, place(1, 1));
        assert_eq!(entries[0].node.position, place(1, 4));
        let Value::List(items) = &entries[1].node.value else {
            panic!("{node:?}")
        };
        assert_eq!(items[0].position, place(3, 5));
        let Value::Map(inner) = &items[1].value else {
            panic!("{node:?}")
        };
        assert_eq!(inner[0].key_position, place(4, 6));
        assert_eq!(inner[0].node.value, Value::Float(2.5));
    }

    #[test]
    fn keeps_words_and_timestamps_as_strings() {
        let node = read("[yes, 2024-01-02T00:00:00Z, true, ~, '1']").unwrap();
        let Value::List(items) = node.value else {
            panic!("not a list")
        };
        let values: Vec<Value> = items.into_iter().map(|item| item.value).collect();
        assert_eq!(
            values,
            [
                Value::String("yes".to_owned()),
                Value::String("2024-01-02T00:00:00Z".to_owned()),
                Value::Bool(true),
                Value::Null,
                Value::String("1".to_owned()),
            ]
        );
    }
}
