//! The simulated stream: the embedded log, without HTTP, behind the simulated network.
//!
//! Owns the translation between the worker's trait and the log's operations. The log itself is the one that `dev` runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use stockstream::source::kinesis::{
    ListedShard, Listing, Reply, StreamClient, StreamDescription, StreamError, StreamRecord,
};
use stockstream_core::hash::HashRange;
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::time::Micros;
use stockstream_local::api::{
    GetRecordsRequest, GetShardIteratorRequest, ListShardsRequest, ShardFilter, ShardView,
    StreamRef, StreamRequest, Timestamp,
};
use stockstream_local::{Caller, ErrorKind, Kinesis, KinesisError};
use tokio::time::timeout;

use crate::network::{Link, Network, NoAnswer, Peer, lock};
use crate::watch::Watch;

/// The stream's name.
pub const STREAM: &str = "ticks";

/// How long the SDK waits for one answer, all of its own retries included.
const PATIENCE: Duration = Duration::from_secs(3);

/// The stream as one process reaches it.
#[derive(Clone, Debug)]
pub struct SimulatedStream {
    /// The log.
    pub log: Arc<Kinesis>,
    /// What is between.
    pub network: Arc<Network>,
    /// The process.
    pub link: Arc<Link>,
    /// Who looks on.
    pub watch: Arc<Watch>,
    /// The shard of each iterator given out, newest last; only for the trace and the pace.
    pub iterators: Arc<Mutex<Vec<(String, String)>>>,
}

type Answer<T> = Result<T, StreamError>;

impl SimulatedStream {
    async fn request<T: Send + 'static>(
        &self,
        operation: &'static str,
        what: String,
        serve: impl FnOnce(&Kinesis) -> Result<T, KinesisError> + Send + 'static,
    ) -> Answer<T> {
        let log = self.log.clone();
        let sent = self.network.request(
            &self.link,
            Peer::Stream,
            format!("{operation} {what}"),
            move || serve(&log),
        );
        let unavailable = |detail: &str| StreamError::Unavailable {
            stream: STREAM.to_owned(),
            operation,
            detail: detail.to_owned(),
        };
        match timeout(PATIENCE, sent).await {
            Err(_) => Err(unavailable("timed out")),
            Ok(Ok(answer)) => answer.map_err(|error| fault(operation, &error)),
            Ok(Err(NoAnswer::Odd)) if operation == "GetRecords" => {
                Err(StreamError::ExpiredIterator)
            }
            Ok(Err(NoAnswer::Throttled | NoAnswer::Odd)) => Err(StreamError::Throttled {
                stream: STREAM.to_owned(),
                operation,
                detail: "by the simulation".to_owned(),
            }),
            Ok(Err(NoAnswer::Refused | NoAnswer::Reset)) => Err(unavailable("no connection")),
        }
    }

    fn shard_of(&self, iterator: &str) -> String {
        let iterators = lock(&self.iterators);
        let found = iterators.iter().rev().find(|(known, _)| known == iterator);
        found.map(|(_, shard)| shard.clone()).unwrap_or_default()
    }

    fn remember(&self, iterator: &str, shard: &str) {
        let mut iterators = lock(&self.iterators);
        if let Some(at) = iterators.iter().position(|(_, known)| known == shard) {
            iterators.remove(at);
        }
        iterators.push((iterator.to_owned(), shard.to_owned()));
    }
}

fn fault(operation: &'static str, error: &KinesisError) -> StreamError {
    let (stream, detail) = (STREAM.to_owned(), error.to_string());
    match error.kind {
        ErrorKind::ResourceNotFound => StreamError::NotFound { stream, operation },
        ErrorKind::ExpiredIterator => StreamError::ExpiredIterator,
        ErrorKind::ProvisionedThroughputExceeded | ErrorKind::LimitExceeded => {
            StreamError::Throttled {
                stream,
                operation,
                detail,
            }
        }
        ErrorKind::InvalidArgument | ErrorKind::Validation => StreamError::Invalid {
            stream,
            operation,
            detail,
        },
        _ => StreamError::Unavailable {
            stream,
            operation,
            detail,
        },
    }
}

/// A shard as it is listed.
pub fn listed(view: ShardView) -> Option<ListedShard> {
    let range = &view.hash_key_range;
    Some(ListedShard {
        id: view.shard_id,
        range: HashRange::parse(&range.starting_hash_key, &range.ending_hash_key)?,
        parents: [view.parent_shard_id, view.adjacent_parent_shard_id]
            .into_iter()
            .flatten()
            .collect(),
        closed: view.sequence_number_range.ending_sequence_number.is_some(),
    })
}

/// The request for an iterator at a position.
fn place(shard: &str, position: &Position) -> Option<GetShardIteratorRequest> {
    let mut request = GetShardIteratorRequest {
        stream: StreamRef::named(STREAM),
        shard_id: Some(shard.to_owned()),
        ..GetShardIteratorRequest::default()
    };
    let kind = match position {
        Position::TrimHorizon => "TRIM_HORIZON",
        Position::AtTimestamp(millis) => {
            request.timestamp = Some(Timestamp(u64::try_from(*millis).unwrap_or(0)));
            "AT_TIMESTAMP"
        }
        Position::After(sequence) => {
            request.starting_sequence_number = Some(sequence.to_string());
            "AFTER_SEQUENCE_NUMBER"
        }
        Position::ShardEnd | Position::StreamGone => return None,
    };
    request.shard_iterator_type = Some(kind.to_owned());
    Some(request)
}

#[async_trait]
impl StreamClient for SimulatedStream {
    fn name(&self) -> &str {
        STREAM
    }

    async fn describe(&self) -> Answer<StreamDescription> {
        let request = StreamRequest {
            stream: StreamRef::named(STREAM),
        };
        let serve = move |log: &Kinesis| log.describe_stream_summary(&Caller::default(), &request);
        let found = self
            .request("DescribeStreamSummary", String::new(), serve)
            .await?;
        let basics = found.stream_description_summary.basics;
        Ok(StreamDescription {
            created_millis: i64::try_from(basics.stream_creation_timestamp.0).unwrap_or(0),
            is_active: matches!(basics.stream_status.name(), "ACTIVE" | "UPDATING"),
            retention_hours: i32::try_from(basics.retention_period_hours).unwrap_or(i32::MAX),
        })
    }

    async fn list_shards(&self, listing: Listing) -> Answer<Vec<ListedShard>> {
        let shard_filter = match listing {
            Listing::All => None,
            Listing::OpenAt(millis) => Some(ShardFilter {
                r#type: Some("AT_TIMESTAMP".to_owned()),
                timestamp: Some(Timestamp(u64::try_from(millis).unwrap_or(0))),
                ..ShardFilter::default()
            }),
        };
        let request = ListShardsRequest {
            stream: StreamRef::named(STREAM),
            shard_filter,
            ..ListShardsRequest::default()
        };
        let serve = move |log: &Kinesis| log.list_shards(&request);
        let found = self
            .request("ListShards", format!("{listing:?}"), serve)
            .await?;
        Ok(found.shards.into_iter().filter_map(listed).collect())
    }

    async fn iterator(&self, shard: &str, position: &Position) -> Answer<String> {
        const OPERATION: &str = "GetShardIterator";
        let Some(request) = place(shard, position) else {
            return Err(StreamError::Invalid {
                stream: STREAM.to_owned(),
                operation: OPERATION,
                detail: format!("{shard} is at {position}"),
            });
        };
        let serve = move |log: &Kinesis| log.get_shard_iterator(&request);
        let found = self
            .request(OPERATION, format!("{shard} {position}"), serve)
            .await?;
        self.remember(&found.shard_iterator, shard);
        Ok(found.shard_iterator)
    }

    async fn get_records(&self, iterator: &str, limit: i32) -> Answer<Reply> {
        let shard = self.shard_of(iterator);
        self.watch.read_sent(&self.link.process, &shard);
        let request = GetRecordsRequest {
            shard_iterator: Some(iterator.to_owned()),
            limit: Some(i64::from(limit)),
            ..GetRecordsRequest::default()
        };
        let serve = move |log: &Kinesis| log.get_records(&request);
        let found = self.request("GetRecords", shard.clone(), serve).await?;
        if let Some(next) = &found.next_shard_iterator {
            self.remember(next, &shard);
        }
        let records = found.records.into_iter().filter_map(|view| {
            let record = view.0;
            Some(StreamRecord {
                sequence: SequenceNumber::parse(&record.sequence_number.to_string()).ok()?,
                arrival: Micros::from_millis(i64::try_from(record.arrival_millis).ok()?),
                data: Bytes::copy_from_slice(record.record.data()),
            })
        });
        Ok(Reply {
            records: records.collect(),
            next: found.next_shard_iterator,
            millis_behind_latest: i64::try_from(found.millis_behind_latest).unwrap_or(i64::MAX),
            children: found
                .child_shards
                .unwrap_or_default()
                .into_iter()
                .map(|child| child.shard_id)
                .collect(),
        })
    }
}
