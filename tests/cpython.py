#!/usr/bin/python3
"""CPython's own tests under the debug interpreters, compared with `plain`.

Each test file is run under the plain interpreter and under each flavour asked
for.  It must come to the same result, and every finding must be one of the
defects of CPython listed in tests/cpython-defects.txt.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]
from isan import Problem, pythons, report as report_  # noqa: E402
from reports import suppressions  # noqa: E402

FILES = ["test_interpreters", "test__interpreters", "test__interpchannels", "test_capi", "test_embed",
         "test_import", "test_gc", "test_threading"]
ISAN = ROOT / "build/bin/isan"


def run(python, file, directory):
    """The result lines of one test file, and the report of its logs."""
    # test_embed wants a build directory (pythons.py makes one in each view).
    executable = python.parent.parent / "build-tree/python" if file == "test_embed" else python
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["ISAN_OPTIONS"] = "log_path=%s" % directory
    done = subprocess.run([executable, "-m", "test", file], cwd=directory, env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", timeout=1800)
    result = re.findall(r"^Result: .*$|^Total tests: .*$", done.stdout, re.M) + ["exit status %d" % done.returncode]
    findings = []
    if any(Path(directory).glob("*.log")):
        report = subprocess.run([ISAN, "report", "--format", "json", directory], text=True, stdout=subprocess.PIPE)
        findings = json.loads(report.stdout)["findings"]
    return result, findings, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavor", action="append", choices=("fast", "debug"), help="default: both")
    parser.add_argument("--version", action="append", help="default: 3.13 and 3.14")
    parser.add_argument("files", nargs="*", metavar="FILE", help="default: " + " ".join(FILES))
    args = parser.parse_args()
    known, seen, failed = report_.suppressions_in([str(ROOT / "tests/cpython-defects.txt")]), {}, 0
    for version in args.version or ["3.13", "3.14"]:
        try:
            interpreters = {f: Path(pythons.find_python(f, version))
                            for f in ["plain", *(args.flavor or ["fast", "debug"])]}
        except Problem as problem:
            sys.exit("cpython.py: %s" % problem)
        for file in args.files or FILES:
            for flavor, python in interpreters.items():
                with tempfile.TemporaryDirectory(prefix="isan-cpython-") as directory:
                    result, findings, output = run(python, file, directory)
                strange = []
                for finding in findings:
                    among = [file, version, *suppressions.names(finding)]
                    for defect in known:
                        if suppressions.matches(defect, finding, among):
                            seen.setdefault(defect, set()).add("%s %s" % (file, version))
                            break
                    else:
                        strange.append(finding)
                # A pydebug build runs and skips other tests than a release build does.
                if flavor == "plain":
                    expected = result
                same = result == expected if flavor != "debug" else (
                    [r for r in result if not r.startswith("Total")] == [r for r in expected if not r.startswith("Total")])
                failed += not same or bool(strange)
                print("%-22s %s %-5s  %s; %d findings, %d of them not known%s" % (
                    file, version, flavor, ", ".join(result), len(findings), len(strange),
                    "" if same else "; DIFFERS from plain"), flush=True)
                for finding in strange:
                    print("    %s %s %s" % (finding["kind"], finding["access"], ", ".join(
                        suppressions.names(finding))[:300]))
                if not same:
                    print("    " + "\n    ".join(output.splitlines()[-30:]))
    print("\nDefects of CPython seen:")
    for defect, where in sorted(seen.items()):
        print("  %s:%s  %s\n      in %s" % (defect.kind, defect.pattern, defect.reason, ", ".join(sorted(where))))
    print("\n%s" % ("%d differences" % failed if failed else "the same results, and no finding that is not listed"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
