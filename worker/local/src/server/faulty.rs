//! Carries scripted faults out around an operation. Only reached when a server was started with a
//! script: then a call's body is parsed a second time, to see what it is about. Must never decide
//! what strikes: [`crate::faults`] does.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::http::Ending;
use crate::api::{
    ErrorKind, Kinesis, KinesisError, Operation, PutRecordsRequest, Subscription, Target,
};
use crate::faults::{Call, Fault, Faults, Hit, Script, Subject};

/// Where the rules are read (GET) and replaced (PUT).
pub(super) const PATH: &str = "/_stockstream/faults";

/// The rules and their counts, as bytes of JSON.
pub(super) fn report(faults: &Faults) -> Vec<u8> {
    faults.report().to_string().into_bytes()
}

/// Begins the script in `body`.
pub(super) fn replace(faults: &Faults, body: &[u8]) -> Result<Vec<u8>, KinesisError> {
    let text = String::from_utf8_lossy(body);
    let script =
        Script::parse(&text).map_err(|error| KinesisError::invalid_argument(error.to_string()))?;
    faults.replace(script);
    Ok(report(faults))
}

/// An entry of a PutRecords that is refused.
#[derive(Debug)]
struct Refused {
    place: usize,
    error: KinesisError,
}

/// What is still to be done once nothing has ended the call.
#[derive(Debug)]
pub(super) struct Plan {
    /// What the operation is given: of a PutRecords, without the entries that are refused.
    pub body: Bytes,
    refused: Vec<Refused>,
    /// No entry is left to be written.
    nothing_left: bool,
    /// The stream's, when entries are refused.
    encryption_type: &'static str,
    drop_reply: bool,
}

/// Asks the script about a call and carries out what comes before the operation.
///
/// # Errors
/// The call ends here: with an error, or without an answer.
pub(super) async fn before(
    faults: &Faults,
    kinesis: &Kinesis,
    operation: Operation,
    body: Bytes,
) -> Result<Plan, Ending> {
    // What isn't JSON is about nothing; the operation says so.
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let target = kinesis.target(operation, &json);
    let hits = faults.decide(&Call {
        subject: Subject::Call(operation),
        stream: target.stream.as_deref(),
        shards: &target.shards,
    });
    let mut plan = Plan {
        body,
        refused: Vec::new(),
        nothing_left: false,
        encryption_type: "NONE",
        drop_reply: false,
    };
    let mut throttled = Vec::new();
    for Hit { fault, shard } in hits {
        match fault {
            Fault::Delay(delay) => tokio::time::sleep(delay).await,
            Fault::DropReply => plan.drop_reply = true,
            Fault::Close => return Err(Ending::Closed),
            Fault::Error { kind, message } => {
                return Err(scripted(kind, message, operation.name()).into());
            }
            Fault::ExpireIterator => return Err(expired().into()),
            Fault::Throttle if operation == Operation::PutRecords => throttled.push(shard),
            Fault::Throttle => return Err(throttle(kinesis, operation, &target).into()),
        }
    }
    if !throttled.is_empty() {
        would_put(kinesis, &plan.body)?;
        plan.encryption_type = kinesis.encryption_type(target.stream.as_deref());
        plan.refuse(kinesis, json, &target, &throttled);
    }
    Ok(plan)
}

/// Refuses what PutRecords would refuse as a whole: only of a call that is valid can a part be throttled.
fn would_put(kinesis: &Kinesis, body: &[u8]) -> Result<(), KinesisError> {
    // What can't be parsed isn't throttled; the operation says what is wrong.
    let Ok(request) = serde_json::from_slice::<PutRecordsRequest>(body) else {
        return Ok(());
    };
    let trial = PutRecordsRequest {
        dry_run: Some(true),
        ..request
    };
    match kinesis.put_records(&trial) {
        Err(error) if error.kind != ErrorKind::DryRunOperation => Err(error),
        _ => Ok(()),
    }
}

/// What becomes of an event of a subscription.
#[derive(Debug, Default)]
pub(super) struct EventFaults {
    /// It is kept back so long.
    pub delay: Duration,
    /// In its stead the subscription ends.
    pub end: Option<Ending>,
}

/// Asks the script about the next event of a subscription.
pub(super) fn event(faults: Option<&Faults>, subscription: &Subscription) -> EventFaults {
    let mut outcome = EventFaults::default();
    let Some(faults) = faults else { return outcome };
    for hit in faults.decide_event(subscription.stream_name(), &subscription.shard_id()) {
        match hit.fault {
            Fault::Delay(delay) => outcome.delay += delay,
            Fault::Close => outcome.end = Some(Ending::Closed),
            Fault::Error { kind, message } => {
                let error = scripted(kind, message, Subject::Event.name());
                outcome.end = Some(error.into());
            }
            // No rule can say so: they are refused for events.
            Fault::Throttle | Fault::DropReply | Fault::ExpireIterator => {}
        }
    }
    outcome
}

fn scripted(kind: ErrorKind, message: Option<String>, subject: &str) -> KinesisError {
    let message = message.unwrap_or_else(|| format!("A scripted fault of {subject}."));
    KinesisError::new(kind, message)
}

fn expired() -> KinesisError {
    let message = "Iterator expired. A scripted fault says so.";
    KinesisError::new(ErrorKind::ExpiredIterator, message)
}

fn throttle(kinesis: &Kinesis, operation: Operation, target: &Target) -> KinesisError {
    let stream = target.stream.as_deref();
    match operation {
        Operation::PutRecord | Operation::GetRecords | Operation::GetShardIterator => {
            let shard = target.shards.first().and_then(Option::as_deref);
            kinesis.throughput_exceeded(stream.unwrap_or_default(), shard)
        }
        _ => kinesis.rate_exceeded(stream),
    }
}

impl Plan {
    /// Takes the entries of `throttled` shards out of a PutRecords; of all, where no shard is named.
    fn refuse(
        &mut self,
        kinesis: &Kinesis,
        mut json: Value,
        target: &Target,
        throttled: &[Option<String>],
    ) {
        let Some(entries) = json.get_mut("Records").and_then(Value::as_array_mut) else {
            return;
        };
        let mut left = Vec::new();
        for (place, entry) in std::mem::take(entries).into_iter().enumerate() {
            let shard = target.shards.get(place).cloned().flatten();
            let struck = throttled
                .iter()
                .any(|named| named.is_none() || *named == shard);
            if struck {
                let stream = target.stream.as_deref().unwrap_or_default();
                let error = kinesis.throughput_exceeded(stream, shard.as_deref());
                self.refused.push(Refused { place, error });
            } else {
                left.push(entry);
            }
        }
        if self.refused.is_empty() {
            return;
        }
        self.nothing_left = left.is_empty();
        *entries = left;
        self.body = json.to_string().into();
    }

    /// The answer when the operation needn't be asked any more: every entry is refused.
    pub fn answered(&self) -> Option<Vec<u8>> {
        let encryption = self.encryption_type;
        let nothing = json!({"FailedRecordCount": 0, "Records": [], "EncryptionType": encryption});
        self.nothing_left.then(|| self.spliced(nothing))
    }

    /// The answer with what was refused in it.
    pub fn after(&self, answer: Vec<u8>) -> Vec<u8> {
        if self.refused.is_empty() || self.nothing_left {
            return answer;
        }
        match serde_json::from_slice(&answer) {
            Ok(json) => self.spliced(json),
            Err(_) => answer,
        }
    }

    /// Whether the answer never arrives.
    pub fn drops_reply(&self) -> bool {
        self.drop_reply
    }

    /// Puts the refused entries' errors where their results belong.
    fn spliced(&self, mut answer: Value) -> Vec<u8> {
        if let Some(results) = answer.get_mut("Records").and_then(Value::as_array_mut) {
            // In rising order, so that every place is right when its turn comes.
            for Refused { place, error } in &self.refused {
                let result = json!({"ErrorCode": error.kind.name(), "ErrorMessage": error.message});
                results.insert((*place).min(results.len()), result);
            }
        }
        let failed = answer["FailedRecordCount"].as_u64().unwrap_or(0);
        answer["FailedRecordCount"] = (failed + self.refused.len() as u64).into();
        answer.to_string().into_bytes()
    }
}
