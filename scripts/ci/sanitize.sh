#!/bin/sh
# The CI sanitizer job; action.yml and gitlab.yml only call it.  docs/ci.md tells more.
set -eu
program=$(readlink -f "$0")
root=$(dirname "$(dirname "$(dirname "$program")")")

usage() {
    cat <<'END'
Usage: sanitize.sh [OPTIONS] --check MODULE...       isan check, with its options and what it checks
       sanitize.sh [OPTIONS] --test [PYTEST ARGS]    isan test
       sanitize.sh                                   what ISAN_CI_CHECK or ISAN_CI_TEST says, words between spaces

Check extension modules, or run a test suite, under isan.  Exit status: 86 if something was found that is not in the
baseline, else that of the tests (1: some failed), 2 for wrong usage or what could not be checked.

  --python PY            the Python to do it with (default: python3; ISAN_CI_PYTHON)
  --flavor FLAVOR        fast, debug or tsan: with this interpreter, which is built if it is missing (ISAN_CI_FLAVOR)
  --version V            its release, such as 3.13 (ISAN_CI_VERSION)
  --baseline FILE        the report.json of an earlier run: what it has is known (ISAN_CI_BASELINE)
  --suppressions FILE    what is to be left out (ISAN_CI_SUPPRESSIONS)
  --output DIR           where to write report.{txt,json,html,sarif}, junit.xml, summary.md and the logs, log/
                         (default: isan-report; ISAN_CI_OUTPUT)
  --help

The variables hold where no option is given; an empty one is none.  isan is that of this checkout, which is built if it
is not yet (apt installs what that needs); ISAN=COMMAND takes an installed one.  In a step of GitHub's, summary.md is
added to the summary of the job.
END
}

fail() {
    echo "sanitize.sh: $*" >&2
    exit 2
}

python=${ISAN_CI_PYTHON:-} flavor=${ISAN_CI_FLAVOR:-} version=${ISAN_CI_VERSION:-} output=${ISAN_CI_OUTPUT:-isan-report}
baseline=${ISAN_CI_BASELINE:-} suppressions=${ISAN_CI_SUPPRESSIONS:-} command=
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --check | --test)
        command=${1#--}
        shift
        break
        ;;
    --python | --flavor | --version | --baseline | --suppressions | --output)
        [ -n "${2:-}" ] || fail "$1 needs a value; see --help"
        case $1 in
        --python) python=$2 ;;
        --flavor) flavor=$2 ;;
        --version) version=$2 ;;
        --baseline) baseline=$2 ;;
        --suppressions) suppressions=$2 ;;
        --output) output=$2 ;;
        esac
        shift 2
        ;;
    *) fail "there is no option $1; see --help" ;;
    esac
done
if [ -z "$command" ]; then
    case ${ISAN_CI_CHECK:+check}${ISAN_CI_TEST:+test} in
    check) words=$ISAN_CI_CHECK command=check ;;
    test) words=$ISAN_CI_TEST command=test ;;
    '') fail "say what to do: --check MODULE... or --test [PYTEST ARGS] (ISAN_CI_CHECK, ISAN_CI_TEST); see --help" ;;
    *) fail "ISAN_CI_CHECK and ISAN_CI_TEST are both set; there is one of them for each run" ;;
    esac
    # Words, but no patterns.
    set -f
    # shellcheck disable=SC2086
    set -- $words
    set +f
fi
[ "$command" = test ] || [ $# -gt 0 ] || fail "--check needs a MODULE; see --help"
[ -z "$python" ] || [ -z "$flavor" ] || fail "--python and --flavor exclude each other"
[ -z "$version" ] || [ -n "$flavor" ] || fail "--version goes with --flavor"

isan=${ISAN:-$root/build/bin/isan}
if [ -z "${ISAN:-}" ] && [ ! -x "$isan" ]; then
    "$root/scripts/deps.sh" build || exit 2
    make -s -C "$root" all >&2 || fail "isan could not be built: see above"
fi
# Where nothing is to be done, it only prints its name.
[ -z "$flavor" ] || "$isan" python --flavor "$flavor" ${version:+--version "$version"} >&2 || exit 2

# What another run has left is no result of this one.
mkdir -p "$output" || fail "cannot write to $output: give --output another directory"
for name in report.txt report.json report.html report.sarif junit.xml summary.md; do
    rm -f "$output/$name"
done
rm -rf "$output/log"

status=0
"$isan" "$command" ${python:+--python "$python"} ${flavor:+--flavor "$flavor"} ${version:+--version "$version"} \
    ${baseline:+--baseline "$baseline"} ${suppressions:+--suppressions "$suppressions"} \
    --log "$output/log" --reports "$output" "$@" || status=$?

if [ -f "$output/summary.md" ]; then
    [ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat "$output/summary.md" >> "$GITHUB_STEP_SUMMARY"
    echo "sanitize.sh: the reports are in $output" >&2
elif [ "$status" = 0 ]; then
    fail "there is no report, so nothing was checked"
fi
exit "$status"
