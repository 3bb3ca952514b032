//! What a call is about, from its JSON alone: stream and shards. Only scripted faults ask, so that
//! the operations' own path pays nothing for it. Must never decide what a call answers.

use serde_json::Value;

use super::iterator::ShardIterator;
use super::page::{PageToken, Token as _};
use super::shards::shard_id;
use super::*;
use crate::log::{Routes, hash_key};

/// The stream and the shards of a call, as far as its body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The stream's name.
    pub stream: Option<String>,
    /// The shards' ids. Of a PutRecords one per entry, in its order; none where it can't be said.
    pub shards: Vec<Option<String>>,
}

impl Kinesis {
    /// `KMS` or `NONE`, as an answer to PutRecords says of a stream.
    pub(crate) fn encryption_type(&self, stream: Option<&str>) -> &'static str {
        let stream = stream.and_then(|name| self.stream(name).ok());
        match stream.and_then(|stream| Some(stream.routes()?.encrypted())) {
            Some(true) => "KMS",
            _ => "NONE",
        }
    }

    /// What a call with this body is about. Nothing is checked: what makes no sense is about nothing.
    #[must_use]
    pub fn target(&self, operation: Operation, body: &Value) -> Target {
        let text = |field: &str| body.get(field).and_then(Value::as_str);
        if let Some(iterator) = text("ShardIterator").and_then(ShardIterator::decode) {
            return Target {
                stream: Some(iterator.stream),
                shards: vec![Some(shard_id(iterator.shard))],
            };
        }
        let stream = text("StreamName")
            .or_else(|| {
                ["StreamARN", "ConsumerARN", "ResourceARN"]
                    .into_iter()
                    .find_map(|field| stream_in_arn(text(field)?))
            })
            .map(str::to_owned)
            // A page's token says which stream it lists.
            .or_else(|| Some(PageToken::decode(text("NextToken")?, 0).ok()?.stream));
        let shards = match operation {
            Operation::PutRecord => self.routed(stream.as_deref(), std::slice::from_ref(body)),
            Operation::PutRecords => {
                let entries = body.get("Records").and_then(Value::as_array);
                self.routed(stream.as_deref(), entries.map_or(&[], Vec::as_slice))
            }
            _ => [
                "ShardId",
                "ShardToSplit",
                "ShardToMerge",
                "AdjacentShardToMerge",
            ]
            .into_iter()
            .filter_map(text)
            .map(|shard| Some(shard.to_owned()))
            .collect(),
        };
        Target { stream, shards }
    }

    /// The open shard of each record.
    fn routed(&self, stream: Option<&str>, records: &[Value]) -> Vec<Option<String>> {
        let stream = stream.and_then(|name| self.stream(name).ok());
        let routes = stream.as_ref().and_then(|stream| stream.routes());
        let shard = |record: &Value| shard_of(routes.as_ref()?, record);
        records.iter().map(shard).collect()
    }
}

fn shard_of(routes: &Routes<'_>, record: &Value) -> Option<String> {
    let text = |field: &str| record.get(field).and_then(Value::as_str);
    let key = match text("ExplicitHashKey") {
        Some(key) => key.parse().ok()?,
        None => hash_key(text("PartitionKey")?),
    };
    Some(shard_id(routes.shard(key)?.number()))
}

/// The stream in a stream's or consumer's ARN.
pub(super) fn stream_in_arn(arn: &str) -> Option<&str> {
    let (_, resource) = arn.split_once(":stream/")?;
    resource.split('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:kinesis:eu-west-1:000000000000:stream/ticks";

    fn with_stream() -> Kinesis {
        let kinesis = Kinesis::open(KinesisOptions::default()).unwrap();
        let request = CreateStreamRequest {
            stream_name: Some("ticks".to_owned()),
            shard_count: Some(2),
            ..Default::default()
        };
        kinesis.create_stream(&request).unwrap();
        kinesis
    }

    fn target(kinesis: &Kinesis, operation: Operation, body: Value) -> (Option<String>, String) {
        let target = kinesis.target(operation, &body);
        let shards = target.shards.iter();
        let shards = shards.map(|shard| {
            let number = shard.as_deref().map(|id| id.trim_start_matches("shardId-"));
            number.map_or("?".to_owned(), |n| n.parse::<u32>().unwrap().to_string())
        });
        (target.stream, shards.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_stream_is_named_by_name_or_by_any_arn() {
        let kinesis = with_stream();
        for body in [
            json!({"StreamName": "ticks"}),
            json!({"StreamARN": ARN}),
            json!({"ConsumerARN": format!("{ARN}/consumer/c:1704153600")}),
            json!({"ResourceARN": ARN}),
        ] {
            let found = target(&kinesis, Operation::DescribeStream, body);
            assert_eq!(found, (Some("ticks".to_owned()), String::new()));
        }
    }

    #[test]
    fn records_are_routed_by_their_keys() {
        let kinesis = with_stream();
        // MD5 of "a" begins with 0c, of "b" with 92.
        let records = json!([
            {"PartitionKey": "a", "Data": ""},
            {"PartitionKey": "b", "Data": ""},
            {"PartitionKey": "b", "ExplicitHashKey": "0"},
            {"Data": 3},
            {"ExplicitHashKey": "-1"},
        ]);
        let body = json!({"StreamARN": ARN, "Records": records});
        assert_eq!(target(&kinesis, Operation::PutRecords, body).1, "0 1 0 ? ?");
        let body = json!({"StreamName": "ticks", "PartitionKey": "b"});
        assert_eq!(target(&kinesis, Operation::PutRecord, body).1, "1");
    }

    #[test]
    fn shards_are_named_or_lie_in_an_iterator() {
        let kinesis = with_stream();
        let (zero, one) = (shard_id(0), shard_id(1));
        let request = GetShardIteratorRequest {
            stream: StreamRef::named("ticks"),
            shard_id: Some(one.clone()),
            shard_iterator_type: Some("LATEST".to_owned()),
            ..Default::default()
        };
        let iterator = kinesis.get_shard_iterator(&request).unwrap().shard_iterator;
        let body = json!({"ShardIterator": iterator});
        let found = target(&kinesis, Operation::GetRecords, body);
        assert_eq!(found, (Some("ticks".to_owned()), "1".to_owned()));
        for (operation, body, shards) in [
            (
                Operation::GetShardIterator,
                json!({"StreamName": "ticks", "ShardId": one}),
                "1",
            ),
            (
                Operation::SplitShard,
                json!({"StreamName": "ticks", "ShardToSplit": zero}),
                "0",
            ),
            (
                Operation::MergeShards,
                json!({"StreamName": "t", "ShardToMerge": zero, "AdjacentShardToMerge": one}),
                "0 1",
            ),
        ] {
            assert_eq!(target(&kinesis, operation, body).1, shards);
        }
    }

    #[test]
    fn a_page_token_says_whose_shards_are_listed() {
        let kinesis = with_stream();
        let request = ListShardsRequest {
            stream: StreamRef::named("ticks"),
            max_results: Some(1),
            ..Default::default()
        };
        let token = kinesis.list_shards(&request).unwrap().next_token.unwrap();
        let found = target(&kinesis, Operation::ListShards, json!({"NextToken": token}));
        assert_eq!(found.0.as_deref(), Some("ticks"));
    }

    #[test]
    fn what_makes_no_sense_is_about_nothing() {
        let kinesis = with_stream();
        for body in [
            json!(null),
            json!([1]),
            json!({"StreamName": 3, "Records": {"a": 1}}),
            json!({"ShardIterator": "AAAA", "StreamARN": "arn", "NextToken": "x"}),
        ] {
            for operation in Operation::ALL {
                let shards = kinesis.target(*operation, &body);
                assert_eq!(shards.stream, None);
                assert!(shards.shards.iter().all(Option::is_none));
            }
        }
    }
}
