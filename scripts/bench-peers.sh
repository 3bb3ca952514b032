#!/usr/bin/env bash
# How fast a file of ticks becomes one-minute rows, beside Spark's Structured Streaming and Flink: scripts/bench-peers.sh
# [OPTION…]; --help lists the options. With --binary=FILE that stockstream is measured and nothing is compiled.
#
# Measures a release build, which is compiled for this alone: many minutes the first time. Spark and Flink take a gigabyte.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

binary=(--binary "$CARGO_TARGET_DIR/release/stockstream")
case " $* " in
    *" --binary"* | *" --help "* | *" -h "*) ;;
    *) scripts/setup.sh build; cargo build --release --package stockstream --bin stockstream ;;
esac
scripts/setup.sh peers-jvm
exec "$peers_venv/bin/python" tests/python/bench/streaming.py "${binary[@]}" --cache "$STOCKSTREAM_CACHE/bench" \
    --python "$jvm_peers_venv/bin/python" --jar "$flink_parquet" "$@"
