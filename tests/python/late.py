"""The late ticks below a rejects path, as pyarrow reads them. Usage: late.py REJECTS_DIR"""

import base64
import json
import pathlib
import sys

import pyarrow.parquet

rows = []
for file in sorted(pathlib.Path(sys.argv[1]).rglob("*.parquet")):
    table = pyarrow.parquet.ParquetFile(file).read()
    kinds = {field.name: str(field.type) for field in table.schema}
    wrong = [n for n in ("event_time", "arrival_time", "watermark") if kinds[n] != "timestamp[us, tz=UTC]"]
    if wrong or kinds["data"] != "binary":
        raise SystemExit(f"{file}: {kinds}")
    for row in table.to_pylist():
        row["data_base64"] = base64.b64encode(row.pop("data")).decode()
        for name in ("event_time", "arrival_time", "watermark"):
            row[name] = row[name].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        rows.append(row)
json.dump(rows, sys.stdout)
