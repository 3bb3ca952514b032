#!/usr/bin/env bash
# Builds the binary: scripts/build.sh product|suites|release|prepare
#
#   product  `stockstream` and `stockstream-operator` as users get them; linked into bin/
#   suites   those, and both with failpoints: what the suites kill at named points
#   release  both as they are published: optimised, which takes many minutes; not linked into bin/
#   prepare  nothing, but what comes before every build or lint in a shared cache
#
# All cargo commands of this project select the whole workspace, so that cargo resolves the same features for all of
# them and compiles each dependency once.
set -euo pipefail
. "$(dirname "$0")/env.sh"

what=${1-product}
case $what in product | suites | release | prepare) ;; *) die "usage: scripts/build.sh product|suites|release|prepare" ;; esac

cd "$root"
mkdir -p "$CARGO_TARGET_DIR/checkouts" "$built"
exec 9>"$CARGO_TARGET_DIR/checkouts/lock"
flock --nonblock 9 || { say "build: waiting for another build to end"; flock 9; }

# Cargo knows by time stamps what to compile again, not by content or path. When another checkout with other sources
# built here last, its results may be newer than our sources: forget them.
sources() {
    find Cargo.toml Cargo.lock crds worker operator tests -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.yaml' -o -name '*.json' -o -path '*/dist/*' -o -name Cargo.lock \) \
        -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}
forget_other_checkouts() {
    local last=$CARGO_TARGET_DIR/checkouts/last last_root='' last_sources='' now
    now=$(sources)
    if [ -e "$last" ]; then { read -r last_sources; read -r last_root; } <"$last"; fi
    if [ -n "$last_root" ] && [ "$last_root" != "$root" ]; then
        # The same sources in a copy: what is built is right, and stays the other's.
        [ "$last_sources" != "$now" ] || return 0
        say "build: compiling this project's crates again: $last_root built here last"
        # Not `cargo clean -p`: it goes by the names of targets, and a test named `http` takes the crate http with it.
        rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/stockstream-*
    fi
    printf '%s\n%s\n' "$now" "$root" >"$last"
}

# Checkouts leave a link to what they built: drop those of checkouts that are gone.
forget_gone_checkouts() {
    local name
    for name in "$CARGO_TARGET_DIR"/checkouts/*/root; do
        if [ -e "$name" ] && [ ! -d "$(cat "$name")" ]; then rm -rf "$(dirname "$name")"; fi
    done
    printf '%s' "$root" >"$built/root"
}

# keep PROFILE FOLDER PROGRAM…: a hard link stays what it is, for linkers write a new file.
keep() {
    mkdir -p "$built/$2"
    local program
    for program in "${@:3}"; do ln -f "$CARGO_TARGET_DIR/$1/$program" "$built/$2/$program"; done
}

forget_gone_checkouts
forget_other_checkouts
[ "$what" != prepare ] || exit 0
if [ "$what" = release ]; then
    cargo build --workspace --release --locked --bin stockstream --bin stockstream-operator
    keep release release stockstream stockstream-operator
    exit 0
fi
if [ "$what" = suites ]; then
    cargo build --workspace --bin stockstream --bin stockstream-operator \
        --features stockstream/failpoints,stockstream-operator/failpoints
    keep debug failpoints stockstream stockstream-operator
fi
cargo build --workspace --bin stockstream --bin stockstream-operator
keep debug product stockstream stockstream-operator
mkdir -p bin
for program in stockstream stockstream-operator; do ln -sfn "$built/product/$program" "bin/$program"; done
