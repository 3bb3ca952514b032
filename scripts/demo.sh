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
# The first port on which nobody answers; without one `dev` says so.
port=8080
while [ "$port" -lt 8100 ] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
cat <<END

The page, while the demo runs (40 s): http://127.0.0.1:$port/

END
bin/stockstream dev --log-format text -f examples/quickstart.yaml --replay examples/data/daily.csv --rate 100 --speed 60 --once --data-dir "$data" --listen "127.0.0.1:$port"

output=$data/s3/my-lake/streaming/avg_1min
newest=$(find "$output" -name '*.parquet' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d' ' -f2-)
[ -n "$newest" ] || die "demo: there are no rows below $output"
cat <<END

Look next:
  make rows                                    the rows, read back by DuckDB
  bin/stockstream dashboard -f examples/quickstart.yaml --data-dir $data
                                               the page of what it left: every ticker's minutes
  bin/stockstream inspect file '$newest'
                                               which ticks of which shard are in a file
  bin/stockstream inspect shards $data/s3/my-lake/checkpoints/stock-ticks
                                               where each shard stands
  bin/stockstream dev --log-format text -f examples/quickstart.yaml --replay examples/data/daily.csv --speed 60 --data-dir .stockstream/live
                                               the same without an end: q ends it
  docs/exactly-once.md                         why no row is missing or there twice, whenever it is killed
END
