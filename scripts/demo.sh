#!/usr/bin/env bash
# The main job on this machine: real bars into an embedded Kinesis, one-minute rows out as Parquet.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

scripts/setup.sh build
scripts/build.sh product

data=.stockstream/demo
# A second run of the same bars would begin in the past again, before the watermark that the first one left.
rm -rf "$data"
bin/stockstream dev --log-format text -f examples/quickstart.yaml --replay examples/data/daily.csv --rate 100 --speed 60 --once --data-dir "$data"

output=$data/s3/my-lake/streaming/avg_1min
newest=$(find "$output" -name '*.parquet' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d' ' -f2-)
[ -n "$newest" ] || die "demo: there are no rows below $output"
cat <<END

Look next:
  make rows                                    the rows, read back by DuckDB
  bin/stockstream inspect file '$newest'
                                               which ticks of which shard are in a file
  bin/stockstream inspect shards $data/s3/my-lake/checkpoints/stock-ticks
                                               where each shard stands
  bin/stockstream dev --log-format text -f examples/quickstart.yaml --replay examples/data/daily.csv --speed 60 --data-dir .stockstream/live
                                               the same without an end: q ends it
  docs/exactly-once.md                         why no row is missing or there twice, whenever it is killed
END
