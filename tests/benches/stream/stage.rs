//! The processes that are measured, and what they say of themselves.
//!
//! Owns starting, asking and ending them, and the ticks that they work on. Must never judge what it finds.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use stockstream_tests::restart::state_at;
use stockstream_tests::{PATIENCE, Process, isolate_from_aws, scratch, wait_until};
use tokio::runtime::Runtime;

/// The stream's name.
pub const STREAM: &str = "ticks";

/// Tickers of the market; with 64 shards each has ten or so.
pub const TICKERS: usize = 640;

/// A stream's server and the stream.
pub struct Source {
    pub client: Client,
    pub runtime: Runtime,
    pub endpoint: String,
    pub process: Process,
    pub shards: usize,
}

impl Source {
    /// A new stream in memory.
    pub fn start(binary: &Path, shards: usize) -> anyhow::Result<Self> {
        let mut command = isolated(binary);
        command.args(["kinesis", "--memory", "--listen", "127.0.0.1:0"]);
        let mut process = Process::spawn(&mut command)?;
        let line = process.wait_for_line(PATIENCE, |line| line.contains("listens on http://"))?;
        let endpoint = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        let endpoint = endpoint.context("no endpoint")?.to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let credentials =
            aws_credential_types::Credentials::new("test", "test", None, None, "bench");
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(&endpoint)
            .build();
        let client = Client::from_conf(config);
        let create = client.create_stream().stream_name(STREAM);
        runtime.block_on(create.shard_count(i32::try_from(shards)?).send())?;
        wait_until("the stream to be active", PATIENCE, || {
            let describe = client.describe_stream_summary().stream_name(STREAM);
            let found = runtime.block_on(describe.send())?;
            let status = found
                .stream_description_summary()
                .map(|stream| stream.stream_status().clone());
            Ok((status == Some(StreamStatus::Active)).then_some(()))
        })?;
        Ok(Source {
            client,
            runtime,
            endpoint,
            process,
            shards,
        })
    }

    /// Puts ticks, 500 a call and 8 calls at once. They lie in the stream in any order within a ticker's minute.
    pub fn put(&self, ticks: impl Iterator<Item = (String, String)>) -> anyhow::Result<usize> {
        let mut ticks = ticks.peekable();
        let mut put = 0;
        self.runtime.block_on(async {
            let mut calls = tokio::task::JoinSet::new();
            while ticks.peek().is_some() {
                let mut entries = Vec::with_capacity(500);
                for (key, data) in ticks.by_ref().take(500) {
                    let entry = PutRecordsRequestEntry::builder().partition_key(key);
                    entries.push(entry.data(Blob::new(data.into_bytes())).build()?);
                }
                put += entries.len();
                let call = self.client.put_records().stream_name(STREAM);
                calls.spawn(call.set_records(Some(entries)).send());
                if calls.len() >= 8
                    && let Some(done) = calls.join_next().await
                {
                    done??;
                }
            }
            while let Some(done) = calls.join_next().await {
                done??;
            }
            anyhow::Ok(())
        })?;
        Ok(put)
    }
}

/// `count` ticks: event time runs at 600 ticks a second over all tickers, so that each has about a tick a second.
pub fn market(count: usize) -> impl Iterator<Item = (String, String)> {
    (0..count).map(|number| {
        let millis = 1_704_205_800_000 + (number as i64) * 1_000 / 600;
        tick(number % TICKERS, millis, number)
    })
}

/// A tick as the reference job's producer writes it: 130 bytes or so.
pub fn tick(ticker: usize, millis: i64, number: usize) -> (String, String) {
    let at = Timestamp::from_millisecond(millis).unwrap_or_default();
    let cents = 10_000 + (number * 7_919) % 5_000;
    let (low, high) = (cents - 19, cents + 13);
    let data = format!(
        r#"{{"ticker":"T{ticker:03}","date":"2024-01-02","timestamp":"{at}","open":{}.{:02},"high":{}.{:02},"low":{}.{:02},"close":{}.{:02},"volume":{}}}"#,
        cents / 100,
        cents % 100,
        high / 100,
        high % 100,
        low / 100,
        low % 100,
        cents / 100,
        cents % 100,
        number % 1_000,
    );
    (format!("T{ticker:03}"), data)
}

/// A pipeline in a directory of its own and its workers.
pub struct Crew {
    pub folder: tempfile::TempDir,
    workers: Vec<(Process, String)>,
}

impl Crew {
    /// Starts workers over a stream. `window` is what stands below `window:`.
    pub fn start(
        binary: &Path,
        source: &Source,
        count: usize,
        initial: &str,
        window: &str,
    ) -> anyhow::Result<Self> {
        let folder = scratch()?;
        let root = folder.path().display();
        let yaml = format!(
            "apiVersion: stockstream.dev/v1alpha1\nkind: StockStream\nmetadata: {{name: bench}}\nspec:\n  \
             source: {{kinesis: {{streamName: {STREAM}, initialPosition: {initial}}}}}\n  \
             record: {{maxAhead: unbounded}}\n  window: {window}\n  \
             output: {{path: 'file://{root}/rows', publishInterval: 5s, partitionBy: [trade_date]}}\n  \
             state: {{path: 'file://{root}/state'}}\n"
        );
        let file = folder.path().join("pipeline.yaml");
        std::fs::write(&file, yaml)?;
        let mut workers = Vec::new();
        for number in 0..count {
            let mut command = isolated(binary);
            command.args(["worker", "--listen", "127.0.0.1:0", "--log-format", "json"]);
            command.args([
                "--name",
                &format!("w{number}"),
                "--endpoint-url",
                &source.endpoint,
                "-f",
            ]);
            let mut process = Process::spawn(command.arg(&file))?;
            let line = process.wait_for_line(PATIENCE, |line| line.contains("\"listening\""))?;
            let line: Value = serde_json::from_str(&line)?;
            let url = line["url"].as_str().context("no url")?;
            let address = url
                .trim_start_matches("http://")
                .trim_end_matches('/')
                .to_owned();
            workers.push((process, address));
        }
        Ok(Crew { folder, workers })
    }

    /// What the first worker serves.
    pub fn address(&self) -> &str {
        &self.workers[0].1
    }

    /// What each of them serves.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.workers.iter().map(|(_, address)| address.as_str())
    }

    /// Their process ids.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.workers.iter().map(|(process, _)| process.id())
    }

    /// Everybody's shards, each as its newest owner tells it.
    pub fn shards(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        for (_, address) in &self.workers {
            for shard in state_at(address)?["shards"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let rank =
                    |shard: &Value| (shard["epoch"].as_u64(), shard["counters"]["ticks"].as_u64());
                let name = shard["shard"].as_str().unwrap_or_default().to_owned();
                let known = found.get(&name);
                if known.is_none_or(|known| rank(known) < rank(shard)) {
                    found.insert(name, shard.clone());
                }
            }
        }
        Ok(found)
    }

    /// A counter over all shards.
    pub fn sum(&self, counter: &str) -> anyhow::Result<u64> {
        let shards = self.shards()?;
        let counts = shards
            .values()
            .map(|shard| shard["counters"][counter].as_u64());
        Ok(counts.flatten().sum())
    }

    /// Waits until each reads its share.
    pub fn until_all_read(&self, shards: usize) -> anyhow::Result<()> {
        wait_until("all shards to be read", PATIENCE, || {
            let found = self.shards()?;
            let reading = found.values().filter(|shard| shard["phase"] == "Reading");
            Ok((reading.count() == shards).then_some(()))
        })
    }

    /// Stops them, gently.
    pub fn stop(self) -> anyhow::Result<()> {
        for (process, _) in &mut self.workers.into_iter().collect::<Vec<_>>() {
            process.signal(Signal::TERM)?;
        }
        Ok(())
    }
}

/// Processor time of a process so far, user and system.
pub fn processor_time(process: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u64>().ok())
    };
    let used = ticks(11)
        .zip(ticks(12))
        .context("no times in /proc/PID/stat")?;
    // Linux counts a hundred a second on every machine (USER_HZ).
    Ok(Duration::from_millis((used.0 + used.1) * 10))
}

/// The most memory that a process has had so far, in MiB (`VmHWM`).
pub fn peak_memory(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("no VmHWM in /proc/PID/status")? / 1_024)
}

fn isolated(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    isolate_from_aws(&mut command);
    command.stdin(Stdio::null());
    command
}
