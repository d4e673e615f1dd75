#!/bin/sh
# make demo: one bug on Debian's own Python and under the fast interpreter, and a
# real program.  LOG=DIR keeps the logs.
set -eu
cd "$(dirname "$0")/.."
isan=build/bin/isan
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
logs=${LOG:-$work/logs}
# With the logs, since a report takes names from what they are about.
mkdir -p "$logs/extension"
extension=$(cd "$logs/extension" && pwd)
python=$($isan config --python --flavor fast)

step() { printf '\n== %s\n' "$*"; }

# show LOG-DIRECTORY HOW PROGRAM ARGS: run it; findings are what a demo is for.
show() {
    log=$logs/$1
    how=$2
    shift 2
    status=0
    $isan run $how --log "$log" -- "$@" || status=$?
    printf '== exit status %s%s\n' "$status" \
        "$(test "$status" = 86 && echo ' (there are findings)')"
}

step "compiling tests/ext/cache_static.c, an extension that keeps a dict in a C static"
for for in /usr/bin/python3 "$python"; do
    /usr/bin/python3 tests/ext/build.py cache_static.c --python "$for" -o "$extension"
done

step "two interpreters of Debian's own Python import it, the first ends (scripts/demo/share.py)"
show stock "" /usr/bin/python3 scripts/demo/share.py "$extension"

step "the same with own-GIL interpreters of the fast Python, which sees each use"
show share "--flavor fast" scripts/demo/share.py "$extension"

step "pip list in four parallel own-GIL interpreters (scripts/demo/pip_list.py)"
show pip_list "--flavor fast" scripts/demo/pip_list.py

if [ -n "${LOG:-}" ]; then
    printf '\nThe logs are kept: %s report %s\n' "$isan" "$logs/share"
fi
