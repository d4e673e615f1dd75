"""What the report says about modules without debug information."""
import os
import re
import sys

import pytest

from helpers.compiled import run
from helpers.log_writer import Writer
from helpers.product import log, packages, text
from helpers.sample_log import BIAS, report_of


@pytest.fixture
def dpkg(tmp_path, monkeypatch):
    """dpkg(packages) puts a stand-in for dpkg on PATH, and returns the file that lists its calls."""
    def fake(packages):
        (tmp_path / "bin").mkdir()
        path = tmp_path / "bin" / "dpkg"
        path.write_text("#!%s\nimport sys\nopen(%r, 'a').write(' '.join(sys.argv[1:]) + '\\n')\nknown = %r\n"
                        "for name in sys.argv[2:]:\n    if name in known: print(known[name] + ': ' + name)\nsys.exit(1)\n"
                        % (sys.executable, str(tmp_path / "calls"), packages))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", "%s:%s" % (path.parent, os.environ["PATH"]))
        return tmp_path / "calls"
    return fake


def test_advice_names_the_debug_package(dpkg):
    names = {"/usr/bin/python3.13": "python3.13-minimal", "/usr/lib/libpython3.14.so.1.0": "libpython3.14:amd64",
             "/lib/x/libz.so.1": "zlib1g:amd64, zlib1g:i386", "/usr/lib/a.so": "diversion by x from"}
    calls = dpkg(names)
    paths = ["/usr/bin/python3.13", "/usr/lib/libpython3.14.so.1.0", "/usr/lib/x/libz.so.1", "/usr/lib/a.so", "/home/m.so",
             "/odd/[x]*.so", "linux-vdso.so.1", "-x"]
    assert packages.advice(paths) == {
        "/usr/bin/python3.13": "install python3.13-dbg", "/usr/lib/libpython3.14.so.1.0": "install python3.14-dbg",
        "/usr/lib/x/libz.so.1": "install zlib1g-dbg or zlib1g-dbgsym",
        **dict.fromkeys(paths[3:], "build it with -g")}
    assert len(calls.read_text().splitlines()) == 1


def test_advice_without_dpkg(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert packages.advice(["/usr/bin/python3.13"]) == {"/usr/bin/python3.13": "build it with -g"}


def test_modules_without_names_are_noted_once(symbolizer, foo, spam, tmp_path, dpkg):
    bare, fully = foo.copy(tmp_path / "_bare.so"), foo.copy(tmp_path / "_python.so")
    frames, members = foo.copy(tmp_path / "_frames.so"), spam.copy(tmp_path / "_members.so")
    for path in bare, fully, frames, members:
        run("strip", path)
    dpkg({str(fully): "python3.13-minimal"})
    w = Writer()
    w.process()
    for i, path in enumerate((foo.path, bare, fully, frames, members), 1):
        w.module(str(path), i * BIAS)
    w.interp(2, log.BEGIN)
    cache, use = foo.symbols["cache"], foo.symbols["use_cache"] + 4
    for id, base in (1, 1), (2, 2), (3, 2), (4, 3):
        w.leak(id, owner=2, holder=base * BIAS + cache + id % 2, keeper="static", type="T%d" % id)
    w.finding(5, "share", owner=2, used=w.stack([4 * BIAS + use, 2 * BIAS + use]))
    w.leak(6, owner=2, keeper="cycle")
    w.reason(6, "no_visit_member", ("spam.Node", "", ""), basicsize=56, offset=16, code=5 * BIAS + spam.symbols["push"])
    w.exit(1)
    report = report_of(symbolizer, w.write(tmp_path))
    says = " has no debug information, so that names and lines are missing: "
    assert report["notes"] == [{"pid": None, "text": text} for text in (
        "%s%sbuild it with -g" % (bare, says), "%s%sbuild it with -g" % (frames, says),
        "%s%sbuild it with -g" % (members, says), "%s%sinstall python3.13-dbg" % (fully, says))]
    # Without a name, a static is an offset in its section.
    assert re.search(r"kept alive by a static in \.bss of _bare\.so \(_bare\.so\+0x[0-9a-f]+\)", text.render(report))
