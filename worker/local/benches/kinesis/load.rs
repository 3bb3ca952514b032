//! The load: puts and reads through the AWS SDK for Rust.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StreamStatus};

use crate::Outcome;
use crate::server::{Cpu, Process};

pub const STREAM: &str = "ticks";
pub const BATCH: usize = 500;
pub const DATA_BYTES: usize = 157;
/// Bytes of a partition key.
pub const KEY_BYTES: usize = 6;
const TICKERS: usize = 5000;

/// What a run took: wall time, and the processor time of both sides.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub records: usize,
    pub elapsed: Duration,
    pub server: Cpu,
    pub client: Cpu,
}

impl Run {
    pub fn per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }
}

pub fn client(endpoint: &str) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "bench"))
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

/// Makes the stream and waits until it can be used.
pub async fn create(client: &Client, shards: i32) -> Outcome<()> {
    client
        .create_stream()
        .stream_name(STREAM)
        .shard_count(shards)
        .send()
        .await?;
    for _ in 0..500 {
        let summary = client.describe_stream_summary().stream_name(STREAM);
        let summary = summary.send().await?.stream_description_summary;
        if summary.is_some_and(|summary| summary.stream_status == StreamStatus::Active) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the stream didn't become ACTIVE".into())
}

/// A call's records: ticks of 157 bytes, each under its ticker.
fn batch(number: usize) -> Outcome<Vec<PutRecordsRequestEntry>> {
    let entries = (0..BATCH).map(|place| {
        let n = number * BATCH + place;
        let ticker = n * 7919 % TICKERS;
        let mut data = format!(
            r#"{{"ticker":"T{ticker:05}","timestamp":"2026-11-25T14:{:02}:{:02}.{:03}Z","open":{}.{:02},"high":187.61,"low":186.02,"close":187.20,"volume":{}"#,
            n / 60 % 60, n % 60, n % 1000, 100 + n % 200, n % 100, n % 10_000
        );
        while data.len() < DATA_BYTES - 1 {
            data.push(' ');
        }
        data.push('}');
        PutRecordsRequestEntry::builder()
            .partition_key(format!("T{ticker:05}"))
            .data(Blob::new(data))
            .build()
            .map_err(Into::into)
    });
    entries.collect()
}

/// Runs `work` and takes both sides' times.
async fn timed(
    server: &Process,
    records: usize,
    work: impl Future<Output = Outcome<()>>,
) -> Outcome<Run> {
    let (server_before, client_before) = (server.cpu()?, Cpu::of("self")?);
    let begin = Instant::now();
    work.await?;
    Ok(Run {
        records,
        elapsed: begin.elapsed(),
        server: server.cpu()?.since(server_before),
        client: Cpu::of("self")?.since(client_before),
    })
}

/// Puts `records` by so many callers at once.
pub async fn put(server: &Process, records: usize, callers: usize) -> Outcome<Run> {
    let client = client(&server.endpoint);
    let batches: Arc<Vec<_>> = Arc::new((0..16).map(batch).collect::<Outcome<_>>()?);
    let calls = records / BATCH;
    let next = Arc::new(AtomicUsize::new(0));
    timed(server, calls * BATCH, async {
        let callers = (0..callers).map(|_| {
            let (client, batches, next) = (client.clone(), batches.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let call = next.fetch_add(1, Ordering::Relaxed);
                    if call >= calls {
                        return Ok(());
                    }
                    let entries = batches[call % batches.len()].clone();
                    let put = client.put_records().stream_name(STREAM);
                    let outcome = put.set_records(Some(entries)).send().await?;
                    if outcome.failed_record_count.unwrap_or(0) > 0 {
                        return Err("some records weren't taken".into());
                    }
                }
            })
        });
        finish(callers.collect()).await
    })
    .await
}

async fn finish(tasks: Vec<tokio::task::JoinHandle<Outcome<()>>>) -> Outcome<()> {
    for task in tasks {
        task.await??;
    }
    Ok(())
}

pub async fn iterator(client: &Client, shard: &str, kind: ShardIteratorType) -> Outcome<String> {
    let iterator = client
        .get_shard_iterator()
        .stream_name(STREAM)
        .shard_id(shard)
        .shard_iterator_type(kind);
    let iterator = iterator.send().await?.shard_iterator;
    Ok(iterator.ok_or("no iterator")?)
}

/// Reads all `records` of the stream, every shard at once.
pub async fn read(server: &Process, records: usize) -> Outcome<Run> {
    let client = client(&server.endpoint);
    let shards = client.list_shards().stream_name(STREAM).send().await?;
    let seen = Arc::new(AtomicUsize::new(0));
    timed(server, records, async {
        let readers = shards.shards.unwrap_or_default().into_iter().map(|shard| {
            let (client, seen) = (client.clone(), seen.clone());
            tokio::spawn(async move {
                let mut next =
                    Some(iterator(&client, &shard.shard_id, ShardIteratorType::TrimHorizon).await?);
                while let Some(iterator) = next {
                    let get = client.get_records().shard_iterator(iterator).limit(10_000);
                    let outcome = get.send().await?;
                    let found = outcome.records.len();
                    if seen.fetch_add(found, Ordering::Relaxed) + found >= records
                        || outcome.millis_behind_latest == Some(0)
                    {
                        return Ok(());
                    }
                    next = outcome.next_shard_iterator;
                }
                Ok(())
            })
        });
        finish(readers.collect()).await
    })
    .await
    .and_then(|run| match seen.load(Ordering::Relaxed) {
        seen if seen == records => Ok(run),
        seen => Err(format!("{seen} records were read, {records} put").into()),
    })
}

/// A place in the only shard of the stream.
#[derive(Debug, Clone)]
pub struct Place {
    pub iterator: String,
    pub arrival: Option<DateTime>,
}

/// Iterators at the beginning, the middle and 200 records before the end of the first shard.
pub async fn places(client: &Client, shard: &str, records: usize) -> Outcome<[Place; 3]> {
    let mut next = iterator(client, shard, ShardIteratorType::TrimHorizon).await?;
    let mut position = 0;
    let mut found = Vec::new();
    for wanted in [0, records / 2, records - 200] {
        while position < wanted {
            let limit = (wanted - position).min(10_000);
            let get = client.get_records().shard_iterator(&next);
            let outcome = get.limit(i32::try_from(limit)?).send().await?;
            position += outcome.records.len();
            next = outcome
                .next_shard_iterator
                .ok_or("the shard ended too early")?;
        }
        let one = client.get_records().shard_iterator(&next).limit(1);
        let record = one.send().await?.records.into_iter().next();
        found.push(Place {
            iterator: next.clone(),
            arrival: record.and_then(|record| record.approximate_arrival_timestamp),
        });
    }
    found.try_into().map_err(|_| "no places".into())
}

/// The median time of `count` GetRecords of 100 records there.
pub async fn read_latency(client: &Client, place: &Place, count: usize) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let get = client.get_records().shard_iterator(&place.iterator);
        let outcome = get.limit(100).send().await?;
        times.push(begin.elapsed());
        if outcome.records.len() != 100 {
            return Err(format!("{} records instead of 100", outcome.records.len()).into());
        }
    }
    Ok(median(&mut times))
}

/// The median time of `count` iterators AT_TIMESTAMP of that place.
pub async fn seek_latency(
    client: &Client,
    shard: &str,
    place: &Place,
    count: usize,
) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let seek = client
            .get_shard_iterator()
            .stream_name(STREAM)
            .shard_id(shard)
            .shard_iterator_type(ShardIteratorType::AtTimestamp)
            .set_timestamp(place.arrival);
        seek.send().await?;
        times.push(begin.elapsed());
    }
    Ok(median(&mut times))
}

pub fn median<T: Copy + PartialOrd>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values[values.len() / 2]
}
