"""What the S3 and Glue suites ask with boto3 and pyarrow, which nobody here wrote. Prints JSON.

s3.py make-bucket ENDPOINT BUCKET
s3.py put ENDPOINT BUCKET KEY TEXT           TEXT as JSON; prints a URL that anybody may read it by
s3.py head ENDPOINT BUCKET PREFIX            every object below PREFIX: size and encryption, as HeadObject tells
s3.py rows ENDPOINT BUCKET PREFIX            the rows below PREFIX, as pyarrow reads them through the server
s3.py make-table ENDPOINT DATABASE TABLE LOCATION KEYS [PARAMETER=VALUE ...]
s3.py partitions ENDPOINT DATABASE TABLE     values, location and input format of each
"""

import json
import sys
import time

import boto3
import botocore.config


def client(service, endpoint):
    config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "max_attempts": 5})
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", config=config)


def make_bucket(endpoint, bucket):
    # A server listens before all of it is ready.
    deadline = time.monotonic() + 60
    while True:
        try:
            client("s3", endpoint).create_bucket(Bucket=bucket)
            return {}
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def put(endpoint, bucket, key, text):
    s3 = client("s3", endpoint)
    s3.put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="application/json")
    return {"url": s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})}


def objects(s3, bucket, prefix):
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


def head(endpoint, bucket, prefix):
    s3 = client("s3", endpoint)
    found = {}
    for listed in objects(s3, bucket, prefix):
        told = s3.head_object(Bucket=bucket, Key=listed["Key"])
        found[listed["Key"]] = {
            "size": told["ContentLength"],
            "encryption": told.get("ServerSideEncryption"),
            "key": told.get("SSEKMSKeyId"),
            "bucketKey": told.get("BucketKeyEnabled"),
        }
    return found


def rows(endpoint, bucket, prefix):
    import pyarrow.dataset
    import pyarrow.fs

    scheme, address = endpoint.split("://")
    store = pyarrow.fs.S3FileSystem(
        access_key="test", secret_key="test", scheme=scheme, endpoint_override=address, region="us-east-1"
    )
    # As Athena: the partition columns come from the path, the files are Parquet.
    selector = pyarrow.fs.FileSelector(f"{bucket}/{prefix}", recursive=True)
    paths = [info.path for info in store.get_file_info(selector) if info.path.endswith(".parquet")]
    hive = pyarrow.dataset.HivePartitioning(
        pyarrow.schema([("ticker", pyarrow.string()), ("trade_date", pyarrow.string())]), segment_encoding="uri"
    )
    table = pyarrow.dataset.dataset(
        paths, filesystem=store, format="parquet", partitioning=hive, partition_base_dir=f"{bucket}/{prefix}"
    ).to_table()
    found = table.to_pylist()
    for row in found:
        for name in ("window_start", "window_end"):
            row[name] = row[name].isoformat()
    return sorted(found, key=lambda row: (row["ticker"], row["window_start"]))


def make_table(endpoint, database, table, location, keys, *parameters):
    glue = client("glue", endpoint)
    try:
        glue.create_database(DatabaseInput={"Name": database})
    except glue.exceptions.AlreadyExistsException:
        pass
    glue.create_table(
        DatabaseName=database,
        TableInput={
            "Name": table,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": dict(parameter.split("=", 1) for parameter in parameters),
            "PartitionKeys": [{"Name": name, "Type": "string"} for name in keys.split(",") if name],
            "StorageDescriptor": {
                "Location": location,
                "Columns": [{"Name": "avg_close", "Type": "double"}],
                "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
                "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
            },
        },
    )
    return {}


def partitions(endpoint, database, table):
    pages = client("glue", endpoint).get_paginator("get_partitions").paginate(DatabaseName=database, TableName=table)
    found = [
        {
            "values": partition["Values"],
            "location": partition["StorageDescriptor"]["Location"],
            "format": partition["StorageDescriptor"]["InputFormat"],
            "columns": [column["Name"] for column in partition["StorageDescriptor"]["Columns"]],
        }
        for page in pages
        for partition in page["Partitions"]
    ]
    return sorted(found, key=lambda partition: partition["values"])


ACTIONS = {
    "make-bucket": make_bucket,
    "put": put,
    "head": head,
    "rows": rows,
    "make-table": make_table,
    "partitions": partitions,
}
json.dump(ACTIONS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
