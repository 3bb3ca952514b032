//! The JSON protocol on the wire: forms of answers and errors, and what isn't the protocol.

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::case::{Case, cases};
use super::context::Context;
use super::http;
use super::refusal::same;

cases! {
    Protocol {
        Plain:
            an_answer_is_json_with_a_request_id,
            an_error_has_type_message_and_request_id,
            an_operation_that_does_not_exist_is_refused,
            a_body_that_is_no_json_is_refused,
            a_field_of_another_type_is_refused,
            times_are_seconds_since_1970;
    }
}

/// Cases of what only ours promises.
pub fn ours() -> Vec<Case> {
    let cbor = Case::written(
        "Protocol",
        "cbor_is_refused_with_a_message",
        super::case::Needs::Plain,
        |context| Box::pin(cbor_is_refused_with_a_message(context)),
    );
    vec![cbor.ours_only(
        "AWS takes CBOR too; ours promises a message that says how to switch a client to JSON",
    )]
}

fn has_type_and_request_id(answer: &http::Answer) -> anyhow::Result<()> {
    same(
        "the content type",
        answer.header("content-type"),
        Some(http::JSON),
    )?;
    ensure!(
        answer
            .header("x-amzn-requestid")
            .is_some_and(|id| !id.is_empty()),
        "no request id: {:?}",
        answer.headers
    );
    Ok(())
}

async fn an_answer_is_json_with_a_request_id(context: &Context) -> anyhow::Result<()> {
    let answer = context.raw("ListStreams", &json!({"Limit": 1})).await?;
    same("the status", answer.status, 200)?;
    has_type_and_request_id(&answer)?;
    ensure!(answer.json()?["StreamNames"].is_array(), "{answer:?}");
    Ok(())
}

/// Smithy's awsJson1_1 protocol: `__type` in the body names the error, which every SDK reads.
async fn an_error_has_type_message_and_request_id(context: &Context) -> anyhow::Result<()> {
    let body = json!({"StreamName": "missing"});
    let answer = context.raw("DescribeStreamSummary", &body).await?;
    has_type_and_request_id(&answer)?;
    let refusal = answer.refusal()?.is(&["ResourceNotFoundException"])?;
    refusal.says("missing").map(drop)
}

/// "Common errors", InvalidAction: "The action or operation requested is invalid"; the JSON protocol's services call it
/// UnknownOperationException.
async fn an_operation_that_does_not_exist_is_refused(context: &Context) -> anyhow::Result<()> {
    let answer = context.raw("MakeCoffee", &json!({})).await?;
    let refusal = answer.refusal()?;
    refusal
        .is(&["UnknownOperationException", "InvalidAction"])
        .map(drop)
}

async fn a_body_that_is_no_json_is_refused(context: &Context) -> anyhow::Result<()> {
    let answer = http::post(&context.endpoint, "ListStreams", b"[1").await?;
    answer.refusal()?.is(&["SerializationException"]).map(drop)
}

async fn a_field_of_another_type_is_refused(context: &Context) -> anyhow::Result<()> {
    let answer = context.raw("ListStreams", &json!({"Limit": "ten"})).await?;
    answer.refusal()?.is(&["SerializationException"]).map(drop)
}

/// awsJson1_1: a timestamp is a JSON number of seconds, with a fraction.
async fn times_are_seconds_since_1970(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let body = json!({"StreamName": stream.name});
    let answer = context.raw("DescribeStreamSummary", &body).await?.json()?;
    let created = &answer["StreamDescriptionSummary"]["StreamCreationTimestamp"];
    let created = created.as_f64().context("no number")?;
    ensure!((1.7e9..1e10).contains(&created), "{created}");
    Ok(())
}

async fn cbor_is_refused_with_a_message(context: &Context) -> anyhow::Result<()> {
    let cbor = "application/x-amz-cbor-1.1";
    let answer = http::post_as(&context.endpoint, "ListStreams", cbor, b"\xbf\xff").await?;
    let refusal = answer.refusal()?.is(&["SerializationException"])?;
    refusal.says("CBOR_ENABLED=false").map(drop)
}
