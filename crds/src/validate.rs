//! From text to a validated pipeline.
//!
//! Owns the order of the checks: YAML, schema, CEL, cross-field rules; and that each mistake is told
//! once, all at once. The rules themselves stand on the types (CEL) and in `checks`.

use std::collections::HashSet;
use std::path::Path;

use kube::core::cel::{ErrorKind, ValidationError, Validator, apply_defaults};
use serde_json::Value as Json;

use crate::checks;
use crate::error::{Problem, SpecError, SpecErrors};
use crate::path::StoragePath;
use crate::pipeline::Pipeline;
use crate::schema;
use crate::spec::{API_VERSION, KIND, StockStream};
use crate::walk::{Walk, parent};
use crate::yaml::{self, Node, Value};

/// Reads one `StockStream` from YAML (or JSON) and checks every rule.
///
/// # Errors
/// All mistakes at once, in the order of the text.
pub fn parse(text: &str) -> Result<Pipeline, SpecErrors> {
    check(&yaml::read(text)?)
}

/// Checks a change as the API server does: the new text must be valid, and must not change what one
/// `state.path` holds fixed.
///
/// # Errors
/// Mistakes of the new text, or of the change. The old text is taken to be valid: a mistake in it is
/// reported as such.
pub fn parse_update(old: &str, new: &str) -> Result<Pipeline, SpecErrors> {
    let old = parse(old)?;
    let node = yaml::read(new)?;
    let pipeline = check(&node)?;
    let (walk, value) = Walk::of(schema::resource(), &node);
    let old = serde_json::to_value(old.resource()).map_err(internal)?;
    let errors = cel(&walk, &value, Some(&old));
    SpecErrors::collect(errors).map_or(Ok(pipeline), Err)
}

/// Checks a resource that came from the API server.
pub(crate) fn resource(resource: &StockStream) -> Result<Pipeline, SpecErrors> {
    let mut json = serde_json::to_value(resource).map_err(internal)?;
    if let Some(fields) = json.as_object_mut() {
        fields.remove("status");
    }
    let pipeline = check(&Node {
        value: Value::from_json(&json),
        position: None,
    })?;
    Ok(pipeline)
}

/// Makes relative paths absolute and compares them again.
pub(crate) fn resolve_paths(
    directory: &Path,
    mut paths: [(&'static str, &mut StoragePath); 3],
) -> Result<(), SpecErrors> {
    let mut errors = Vec::new();
    for (field, path) in &mut paths {
        match path.resolve(directory) {
            Ok(resolved) => **path = resolved,
            Err(error) => errors.push(SpecError::new(
                *field,
                Problem::InvalidValue,
                format!("the path can't be taken below the working directory: {error}"),
            )),
        }
    }
    for (i, (field, path)) in paths.iter().enumerate() {
        for (other_field, other) in &paths[i + 1..] {
            if path.is_within(other) || other.is_within(path) {
                let message = format!("{field} and {other_field} must not lie within each other");
                let found = format!("{path} and {other}");
                errors.push(SpecError::new(*field, Problem::Conflict, message).found(found));
            }
        }
    }
    SpecErrors::collect(errors).map_or(Ok(()), Err)
}

fn check(root: &Node) -> Result<Pipeline, SpecErrors> {
    other_resource(root)?;
    let (walk, value) = Walk::of(schema::resource(), root);
    let mut errors = walk.errors.clone();
    errors.extend(cel(&walk, &value, None));
    let broken: HashSet<String> = errors.iter().map(|error| error.path.clone()).collect();
    let value = apply_defaults(schema::resource(), &value);
    errors.extend(
        checks::all(&checks::Fields::new(&value, &broken))
            .into_iter()
            .map(|error| {
                let position = walk.position(&error.path);
                error.at(position)
            }),
    );
    if let Some(errors) = SpecErrors::collect(errors) {
        return Err(errors);
    }
    let resource: StockStream = serde_json::from_value(value).map_err(internal)?;
    Pipeline::assemble(resource).ok_or_else(|| internal("exactly one source was expected"))
}

/// A resource of another kind or version is told as that, without checking its fields.
fn other_resource(root: &Node) -> Result<(), SpecErrors> {
    let Value::Map(entries) = &root.value else {
        return Err(SpecErrors::one(
            SpecError::new("", Problem::WrongResource, "a StockStream is a map")
                .found(root.value.describe())
                .allowed("apiVersion, kind, metadata, spec")
                .at(root.position),
        ));
    };
    let mut errors = Vec::new();
    for (field, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let Some(entry) = entries.iter().find(|entry| entry.key == field) else {
            continue;
        };
        if let Value::String(text) = &entry.node.value
            && text != wanted
        {
            errors.push(
                SpecError::new(field, Problem::WrongResource, "this is another resource")
                    .found(entry.node.value.describe())
                    .allowed(wanted)
                    .meant(text, [wanted])
                    .at(entry.node.position),
            );
        }
    }
    SpecErrors::collect(errors).map_or(Ok(()), Err)
}

/// Evaluates the CEL rules, with `old` the transition rules, too.
fn cel(walk: &Walk, value: &Json, old: Option<&Json>) -> Vec<SpecError> {
    let Err(failures) = Validator::new().validate(schema::resource(), value, old) else {
        return Vec::new();
    };
    let value = apply_defaults(schema::resource(), value);
    failures
        .into_iter()
        .filter(|failure| !is_consequence(failure, &walk.errors))
        .map(|failure| {
            let position = walk.position(&failure.field_path);
            cel_error(failure, &value).at(position)
        })
        .collect()
}

/// A failed rule as a mistake. Messages that begin with "must be" tell what is allowed.
fn cel_error(failure: ValidationError, value: &Json) -> SpecError {
    let path = failure.field_path.as_str();
    let read = checks::values_read(value, path, &failure.rule);
    let found = match read.as_slice() {
        [_, _, ..] => Some(read.join(", ")),
        _ => checks::describe_at(value, path),
    };
    let immutable = failure.reason.as_deref() == Some("FieldValueForbidden");
    let error = match failure.message.strip_prefix("must be ") {
        Some(allowed) => {
            SpecError::new(path, Problem::OutOfRange, "the value is out of range").allowed(allowed)
        }
        None if immutable => SpecError::new(path, Problem::Immutable, failure.message),
        None if read.len() > 1 => SpecError::new(path, Problem::Conflict, failure.message),
        None => SpecError::new(path, Problem::InvalidValue, failure.message),
    };
    match found {
        Some(found) => error.found(found),
        None => error,
    }
}

/// Whether a rule fails only because of a mistake that has been told already.
fn is_consequence(failure: &ValidationError, errors: &[SpecError]) -> bool {
    if failure.kind != ErrorKind::ValidationFailure {
        return !errors.is_empty();
    }
    let path = failure.field_path.as_str();
    errors.iter().any(|error| {
        let around = parent(&error.path);
        let near = around == path || around == parent(path);
        let name = error.path.rsplit('.').next().unwrap_or_default();
        error.path == path
            || (near && error.problem == Problem::UnknownField)
            || (near && failure.rule.contains(name))
    })
}

/// A fault of ours: the checks let something through that the types refuse.
fn internal(error: impl std::fmt::Display) -> SpecErrors {
    SpecErrors::one(SpecError::new(
        "",
        Problem::InvalidValue,
        format!(
            "the resource passes every check and still can't be read: {error}; please report this"
        ),
    ))
}
