//! Scripted faults: which calls go wrong, and how. A pure function of the rules, their seeds and the
//! calls so far, so that a simulation gets the same faults without HTTP. Must never carry them out:
//! the server does, and a simulation for itself.
//!
//! Every rule that a call matches may strike, in the script's order. A fault that ends the call
//! ([`Fault::ends`]) ends the search as well; later rules aren't asked and count nothing.

mod random;
mod rules;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use self::random::SplitMix64;
pub use self::rules::{FaultsError, MAX_DELAY, MAX_RULES, Rule};
use crate::api::{ErrorKind, Operation};

/// What can go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// As if a limit was reached: `ProvisionedThroughputExceededException` for calls on data (of a
    /// PutRecords, the entries that the rule's shard takes), else `LimitExceededException`.
    Throttle,
    /// This error, and nothing is done.
    Error {
        /// AWS's error.
        kind: ErrorKind,
        /// Its message.
        message: Option<String>,
    },
    /// Waits first.
    Delay(Duration),
    /// Does it, and closes the connection without an answer.
    DropReply,
    /// GetRecords: `ExpiredIteratorException`.
    ExpireIterator,
    /// Closes the connection, and nothing is done.
    Close,
}

impl Fault {
    /// Whether nothing is done once this struck, so that no other fault matters.
    #[must_use]
    pub fn ends(&self) -> bool {
        matches!(
            self,
            Self::Error { .. } | Self::ExpireIterator | Self::Close
        )
    }

    /// Whether it makes sense there.
    fn fits(&self, subject: Subject) -> bool {
        match subject {
            Subject::Event => matches!(self, Self::Error { .. } | Self::Delay(_) | Self::Close),
            Subject::Call(operation) => {
                *self != Self::ExpireIterator || operation == Operation::GetRecords
            }
        }
    }
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Calls of an operation.
    Call(Operation),
    /// Events of subscriptions: `SubscribeToShardEvent`.
    Event,
}

impl Subject {
    /// Its name in a script.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Call(operation) => operation.name(),
            Self::Event => "SubscribeToShardEvent",
        }
    }
}

/// A call, or an event about to be sent, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What happens.
    pub subject: Subject,
    /// The stream's name, if it is known.
    pub stream: Option<&'a str>,
    /// The ids of all shards concerned.
    pub shards: &'a [Option<String>],
}

/// A fault that strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// What goes wrong.
    pub fault: Fault,
    /// The shard that the rule names.
    pub shard: Option<String>,
}

/// A rule and what it has come to.
#[derive(Debug, Clone)]
struct Running {
    rule: Rule,
    random: SplitMix64,
    matched: u64,
    hits: u64,
}

impl Running {
    fn matches(&self, call: &Call<'_>) -> bool {
        let rule = &self.rule;
        // Events must be named: they aren't calls.
        let subject = match rule.subject {
            Some(subject) => subject == call.subject,
            None => call.subject != Subject::Event,
        };
        subject
            && rule.fault.fits(call.subject)
            && (rule.stream.as_deref()).is_none_or(|stream| call.stream == Some(stream))
            && (rule.shard.as_ref())
                .is_none_or(|shard| call.shards.iter().flatten().any(|other| other == shard))
    }

    /// Counts a call, and says whether the rule strikes.
    fn strikes(&mut self, call: &Call<'_>) -> bool {
        if !self.matches(call) {
            return false;
        }
        self.matched += 1;
        if self.matched <= self.rule.skip || self.rule.count.is_some_and(|most| self.hits >= most) {
            return false;
        }
        let strikes = self.random.next_fraction() < self.rule.probability;
        self.hits += u64::from(strikes);
        strikes
    }
}

/// Rules, and how far each has come.
#[derive(Debug, Clone, Default)]
pub struct Script {
    rules: Vec<Running>,
}

impl Script {
    /// A script of these rules.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        let running = |(rule, number): (Rule, u64)| Running {
            // Without a seed each rule has its own, so that two of them don't strike in step.
            random: SplitMix64::new(rule.seed.unwrap_or(number)),
            rule,
            matched: 0,
            hits: 0,
        };
        Self {
            rules: rules.into_iter().zip(1..).map(running).collect(),
        }
    }

    /// The script in a JSON list of rules.
    ///
    /// # Errors
    /// The text isn't JSON, or a rule isn't as it must be; the error names rule and field.
    pub fn parse(text: &str) -> Result<Self, FaultsError> {
        rules::parse(text).map(Self::new)
    }

    /// What goes wrong with a call; counts it.
    pub fn decide(&mut self, call: &Call<'_>) -> Vec<Hit> {
        let mut hits = Vec::new();
        for running in &mut self.rules {
            if !running.strikes(call) {
                continue;
            }
            hits.push(Hit {
                fault: running.rule.fault.clone(),
                shard: running.rule.shard.clone(),
            });
            if running.rule.fault.ends() {
                break;
            }
        }
        hits
    }

    /// Every rule as JSON, with how many calls it `matched` and how often it struck (`hits`).
    #[must_use]
    pub fn report(&self) -> Value {
        let rule = |running: &Running| {
            let mut rule = running.rule.to_json();
            rule["matched"] = running.matched.into();
            rule["hits"] = running.hits.into();
            rule
        };
        self.rules.iter().map(rule).collect()
    }
}

/// A script that several threads ask, and that can be replaced.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
}

impl Faults {
    /// Shares a script.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self {
            script: Arc::new(Mutex::new(script)),
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Script::decide`].
    #[must_use]
    pub fn decide(&self, call: &Call<'_>) -> Vec<Hit> {
        self.script().decide(call)
    }

    /// What goes wrong with an event that is about to be sent to a subscription.
    #[must_use]
    pub fn decide_event(&self, stream: &str, shard: &str) -> Vec<Hit> {
        self.decide(&Call {
            subject: Subject::Event,
            stream: Some(stream),
            shards: &[Some(shard.to_owned())],
        })
    }

    /// As [`Script::report`].
    #[must_use]
    pub fn report(&self) -> Value {
        self.script().report()
    }

    /// Begins another script; the old one's counts are gone.
    pub fn replace(&self, script: Script) {
        *self.script() = script;
    }
}
