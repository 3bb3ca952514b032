//! A worker that reads a stream, writes to S3 and registers partitions in Glue.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use stockstream_operator::aws::calls::Call;
use stockstream_tests::servers::BUCKET;
use stockstream_tests::{Binary, Finished, PATIENCE, Process, python, scratch, wait_until};

use crate::stage::{DATABASE, MINUTES, Run, Server, Stage, TICKS};
use crate::support::{Running, condition};

/// How a worker tells that it lacks an action.
enum Told {
    /// It ends at its start.
    Ends,
    /// A condition is false, and it goes on.
    Condition(&'static str),
    /// Once in its log: all else works.
    Once(&'static str),
}

fn told(call: Call) -> anyhow::Result<Told> {
    Ok(match call {
        Call::DescribeStreamSummary
        | Call::ListShards
        | Call::PutObject
        | Call::GetObject
        | Call::ListBucket => Told::Ends,
        Call::GetShardIterator | Call::GetRecords => Told::Condition("StreamReady"),
        Call::RegisterStreamConsumer | Call::DescribeStreamConsumer | Call::SubscribeToShard => {
            Told::Condition("EnhancedFanOut")
        }
        Call::GetTable | Call::BatchCreatePartition => Told::Condition("CatalogReady"),
        Call::DeleteObject => Told::Once("\"delete_denied\""),
        _ => bail!(
            "say here how a worker tells that it lacks {}",
            call.action()
        ),
    })
}

pub fn judge(stage: &Stage, run: Run) -> anyhow::Result<()> {
    let folder = scratch()?;
    let yaml = folder.path().join("pipeline.yaml");
    std::fs::write(&yaml, pipeline(stage.server, run))?;
    let (key, secret) = stage.key(run)?;
    let mut command = Binary::Product.command()?;
    command.args(["worker", "--listen", "127.0.0.1:0", "-f"]);
    command.arg(&yaml);
    command
        .env("AWS_ENDPOINT_URL", &stage.running.endpoint)
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    let process = Process::spawn(&mut command)?;
    let Some(call) = run.without else {
        return works(stage, run, process);
    };
    let allow = format!("llow {} on ", call.action());
    match told(call)? {
        Told::Ends => {
            let finished = process.wait(PATIENCE)?;
            ensure!(finished.status.code() == Some(1), "{}", finished.stderr);
            ensure!(finished.stderr.contains(&allow), "{}", finished.stderr);
        }
        Told::Condition(kind) => {
            let mut worker = Running::of(process)?;
            worker.wait_for_state(kind, |state| {
                condition(state, kind).is_some_and(|found| {
                    let message = found["message"].as_str().unwrap_or_default();
                    found["status"] == "False" && message.contains(&allow)
                })
            })?;
        }
        Told::Once(event) => {
            let mut worker = Running::of(process)?;
            until_published(&mut worker)?;
            let said = worker.interrupt()?.success()?.stderr;
            ensure!(said.matches(event).count() == 1, "{said}");
            ensure!(said.contains(&allow), "{said}");
        }
    }
    Ok(())
}

/// Rows and their partition are there, and nothing was refused.
fn works(stage: &Stage, run: Run, process: Process) -> anyhow::Result<()> {
    let mut worker = Running::of(process)?;
    until_published(&mut worker)?;
    if stage.server == Server::Ministack {
        worker.wait_for_state("the subscription", |state| {
            condition(state, "EnhancedFanOut").is_some_and(|found| found["status"] == "True")
        })?;
    }
    let (database, table) = (DATABASE, run.table());
    let partition = wait_until("the partition", PATIENCE, || {
        let found = as_admin(
            stage,
            &["partitions", &stage.running.endpoint, database, &table],
        )?;
        let found = found.as_array().context("an array")?.clone();
        Ok((!found.is_empty()).then_some(found))
    })?;
    ensure!(partition.len() == 1, "{partition:?}");
    let location = partition[0]["location"].as_str().unwrap_or_default();
    let prefix = location
        .strip_prefix(&format!("s3://{BUCKET}/"))
        .with_context(|| format!("{partition:?}"))?;
    let files = as_admin(stage, &["head", &stage.running.endpoint, BUCKET, prefix])?;
    ensure!(
        files.as_object().is_some_and(|files| !files.is_empty()),
        "no file below {prefix}"
    );
    nothing_refused(&worker.interrupt()?.success()?)
}

fn nothing_refused(finished: &Finished) -> anyhow::Result<()> {
    // A bare 403 also stands in times, ports and ids; whatever is refused is warned of.
    let warned = [r#""level":"WARN""#, r#""level":"ERROR""#];
    for word in ["denied", "Denied", "Forbidden", "refused"]
        .into_iter()
        .chain(warned)
    {
        ensure!(
            !finished.stderr.contains(word),
            "{word}: {}",
            finished.stderr
        );
    }
    Ok(())
}

fn until_published(worker: &mut Running) -> anyhow::Result<()> {
    let rows = |state: &Value| state["totals"]["rowsPublished"] == MINUTES;
    worker.wait_for_state("every row", rows).map(drop)
}

fn as_admin(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Value> {
    let (key, secret) = stage.admin()?;
    let mut command: Command = python("s3.py")?;
    command
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    let finished = Process::spawn(&mut command)?.wait(PATIENCE)?.success()?;
    serde_json::from_str(&finished.stdout).context(finished.stdout)
}

fn pipeline(server: Server, run: Run) -> String {
    let (name, table) = (run.slug(), run.table());
    let consumer = match server {
        // It has no SubscribeToShard.
        Server::Moto => "Polling",
        Server::Ministack => "EnhancedFanOut",
    };
    format!(
        "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: {name}}}
spec:
  source:
    kinesis: {{streamName: {TICKS}, initialPosition: TrimHorizon, consumer: {consumer}}}
  window: {{watermarkDelay: 1s}}
  output: {{path: 's3://{BUCKET}/{name}/rows', publishInterval: 1s}}
  catalog: {{glue: {{database: {DATABASE}, table: {table}}}}}
  state: {{path: 's3://{BUCKET}/{name}/state', commitInterval: 1s}}
"
    )
}
