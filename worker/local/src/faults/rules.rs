//! The rules of a script as JSON: read strictly, so that a misspelt rule is an error rather than a
//! fault that never comes.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Fault, Subject};
use crate::api::{ErrorKind, Operation};

/// Rules in a script at most.
pub const MAX_RULES: usize = 1_000;
/// The longest delay.
pub const MAX_DELAY: Duration = Duration::from_secs(3_600);
/// Characters of a wrong value that an error repeats.
const MAX_SHOWN: usize = 80;

const FIELDS: &str = "operation, stream, shard, skip, count, probability, seed and fault";
const FAULTS: &str = "one of {\"throttle\":{}}, {\"error\":{…}}, {\"delay\":{…}}, {\"drop_reply\":{}}, {\"expire_iterator\":{}}, {\"close\":{}}";

/// Which calls go wrong, how, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it is about; every operation if none.
    pub subject: Option<Subject>,
    /// The stream; any if none.
    pub stream: Option<String>,
    /// The shard; any if none.
    pub shard: Option<String>,
    /// So many calls that match are let through first.
    pub skip: u64,
    /// How often it strikes; without end if none.
    pub count: Option<u64>,
    /// How likely it strikes a call that matches, 0 to 1.
    pub probability: f64,
    /// What chance follows from; the rule's number if none.
    pub seed: Option<u64>,
    /// What goes wrong.
    pub fault: Fault,
}

impl Rule {
    /// Every call goes wrong so.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            subject: None,
            stream: None,
            shard: None,
            skip: 0,
            count: None,
            probability: 1.0,
            seed: None,
            fault,
        }
    }

    /// The rule as it may be written in a script.
    pub(super) fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        set("operation", self.subject.map(|one| one.name().into()));
        set("stream", self.stream.clone().map(Value::from));
        set("shard", self.shard.clone().map(Value::from));
        set("skip", Some(self.skip.into()));
        set("count", self.count.map(Value::from));
        set("probability", Some(self.probability.into()));
        set("seed", self.seed.map(Value::from));
        set("fault", Some(fault_to_json(&self.fault)));
        Value::Object(fields)
    }
}

fn fault_to_json(fault: &Fault) -> Value {
    match fault {
        Fault::Throttle => json!({"throttle": {}}),
        Fault::Error {
            kind,
            message: None,
        } => json!({"error": {"type": kind.name()}}),
        Fault::Error {
            kind,
            message: Some(message),
        } => json!({"error": {"type": kind.name(), "message": message}}),
        Fault::Delay(delay) => {
            let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            json!({"delay": {"millis": millis}})
        }
        Fault::DropReply => json!({"drop_reply": {}}),
        Fault::ExpireIterator => json!({"expire_iterator": {}}),
        Fault::Close => json!({"close": {}}),
    }
}

/// Why a script isn't one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultsError {
    /// It isn't JSON.
    #[error("the rules aren't JSON: {0}")]
    Syntax(String),
    /// It is no list.
    #[error("the rules must be a JSON list of at most {MAX_RULES} rules; found is {found}")]
    NoList {
        /// What is there.
        found: String,
    },
    /// A rule is wrong.
    #[error("rule {rule}: {field} is {found}; allowed is {allowed}")]
    Rule {
        /// Its place in the list, from 1.
        rule: usize,
        /// The field.
        field: String,
        /// What is there.
        found: String,
        /// What may be there.
        allowed: String,
    },
}

pub(super) fn parse(text: &str) -> Result<Vec<Rule>, FaultsError> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| FaultsError::Syntax(error.to_string()))?;
    match value {
        Value::Array(rules) if rules.len() <= MAX_RULES => {
            let numbered = rules.iter().zip(1..);
            numbered
                .map(|(value, rule)| Reader { rule }.rule(value))
                .collect()
        }
        Value::Array(rules) => Err(FaultsError::NoList {
            found: format!("a list of {}", rules.len()),
        }),
        other => Err(FaultsError::NoList {
            found: shown(Some(&other)),
        }),
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "missing".to_owned();
    };
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Reads the fields of one rule.
#[derive(Clone, Copy)]
struct Reader {
    rule: usize,
}

impl Reader {
    fn wrong(self, field: &str, found: Option<&Value>, allowed: impl Into<String>) -> FaultsError {
        FaultsError::Rule {
            rule: self.rule,
            field: field.to_owned(),
            found: shown(found),
            allowed: allowed.into(),
        }
    }

    fn rule(self, value: &Value) -> Result<Rule, FaultsError> {
        let object = (value.as_object())
            .ok_or_else(|| self.wrong("the rule", Some(value), format!("an object of {FIELDS}")))?;
        let known = [
            "operation",
            "stream",
            "shard",
            "skip",
            "count",
            "probability",
            "seed",
            "fault",
        ];
        self.only(object, "", &known, FIELDS)?;
        let rule = Rule {
            subject: self.subject(object.get("operation"))?,
            stream: self.name(object, "stream")?,
            shard: self.shard(object)?,
            skip: self.count(object, "skip")?.unwrap_or(0),
            count: self.count(object, "count")?,
            probability: self.probability(object.get("probability"))?,
            seed: self.count(object, "seed")?,
            fault: self.fault(object.get("fault"))?,
        };
        match rule.subject {
            Some(subject) if !rule.fault.fits(subject) => {
                let allowed = match subject {
                    Subject::Event => "error, delay or close for events of a subscription",
                    Subject::Call(_) => "any other than expire_iterator, which is for GetRecords",
                };
                Err(self.wrong("fault", object.get("fault"), allowed))
            }
            _ => Ok(rule),
        }
    }

    fn only(
        self,
        object: &Map<String, Value>,
        within: &str,
        known: &[&str],
        allowed: &str,
    ) -> Result<(), FaultsError> {
        let unknown = object
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()));
        match unknown {
            None => Ok(()),
            Some((name, value)) => {
                let allowed = match known.is_empty() {
                    true => "no field here".to_owned(),
                    false => format!("no other field than {allowed}"),
                };
                Err(self.wrong(&format!("{within}{name}"), Some(value), allowed))
            }
        }
    }

    fn subject(self, value: Option<&Value>) -> Result<Option<Subject>, FaultsError> {
        let Some(value) = value else { return Ok(None) };
        let name = value.as_str().unwrap_or_default();
        if name == Subject::Event.name() {
            return Ok(Some(Subject::Event));
        }
        match name.parse() {
            Ok(operation) => Ok(Some(Subject::Call(operation))),
            Err(_) => {
                let names = Operation::ALL.iter().map(|operation| operation.name());
                let names: Vec<&str> = names.chain([Subject::Event.name()]).collect();
                Err(self.wrong(
                    "operation",
                    Some(value),
                    format!("one of {}", names.join(", ")),
                ))
            }
        }
    }

    fn name(self, object: &Map<String, Value>, field: &str) -> Result<Option<String>, FaultsError> {
        let Some(value) = object.get(field) else {
            return Ok(None);
        };
        let name = value.as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| self.wrong(field, Some(value), format!("a {field}'s name")));
        name.map(|name| Some(name.to_owned()))
    }

    fn shard(self, object: &Map<String, Value>) -> Result<Option<String>, FaultsError> {
        let Some(value) = object.get("shard") else {
            return Ok(None);
        };
        let digits = value.as_str().and_then(|id| id.strip_prefix("shardId-"));
        let valid = digits.is_some_and(|digits| {
            digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        match valid {
            true => self.name(object, "shard"),
            false => Err(self.wrong(
                "shard",
                Some(value),
                "a shard's id, such as \"shardId-000000000000\"",
            )),
        }
    }

    fn count(self, object: &Map<String, Value>, field: &str) -> Result<Option<u64>, FaultsError> {
        let Some(value) = object.get(field) else {
            return Ok(None);
        };
        let number = value.as_u64();
        let number = number.ok_or_else(|| self.wrong(field, Some(value), "a whole number from 0"));
        number.map(Some)
    }

    fn probability(self, value: Option<&Value>) -> Result<f64, FaultsError> {
        let Some(value) = value else { return Ok(1.0) };
        let number = value.as_f64().filter(|number| (0.0..=1.0).contains(number));
        number.ok_or_else(|| self.wrong("probability", Some(value), "a number from 0 to 1"))
    }

    fn fault(self, value: Option<&Value>) -> Result<Fault, FaultsError> {
        let wrong = || self.wrong("fault", value, FAULTS);
        let object = value.and_then(Value::as_object).ok_or_else(wrong)?;
        let mut entries = object.iter();
        let (Some((name, inner)), None) = (entries.next(), entries.next()) else {
            return Err(wrong());
        };
        let fields = inner.as_object().ok_or_else(wrong)?;
        let within = format!("fault.{name}.");
        let plain = |fault: Fault| self.only(fields, &within, &[], "").map(|()| fault);
        match name.as_str() {
            "throttle" => plain(Fault::Throttle),
            "drop_reply" => plain(Fault::DropReply),
            "expire_iterator" => plain(Fault::ExpireIterator),
            "close" => plain(Fault::Close),
            "delay" => {
                self.only(fields, &within, &["millis"], "millis")?;
                let millis = fields.get("millis");
                let delay = millis.and_then(Value::as_u64).map(Duration::from_millis);
                let delay = delay.filter(|delay| *delay <= MAX_DELAY).ok_or_else(|| {
                    let allowed = format!("a whole number from 0 to {}", MAX_DELAY.as_millis());
                    self.wrong("fault.delay.millis", millis, allowed)
                });
                delay.map(Fault::Delay)
            }
            "error" => {
                self.only(fields, &within, &["type", "message"], "type and message")?;
                self.error(fields)
            }
            _ => Err(wrong()),
        }
    }

    fn error(self, fields: &Map<String, Value>) -> Result<Fault, FaultsError> {
        let name = fields.get("type");
        let kind = name
            .and_then(Value::as_str)
            .and_then(|name| name.parse().ok());
        let kind = kind.ok_or_else(|| {
            let names = ErrorKind::ALL.iter().map(|kind| kind.name());
            let allowed = format!("one of {}", names.collect::<Vec<_>>().join(", "));
            self.wrong("fault.error.type", name, allowed)
        })?;
        let message = match fields.get("message") {
            None => None,
            Some(Value::String(message)) => Some(message.clone()),
            other => return Err(self.wrong("fault.error.message", other, "a text")),
        };
        Ok(Fault::Error { kind, message })
    }
}
