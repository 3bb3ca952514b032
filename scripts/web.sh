#!/usr/bin/env bash
# The page's front end: scripts/web.sh build|check
#
#   build   worker/web/src → worker/web/dist, which is checked in, so that cargo alone builds the product
#   check   fails when that would change anything
set -euo pipefail
. "$(dirname "$0")/env.sh"

what=${1-}
case $what in build | check) ;; *) die "usage: scripts/web.sh build|check" ;; esac

cd "$root"
scripts/setup.sh web
web=$root/worker/web
# Built in the cache, beside the packages: nothing of them lies in the checkout, and two checkouts don't meet.
build=$(mktemp -d "$web_packages/build-XXXXXX")
trap 'rm -rf "$build"' EXIT
cp -r "$web"/{index.html,package.json,tsconfig.json,vite.config.js,public,src} "$build"
(
    cd "$build"
    "$web_packages/node" "$web_packages/node_modules/typescript/bin/tsc" --project .
    "$web_packages/node" "$web_packages/node_modules/vite/bin/vite.js" build --logLevel warn
)
# What it was built from; a test of worker/src/page/assets.rs compares.
(cd "$web" && find . -type f -not -path './dist/*' -not -path './node_modules/*' | LC_ALL=C sort | xargs sha256sum) >"$build/dist/sources.sha256"

if [ "$what" = check ]; then
    diff --recursive --brief "$build/dist" "$web/dist" || die "worker/web/dist isn't what its source makes: run make web, and commit what it wrote"
else
    rm -rf "$web/dist"
    cp -r "$build/dist" "$web/dist"
fi
