# Where things are; sourced by the other scripts. Sets nothing that is set already.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export STOCKSTREAM_CACHE=${STOCKSTREAM_CACHE:-$HOME/.cache/stockstream}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$STOCKSTREAM_CACHE/target}
tools=$STOCKSTREAM_CACHE/tools
# A shell that isn't a login shell may lack rustup's directory.
command -v cargo >/dev/null || PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
PATH=$tools/bin:$PATH
export PATH

# Links the programs statically. Whoever has a wrapper of their own keeps it, and gets no images.
export RUSTC_WRAPPER=${RUSTC_WRAPPER:-$root/scripts/rustc.sh}

# Test binaries may have been compiled for another checkout of the same sources.
export INSTA_WORKSPACE_ROOT=${INSTA_WORKSPACE_ROOT:-$root}

# What this checkout built: `stockstream` and `stockstream-operator` in `product/` and `failpoints/`. Several checkouts may
# share the cache.
built=$CARGO_TARGET_DIR/checkouts/$(printf %s "$root" | cksum | cut -d' ' -f1)

requirements=$root/tests/python/requirements.txt
venv=$STOCKSTREAM_CACHE/venv-$(cksum <"$requirements" | cut -d' ' -f1)
# Packages of tests/node; Node itself comes with the virtual environment.
node_packages=$STOCKSTREAM_CACHE/node-$(cksum <"$root/tests/node/package-lock.json" | cut -d' ' -f1)
# What builds the page.
web_packages=$STOCKSTREAM_CACHE/web-$(cksum <"$root/worker/web/package-lock.json" | cut -d' ' -f1)

# Servers that stand in for AWS: each has an environment of its own, for their pins clash.
servers=(moto ministack seaweedfs microburst)
server_venv() { printf '%s/venv-%s-%s' "$STOCKSTREAM_CACHE" "$1" "$(cksum <"$root/tests/python/servers/$1.txt" | cut -d' ' -f1)"; }

# What `make bench` compares with.
peers=$root/tests/python/bench/peers.txt
peers_venv=$STOCKSTREAM_CACHE/venv-peers-$(cksum <"$peers" | cut -d' ' -f1)

# What `make bench-peers` compares with besides, and Flink's Parquet format.
jvm_peers=$root/tests/python/bench/peers-jvm.txt
jvm_peers_venv=$STOCKSTREAM_CACHE/venv-peers-jvm-$(cksum <"$jvm_peers" | cut -d' ' -f1)
flink_parquet=$jvm_peers_venv/flink-sql-parquet.jar

# Kubernetes and what is tried on it, as the tests' clusters run it: what is built from tests/cluster.
kube=$STOCKSTREAM_CACHE/kube-$(cat "$root"/tests/cluster/{build.sh,go.mod,go.sum,go.txt,*/*.go} | cksum | cut -d' ' -f1)

# A Chromium of this machine; empty when there is none.
browser() { command -v chromium || command -v chromium-browser || command -v google-chrome || true; }

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
