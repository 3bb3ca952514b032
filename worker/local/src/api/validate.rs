//! AWS's constraints on fields and the messages for breaking them. Limits are the Kinesis API
//! reference's.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::consumers::ConsumerArn;
use super::{ErrorKind, KinesisError};

/// Characters in a stream's name at most.
pub(super) const MAX_NAME: usize = 128;
/// Characters in a partition key at most.
const MAX_PARTITION_KEY: usize = 256;
/// Bytes of a record at most in a stream that was made without saying more (API reference, CreateStream).
pub(super) const DEFAULT_RECORD_BYTES: usize = 1024 * 1024;
/// Bytes of data in a record at most: 10 MiB.
pub(super) const MAX_RECORD_BYTES: usize = 10 * 1024 * 1024;
/// Tags a stream or a consumer may have.
const MAX_TAGS: usize = 200;
/// Characters in a tag's key at most.
const MAX_TAG_KEY: usize = 128;
/// Characters in a tag's value at most.
const MAX_TAG_VALUE: usize = 256;
/// Characters of a refused value that a message repeats.
const MAX_SHOWN: usize = 256;

/// Gathers what is wrong with a request, so that all of it is said at once.
#[derive(Debug, Default)]
pub(super) struct Constraints {
    broken: Vec<String>,
}

impl Constraints {
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the check.
    pub fn finish(self) -> Result<(), KinesisError> {
        let count = self.broken.len();
        if count == 0 {
            return Ok(());
        }
        let plural = if count == 1 { "" } else { "s" };
        let message = format!(
            "{count} validation error{plural} detected: {}",
            self.broken.join("; ")
        );
        Err(KinesisError::new(ErrorKind::Validation, message))
    }

    fn fail(&mut self, value: Option<&dyn Display>, field: &str, constraint: &str) {
        // AWS names at most ten.
        if self.broken.len() >= 10 {
            return;
        }
        let value = value.map_or_else(
            || "null".to_owned(),
            |value| {
                let text = value.to_string();
                match text.char_indices().nth(MAX_SHOWN) {
                    Some((end, _)) => format!("'{}…'", &text[..end]),
                    None => format!("'{text}'"),
                }
            },
        );
        self.broken.push(format!(
            "Value {value} at '{field}' failed to satisfy constraint: {constraint}"
        ));
    }

    /// The field must be there.
    pub fn required<T>(&mut self, field: &str, value: Option<&T>) {
        if value.is_none() {
            self.fail(None, field, "Member must not be null");
        }
    }

    fn length(&mut self, field: &str, value: &str, most: usize) {
        let length = value.chars().count();
        if length < 1 {
            self.fail(
                Some(&value),
                field,
                "Member must have length greater than or equal to 1",
            );
        }
        if length > most {
            self.fail(
                Some(&value),
                field,
                &format!("Member must have length less than or equal to {most}"),
            );
        }
    }

    /// A name of a stream, shard or consumer, if given.
    pub fn name(&mut self, field: &str, value: Option<&(impl AsRef<str> + ?Sized)>) {
        let Some(value) = value.map(AsRef::as_ref) else {
            return;
        };
        if value.is_empty() || !value.chars().all(is_name_character) {
            self.fail(
                Some(&value),
                field,
                "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
            );
        }
        self.length(field, value, MAX_NAME);
    }

    /// A text of 1 to `most` characters, if given.
    pub fn text(&mut self, field: &str, value: Option<&(impl AsRef<str> + ?Sized)>, most: usize) {
        if let Some(value) = value {
            self.length(field, value.as_ref(), most);
        }
    }

    /// A partition key.
    pub fn partition_key(&mut self, field: &str, value: Option<&str>) {
        self.required(field, value.as_ref());
        self.text(field, value, MAX_PARTITION_KEY);
    }

    /// A number within limits, if given.
    pub fn number(&mut self, field: &str, value: Option<i64>, least: i64, most: i64) {
        let Some(value) = value else { return };
        if value < least {
            self.fail(
                Some(&value),
                field,
                &format!("Member must have value greater than or equal to {least}"),
            );
        }
        if value > most {
            self.fail(
                Some(&value),
                field,
                &format!("Member must have value less than or equal to {most}"),
            );
        }
    }

    /// One of AWS's names, if given.
    pub fn one_of(&mut self, field: &str, value: Option<&String>, allowed: &[&str]) {
        let Some(value) = value else { return };
        if !allowed.contains(&value.as_str()) {
            let constraint = format!(
                "Member must satisfy enum value set: [{}]",
                allowed.join(", ")
            );
            self.fail(Some(value), field, &constraint);
        }
    }

    /// A decimal number without sign or leading zeros, if given.
    pub fn decimal(
        &mut self,
        field: &str,
        value: Option<&(impl AsRef<str> + ?Sized)>,
        pattern: &str,
    ) {
        let Some(value) = value.map(AsRef::as_ref) else {
            return;
        };
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (value.len() > 1 && value.starts_with('0')) {
            self.fail(
                Some(&value),
                field,
                &format!("Member must satisfy regular expression pattern: {pattern}"),
            );
        }
    }

    /// Keys of tags: 1 to 50 of 1 to 128 characters.
    pub fn tag_keys(&mut self, field: &str, value: Option<&Vec<String>>) {
        self.list(field, value, 50);
        for key in value.into_iter().flatten() {
            if !(1..=128).contains(&key.chars().count()) {
                let constraint = "Member must satisfy constraint: [Member must have length less than or equal to 128, Member must \
                                  have length greater than or equal to 1]";
                self.fail(Some(key), field, constraint);
            }
        }
    }

    /// A record's data.
    pub fn data(&mut self, field: &str, value: Option<&[u8]>) {
        self.required(field, value.as_ref());
        let length = value.map_or(0, <[u8]>::len);
        if length > MAX_RECORD_BYTES {
            let shown = format!("java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]");
            let constraint =
                format!("Member must have length less than or equal to {MAX_RECORD_BYTES}");
            self.fail(Some(&shown), field, &constraint);
        }
    }

    /// Tags by key: 1 to 50.
    pub fn tags(&mut self, field: &str, tags: Option<&BTreeMap<String, String>>) {
        let Some(tags) = tags else { return };
        self.count(field, tags.len(), MAX_TAGS);
        for (key, value) in tags.iter().take(MAX_TAGS) {
            self.length(&format!("{field}.key"), key, MAX_TAG_KEY);
            if value.chars().count() > MAX_TAG_VALUE {
                self.fail(
                    Some(value),
                    &format!("{field}.value"),
                    &format!("Member must have length less than or equal to {MAX_TAG_VALUE}"),
                );
            }
        }
    }

    /// The ARN of a consumer, if given.
    pub fn consumer_arn(&mut self, field: &str, value: Option<&String>) {
        let Some(value) = value else { return };
        self.length(field, value, 2048);
        if ConsumerArn::parse(value).is_none() {
            let constraint = format!(
                "Member must satisfy regular expression pattern: {}",
                ConsumerArn::PATTERN
            );
            self.fail(Some(value), field, &constraint);
        }
    }

    /// A list of 1 to `most` members.
    pub fn list<T>(&mut self, field: &str, value: Option<&Vec<T>>, most: usize) {
        self.required(field, value);
        if let Some(value) = value {
            self.count(field, value.len(), most);
        }
    }

    /// So many members, 1 to `most`.
    fn count(&mut self, field: &str, length: usize, most: usize) {
        let shown = format!("[{length} members]");
        if length < 1 {
            self.fail(
                Some(&"[]"),
                field,
                "Member must have length greater than or equal to 1",
            );
        }
        if length > most {
            self.fail(
                Some(&shown),
                field,
                &format!("Member must have length less than or equal to {most}"),
            );
        }
    }
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

/// The pattern AWS prints for a hash key.
pub(super) const HASH_KEY_PATTERN: &str = "0|([1-9]\\d{0,38})";
/// The pattern AWS prints for a sequence number.
pub(super) const SEQUENCE_PATTERN: &str = "0|([1-9]\\d{0,128})";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn message(constraints: Constraints) -> String {
        constraints.finish().unwrap_err().message
    }

    #[test]
    fn one_broken_constraint_reads_as_aws_says_it() {
        let mut constraints = Constraints::new();
        constraints.name("streamName", Some(&"a b".to_owned()));
        assert_eq!(
            message(constraints),
            "1 validation error detected: Value 'a b' at 'streamName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        );
    }

    #[test]
    fn several_are_said_at_once_and_at_most_ten() {
        let mut constraints = Constraints::new();
        constraints.required::<String>("shardId", None);
        constraints.number("limit", Some(0), 1, 10_000);
        assert_eq!(
            message(constraints),
            "2 validation errors detected: Value null at 'shardId' failed to satisfy constraint: Member must not be null; \
             Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"
        );
        let mut constraints = Constraints::new();
        for _ in 0..500 {
            constraints.required::<String>("x", None);
        }
        assert!(message(constraints).starts_with("10 validation errors"));
    }

    #[test]
    fn a_long_value_is_shortened_at_a_character() {
        let mut constraints = Constraints::new();
        constraints.text("partitionKey", Some(&"é".repeat(100_000)), 256);
        assert!(message(constraints).len() < 1000);
    }

    #[test]
    fn keys_are_counted_in_characters_not_bytes() {
        let mut constraints = Constraints::new();
        constraints.partition_key("partitionKey", Some(&"é".repeat(256)));
        assert_eq!(constraints.finish(), Ok(()));
    }
}
