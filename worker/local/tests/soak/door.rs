//! The two ways into the log: over HTTP with the AWS SDK, and by calls in the same process.

use std::sync::Arc;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use stockstream_local::Kinesis;
use stockstream_local::api::{self, PutRecordsEntry, PutRecordsRequest, PutRecordsResult};

pub const STREAM: &str = "ticks";

/// Any error, as text: what failed matters to the tests, not why.
pub type Outcome<T> = Result<T, String>;

#[derive(Clone)]
pub enum Door {
    Http(Client),
    Direct(Arc<Kinesis>),
}

#[derive(Debug, Clone)]
pub struct Shard {
    pub id: String,
    pub parents: Vec<String>,
    pub start: u128,
    pub end: u128,
    pub closed: bool,
}

pub struct Page {
    /// Sequence number, arrival in milliseconds, data.
    pub records: Vec<(String, i128, Vec<u8>)>,
    pub next: Option<String>,
    pub behind: i64,
    /// At the end of a shard: its children and their parents.
    pub children: Vec<(String, Vec<String>)>,
}

/// A client that tries once: a retry would hide what is lost, and double what isn't.
pub fn client(endpoint: &str) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("anyone", "anything", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

impl Door {
    pub async fn put_record(&self, key: &str, data: &[u8]) -> Outcome<String> {
        match self {
            Self::Http(client) => {
                let put = client.put_record().stream_name(STREAM).partition_key(key);
                let put = put.data(Blob::new(data)).send().await.map_err(text)?;
                Ok(put.sequence_number)
            }
            Self::Direct(kinesis) => tokio::task::block_in_place(|| {
                let request = api::PutRecordRequest {
                    stream_name: Some(STREAM.to_owned()),
                    data: Some(api::Blob(data.to_vec())),
                    partition_key: Some(key.to_owned()),
                    ..Default::default()
                };
                let put = kinesis.put_record(&request).map_err(text)?;
                Ok(put.sequence_number.to_string())
            }),
        }
    }

    /// Sequence numbers in the order of `records`; all or an error.
    pub async fn put_records(&self, records: &[(String, Vec<u8>)]) -> Outcome<Vec<String>> {
        match self {
            Self::Http(client) => {
                let entry = |(key, data): &(String, Vec<u8>)| {
                    let entry = PutRecordsRequestEntry::builder().partition_key(key);
                    entry.data(Blob::new(data.as_slice())).build().unwrap()
                };
                let put = client.put_records().stream_name(STREAM);
                let put = put.set_records(Some(records.iter().map(entry).collect()));
                let put = put.send().await.map_err(text)?;
                let numbers = put.records.into_iter();
                numbers
                    .map(|one| one.sequence_number.ok_or_else(|| text(one.error_message)))
                    .collect()
            }
            Self::Direct(kinesis) => tokio::task::block_in_place(|| {
                let entry = |(key, data): &(String, Vec<u8>)| PutRecordsEntry {
                    data: Some(api::Blob(data.clone())),
                    partition_key: Some(key.clone()),
                    explicit_hash_key: None,
                };
                let request = PutRecordsRequest {
                    stream_name: Some(STREAM.to_owned()),
                    stream_arn: None,
                    records: Some(records.iter().map(entry).collect()),
                    dry_run: None,
                };
                let put = kinesis.put_records(&request).map_err(text)?;
                let numbers = put.records.into_iter();
                numbers
                    .map(|one| match one {
                        PutRecordsResult::Written {
                            sequence_number, ..
                        } => Ok(sequence_number.to_string()),
                        failed => Err(text(failed)),
                    })
                    .collect()
            }),
        }
    }

    /// A page of a million shards at most is more than a run makes: all of them.
    pub async fn shards(&self) -> Outcome<Vec<Shard>> {
        match self {
            Self::Http(client) => {
                let mut shards = Vec::new();
                let mut token = None;
                loop {
                    let list = client.list_shards();
                    let list = match token {
                        Some(token) => list.next_token(token),
                        None => list.stream_name(STREAM),
                    };
                    let page = list.send().await.map_err(text)?;
                    shards.extend(page.shards.unwrap_or_default().into_iter().map(|shard| {
                        let range = shard.hash_key_range.unwrap();
                        let numbers = shard.sequence_number_range.unwrap();
                        Shard {
                            id: shard.shard_id,
                            parents: [shard.parent_shard_id, shard.adjacent_parent_shard_id]
                                .into_iter()
                                .flatten()
                                .collect(),
                            start: range.starting_hash_key.parse().unwrap(),
                            end: range.ending_hash_key.parse().unwrap(),
                            closed: numbers.ending_sequence_number.is_some(),
                        }
                    }));
                    token = page.next_token;
                    if token.is_none() {
                        return Ok(shards);
                    }
                }
            }
            Self::Direct(_) => unreachable!("shards are listed over HTTP"),
        }
    }

    pub async fn iterator(&self, shard: &str) -> Outcome<String> {
        match self {
            Self::Http(client) => {
                let get = client.get_shard_iterator().stream_name(STREAM);
                let get = get.shard_id(shard);
                let get = get.shard_iterator_type(ShardIteratorType::TrimHorizon);
                let got = get.send().await.map_err(text)?;
                got.shard_iterator.ok_or_else(|| "no iterator".to_owned())
            }
            Self::Direct(kinesis) => {
                let request = api::GetShardIteratorRequest {
                    stream: api::StreamRef::named(STREAM),
                    shard_id: Some(shard.to_owned()),
                    shard_iterator_type: Some("TRIM_HORIZON".to_owned()),
                    ..Default::default()
                };
                let got = kinesis.get_shard_iterator(&request).map_err(text)?;
                Ok(got.shard_iterator)
            }
        }
    }

    pub async fn get(&self, iterator: &str, limit: i32) -> Outcome<Page> {
        match self {
            Self::Http(client) => {
                let get = client.get_records().shard_iterator(iterator).limit(limit);
                let got = get.send().await.map_err(text)?;
                let children = got.child_shards.unwrap_or_default().into_iter();
                let records = got.records.into_iter();
                Ok(Page {
                    records: records
                        .map(|record| {
                            let arrival = record.approximate_arrival_timestamp.unwrap();
                            let arrival = i128::from(arrival.to_millis().unwrap());
                            (record.sequence_number, arrival, record.data.into_inner())
                        })
                        .collect(),
                    next: got.next_shard_iterator,
                    behind: got.millis_behind_latest.unwrap(),
                    children: children
                        .map(|child| (child.shard_id, child.parent_shards))
                        .collect(),
                })
            }
            Self::Direct(kinesis) => tokio::task::block_in_place(|| {
                let request = api::GetRecordsRequest {
                    shard_iterator: Some(iterator.to_owned()),
                    limit: Some(i64::from(limit)),
                    dry_run: None,
                };
                let got = kinesis.get_records(&request).map_err(text)?;
                let children = got.child_shards.unwrap_or_default().into_iter();
                let records = got.records.into_iter();
                Ok(Page {
                    records: records
                        .map(|api::RecordView(read)| {
                            let arrival = i128::from(read.arrival_millis);
                            let data = read.record.data().to_vec();
                            (read.sequence_number.to_string(), arrival, data)
                        })
                        .collect(),
                    next: got.next_shard_iterator,
                    behind: i64::try_from(got.millis_behind_latest).unwrap(),
                    children: children
                        .map(|child| (child.shard_id, child.parent_shards))
                        .collect(),
                })
            }),
        }
    }
}

/// Splits a shard or merges two, so that there are two to six open ones; says which it was.
pub async fn reshard(client: &Client, chance: &mut crate::Chance) -> Outcome<bool> {
    let mut open = Door::Http(client.clone()).shards().await?;
    open.retain(|shard| !shard.closed);
    open.sort_by_key(|shard| shard.start);
    let split = open.len() <= 2 || (open.len() < 6 && chance.below(2) == 0);
    if split {
        let shard = &open[chance.below(open.len() as u64) as usize];
        let middle = shard.start + (shard.end - shard.start) / 2;
        let request = client.split_shard().stream_name(STREAM);
        let request = request.shard_to_split(&shard.id);
        let request = request.new_starting_hash_key(middle.to_string());
        request.send().await.map_err(text)?;
    } else {
        let place = chance.below(open.len() as u64 - 1) as usize;
        let request = client.merge_shards().stream_name(STREAM);
        let request = request.shard_to_merge(&open[place].id);
        let request = request.adjacent_shard_to_merge(&open[place + 1].id);
        request.send().await.map_err(text)?;
    }
    Ok(split)
}
