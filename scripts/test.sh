#!/usr/bin/env bash
# Everything that must hold, part by part: scripts/test.sh all | suite NAME [ARGUMENT…]
#
# `all` is `make test`. `suite` builds and runs one of tests/tests/*.rs; arguments go to its test runner.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$root"

names=() times=()

report() {
    local index
    printf '\n%-36s %8s\n' "part of make test" seconds
    for index in "${!names[@]}"; do printf '%-36s %8s\n' "${names[$index]}" "${times[$index]}"; done
}

# part NAME COMMAND…: runs it, keeps its time, stops everything when it fails.
part() {
    local name=$1 begin=$SECONDS
    shift
    printf '\n=== %s: %s\n' "$name" "$*"
    if ! "$@"; then
        names+=("$name: FAILED") times+=($((SECONDS - begin)))
        report
        printf '\nmake test: "%s" failed; to run it alone: %s\n' "$name" "$*"
        exit 1
    fi
    names+=("$name") times+=($((SECONDS - begin)))
}

# What pins packages names no registry and no path: each machine's own settings say where they come from.
no_place() {
    ! grep -rnE '^--|://' tests/python/requirements.txt tests/python/bench/peers*.txt tests/python/servers/*.txt tests/cluster/go.{in,txt,mod,sum} &&
        ! grep -rnE 'GOPROXY|GOSUMDB|(^|[^.$])/(work|root|home|tmp)/' tests/cluster &&
        ! grep -nE '"resolved"' tests/node/package-lock.json worker/web/package-lock.json
}

suites_environment() {
    export STOCKSTREAM_BIN=$built/product/stockstream STOCKSTREAM_OPERATOR_BIN=$built/product/stockstream-operator
    export STOCKSTREAM_IMAGES=$built/images
    export STOCKSTREAM_FAILPOINTS_BIN=$built/failpoints/stockstream
    export STOCKSTREAM_OPERATOR_FAILPOINTS_BIN=$built/failpoints/stockstream-operator
    export STOCKSTREAM_PYTHON=$venv/bin/python
    export STOCKSTREAM_NODE=$node_packages/node
    export STOCKSTREAM_HELM=$kube/bin/helm
    STOCKSTREAM_CHROMIUM=$(browser)
    export STOCKSTREAM_CHROMIUM STOCKSTREAM_PLAYWRIGHT=$node_packages/node_modules/playwright-core/index.mjs
    export STOCKSTREAM_KINESIS_LOCAL=$node_packages/node_modules/kinesis-local/main.js
    STOCKSTREAM_MOTO=$(server_venv moto)/bin/moto_server
    STOCKSTREAM_MINISTACK=$(server_venv ministack)/bin/ministack
    STOCKSTREAM_SEAWEEDFS=$(server_venv seaweedfs)/bin/weed
    STOCKSTREAM_MICROBURST=$(server_venv microburst)/bin/microburst
    export STOCKSTREAM_MOTO STOCKSTREAM_MINISTACK STOCKSTREAM_SEAWEEDFS STOCKSTREAM_MICROBURST
}

# Most suites need neither root nor the minutes that Kubernetes and Helm take to build.
needs_cluster() {
    grep --quiet --recursive --no-messages -E 'stockstream_tests::cluster|helm\(\)' "tests/tests/$1.rs" "tests/tests/$1"
}

needs_images() {
    grep --quiet --recursive --no-messages STOCKSTREAM_IMAGES "tests/tests/$1.rs" "tests/tests/$1"
}

all() {
    part "set-up" scripts/setup.sh test
    part "set-up of a cluster" scripts/setup.sh cluster
    part "Cargo.lock is current" cargo fetch --locked
    part "shared build cache" scripts/build.sh prepare
    part "no place of one machine" no_place
    part "the page is built from its source" scripts/web.sh check
    part "format" cargo fmt --all --check
    part "licences, bans, sources" cargo deny --workspace --all-features check --hide-inclusion-graph licenses bans sources
    part "lint" cargo clippy --workspace --all-targets -- -D warnings
    part "lint with failpoints" cargo clippy --workspace --all-targets --features stockstream/failpoints,stockstream-operator/failpoints -- -D warnings
    part "build" scripts/build.sh suites
    part "no failpoints in the product" without_failpoints
    part "images" scripts/images.sh
    part "unit, property and doc tests" cargo test --workspace --exclude stockstream-tests
    suites_environment
    # Suites that have a long form run their short one.
    export STOCKSTREAM_SHORT=1
    local suite
    for suite in tests/tests/*.rs; do
        suite=$(basename "$suite" .rs)
        part "suite $suite" cargo test --workspace --test "$suite"
    done
    report
    printf '\nmake test: all passed in %s s\n' "$SECONDS"
}

# The variable that failpoints obey must be unknown to what users run, and known to what the suites kill.
without_failpoints() {
    local program
    for program in stockstream stockstream-operator; do
        if grep --quiet STOCKSTREAM_FAILPOINTS "$built/product/$program"; then
            say "the product binary has failpoints: $built/product/$program"
            return 1
        fi
        grep --quiet STOCKSTREAM_FAILPOINTS "$built/failpoints/$program" || {
            say "the binary for the suites has no failpoints: $built/failpoints/$program"
            return 1
        }
    done
}

case ${1-} in
    all) all ;;
    suite)
        [ -n "${2-}" ] && [ -e "tests/tests/$2.rs" ] ||
            die "usage: make suite SUITE=NAME [ARGS=…]; there are: $(basename -s .rs -a tests/tests/*.rs | paste -sd' ')"
        scripts/setup.sh test
        ! needs_cluster "$2" || scripts/setup.sh cluster
        scripts/build.sh suites
        ! needs_images "$2" || scripts/images.sh
        suites_environment
        cargo test --workspace --test "$2" -- "${@:3}"
        ;;
    *) die "usage: scripts/test.sh all | suite NAME [ARGUMENT…]" ;;
esac
