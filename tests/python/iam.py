"""Prepares a server that enforces policies, by boto3, which nobody here wrote.

iam.py prepare ENDPOINT PLAN    as PLAN, a JSON file, says, before policies count:
    users      policies by user; prints their access keys: {USER: {"key", "secret"}}
    streams    names; each has one shard
    ticks      {STREAM: [tick, ...]}, put into it
    consumers  [STREAM, CONSUMER] pairs
    tables     [DATABASE, TABLE, LOCATION] triples, partitioned by ticker and trade_date
    objects    {KEY: TEXT} in BUCKET
    bucket     gets versions, and a rule that lets objects expire
"""

import json
import sys

import boto3
from botocore.config import Config


def client(service, endpoint):
    config = Config(s3={"addressing_style": "path"})
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", config=config)


def prepare(endpoint, path):
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    fill_streams(client("kinesis", endpoint), plan)
    fill_catalog(client("glue", endpoint), plan["tables"])
    fill_bucket(client("s3", endpoint), plan)
    return make_users(client("iam", endpoint), plan["users"])


def make_users(iam, users):
    keys = {}
    for name, policy in users.items():
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="under-test", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        keys[name] = {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
    return keys


def fill_streams(kinesis, plan):
    arns = {}
    for stream in plan["streams"]:
        kinesis.create_stream(StreamName=stream, ShardCount=1)
    for stream, ticks in plan["ticks"].items():
        for tick in ticks:
            kinesis.put_record(StreamName=stream, PartitionKey=tick["ticker"], Data=json.dumps(tick))
    for stream, consumer in plan["consumers"]:
        if stream not in arns:
            summary = kinesis.describe_stream_summary(StreamName=stream)
            arns[stream] = summary["StreamDescriptionSummary"]["StreamARN"]
        kinesis.register_stream_consumer(StreamARN=arns[stream], ConsumerName=consumer)


def fill_catalog(glue, tables):
    for database in sorted({database for database, _, _ in tables}):
        glue.create_database(DatabaseInput={"Name": database})
    hive = "org.apache.hadoop.hive.ql.io.parquet"
    for database, table, location in tables:
        glue.create_table(
            DatabaseName=database,
            TableInput={
                "Name": table,
                "PartitionKeys": [{"Name": name, "Type": "string"} for name in ("ticker", "trade_date")],
                "StorageDescriptor": {
                    "Location": location,
                    "Columns": [{"Name": "avg_close", "Type": "double"}],
                    "InputFormat": f"{hive}.MapredParquetInputFormat",
                    "OutputFormat": f"{hive}.MapredParquetOutputFormat",
                    "SerdeInfo": {"SerializationLibrary": f"{hive}.serde.ParquetHiveSerDe"},
                },
            },
        )


def fill_bucket(s3, plan):
    bucket = plan["bucket"]
    for key, text in plan["objects"].items():
        s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "elsewhere/"}, "Expiration": {"Days": 365}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    print(json.dumps({"prepare": prepare}[command](*arguments)))
