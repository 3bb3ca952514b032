//! A pipeline in a directory of its own, and its workers.
//!
//! Owns the YAML. Everything that could make results depend on time is off: no idle advance, no limit ahead of arrival.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::lake::{Lake, Listed};
use super::stream::NAME;
use crate::servers::BUCKET;
use crate::{Binary, Finished, PATIENCE, Process, scratch, wait_until};

/// How often a pipeline commits and publishes.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As often as the spec allows, and whenever 64 KiB are unpublished: many versions, many batches.
    Busy,
    /// Never but at the end, within what the spec allows.
    Lazy,
    /// As `Busy`, with the lease that users get who say nothing about it.
    Deployed,
}

/// A pipeline.
#[derive(Debug)]
pub struct Pipeline {
    folder: tempfile::TempDir,
    endpoint: Option<String>,
    output: Lake,
    state: Lake,
    s3: Option<String>,
}

/// A worker of a pipeline.
#[derive(Debug)]
pub struct Worker(pub Process);

impl Pipeline {
    /// A new one that reads a stream from its beginning.
    ///
    /// # Errors
    /// When its directory can't be made.
    pub fn over_stream(endpoint: &str, pace: Pace) -> anyhow::Result<Self> {
        let source = format!("kinesis: {{streamName: {NAME}, initialPosition: TrimHorizon}}");
        Pipeline::new(&source, Some(endpoint.to_owned()), pace)
    }

    /// A new one that reads a stream from its beginning, and keeps everything in a bucket. Its workers find S3 at
    /// `through`; those who look at what it does find it at `s3`.
    ///
    /// # Errors
    /// When its directory can't be made.
    pub fn over_stream_in_s3(
        stream: &str,
        s3: &str,
        through: &str,
        name: &str,
        pace: Pace,
    ) -> anyhow::Result<Self> {
        let folder = scratch()?;
        let source = format!("kinesis: {{streamName: {NAME}, initialPosition: TrimHorizon}}");
        write_spec(&folder, &source, &format!("s3://{BUCKET}/{name}"), pace)?;
        Ok(Pipeline {
            folder,
            endpoint: Some(stream.to_owned()),
            output: Lake::bucket(s3, &format!("{name}/out"))?,
            state: Lake::bucket(s3, &format!("{name}/state"))?,
            s3: Some(through.to_owned()),
        })
    }

    /// A new one that reads the NDJSON files in a directory.
    ///
    /// # Errors
    /// When its directory can't be made.
    pub fn over_files(input: &Path, pace: Pace) -> anyhow::Result<Self> {
        let source = format!(
            "files: {{paths: [\"file://{input}/*.ndjson\", \"file://{input}/more/*.ndjson\"]}}",
            input = input.display()
        );
        Pipeline::new(&source, None, pace)
    }

    fn new(source: &str, endpoint: Option<String>, pace: Pace) -> anyhow::Result<Self> {
        let folder = scratch()?;
        let root = folder.path();
        write_spec(&folder, source, &format!("file://{}", root.display()), pace)?;
        Ok(Pipeline {
            output: Lake::Folder(root.join("out")),
            state: Lake::Folder(root.join("state")),
            folder,
            endpoint,
            s3: None,
        })
    }

    /// Where rows and rejects are written.
    #[must_use]
    pub fn output(&self) -> Lake {
        self.output.clone()
    }

    /// Where checkpoints are written.
    #[must_use]
    pub fn state(&self) -> Lake {
        self.state.clone()
    }

    /// Starts a worker. It hasn't done anything yet when this returns.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn worker(&self, binary: Binary, environment: &[(&str, &str)]) -> anyhow::Result<Worker> {
        self.start(binary.command()?, &[], environment)
    }

    /// Starts a worker of this name.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn worker_named(&self, name: &str) -> anyhow::Result<Worker> {
        self.start(Binary::Product.command()?, &["--name", name], &[])
    }

    fn start(
        &self,
        mut command: Command,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Worker> {
        command
            .args(["worker", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--output", "json", "-f"])
            .arg(self.folder.path().join("pipeline.yaml"))
            .args(arguments);
        if let Some(endpoint) = &self.endpoint {
            command.args(["--endpoint-url", endpoint]);
        }
        if let Some(s3) = &self.s3 {
            command.env("AWS_ENDPOINT_URL_S3", s3);
        }
        command.envs(environment.iter().copied());
        Ok(Worker(Process::spawn(&mut command)?))
    }

    /// The highest version of any chain; 0 when there is none yet.
    ///
    /// # Errors
    /// When the state can't be listed.
    pub fn newest_version(&self) -> anyhow::Result<u64> {
        let versions = self.checkpoints()?;
        Ok(versions
            .iter()
            .map(|(_, version)| *version)
            .max()
            .unwrap_or_default())
    }

    /// The lowest version that any chain still has; 0 when there is none.
    ///
    /// # Errors
    /// When the state can't be listed.
    pub fn oldest_version(&self) -> anyhow::Result<u64> {
        let versions = self.checkpoints()?;
        Ok(versions
            .iter()
            .map(|(_, version)| *version)
            .min()
            .unwrap_or_default())
    }

    /// The newest version of each chain, in the order of the shards' names.
    ///
    /// # Errors
    /// When the state can't be listed.
    pub fn heads(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut heads = std::collections::BTreeMap::new();
        for (path, version) in self.checkpoints()? {
            let shard = path.parent().map(Path::to_path_buf);
            let head = heads.entry(shard).or_insert((version, path.clone()));
            if head.0 < version {
                *head = (version, path);
            }
        }
        Ok(heads.into_values().map(|(_, path)| path).collect())
    }

    fn checkpoints(&self) -> anyhow::Result<Vec<(PathBuf, u64)>> {
        let mut found = Vec::new();
        for Listed { path, .. } in self.state.list()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(digits) = name.strip_suffix(".ckpt") {
                let version = digits.parse().with_context(|| path.display().to_string())?;
                found.push((path, version));
            }
        }
        Ok(found)
    }

    /// The newest version of a chain as `stockstream inspect` prints it.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn inspect(&self, checkpoint: &Path) -> anyhow::Result<serde_json::Value> {
        inspected("checkpoint", checkpoint)
    }

    /// What `stockstream inspect` prints of the state as a whole: `shards`, `members` or `lineage`.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn inspect_state(&self, what: &str) -> anyhow::Result<serde_json::Value> {
        inspected(what, self.state.root())
    }
}

/// No element anywhere below, as in an empty outbox.
#[must_use]
pub fn is_empty(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(values) => values.is_empty(),
        serde_json::Value::Object(values) => !values.is_empty() && values.values().all(is_empty),
        _ => false,
    }
}

fn inspected(what: &str, path: &Path) -> anyhow::Result<serde_json::Value> {
    let mut command = Binary::Product.command()?;
    command.args(["inspect", what]).arg(path);
    let finished = Process::spawn(command.args(["-o", "json"]))?
        .wait(PATIENCE)?
        .success()?;
    serde_json::from_str(&finished.stdout).context("what inspect printed")
}

/// Writes `pipeline.yaml`, with everything below `root`, a URL.
fn write_spec(
    folder: &tempfile::TempDir,
    source: &str,
    root: &str,
    pace: Pace,
) -> anyhow::Result<()> {
    const SHORT: &str = "lease: {heartbeat: 500ms, expiry: 1s}";
    let (publish, commit, outbox, lease) = match pace {
        Pace::Busy => ("1s", "1s", "64Ki", SHORT),
        Pace::Lazy => ("1h", "10m", "64Mi", SHORT),
        Pace::Deployed => ("1s", "1s", "64Ki", ""),
    };
    let yaml = format!(
        r"apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: kill-and-restart}}
spec:
  source:
    {source}
  record: {{maxAhead: unbounded}}
  window:
    size: 1m
    watermarkDelay: 2m
    idleTimeout: 24h
    aggregates:
      - {{name: ticks, function: count}}
      - {{name: avg_close, function: avg, field: close}}
      - {{name: first_open, function: first, field: open}}
      - {{name: last_close, function: last, field: close}}
      - {{name: high, function: max, field: high}}
      - {{name: low, function: min, field: low}}
      - {{name: volume, function: sum, field: volume}}
      - {{name: spread, function: stddev, field: close}}
      - {{name: vwap, function: vwap, field: close}}
  output: {{path: '{root}/out/rows', rejectsPath: '{root}/out/rejects', publishInterval: {publish}}}
  state:
    path: {root}/state
    commitInterval: {commit}
    maxOutbox: {outbox}
    keepVersions: 2
    {lease}
"
    );
    std::fs::write(folder.path().join("pipeline.yaml"), yaml)?;
    Ok(())
}

impl Worker {
    /// Waits until something killed it.
    ///
    /// # Errors
    /// When it ended otherwise, or goes on.
    pub fn until_killed(self) -> anyhow::Result<()> {
        let finished = self.0.wait(PATIENCE)?;
        if finished.status.signal() != Some(Signal::KILL.as_raw()) {
            bail!("it wasn't killed but {finished:?}");
        }
        Ok(())
    }

    /// Asks it to stop, with SIGTERM, and waits until it has ended with 0.
    ///
    /// # Errors
    /// When it ends otherwise, or not at all.
    pub fn stop(mut self) -> anyhow::Result<Finished> {
        self.0.signal(Signal::TERM)?;
        self.0.wait(PATIENCE)?.success()
    }

    /// Where it serves its state, as soon as it does.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn address(&mut self) -> anyhow::Result<String> {
        let line = self.0.wait_for_line(PATIENCE, |line| {
            line.contains("\"listening\"") && line.contains("http://")
        })?;
        let line: serde_json::Value = serde_json::from_str(&line)?;
        let url = line["url"]
            .as_str()
            .and_then(|url| url.strip_prefix("http://"));
        let address = url.with_context(|| format!("no address in {line}"))?;
        Ok(address.trim_end_matches('/').to_owned())
    }

    /// Waits until it has applied that many records, by its own count of ticks, late ticks and dead letters.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn until_applied(&mut self, records: u64) -> anyhow::Result<()> {
        let address = self.address()?;
        wait_until("every record to be applied", PATIENCE, || {
            let totals = &state_at(&address)?["totals"];
            let dead: u64 = totals["deadLetters"]
                .as_object()
                .map(|reasons| reasons.values().filter_map(serde_json::Value::as_u64).sum())
                .with_context(|| format!("no dead letters in {totals}"))?;
            let count = |name: &str| totals[name].as_u64().with_context(|| format!("no {name}"));
            Ok((count("ticks")? + count("late")? + dead == records).then_some(()))
        })
    }
}

/// Time for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// What a worker that serves at `address` says of its pipeline.
///
/// # Errors
/// When nobody answers there.
pub fn state_at(address: &str) -> anyhow::Result<serde_json::Value> {
    get(address, "/api/state")
}

/// A GET of JSON.
fn get(address: &str, path: &str) -> anyhow::Result<serde_json::Value> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(ANSWER))?;
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    let start = reply
        .find('{')
        .with_context(|| format!("no JSON in {reply}"))?;
    let end = reply
        .rfind('}')
        .with_context(|| format!("no JSON in {reply}"))?;
    serde_json::from_str(&reply[start..=end]).with_context(|| format!("in {reply}"))
}
