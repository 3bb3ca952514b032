#!/usr/bin/env bash
# The simulation: scripts/sim.sh seeds|mutants [its options]. docs/simulation.md tells what it is.
set -euo pipefail
. "$(dirname "$0")/env.sh"

what=${1-}
case $what in seeds | mutants) shift ;; *) die "usage: scripts/sim.sh seeds|mutants [options]" ;; esac

cd "$root"
scripts/build.sh prepare
features=()
[ "$what" = seeds ] || features=(--features stockstream-simulation/mutants)
cargo build --workspace --bin simulation "${features[@]}"
# A copy of its own: a build beside a long run may replace the binary.
mkdir -p "$built/simulation"
ln -f "$CARGO_TARGET_DIR/debug/simulation" "$built/simulation/$what"
exec "$built/simulation/$what" "$@"
