"""The reference job's producer through boto3, and the records read back.

The endpoint comes from AWS_ENDPOINT_URL_KINESIS, credentials and region from the usual AWS
variables (any value does). Prints one JSON object of what was seen; exits with 1 if a check failed.
Usage: boto3_producer.py [STREAM]
"""

import json
import sys

import boto3
from botocore.config import Config

TICKS = [
    {
        "ticker": ticker,
        "date": "2024-01-02",
        "timestamp": f"2024-01-02T14:30:{second:02d}",
        "open": 100.0 + second,
        "high": 101.0 + second,
        "low": 99.0 + second,
        "close": 100.5 + second,
        "volume": 1000 + second,
    }
    for second in range(10)
    for ticker in ("AAPL", "AMZN", "GOOGL", "MSFT", "TSLA")
]


def read_shard(kinesis, stream, shard_id):
    """All records of a shard, in its order, up to the tip."""
    iterator = kinesis.get_shard_iterator(
        StreamName=stream, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records = []
    while iterator:
        page = kinesis.get_records(ShardIterator=iterator, Limit=7)
        records += page["Records"]
        if page["MillisBehindLatest"] == 0:
            break
        iterator = page.get("NextShardIterator")
    return records


def check(condition, what, failures):
    if not condition:
        failures.append(what)


def main():
    stream = sys.argv[1] if len(sys.argv) > 1 else "stock_stream"
    kinesis = boto3.client("kinesis", config=Config(retries={"max_attempts": 1}))
    failures = []

    kinesis.create_stream(StreamName=stream, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(
        StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 10}
    )
    puts = []
    for tick in TICKS:
        puts.append(
            kinesis.put_record(
                StreamName=stream, Data=json.dumps(tick), PartitionKey=tick["ticker"]
            )
        )
    batch = kinesis.put_records(
        StreamName=stream,
        Records=[
            {"Data": json.dumps(tick).encode(), "PartitionKey": tick["ticker"]}
            for tick in TICKS
        ],
    )
    check(batch["FailedRecordCount"] == 0, "put_records had failures", failures)

    shards = kinesis.list_shards(StreamName=stream)["Shards"]
    seen = {}
    for shard in shards:
        records = read_shard(kinesis, stream, shard["ShardId"])
        numbers = [int(record["SequenceNumber"]) for record in records]
        check(numbers == sorted(set(numbers)), "sequence numbers must grow", failures)
        seen[shard["ShardId"]] = records
    for put, tick in zip(puts + batch["Records"], TICKS + TICKS):
        found = [
            record
            for record in seen[put["ShardId"]]
            if record["SequenceNumber"] == put["SequenceNumber"]
        ]
        ok = len(found) == 1 and json.loads(found[0]["Data"]) == tick
        ok = ok and found[0]["PartitionKey"] == tick["ticker"]
        check(ok, f"{put['SequenceNumber']} was not read back once", failures)
    total = sum(len(records) for records in seen.values())
    check(total == 2 * len(TICKS), f"{total} records were read", failures)

    try:
        kinesis.describe_stream(StreamName=stream + "-none")
        failures.append("a missing stream was described")
    except kinesis.exceptions.ResourceNotFoundException as error:
        missing = error.response["Error"]["Message"]
    summary = kinesis.describe_stream_summary(StreamName=stream)
    kinesis.delete_stream(StreamName=stream)

    json.dump(
        {
            "stream": summary["StreamDescriptionSummary"]["StreamARN"],
            "status": summary["StreamDescriptionSummary"]["StreamStatus"],
            "shards": {shard: len(records) for shard, records in seen.items()},
            "sent": 2 * len(TICKS),
            "read": total,
            "missing_stream": missing,
            "failures": failures,
        },
        sys.stdout,
        indent=2,
    )
    print()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
