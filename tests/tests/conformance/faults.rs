//! Scripted faults (`--faults`, `/_stockstream/faults`): each kind, as a client sees it. They are ours alone.

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::types::ShardIteratorType;
use serde_json::{Value, json};

use super::case::cases;
use super::context::{Context, S0, Stream, texts};
use super::http;
use super::refusal::{outcome, refused, same};

cases! {
    GetRecords {
        Faults: expired_iterator_exception;
    }
    ScriptedFaults {
        Faults:
            rules_can_be_read_and_replaced,
            rules_that_make_no_sense_are_refused,
            throttle_refuses_as_a_full_shard_does,
            skip_and_count_choose_the_calls,
            a_rule_of_another_stream_does_nothing,
            delay_answers_all_the_same,
            drop_reply_writes_the_record,
            close_ends_the_connection;
    }
}

const PATH: &str = "/_stockstream/faults";

/// The documented error of an iterator older than five minutes.
async fn expired_iterator_exception(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    let rule = json!({"operation": "GetRecords", "stream": stream.name, "count": 1, "fault": {"expire_iterator": {}}});
    let get = async || {
        let get = context.client.get_records().shard_iterator(&iterator);
        outcome(get.send().await)
    };
    let refusal = context.with_fault(rule, get()).await?.err();
    refusal
        .context("it was accepted")?
        .is(&["ExpiredIteratorException"])?;
    ensure!(get().await?.is_ok(), "the rule is over");
    Ok(())
}

async fn rules_can_be_read_and_replaced(context: &Context) -> anyhow::Result<()> {
    let rule =
        json!({"operation": "PutRecord", "stream": "nobody", "count": 1, "fault": {"close": {}}});
    let read = async {
        let answer = http::request(&context.endpoint, "GET", PATH, &[], b"").await?;
        same("the status", answer.status, 200)?;
        answer.json()
    };
    let rules = context.with_fault(rule, read).await?;
    let rule = rules.get(0).context("no rule")?;
    same(
        "its operation",
        &rule["operation"],
        &Value::from("PutRecord"),
    )?;
    same("its stream", &rule["stream"], &Value::from("nobody"))
}

async fn rules_that_make_no_sense_are_refused(context: &Context) -> anyhow::Result<()> {
    let headers = [("content-type", "application/json")];
    for rules in ["{", "[{}]", r#"[{"fault": {"explode": {}}}]"#] {
        let put = http::request(&context.endpoint, "PUT", PATH, &headers, rules.as_bytes());
        same(rules, put.await?.status, 400)?;
    }
    Ok(())
}

async fn put(context: &Context, stream: &Stream) -> anyhow::Result<bool> {
    let put = context.client.put_record().stream_name(&stream.name);
    let put = put.partition_key("key").data("data".as_bytes().into());
    Ok(put.send().await.is_ok())
}

fn rule(operation: &str, stream: &Stream, fault: Value) -> Value {
    json!({"operation": operation, "stream": stream.name, "count": 1, "fault": fault})
}

async fn throttle_refuses_as_a_full_shard_does(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let rule = rule("PutRecord", &stream, json!({"throttle": {}}));
    let put = context.client.put_record().stream_name(&stream.name);
    let put = put.partition_key("key").data("data".as_bytes().into());
    let put = context
        .with_fault(rule, async { Ok(put.send().await) })
        .await?;
    refused(put, &["ProvisionedThroughputExceededException"]).map(drop)
}

async fn skip_and_count_choose_the_calls(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let mut rule = rule("PutRecord", &stream, json!({"throttle": {}}));
    rule["skip"] = 1.into();
    rule["count"] = 2.into();
    let puts = async {
        let mut puts = Vec::new();
        for _ in 0..5 {
            puts.push(put(context, &stream).await?);
        }
        Ok(puts)
    };
    let puts = context.with_fault(rule, puts).await?;
    same("which succeed", puts, vec![true, false, false, true, true])
}

async fn a_rule_of_another_stream_does_nothing(context: &Context) -> anyhow::Result<()> {
    let (stream, other) = (context.stream(1).await?, context.stream(1).await?);
    let rule = rule("PutRecord", &other, json!({"throttle": {}}));
    let puts = async { Ok([put(context, &stream).await?, put(context, &other).await?]) };
    same(
        "which succeed",
        context.with_fault(rule, puts).await?,
        [true, false],
    )
}

async fn delay_answers_all_the_same(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let rule = rule("PutRecord", &stream, json!({"delay": {"millis": 50}}));
    let put = context.with_fault(rule, put(context, &stream)).await?;
    ensure!(put, "a delayed put failed");
    same("records", context.read(&stream.name, S0, 1).await?.len(), 1)
}

/// The put was done, its client doesn't know: what makes producers write twice.
async fn drop_reply_writes_the_record(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let rule = rule("PutRecord", &stream, json!({"drop_reply": {}}));
    let answered = context.with_fault(rule, put(context, &stream)).await?;
    ensure!(!answered, "the put was answered");
    let read = context.read(&stream.name, S0, 1).await?;
    same("the record", texts(&read), vec!["data".to_owned()])
}

async fn close_ends_the_connection(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let rule = rule("PutRecord", &stream, json!({"close": {}}));
    let answered = context.with_fault(rule, put(context, &stream)).await?;
    ensure!(!answered, "the put was answered");
    context.put(&stream.name, "after").await?;
    let read = context.read(&stream.name, S0, 1).await?;
    same("records", texts(&read), vec!["after".to_owned()])
}
