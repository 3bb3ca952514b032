#!/usr/bin/env bash
# Looks for bytes that a faster parser takes and the strict one doesn't, or that they read differently:
#   scripts/fuzz.sh [--target ticks|replies] [--seconds N] [--replay FILE]
#
# libFuzzer on the pinned toolchain: this project's crates are compiled with its counters (tests/fuzz/rustc.sh), all
# others as usual. What it has learned stays below the cache; tests/fuzz/seeds is where it begins.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

targets=(ticks replies) seconds=60 replay=
while [ $# -gt 0 ]; do
    case $1 in
    --target) case ${2-} in ticks | replies) targets=("$2") ;; '') ;; *) die "fuzz: there is no target ${2-}: ticks or replies" ;; esac ;;
    --seconds) seconds=${2:-60} ;;
    --replay) replay=${2-} ;;
    *) die "usage: scripts/fuzz.sh [--target ticks|replies] [--seconds N] [--replay FILE]" ;;
    esac
    shift 2
done
command -v c++ >/dev/null || die "fuzz: libFuzzer is C++: install g++ or clang++"
[ -z "$replay" ] || [ "${#targets[@]}" = 1 ] || die "fuzz: a finding is replayed by its own target: add TARGET=ticks or TARGET=replies"

scripts/build.sh prepare
work=$CARGO_TARGET_DIR/fuzz
mkdir -p "$work"
RUSTC_WORKSPACE_WRAPPER=$root/tests/fuzz/rustc.sh \
    cargo build --workspace --bin fuzz-ticks --bin fuzz-replies --features stockstream-fuzz/libfuzzer

for target in "${targets[@]}"; do
    # A copy of its own: another build may replace the binary.
    ln -f "$CARGO_TARGET_DIR/debug/fuzz-$target" "$work/$target"
    if [ -n "$replay" ]; then exec "$work/$target" "$replay"; fi
    mkdir -p "$work/corpus/$target" "$work/findings/$target"
    say "fuzz: $target for $seconds s"
    if ! "$work/$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 -print_final_stats=1 -verbosity=0 \
        -dict=tests/fuzz/seeds/"$target".dict -artifact_prefix="$work/findings/$target/" \
        "$work/corpus/$target" "tests/fuzz/seeds/$target"; then
        finding=$(find "$work/findings/$target" -type f -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
        die "fuzz: $target found something. To replay it: make fuzz TARGET=$target REPLAY=$finding
Then keep it: copy the file into tests/fuzz/seeds/$target, where make test runs it each time."
    fi
done
