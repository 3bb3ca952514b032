"""A second client of the embedded Kinesis: boto3, set to it by AWS_ENDPOINT_URL_KINESIS alone.

Usage:
  kinesis.py create STREAM SHARDS [KIB]    records of so many KiB at most (AWS's default: 1024)
  kinesis.py produce STREAM TICKS.ndjson   one put_record a tick, as the reference job's producer does it
  kinesis.py put STREAM RECORDS.ndjson     raw records: {"data_base64", "key", "hash_key"?}; waits for each reply
  kinesis.py aggregate STREAM RECORDS.ndjson   aws-kinesis-agg's aggregated records, one a line: {"records": [as above], "hash_key"?}
  kinesis.py split STREAM SHARD HASH_KEY   splits a shard, and waits for it
  kinesis.py describe STREAM               status, open shards, retention, mode, key and tags; {} when there is none
  kinesis.py streams PREFIX                the names of all streams that begin so
  kinesis.py read STREAM                   every record of every shard, in the shard's order
"""

import base64
import json
import sys

import boto3
from aws_kinesis_agg.aggregator import RecordAggregator
from botocore.config import Config


def create(kinesis, stream, shards, largest_kib=1024):
    kinesis.create_stream(
        StreamName=stream, ShardCount=int(shards), MaxRecordSizeInKiB=int(largest_kib)
    )
    kinesis.get_waiter("stream_exists").wait(
        StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 10}
    )
    summary = kinesis.describe_stream_summary(StreamName=stream)
    return {"shards": summary["StreamDescriptionSummary"]["OpenShardCount"]}


def describe(kinesis, stream):
    try:
        summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    except kinesis.exceptions.ResourceNotFoundException:
        return {}
    tags = kinesis.list_tags_for_stream(StreamName=stream)["Tags"]
    return {
        "status": summary["StreamStatus"],
        "shards": summary["OpenShardCount"],
        "retention": summary["RetentionPeriodHours"],
        "mode": summary["StreamModeDetails"]["StreamMode"],
        "key": summary.get("KeyId"),
        "tags": {tag["Key"]: tag["Value"] for tag in tags},
    }


def streams(kinesis, prefix):
    pages = kinesis.get_paginator("list_streams").paginate()
    names = [name for page in pages for name in page["StreamNames"]]
    return [name for name in names if name.startswith(prefix)]


def produce(kinesis, stream, path):
    shards = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            tick = json.loads(line)
            ticker = tick["ticker"]
            reply = kinesis.put_record(
                StreamName=stream, Data=json.dumps(tick), PartitionKey=ticker
            )
            shards.setdefault(reply["ShardId"], set()).add(ticker)
    return {"shards": {shard: sorted(tickers) for shard, tickers in shards.items()}}


def put(kinesis, stream, path):
    replies = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            more = {"ExplicitHashKey": record["hash_key"]} if "hash_key" in record else {}
            reply = kinesis.put_record(
                StreamName=stream,
                Data=base64.b64decode(record["data_base64"]),
                PartitionKey=record["key"],
                **more,
            )
            replies.append(
                {"shard": reply["ShardId"], "sequence_number": reply["SequenceNumber"]}
            )
    return replies


def aggregate(kinesis, stream, path):
    replies = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            whole = json.loads(line)
            aggregator = RecordAggregator()
            for record in whole["records"]:
                data = base64.b64decode(record["data_base64"])
                full = aggregator.add_user_record(record["key"], data, record.get("hash_key"))
                if full:
                    raise SystemExit("it doesn't fit into one record")
            key, hash_key, data = aggregator.clear_and_get().get_contents()
            hash_key = whole.get("hash_key", hash_key)
            more = {"ExplicitHashKey": hash_key} if hash_key else {}
            reply = kinesis.put_record(StreamName=stream, Data=data, PartitionKey=key, **more)
            replies.append(
                {"shard": reply["ShardId"], "sequence_number": reply["SequenceNumber"]}
            )
    return replies


def split(kinesis, stream, shard, hash_key):
    kinesis.split_shard(StreamName=stream, ShardToSplit=shard, NewStartingHashKey=hash_key)
    kinesis.get_waiter("stream_exists").wait(
        StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 10}
    )
    return {"shards": len(kinesis.list_shards(StreamName=stream)["Shards"])}


def read(kinesis, stream):
    found = {}
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        shard_id = shard["ShardId"]
        found[shard_id] = []
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            page = kinesis.get_records(ShardIterator=iterator, Limit=1000)
            for record in page["Records"]:
                found[shard_id].append(
                    {
                        "key": record["PartitionKey"],
                        "sequence_number": record["SequenceNumber"],
                        "data": record["Data"].decode(),
                    }
                )
            if not page["Records"] and page["MillisBehindLatest"] == 0:
                break
            iterator = page.get("NextShardIterator")
    return found


def main():
    kinesis = boto3.client("kinesis", config=Config(retries={"max_attempts": 1}))
    commands = {
        "create": create,
        "describe": describe,
        "produce": produce,
        "put": put,
        "aggregate": aggregate,
        "split": split,
        "streams": streams,
        "read": read,
    }
    answer = commands[sys.argv[1]](kinesis, *sys.argv[2:])
    json.dump(answer, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()
