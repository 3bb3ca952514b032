//! What a case gets: a client, streams of names of its own, and the few sequences of calls that many cases begin with.
//!
//! Must never know which server it talks to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{
    BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig,
};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    ConsumerStatus, Record, Shard, ShardIteratorType, StreamStatus, SubscribeToShardEvent,
};
use aws_smithy_http_client::Builder;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use super::case::Needs;
use super::http;
use super::refusal::outcome;

pub const REGION: &str = "us-east-1";
/// The first shard of a stream.
pub const S0: &str = "shardId-000000000000";
/// The second.
pub const S1: &str = "shardId-000000000001";
/// The third, which is the first child of the first reshard of two.
pub const S2: &str = "shardId-000000000002";
/// 2^127: where the upper half of the hash key space begins.
pub const HALF: &str = "170141183460469231731687303715884105728";
/// 2^128 - 1, the last hash key.
pub const LAST_KEY: &str = "340282366920938463463374607431768211455";

/// Longer than anything takes on a loaded machine; only a defect reaches it.
const PATIENCE: Duration = Duration::from_secs(20);
const BETWEEN: Duration = Duration::from_millis(20);

/// What cases of one server with one facility share.
#[derive(Debug)]
pub struct Shared {
    /// AWS lets five streams be in CREATING at once.
    creating: Semaphore,
    /// Rules for faults are the whole server's: one case at a time has some.
    faults: Mutex<()>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            creating: Semaphore::new(CREATING),
            faults: Mutex::default(),
        }
    }
}

/// Streams in CREATING at once, at most (API reference, CreateStream).
const CREATING: usize = 5;

/// A stream that a case made.
#[derive(Clone, Debug)]
pub struct Stream {
    pub name: String,
    pub arn: String,
}

/// A case's view of a server.
#[derive(Clone, Debug)]
pub struct Context {
    pub client: Client,
    pub endpoint: String,
    needs: Needs,
    prefix: String,
    count: Arc<AtomicU32>,
    shared: Arc<Shared>,
}

/// Below the time after which a server may close a connection that is idle: a call must not meet that.
const IDLE: Duration = Duration::from_secs(1);

/// A client without retries, so that a case sees every answer.
pub fn client(endpoint: &str, region: &'static str) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(Credentials::new("test", "test", None, None, "suite"))
        .http_client(Builder::new().pool_idle_timeout(IDLE).build_http())
        .retry_config(RetryConfig::disabled())
        // A subscription is silent while nothing is put.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

impl Context {
    pub fn new(endpoint: String, id: &str, needs: Needs, shared: Arc<Shared>) -> Context {
        Context {
            client: client(&endpoint, REGION),
            endpoint,
            needs,
            prefix: id.replace("::", ".").chars().take(100).collect(),
            count: Arc::default(),
            shared,
        }
    }

    /// A name that no other case uses.
    pub fn name(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.prefix)
    }

    /// Keeps other cases from making streams, or waits until few enough do.
    pub async fn hold_creations(&self, all: bool) -> anyhow::Result<SemaphorePermit<'_>> {
        let permits = if all { CREATING as u32 } else { 1 };
        Ok(self.shared.creating.acquire_many(permits).await?)
    }

    /// An active provisioned stream.
    pub async fn stream(&self, shards: i32) -> anyhow::Result<Stream> {
        let _creating = match self.needs {
            Needs::Delays => Some(self.hold_creations(false).await?),
            _ => None,
        };
        let name = self.name();
        let create = self.client.create_stream().stream_name(&name);
        let create = create.shard_count(shards);
        eventually(&format!("{name} to be made"), async || {
            match outcome(create.clone().send().await)? {
                Ok(_) => Ok(Some(())),
                // AWS lets five be made in a second.
                Err(refusal) if self.needs == Needs::Limits => {
                    refusal.is(&["LimitExceededException"]).map(|_| None)
                }
                Err(refusal) => bail!("{name} isn't made: {refusal:?}"),
            }
        })
        .await?;
        self.active(&name).await
    }

    /// An active on-demand stream.
    pub async fn on_demand(&self) -> anyhow::Result<Stream> {
        let name = self.name();
        let mode = on_demand_mode()?;
        let create = self.client.create_stream().stream_name(&name);
        create.stream_mode_details(mode).send().await?;
        self.active(&name).await
    }

    /// Waits until a stream is ACTIVE.
    pub async fn active(&self, name: &str) -> anyhow::Result<Stream> {
        eventually(&format!("{name} to become ACTIVE"), async || {
            let summary = self.client.describe_stream_summary().stream_name(name);
            let summary = match outcome(summary.send().await)? {
                Ok(summary) => summary.stream_description_summary,
                // Other cases call as often as they may.
                Err(refusal) if self.needs == Needs::Limits => {
                    return refusal.is(&["LimitExceededException"]).map(|_| None);
                }
                Err(refusal) => bail!("{name} isn't described: {refusal:?}"),
            };
            let summary = summary.context("no StreamDescriptionSummary")?;
            let active = *summary.stream_status() == StreamStatus::Active;
            Ok(active.then(|| Stream {
                name: name.to_owned(),
                arn: summary.stream_arn().to_owned(),
            }))
        })
        .await
    }

    pub async fn summary(
        &self,
        name: &str,
    ) -> anyhow::Result<aws_sdk_kinesis::types::StreamDescriptionSummary> {
        let summary = self.client.describe_stream_summary().stream_name(name);
        let summary = summary.send().await?.stream_description_summary;
        summary.context("no StreamDescriptionSummary")
    }

    /// All shards that are listed, closed ones included, by id.
    pub async fn shards(&self, name: &str) -> anyhow::Result<Vec<Shard>> {
        let listed = self.client.list_shards().stream_name(name).send().await?;
        let mut shards = listed.shards.unwrap_or_default();
        shards.sort_by(|one, other| one.shard_id.cmp(&other.shard_id));
        Ok(shards)
    }

    /// Splits a shard in the middle of the key space and waits for the end of it.
    pub async fn split(&self, name: &str, shard: &str, key: &str) -> anyhow::Result<()> {
        let split = self.client.split_shard().stream_name(name);
        let split = split.shard_to_split(shard).new_starting_hash_key(key);
        split.send().await?;
        self.active(name).await.map(drop)
    }

    pub async fn merge(&self, name: &str, shard: &str, adjacent: &str) -> anyhow::Result<()> {
        let merge = self.client.merge_shards().stream_name(name);
        let merge = merge
            .shard_to_merge(shard)
            .adjacent_shard_to_merge(adjacent);
        merge.send().await?;
        self.active(name).await.map(drop)
    }

    /// Puts one record to the shard that has a hash key; returns its shard and sequence number.
    pub async fn put_at(
        &self,
        name: &str,
        key: &str,
        data: &str,
    ) -> anyhow::Result<(String, String)> {
        let put = self.client.put_record().stream_name(name);
        let put = put.partition_key("key").explicit_hash_key(key);
        let put = put.data(Blob::new(data)).send().await?;
        Ok((put.shard_id, put.sequence_number))
    }

    /// The same to the shard with the lowest hash keys; returns the sequence number.
    pub async fn put(&self, name: &str, data: &str) -> anyhow::Result<String> {
        Ok(self.put_at(name, "0", data).await?.1)
    }

    /// An iterator of a type that needs nothing else.
    pub async fn iterator(
        &self,
        name: &str,
        shard: &str,
        kind: ShardIteratorType,
    ) -> anyhow::Result<String> {
        let iterator = self.client.get_shard_iterator().stream_name(name);
        let iterator = iterator.shard_id(shard).shard_iterator_type(kind);
        let iterator = iterator.send().await?.shard_iterator;
        iterator.context("no ShardIterator")
    }

    /// Reads on from an iterator until there are `count` records or the shard ends.
    pub async fn read_from(
        &self,
        mut iterator: Option<String>,
        count: usize,
    ) -> anyhow::Result<Vec<Record>> {
        let begin = Instant::now();
        let mut records = Vec::new();
        while records.len() < count {
            let Some(next) = iterator else { break };
            let page = self.client.get_records().shard_iterator(next);
            let page = page.send().await?;
            records.extend(page.records);
            iterator = page.next_shard_iterator;
            ensure!(
                begin.elapsed() < PATIENCE,
                "{} of {count} records came",
                records.len()
            );
        }
        Ok(records)
    }

    /// All records of a shard from its beginning, when there are `count`.
    pub async fn read(&self, name: &str, shard: &str, count: usize) -> anyhow::Result<Vec<Record>> {
        let iterator = self.iterator(name, shard, ShardIteratorType::TrimHorizon);
        self.read_from(Some(iterator.await?), count).await
    }

    /// Registers a consumer and waits until it is ACTIVE; returns its ARN.
    pub async fn consumer(&self, stream: &Stream, name: &str) -> anyhow::Result<String> {
        let register = self.client.register_stream_consumer();
        let register = register.stream_arn(&stream.arn).consumer_name(name);
        let consumer = register.send().await?.consumer.context("no Consumer")?;
        let arn = consumer.consumer_arn;
        eventually("the consumer to become ACTIVE", async || {
            let describe = self.client.describe_stream_consumer();
            let described = describe.consumer_arn(&arn).send().await?;
            let described = described.consumer_description.context("no description")?;
            Ok((described.consumer_status == ConsumerStatus::Active).then_some(()))
        })
        .await?;
        Ok(arn)
    }

    /// Sends a body as it is, for what the SDK can't say.
    pub async fn raw(&self, operation: &str, body: &Value) -> anyhow::Result<http::Answer> {
        http::post(&self.endpoint, operation, body.to_string().as_bytes()).await
    }

    /// Scripts a fault while `body` runs.
    pub async fn with_fault<T>(
        &self,
        rule: Value,
        body: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let _alone = self.shared.faults.lock().await;
        http::put_faults(&self.endpoint, &Value::Array(vec![rule])).await?;
        let result = body.await;
        http::put_faults(&self.endpoint, &Value::Array(Vec::new())).await?;
        result
    }
}

pub fn on_demand_mode() -> anyhow::Result<aws_sdk_kinesis::types::StreamModeDetails> {
    mode(aws_sdk_kinesis::types::StreamMode::OnDemand)
}

pub fn mode(
    mode: aws_sdk_kinesis::types::StreamMode,
) -> anyhow::Result<aws_sdk_kinesis::types::StreamModeDetails> {
    let details = aws_sdk_kinesis::types::StreamModeDetails::builder().stream_mode(mode);
    Ok(details.build()?)
}

/// Asks until there is an answer.
pub async fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if begin.elapsed() > PATIENCE {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// What a subscription brings next, but for events without records when `records` are wanted; nothing at its end.
pub async fn next_event(
    output: &mut aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput,
    wanted: impl Fn(&SubscribeToShardEvent) -> bool,
) -> anyhow::Result<Option<SubscribeToShardEvent>> {
    use aws_sdk_kinesis::types::SubscribeToShardEventStream as Event;
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let next = tokio::time::timeout_at(end, output.event_stream.recv());
        let next = next.await.context("no such event came")?;
        match next? {
            Some(Event::SubscribeToShardEvent(event)) if wanted(&event) => return Ok(Some(event)),
            Some(Event::SubscribeToShardEvent(_)) => {}
            Some(other) => bail!("an unknown event: {other:?}"),
            None => return Ok(None),
        }
    }
}

/// The data of records as text.
pub fn texts(records: &[Record]) -> Vec<String> {
    let data = records.iter().map(|record| record.data.as_ref());
    data.map(|data| String::from_utf8_lossy(data).into_owned())
        .collect()
}

/// A sequence number or hash key by size: decimal digits without leading zeros.
pub fn by_size(number: &str) -> (usize, &str) {
    (number.len(), number)
}
