#!/usr/bin/env bash
# What cargo calls in place of rustc (RUSTC_WRAPPER, see env.sh): links the two programs statically, so that they run FROM
# scratch, and passes everything else on. Only their last step differs: nothing else is compiled for it.
set -euo pipefail
arguments=("$@") name='' kind=''
while [ $# -gt 0 ]; do
    case $1 in
        --crate-name) name=${2-} ;;
        --crate-type) kind=${2-} ;;
    esac
    shift
done
case $kind:$name:${OSTYPE-} in
    bin:stockstream:linux-gnu* | bin:stockstream_operator:linux-gnu*) arguments+=(-C target-feature=+crt-static) ;;
esac
exec "${arguments[@]}"
