//! What changed between two views, so that hundreds of tickers are cheap to watch.
//!
//! Owns the form of `change` events: top-level fields that differ, and of tickers and shards only the fields that differ.
//! Must never leave out a change: a client that applies all of them has the newest view.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::view::PipelineView;

/// The lists that are sent item by item, and the field that names an item.
const LISTS: [(&str, &str); 2] = [("tickers", "ticker"), ("shards", "shard")];

/// A view taken apart for comparing.
#[derive(Debug, Default)]
pub(super) struct Parts {
    fields: Map<String, Value>,
    lists: BTreeMap<&'static str, BTreeMap<String, Map<String, Value>>>,
}

impl Parts {
    /// Takes a view apart.
    ///
    /// # Errors
    /// JSON's own, which these types don't cause.
    pub(super) fn of(view: &PipelineView) -> Result<Self, serde_json::Error> {
        let Value::Object(mut fields) = serde_json::to_value(view)? else {
            return Ok(Parts::default());
        };
        let mut lists = BTreeMap::new();
        for (list, name) in LISTS {
            let mut items = BTreeMap::new();
            if let Some(Value::Array(values)) = fields.remove(list) {
                for value in values {
                    if let Value::Object(item) = value
                        && let Some(key) = item.get(name).and_then(Value::as_str)
                    {
                        items.insert(key.to_owned(), item);
                    }
                }
            }
            lists.insert(list, items);
        }
        Ok(Parts { fields, lists })
    }

    /// What a client that has `self` needs to have `next`: `{FIELD: value…, "tickers": [{"ticker", changed fields…}…],
    /// "gone": {"tickers": [name…]}}`. A field that became unknown is null.
    pub(super) fn changes(&self, next: &Parts) -> Value {
        let mut changes = differing(&self.fields, &next.fields);
        let mut all_gone = Map::new();
        let none = BTreeMap::new();
        for (list, name) in LISTS {
            let before = self.lists.get(list).unwrap_or(&none);
            let after = next.lists.get(list).unwrap_or(&none);
            let mut changed = Vec::new();
            for (key, item) in after {
                let mut fields = match before.get(key) {
                    Some(known) => differing(known, item),
                    None => item.clone(),
                };
                if !fields.is_empty() {
                    fields.insert(name.to_owned(), Value::from(key.as_str()));
                    changed.push(Value::Object(fields));
                }
            }
            let gone = before.keys().filter(|key| !after.contains_key(*key));
            let gone: Vec<Value> = gone.map(|key| Value::from(key.as_str())).collect();
            if !changed.is_empty() {
                changes.insert(list.to_owned(), Value::Array(changed));
            }
            if !gone.is_empty() {
                all_gone.insert(list.to_owned(), Value::Array(gone));
            }
        }
        if !all_gone.is_empty() {
            changes.insert("gone".to_owned(), Value::Object(all_gone));
        }
        Value::Object(changes)
    }
}

fn differing(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let mut changed: Map<String, Value> = after
        .iter()
        .filter(|(field, value)| before.get(*field) != Some(*value))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    for field in before.keys() {
        if !after.contains_key(field) {
            changed.insert(field.clone(), Value::Null);
        }
    }
    changed
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
