//! boto3 and the AWS CLI, clients that share no code with the Rust SDK, go the main path: a script each.

use anyhow::ensure;
use stockstream_tests::{PATIENCE, Process, python};

use super::case::cases;
use super::context::Context;

cases! {
    MainPath {
        Plain: boto3, boto3_subscribes, aws_cli;
    }
}

fn script(context: &Context, script: &str) -> anyhow::Result<()> {
    let mut command = python(script)?;
    command
        .env("AWS_ENDPOINT_URL_KINESIS", &context.endpoint)
        .arg(context.name());
    let finished = Process::spawn(&mut command)?.wait(PATIENCE)?;
    let last = finished.stderr.lines().last().unwrap_or_default();
    ensure!(finished.status.success(), "{last}\n{}", finished.stderr);
    Ok(())
}

async fn boto3(context: &Context) -> anyhow::Result<()> {
    script(context, "main_path_boto3.py")
}

async fn boto3_subscribes(context: &Context) -> anyhow::Result<()> {
    script(context, "main_path_subscribe.py")
}

async fn aws_cli(context: &Context) -> anyhow::Result<()> {
    script(context, "main_path_cli.py")
}
