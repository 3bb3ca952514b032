"""SubscribeToShard through boto3, against the server in AWS_ENDPOINT_URL_KINESIS.
Usage: main_path_subscribe.py STREAM (which mustn't exist). Ends with 0 if all was as AWS documents it."""

import sys
import time

import boto3
from botocore.config import Config

SHARD = "shardId-000000000000"


def same(what, seen, documented):
    if seen != documented:
        sys.exit(f"{what}: {documented!r} by the documentation, it answered {seen!r}")


def until(what, ask):
    for _ in range(600):
        if ask():
            return
        time.sleep(0.05)
    sys.exit(f"waited in vain for {what}")


def main():
    stream = sys.argv[1]
    kinesis = boto3.client("kinesis", config=Config(retries={"max_attempts": 0}))
    kinesis.create_stream(StreamName=stream, ShardCount=1)

    def summary():
        return kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]

    until("an ACTIVE stream", lambda: summary()["StreamStatus"] == "ACTIVE")
    arn = summary()["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="reader")["Consumer"]["ConsumerARN"]

    def described():
        return kinesis.describe_stream_consumer(ConsumerARN=consumer)["ConsumerDescription"]

    until("an ACTIVE consumer", lambda: described()["ConsumerStatus"] == "ACTIVE")
    for data in (b"a", b"b"):
        kinesis.put_record(StreamName=stream, Data=data, PartitionKey="k")
    output = kinesis.subscribe_to_shard(
        ConsumerARN=consumer, ShardId=SHARD, StartingPosition={"Type": "TRIM_HORIZON"}
    )
    received, split, children = [], False, None
    for event in output["EventStream"]:
        event = event["SubscribeToShardEvent"]
        received += [record["Data"] for record in event["Records"]]
        if len(received) == 2 and not split:
            split = True
            kinesis.split_shard(StreamName=stream, ShardToSplit=SHARD, NewStartingHashKey="1000")
        if event.get("ChildShards"):
            children = sorted(child["ShardId"] for child in event["ChildShards"])
    same("the records", received, [b"a", b"b"])
    same("the children", children, ["shardId-000000000001", "shardId-000000000002"])
    kinesis.delete_stream(StreamName=stream, EnforceConsumerDeletion=True)


main()
