#!/bin/sh
# Fuzz what isan parses: fuzz.sh TARGET SECONDS [libFuzzer's options], from the top of the tree.  TARGET is log,
# suppressions or options.  What it learns is kept in build/fuzz/corpus; a crash is build/fuzz/TARGET-crash-*: once
# repaired, it goes to tests/fuzz/crashes/TARGET/.
set -eu
target=$1 seconds=$2
shift 2
out=build/fuzz
mkdir -p $out/corpus/$target $out/seeds
clang=$(command -v clang-19 || command -v clang) || {
    echo "isan: there is no clang: run make deps" >&2
    exit 2
}
case $target in
options)
    $clang -g -O1 -fsanitize=fuzzer,address,undefined -I. -Iinclude -o $out/options tests/fuzz/options.c
    program=$out/options seeds=tests/fuzz/seeds/options ;;
log | suppressions)
    # shellcheck disable=SC2046
    $clang -g -O1 -fsanitize=fuzzer $("${PYTHON:-/usr/bin/python3}-config" --includes) -o $out/python tests/fuzz/python.c \
        $("${PYTHON:-/usr/bin/python3}-config" --ldflags --embed)
    program=$out/python seeds=tests/fuzz/seeds/$target
    export ISAN_FUZZ=fuzz_$target PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/fuzz:tests:.:scripts
    if [ $target = log ]; then
        "${PYTHON:-/usr/bin/python3}" tests/fuzz/seeds.py $out/seeds
        seeds=$out/seeds/log
    fi ;;
*)
    echo "isan: nothing is called $target: log, suppressions or options" >&2
    exit 2 ;;
esac
exec $program -max_total_time="$seconds" -max_len=4000 -artifact_prefix=$out/$target- "$@" $out/corpus/$target $seeds
