"""What AWS documents about Kinesis, from the model that botocore carries: prints one JSON object, operation by operation
the documented errors and how a stream is named."""

import json

from botocore.loaders import Loader

model = Loader().load_service_model("kinesis", "service-2")


def operation(described):
    members = model["shapes"][described["input"]["shape"]].get("members", {})
    return {
        "errors": [error["shape"] for error in described.get("errors", [])],
        "by_name": "StreamName" in members,
        "by_arn": any(name in members for name in ("StreamARN", "ResourceARN", "ConsumerARN")),
    }


print(json.dumps({name: operation(described) for name, described in model["operations"].items()}))
