#!/bin/sh
# rustc for this project's crates in `make fuzz`: with the counters that libFuzzer reads. What is compiled to run while
# building would miss libFuzzer's half.
case " $* " in
*" --crate-type proc-macro "* | *" --crate-name build_script_"*) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
