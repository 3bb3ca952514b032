#!/usr/bin/env bash
# How fast files of ticks become one-minute rows, beside DuckDB and Polars: scripts/bench.sh [OPTION…]; --help lists the
# options.
#
# Measures a release build, which is compiled for this alone: many minutes the first time.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

scripts/setup.sh build
scripts/setup.sh peers
cargo build --release --package stockstream --bin stockstream
exec "$peers_venv/bin/python" tests/python/bench/main.py \
    --binary "$CARGO_TARGET_DIR/release/stockstream" --cache "$STOCKSTREAM_CACHE/bench" "$@"
