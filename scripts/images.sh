#!/usr/bin/env bash
# Makes the images of worker and operator without a container engine:
# scripts/images.sh [--profile dev|release] [--tag TAG] [--binaries DIRECTORY] [--to DIRECTORY]
#
#   dev      of what the suites run, for them, below $CARGO_TARGET_DIR/checkouts (default)
#   release  as they are published, in images/ of this checkout: `make images`
#
# Each is an OCI archive with the files, user, entry point and labels that the last stages of the Dockerfile have: the static
# binary, and the certificates of the authorities that AWS is known by. Prints file, name, compressed size and digest of each.
# The same binaries give the same bytes; docs/kubernetes.md says how to check that.
set -euo pipefail
. "$(dirname "$0")/env.sh"

usage="usage: scripts/images.sh [--profile dev|release] [--tag TAG] [--binaries DIRECTORY] [--to DIRECTORY]"
# Of an archive, which is what a registry stores and a node fetches, in bytes.
MAX_SIZE=60000000

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -1)
tag=$version profile=dev binaries='' images=''
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || die "$usage"
    case $1 in
        --profile) profile=$2 ;;
        --tag) tag=$2 ;;
        --binaries) binaries=$(cd "$2" && pwd -P) ;;
        --to) images=$(mkdir -p "$2" && cd "$2" && pwd -P) ;;
        *) die "$usage" ;;
    esac
    shift 2
done

cd "$root"
case $profile in
    dev) build=product; images=${images:-$built/images} ;;
    release) build=release; images=${images:-$root/images} ;;
    *) die "images: profile $profile is neither dev nor release" ;;
esac
if [ -z "$binaries" ]; then
    scripts/build.sh "$build"
    binaries=$built/$build
fi

# Mozilla's list, as the AWS SDK for Python brings it, in the version that is pinned for the tests.
certificates=$("$venv/bin/python" -c 'import botocore, os; print(os.path.join(os.path.dirname(botocore.__file__), "cacert.pem"))')
mkdir -p "$images"
work=$(mktemp -d "$STOCKSTREAM_CACHE/build-XXXXXX")
trap 'rm -rf "$work"' EXIT

describe() {
    case $1 in
        stockstream) echo "Worker of Stockstream: Kinesis streams of stock ticks into one-minute Parquet rows" ;;
        stockstream-operator) echo "Operator of Stockstream: looks after the StockStreams of a Kubernetes cluster" ;;
    esac
}

# made PROGRAM ARCHIVE: what was made of this very binary in this very way is as good.
made() {
    local input
    for input in "$binaries/$1" "$certificates" tests/cluster/image.py scripts/images.sh Cargo.toml; do
        [ "$2" -nt "$input" ] || return 1
    done
}

for program in stockstream stockstream-operator; do
    archive=$images/$program-$tag.tar
    name=stockstream.dev/$program:$tag
    if ! made "$program" "$archive"; then
        # A wrapper of somebody's own (RUSTC_WRAPPER) may have linked it.
        ! readelf --program-headers "$binaries/$program" | grep --quiet INTERP ||
            die "images: $binaries/$program isn't static: it must be built with RUSTC_WRAPPER=scripts/rustc.sh"
        strip -o "$work/$program" "$binaries/$program"
        # The certificates first: both images share that layer.
        "$venv/bin/python" tests/cluster/image.py \
            --label "org.opencontainers.image.title=$program" \
            --label "org.opencontainers.image.description=$(describe "$program")" \
            --label "org.opencontainers.image.version=$version" \
            --label "org.opencontainers.image.licenses=Apache-2.0" \
            "$name" "$archive" "/$program" "$certificates=etc/ssl/certs/ca-certificates.crt:0644" "$work/$program=$program:0755"
    fi
    size=$(stat -c %s "$archive")
    digest=$(tar --extract --to-stdout --file "$archive" index.json | sed 's/.*"digest": "\(sha256:[0-9a-f]*\)".*/\1/')
    printf '%s\n  %s, %s MB compressed, %s\n' "$archive" "$name" "$((size / 1000000)).$((size / 100000 % 10))" "$digest"
    [ "$size" -lt "$MAX_SIZE" ] || die "images: $archive has $size bytes; it must have fewer than $MAX_SIZE"
done
