#!/usr/bin/env bash
# The newest rows of the demo, read back by DuckDB.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

output=.stockstream/demo/s3/my-lake/streaming/avg_1min
[ -d "$output" ] || die "there are no rows below $output yet: run make demo"
scripts/setup.sh python
"$venv/bin/python" - "$output" <<'END'
import sys

import duckdb

duckdb.sql("SET TimeZone = 'UTC'")
rows = duckdb.read_parquet(f"{sys.argv[1]}/**/*.parquet", hive_partitioning=True)
rows.order("window_start DESC, ticker").limit(15).show(max_width=120)
print(f"{len(rows)} rows in all")
END
