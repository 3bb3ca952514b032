#!/usr/bin/env bash
# Makes the images of worker and operator without a container engine: scripts/images.sh [--tag TAG] [--profile dev|release]
#
# Each is an OCI archive of one layer in $CARGO_TARGET_DIR/checkouts/…/images, as the last stages of the Dockerfile make it: the static
# binary and the certificates of the authorities that AWS is known by. The same sources give the same bytes.
set -euo pipefail
. "$(dirname "$0")/env.sh"

tag=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -1)
profile=dev
while [ $# -gt 0 ]; do
    case $1 in
        --tag) tag=$2; shift 2 ;;
        --profile) profile=$2; shift 2 ;;
        *) die "usage: scripts/images.sh [--tag TAG] [--profile dev|release]" ;;
    esac
done

cd "$root"
case $profile in
    dev) scripts/build.sh product; binaries=$built/product ;;
    release)
        cargo build --workspace --release --bin stockstream --bin stockstream-operator
        binaries=$CARGO_TARGET_DIR/release
        ;;
    *) die "images: profile $profile is neither dev nor release" ;;
esac

images=$built/images
mkdir -p "$images"
work=$(mktemp -d "$STOCKSTREAM_CACHE/build-XXXXXX")
trap 'rm -rf "$work"' EXIT
# Mozilla's list, as the AWS SDK for Python brings it, in the version that is pinned for the tests.
certificates=$("$venv/bin/python" -c 'import botocore, os; print(os.path.join(os.path.dirname(botocore.__file__), "cacert.pem"))')
for program in stockstream stockstream-operator; do
    archive=$images/$program-$tag.tar
    # What was made of this very binary is as good.
    if [ "$archive" -nt "$binaries/$program" ] && [ "$archive" -nt "$root/tests/cluster/image.py" ]; then continue; fi
    strip -o "$work/$program" "$binaries/$program"
    "$venv/bin/python" tests/cluster/image.py "stockstream.dev/$program:$tag" "$archive" "/$program" \
        "$work/$program" "$certificates=etc/ssl/certs/ca-certificates.crt"
    printf '%s: %s MB compressed: stockstream.dev/%s:%s\n' "$archive" \
        "$(($(stat -c %s "$archive") / 1000000))" "$program" "$tag"
done
