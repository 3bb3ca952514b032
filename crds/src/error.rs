//! What is wrong with a spec, and how it is told to people and to programs.
//!
//! Owns the shape of errors and their rendering. It must not decide what is an error.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// Mistakes after which no more are told: nobody reads them, and hostile text has many.
pub const MAX_ERRORS: usize = 100;

/// The longest excerpt of a bad value that is shown, in characters.
const MAX_FOUND: usize = 160;

/// A place in the text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

/// What kind of mistake it is. Stable, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Problem {
    /// The text is not YAML, or is too large, too deep, or not exactly one document.
    Syntax,
    /// Not a resource of this kind or version.
    WrongResource,
    /// A field that must be given is not there.
    Missing,
    /// A field that does not exist.
    UnknownField,
    /// A value of another type.
    WrongType,
    /// A value that is not one of those allowed, or not of the shape asked for.
    InvalidValue,
    /// A value outside of its bounds.
    OutOfRange,
    /// The same value where each must differ.
    Duplicate,
    /// A change of something that can't be changed.
    Immutable,
    /// Values that do not fit together.
    Conflict,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecError {
    /// Path of the field, such as `spec.window.aggregates[1].function`. Empty for the whole text.
    pub path: String,
    /// What kind of mistake it is.
    pub problem: Problem,
    /// What is wrong, as a sentence without its full stop.
    pub message: String,
    /// What was found, as an excerpt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Where in the text. Unknown for resources that were not read from text.
    #[serde(flatten)]
    pub position: Option<Position>,
}

impl SpecError {
    /// A mistake at a path.
    pub(crate) fn new(
        path: impl Into<String>,
        problem: Problem,
        message: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            problem,
            message: message.into(),
            found: None,
            allowed: None,
            suggestion: None,
            position: None,
        }
    }

    /// Adds what was found.
    #[must_use]
    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(excerpt(&found.into()));
        self
    }

    /// Adds what is allowed.
    #[must_use]
    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// Adds the one of `candidates` that was probably meant, if any is near.
    #[must_use]
    pub(crate) fn meant<'a>(
        mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self.suggestion = nearest(word, candidates).map(str::to_owned);
        self
    }

    /// Adds where it is.
    #[must_use]
    pub(crate) fn at(mut self, position: Option<Position>) -> Self {
        self.position = position;
        self
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.message)?;
        if let Some(found) = &self.found {
            write!(f, "; found {found}")?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean {suggestion}?")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecError {}

/// What is wrong with a spec, in the order of the text: at least one mistake, at most [`MAX_ERRORS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecErrors(Vec<SpecError>);

impl SpecErrors {
    /// Sorts the errors by place. `None` when there are none.
    pub(crate) fn collect(mut errors: Vec<SpecError>) -> Option<Self> {
        for error in &mut errors {
            // Keys of hostile text can be as long as the text.
            error.path = excerpt(&error.path);
        }
        // Errors without a place come first: they speak about the whole.
        errors.sort_by(|a, b| (a.position, &a.path).cmp(&(b.position, &b.path)));
        errors.dedup();
        errors.truncate(MAX_ERRORS);
        (!errors.is_empty()).then_some(Self(errors))
    }

    pub(crate) fn one(error: SpecError) -> Self {
        Self(vec![error])
    }

    /// The errors, at least one.
    pub fn errors(&self) -> &[SpecError] {
        &self.0
    }

    /// For people: one block per error, then a count. `file` is what the user called the input.
    pub fn render(&self, file: &str) -> String {
        let mut text = String::new();
        for error in &self.0 {
            render_one(&mut text, file, error);
            text.push('\n');
        }
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        // Writing to a string can't fail.
        let _ = writeln!(text, "{file}: {count} error{plural}");
        text
    }

    /// For programs: `{"file": …, "valid": false, "errors": [{path, problem, message, found?, allowed?, suggestion?,
    /// line?, column?}]}`.
    pub fn to_json(&self, file: &str) -> serde_json::Value {
        serde_json::json!({"file": file, "valid": false, "errors": self.0})
    }
}

fn render_one(text: &mut String, file: &str, error: &SpecError) {
    let _ = match error.position {
        Some(Position { line, column }) => write!(text, "{file}:{line}:{column}: "),
        None => write!(text, "{file}: "),
    };
    if !error.path.is_empty() {
        let _ = write!(text, "{}: ", error.path);
    }
    let _ = writeln!(text, "{}", error.message);
    let lines = [
        ("found", &error.found),
        ("allowed", &error.allowed),
        ("did you mean", &error.suggestion),
    ];
    for (label, value) in lines {
        if let Some(value) = value {
            let _ = writeln!(text, "  {:<13} {value}", format!("{label}:"));
        }
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// Shortens a value to what fits in a line, without control characters.
fn excerpt(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_FOUND)
        .flat_map(|c| {
            let escaped = if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            };
            escaped.chars().collect::<Vec<_>>()
        })
        .collect();
    if text.chars().count() > MAX_FOUND {
        shown.push('…');
    }
    shown
}

/// The candidate nearest to a word, if it is near enough to be a slip: at most a third of its letters
/// wrong, case aside.
fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn suggests_slips_only() {
        let fields = ["idleTimeout", "size", "avg", "aggregates"];
        assert_eq!(nearest("idletimeout", fields), Some("idleTimeout"));
        assert_eq!(nearest("agregates", fields), Some("aggregates"));
        assert_eq!(nearest("AVG", fields), Some("avg"));
        assert_eq!(nearest("median", fields), None);
        assert_eq!(nearest(&"x".repeat(10_000), fields), None);
    }

    #[test]
    fn excerpts_are_one_short_line() {
        assert_eq!(excerpt("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(excerpt(&"x".repeat(500)).chars().count(), MAX_FOUND + 1);
    }
}
