"""The main path of Kinesis through the AWS CLI, against the server in AWS_ENDPOINT_URL_KINESIS.
Usage: main_path_cli.py STREAM (which mustn't exist). Ends with 0 if all was as AWS documents it."""

import base64
import json
import pathlib
import subprocess
import sys
import time

# The CLI of this interpreter's environment.
AWS = str(pathlib.Path(sys.executable).parent / "aws")


def aws(operation, *arguments):
    command = [AWS, "--output", "json", "kinesis", operation, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{operation} failed: {done.stderr.strip()}")
    return json.loads(done.stdout) if done.stdout.strip() else {}


def same(what, seen, documented):
    if seen != documented:
        sys.exit(f"{what}: {documented!r} by the documentation, it answered {seen!r}")


def main():
    name = sys.argv[1]
    stream = ("--stream-name", name)

    def active():
        for _ in range(60):
            summary = aws("describe-stream-summary", *stream)["StreamDescriptionSummary"]
            if summary["StreamStatus"] == "ACTIVE":
                return summary
            time.sleep(0.05)
        sys.exit("the stream doesn't become ACTIVE")

    aws("create-stream", *stream, "--shard-count", "2")
    arn = active()["StreamARN"]
    shards = [shard["ShardId"] for shard in aws("list-shards", *stream)["Shards"]]
    same("shards", shards, ["shardId-000000000000", "shardId-000000000001"])
    # Version 1 of the CLI, which PyPI has, takes blobs as they are; version 2 in base64.
    put = aws("put-record", *stream, "--data", "tick", "--partition-key", "k", "--explicit-hash-key", "0")
    same("the shard", put["ShardId"], shards[0])
    iterator = aws(
        "get-shard-iterator", *stream, "--shard-id", shards[0], "--shard-iterator-type", "TRIM_HORIZON"
    )["ShardIterator"]
    records = aws("get-records", "--shard-iterator", iterator)["Records"]
    same("the record", [base64.b64decode(record["Data"]) for record in records], [b"tick"])
    aws("split-shard", *stream, "--shard-to-split", shards[0], "--new-starting-hash-key", "1000")
    active()
    aws(
        "merge-shards",
        *stream,
        "--shard-to-merge",
        "shardId-000000000002",
        "--adjacent-shard-to-merge",
        "shardId-000000000003",
    )
    active()
    aws("update-shard-count", *stream, "--target-shard-count", "4", "--scaling-type", "UNIFORM_SCALING")
    same("open shards", active()["OpenShardCount"], 4)
    aws("add-tags-to-stream", *stream, "--tags", "team=ticks")
    same("tags", aws("list-tags-for-stream", *stream)["Tags"], [{"Key": "team", "Value": "ticks"}])
    consumer = aws("register-stream-consumer", "--stream-arn", arn, "--consumer-name", "reader")["Consumer"]
    consumers = aws("list-stream-consumers", "--stream-arn", arn)["Consumers"]
    same("consumers", [listed["ConsumerARN"] for listed in consumers], [consumer["ConsumerARN"]])
    aws("delete-stream", *stream, "--enforce-consumer-deletion")


main()
