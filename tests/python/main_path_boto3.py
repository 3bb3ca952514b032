"""The main path of Kinesis through boto3, against the server in AWS_ENDPOINT_URL_KINESIS.
Usage: main_path_boto3.py STREAM (which mustn't exist). Ends with 0 if all was as AWS documents it."""

import sys
import time

import boto3
from botocore.config import Config

def same(what, seen, documented):
    if seen != documented:
        sys.exit(f"{what}: {documented!r} by the documentation, it answered {seen!r}")


def main():
    stream = sys.argv[1]
    kinesis = boto3.client("kinesis", config=Config(retries={"max_attempts": 0}))

    def active():
        for _ in range(600):
            summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
            if summary["StreamStatus"] == "ACTIVE":
                return summary
            time.sleep(0.05)
        sys.exit("the stream doesn't become ACTIVE")

    def read(shard):
        iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        iterator, data = iterator["ShardIterator"], []
        while iterator:
            page = kinesis.get_records(ShardIterator=iterator)
            data += [record["Data"] for record in page["Records"]]
            iterator = page.get("NextShardIterator")
            if page["MillisBehindLatest"] == 0 and not page["Records"]:
                break
        return data, iterator is None, sorted(child["ShardId"] for child in page.get("ChildShards", []))

    kinesis.create_stream(StreamName=stream, ShardCount=2)
    summary = active()
    arn = summary["StreamARN"]
    same("the ARN's end", arn.split(":")[-1], f"stream/{stream}")
    shards = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]]
    same("shards", shards, ["shardId-000000000000", "shardId-000000000001"])
    shards = kinesis.describe_stream(StreamARN=arn)["StreamDescription"]["Shards"]
    same("described shards", len(shards), 2)

    put = kinesis.put_record(StreamName=stream, Data=b"a", PartitionKey="k", ExplicitHashKey="0")
    same("the shard", put["ShardId"], "shardId-000000000000")
    records = [{"Data": data, "PartitionKey": "k", "ExplicitHashKey": "0"} for data in (b"b", b"c")]
    same("failed records", kinesis.put_records(StreamName=stream, Records=records)["FailedRecordCount"], 0)
    same("the records", read("shardId-000000000000")[0], [b"a", b"b", b"c"])

    kinesis.split_shard(StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey="1000")
    active()
    same(
        "the split shard, to its end",
        read("shardId-000000000000"),
        ([b"a", b"b", b"c"], True, ["shardId-000000000002", "shardId-000000000003"]),
    )
    kinesis.merge_shards(StreamName=stream, ShardToMerge="shardId-000000000002", AdjacentShardToMerge="shardId-000000000003")
    same("open shards", active()["OpenShardCount"], 2)
    updated = kinesis.update_shard_count(StreamName=stream, TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    same("the counts", (updated["CurrentShardCount"], updated["TargetShardCount"]), (2, 4))
    same("open shards", active()["OpenShardCount"], 4)
    latest = kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    same("shards at the latest", len(latest), 4)

    kinesis.add_tags_to_stream(StreamName=stream, Tags={"team": "ticks"})
    same("tags", kinesis.list_tags_for_stream(StreamName=stream)["Tags"], [{"Key": "team", "Value": "ticks"}])
    kinesis.remove_tags_from_stream(StreamName=stream, TagKeys=["team"])
    same("tags", kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"], [])

    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="reader")["Consumer"]
    consumers = kinesis.list_stream_consumers(StreamARN=arn)["Consumers"]
    same("consumers", [listed["ConsumerARN"] for listed in consumers], [consumer["ConsumerARN"]])
    kinesis.deregister_stream_consumer(ConsumerARN=consumer["ConsumerARN"])

    try:
        kinesis.create_stream(StreamName=stream, ShardCount=1)
        sys.exit("a stream was made twice")
    except kinesis.exceptions.ResourceInUseException as error:
        same("its status", error.response["ResponseMetadata"]["HTTPStatusCode"], 400)
    kinesis.delete_stream(StreamName=stream, EnforceConsumerDeletion=True)


main()
