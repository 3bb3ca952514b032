#!/usr/bin/env bash
# How fast the embedded Kinesis is, beside kinesis-local: scripts/bench-kinesis.sh [OPTION…]; --help lists the options.
#
# Measures a release build, which is compiled for this alone: minutes the first time. Where the server's time goes is
# shown when the system's `perf` is there.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

scripts/setup.sh test
scripts/build.sh prepare
exec cargo bench --quiet --package stockstream-local --bench kinesis -- \
    --kinesis-local "$node_packages/node_modules/kinesis-local" \
    --node "$node_packages/node" \
    --preload "$root/tests/node/loopback.cjs" \
    "$@"
