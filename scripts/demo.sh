#!/bin/sh
# make demo: two real programs under the fast interpreter.  LOG=DIR keeps the logs.
set -eu
cd "$(dirname "$0")/.."
isan=build/bin/isan
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
logs=${LOG:-$work/logs}
python=$($isan config --python --flavor fast)

step() { printf '\n== %s\n' "$*"; }

# show LOG-DIRECTORY PROGRAM ARGS: run it; findings are what a demo is for.
show() {
    log=$logs/$1
    shift
    status=0
    $isan run --flavor fast --log "$log" -- "$@" || status=$?
    printf '== exit status %s%s\n' "$status" \
        "$(test "$status" = 86 && echo ' (there are findings)')"
}

step "compiling tests/ext/cache_static.c, an extension that keeps a dict in a C static"
/usr/bin/python3 tests/ext/build.py cache_static.c --python "$python" -o "$work"

step "two own-GIL interpreters import it, the first ends (scripts/demo/share.py)"
show share scripts/demo/share.py "$work"

step "pip list in four parallel own-GIL interpreters (scripts/demo/pip_list.py)"
show pip_list scripts/demo/pip_list.py

if [ -n "${LOG:-}" ]; then
    printf '\nThe logs are kept: %s report %s\n' "$isan" "$logs/share"
fi
