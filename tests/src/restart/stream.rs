//! A stream that outlives the workers: `stockstream kinesis` on disk, in a process of its own.
//!
//! Owns that process, its port, and sending ticks to it in order.

use std::path::PathBuf;

use anyhow::{Context, bail};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ScalingType, StreamStatus};
use tokio::runtime::Runtime;

use super::Tick;
use crate::{Binary, PATIENCE, Process, wait_until};

/// The stream's name.
pub const NAME: &str = "stock_stream";

/// PutRecords takes this many.
const MOST: usize = 500;

/// The stream.
#[derive(Debug)]
pub struct Stream {
    process: Process,
    data: PathBuf,
    endpoint: String,
    client: Client,
    runtime: Runtime,
    sent: u64,
}

impl Stream {
    /// Starts the server with its data in `data`, and makes the stream with two shards.
    ///
    /// # Errors
    /// When it doesn't come up.
    pub fn start(data: PathBuf) -> anyhow::Result<Self> {
        let (process, endpoint) = serve(&data, "127.0.0.1:0")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(aws_credential_types::Credentials::new(
                "test", "test", None, None, "suite",
            ))
            .endpoint_url(&endpoint)
            .build();
        let stream = Stream {
            process,
            data,
            endpoint,
            client: Client::from_conf(config),
            runtime,
            sent: 0,
        };
        let create = stream.client.create_stream().stream_name(NAME);
        stream.runtime.block_on(create.shard_count(2).send())?;
        stream.until_active()?;
        Ok(stream)
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Records sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends ticks; when it returns, each has been acknowledged, in this order.
    ///
    /// # Errors
    /// When any is refused.
    pub fn send(&mut self, ticks: &[Tick]) -> anyhow::Result<()> {
        for part in ticks.chunks(MOST) {
            let mut entries = Vec::with_capacity(part.len());
            for tick in part {
                let entry = PutRecordsRequestEntry::builder()
                    .partition_key(&tick.key)
                    .set_explicit_hash_key(tick.hash_key.map(str::to_owned))
                    .data(Blob::new(tick.data.as_bytes()));
                entries.push(entry.build()?);
            }
            let put = self.client.put_records().stream_name(NAME);
            let done = self
                .runtime
                .block_on(put.set_records(Some(entries)).send())
                .context("sending ticks")?;
            if done.failed_record_count().unwrap_or_default() != 0 {
                bail!("the stream refused ticks: {done:?}");
            }
            self.sent += part.len() as u64;
        }
        Ok(())
    }

    /// The shards that can be written to, in the order of their hash keys: name and the range's ends.
    ///
    /// # Errors
    /// When they can't be listed.
    pub fn open_shards(&self) -> anyhow::Result<Vec<(String, u128, u128)>> {
        let list = self.client.list_shards().stream_name(NAME);
        let listed = self.runtime.block_on(list.send())?;
        let mut open = Vec::new();
        for shard in listed.shards() {
            let ended = shard
                .sequence_number_range()
                .is_none_or(|range| range.ending_sequence_number().is_some());
            if let Some(range) = shard.hash_key_range().filter(|_| !ended) {
                let (from, to) = (range.starting_hash_key(), range.ending_hash_key());
                open.push((shard.shard_id().to_owned(), from.parse()?, to.parse()?));
            }
        }
        open.sort_by_key(|(_, from, _)| *from);
        Ok(open)
    }

    /// Splits a shard in the middle.
    ///
    /// # Errors
    /// When that is refused.
    pub fn split(&self, (shard, from, to): &(String, u128, u128)) -> anyhow::Result<()> {
        let middle = from + (to - from) / 2 + 1;
        let split = self.client.split_shard().stream_name(NAME);
        let split = split.shard_to_split(shard);
        self.runtime
            .block_on(split.new_starting_hash_key(middle.to_string()).send())
            .with_context(|| format!("splitting {shard}"))?;
        self.until_active()
    }

    /// Merges two shards that lie side by side.
    ///
    /// # Errors
    /// When that is refused.
    pub fn merge(&self, one: &str, next: &str) -> anyhow::Result<()> {
        let merge = self.client.merge_shards().stream_name(NAME);
        let merge = merge.shard_to_merge(one).adjacent_shard_to_merge(next);
        self.runtime
            .block_on(merge.send())
            .with_context(|| format!("merging {one} and {next}"))?;
        self.until_active()
    }

    /// Gives the stream another number of open shards: it splits and merges by itself.
    ///
    /// # Errors
    /// When that is refused.
    pub fn update_shard_count(&self, target: i32) -> anyhow::Result<()> {
        let update = self.client.update_shard_count().stream_name(NAME);
        let update = update.target_shard_count(target);
        self.runtime
            .block_on(update.scaling_type(ScalingType::UniformScaling).send())
            .with_context(|| format!("scaling to {target} shards"))?;
        self.until_active()
    }

    /// Deletes the stream and makes it anew under its name.
    ///
    /// # Errors
    /// When that is refused.
    pub fn make_anew(&self, shards: i32) -> anyhow::Result<()> {
        let delete = self.client.delete_stream().stream_name(NAME);
        self.runtime
            .block_on(delete.enforce_consumer_deletion(true).send())
            .context("deleting the stream")?;
        wait_until("the stream to be gone", PATIENCE, || {
            let describe = self.client.describe_stream_summary().stream_name(NAME);
            Ok(self
                .runtime
                .block_on(describe.send())
                .is_err()
                .then_some(()))
        })?;
        let create = self.client.create_stream().stream_name(NAME);
        self.runtime
            .block_on(create.shard_count(shards).send())
            .context("making the stream anew")?;
        self.until_active()
    }

    fn until_active(&self) -> anyhow::Result<()> {
        wait_until("the stream to be active", PATIENCE, || {
            let describe = self.client.describe_stream_summary().stream_name(NAME);
            let found = self.runtime.block_on(describe.send())?;
            let status = found
                .stream_description_summary()
                .map(|stream| stream.stream_status().clone());
            Ok((status == Some(StreamStatus::Active)).then_some(()))
        })
    }

    /// Kills the server as `kill -9` does and starts it again on the same port and data.
    ///
    /// # Errors
    /// When it doesn't come up again.
    pub fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        let address = self.endpoint.trim_start_matches("http://");
        let (process, endpoint) = serve(&self.data, address)?;
        self.process = process;
        if endpoint != self.endpoint {
            bail!("it listens on {endpoint} in place of {}", self.endpoint);
        }
        Ok(())
    }
}

fn serve(data: &std::path::Path, listen: &str) -> anyhow::Result<(Process, String)> {
    let mut command = Binary::Product.command()?;
    command.args(["kinesis", "--listen", listen, "--data"]);
    let mut process = Process::spawn(command.arg(data))?;
    let line = process.wait_for_line(PATIENCE, |line| line.contains("listens on http://"))?;
    let endpoint = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .context("no endpoint in its line")?;
    Ok((process, endpoint.to_owned()))
}
