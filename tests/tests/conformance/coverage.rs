//! Completeness by construction: what AWS documents, read from botocore's model of the API, against the cases there are.
//!
//! Owns the cases that go over all operations, and the list that a reader should judge: errors that only a scripted fault
//! can produce here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use stockstream_tests::python_json;

use super::case::{Body, Case, Needs, snake};
use super::http;
use super::operations::OPERATIONS;

/// What AWS documents about an operation.
#[derive(Clone, Debug)]
pub struct Documented {
    pub errors: Vec<String>,
    pub by_name: bool,
    pub by_arn: bool,
}

pub type Model = BTreeMap<String, Documented>;

/// Reads botocore's model out of the suites' virtual environment.
pub fn model() -> anyhow::Result<Model> {
    let printed = python_json("kinesis_model.py", [""; 0])?;
    let operations = printed.as_object().context("the model is no object")?;
    let documented = |described: &Value| {
        let errors = described["errors"].as_array().into_iter().flatten();
        Documented {
            errors: errors
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            by_name: described["by_name"] == true,
            by_arn: described["by_arn"] == true,
        }
    };
    let model = operations
        .iter()
        .map(|(name, described)| (name.clone(), documented(described)));
    Ok(model.collect())
}

/// Errors of what stands around Kinesis at AWS and not here: permissions (IAM), keys (KMS), AWS's own failures. A
/// scripted fault produces them.
fn is_of_the_surroundings(error: &str) -> bool {
    error.starts_with("KMS")
        || matches!(error, "AccessDeniedException" | "InternalFailureException")
}

/// Documented errors that come from a scripted fault alone, each with the reason why nothing else brings them about.
pub const BY_FAULT: &[(&str, &str, &str)] = &[
    ("AddTagsToStream", "ResourceInUseException", TAGS_IN_USE),
    ("ListShards", "ExpiredNextTokenException", FIVE_MINUTES),
    (
        "ListShards",
        "LimitExceededException",
        "comes from a thousand calls a second, which not every machine makes",
    ),
    ("ListShards", "ResourceInUseException", STATE_NOT_SAID),
    (
        "ListStreamConsumers",
        "ExpiredNextTokenException",
        FIVE_MINUTES,
    ),
    (
        "ListStreamConsumers",
        "ResourceInUseException",
        STATE_NOT_SAID,
    ),
    ("ListStreams", "ExpiredNextTokenException", FIVE_MINUTES),
    ("ListTagsForResource", "ResourceInUseException", TAGS_IN_USE),
    (
        "RemoveTagsFromStream",
        "ResourceInUseException",
        TAGS_IN_USE,
    ),
    (
        "SubscribeToShard",
        "LimitExceededException",
        "a second call at once is refused with ResourceInUseException already",
    ),
    ("TagResource", "ResourceInUseException", TAGS_IN_USE),
    ("UntagResource", "ResourceInUseException", TAGS_IN_USE),
];

/// Operations whose LimitExceededException comes of calling too often, at documented rates of 1 to 20 a second.
const BY_RATE: [&str; 17] = [
    "DecreaseStreamRetentionPeriod",
    "DeleteStream",
    "DeregisterStreamConsumer",
    "DescribeLimits",
    "DescribeStream",
    "DescribeStreamConsumer",
    "DescribeStreamSummary",
    "IncreaseStreamRetentionPeriod",
    "ListStreamConsumers",
    "ListStreams",
    "ListTagsForResource",
    "ListTagsForStream",
    "MergeShards",
    "RemoveTagsFromStream",
    "SplitShard",
    "StopStreamEncryption",
    "UntagResource",
];

const FIVE_MINUTES: &str = "a token expires after five minutes";
const STATE_NOT_SAID: &str =
    "the documentation doesn't say in which state of the stream it is refused";
const TAGS_IN_USE: &str =
    "the documentation doesn't say in which state of the resource tags are refused";

/// The cases that go over all operations, generated from what AWS documents.
pub fn generated(model: &Model) -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in OPERATIONS {
        let Some(documented) = model.get(operation) else {
            continue;
        };
        let mut add = |name: &str, needs, body| {
            cases.push(Case::new(operation, name, needs, body));
        };
        if documented.by_name && operation != "CreateStream" {
            add("by_name", Needs::Plain, Body::ByName);
        }
        if documented.by_arn {
            add("by_arn", Needs::Plain, Body::ByArn);
        }
        for error in &documented.errors {
            let name = snake(error);
            let by_fault = BY_FAULT
                .iter()
                .any(|(of, by_fault, _)| *of == operation && by_fault == error);
            if error == "ResourceNotFoundException" {
                add(&name, Needs::Plain, Body::Missing);
            } else if error == "LimitExceededException" && BY_RATE.contains(&operation) {
                add(
                    &format!("{name}_for_calls_too_often"),
                    Needs::Limits,
                    Body::TooOften,
                );
            } else if by_fault || is_of_the_surroundings(error) {
                add(&name, Needs::Faults, Body::Scripted(error.clone()));
            }
        }
    }
    cases
}

/// Every documented error of every operation has a case that begins with its name.
pub fn every_documented_error_has_a_case(model: &Model, cases: &[Case]) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for operation in OPERATIONS {
        let documented = model.get(operation);
        let documented = documented.with_context(|| format!("AWS has no {operation}"))?;
        for error in &documented.errors {
            let has_case = cases
                .iter()
                .any(|case| case.operation == operation && case.name.starts_with(&snake(error)));
            if !has_case {
                missing.push(format!("{operation} {error}"));
            }
        }
    }
    for (operation, error, _) in BY_FAULT {
        let documented = model.get(*operation).map(|documented| &documented.errors);
        ensure!(
            documented.is_some_and(|errors| errors.iter().any(|of| of == error)),
            "BY_FAULT has {operation} {error}, which AWS doesn't document"
        );
    }
    ensure!(
        missing.is_empty(),
        "documented errors without a case, and not in BY_FAULT:\n{}",
        missing.join("\n")
    );
    Ok(())
}

/// No two cases have one name, and no group is misspelt.
pub fn cases_have_names_of_their_own(cases: &[Case]) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for case in cases {
        ensure!(seen.insert(case.id()), "two cases are called {}", case.id());
        let group = matches!(
            case.operation.as_str(),
            "Protocol" | "MainPath" | "ScriptedFaults"
        );
        ensure!(
            group || OPERATIONS.contains(&case.operation.as_str()),
            "{} is of no operation",
            case.id()
        );
    }
    Ok(())
}

/// Ours serves the operations of this suite, no more and no fewer: asks for each that AWS has.
pub async fn ours_serves_what_the_suite_holds(model: &Model, endpoint: &str) -> anyhow::Result<()> {
    let mut served = BTreeSet::new();
    for operation in model.keys() {
        let body = json!({}).to_string();
        let answer = http::post(endpoint, operation, body.as_bytes()).await?;
        let unknown = answer.status == 400 && answer.refusal()?.code == "UnknownOperationException";
        if !unknown {
            served.insert(operation.as_str());
        }
    }
    let held = BTreeSet::from(OPERATIONS);
    ensure!(
        served == held,
        "served but not in operations.rs: {:?}; in operations.rs but not served: {:?}",
        served.difference(&held).collect::<Vec<_>>(),
        held.difference(&served).collect::<Vec<_>>()
    );
    Ok(())
}
