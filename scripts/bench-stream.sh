#!/usr/bin/env bash
# How fast a pipeline is from the stream to Parquet: scripts/bench-stream.sh [OPTION…]; --help lists the options.
#
# Measures a release build, which is compiled for this alone: many minutes the first time. Where the worker's time goes
# is shown when the system's `perf` is there.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

scripts/setup.sh test
scripts/build.sh prepare
cargo build --release --package stockstream --bin stockstream
exec cargo bench --quiet --profile dev --package stockstream-tests --bench stream -- \
    --binary "$CARGO_TARGET_DIR/release/stockstream" "$@"
