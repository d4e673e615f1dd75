"""CPython's own residue: what it leaves behind when an empty interpreter ends.

It differs between releases and configurations, so that a list written by hand would not stay right. It is measured once
for each build of the interpreter and of isan, and kept in the cache.
"""
import collections
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from isan import ROOT, launch
from isan.reports import model
from isan.reports.read import log
from isan.reports.symbolize.symbols import Symbolizer

EMBED = os.path.join(ROOT, "build", "libexec", "isan-python")
FORMAT = 4
_PYTHON = re.compile(r"python[\d.]*d?$")
_LIBPYTHON = re.compile(r"libpython3\.\d+d?\.so")

# Two interpreters of each kind: the second shows what only the first one leaves.
SCRIPT = """
try:
    import _interpreters as api
    makers = [lambda: api.create('legacy'), lambda: api.create('isolated')]
    run = api.exec
except ImportError:
    import _xxsubinterpreters as api
    makers = [lambda: api.create(isolated=False), lambda: api.create(isolated=True)]
    run = api.run_string
for make in makers:
    for _ in range(2):
        interp = make()
        run(interp, 'pass')
        api.destroy(interp)
"""

# The main interpreter's residue. sys.exit does not return to its C caller, so that what that would free stays
# (Python/pythonrun.c, Py_Exit).
MAIN = ["pass", "raise SystemExit"]


def cache():
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isan" / "residue"


def key(executable):
    digest = hashlib.sha256(b"%d" % FORMAT)
    for path in executable, launch.LIBRARY:
        path = os.path.realpath(path)
        st = os.stat(path)
        digest.update(os.fsencode("%s\0%d\0%d\0" % (path, st.st_size, st.st_mtime_ns)))
    return digest.hexdigest()[:32]


def python_of(process):
    """(the file with the Python of a log, the command that runs that Python).

    A host cannot run the measurement. The libpython that it is linked with can, through isan-python.
    """
    if not _PYTHON.match(os.path.basename(process.exe)):
        for module in process.known_modules:
            if _LIBPYTHON.match(os.path.basename(module.path)):
                return module.path, [EMBED, module.path]
    return process.exe, [process.exe]


def run(command, preload, script):
    """The report on a script, with the leaks of the main interpreter. The script must succeed."""
    with tempfile.TemporaryDirectory(prefix="isan-residue-") as directory:
        file = Path(directory) / "script.py"
        file.write_text(script, encoding="utf-8")
        logs = Path(directory) / "log"
        env = launch.environment(preload, log_path=logs, exitcode=0, leaks_at_exit=1)
        done = subprocess.run([*command, "-I", file], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120)
        if done.returncode:
            last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["status %d" % done.returncode]
            raise RuntimeError(last[0])
        with Symbolizer() as symbolizer:
            return model.build(log.read(log.logs_in(logs)), symbolizer, merge=False)


def measure(command, preload):
    """Run empty interpreters. Returns what they left: kind of interpreter -> groups."""
    groups = collections.defaultdict(collections.Counter)
    for script in [SCRIPT, *MAIN]:
        for leak in run(command, preload, script)["findings"]:
            owner = leak["owner"]
            if leak["kind"] == "leak" and owner and (owner["kind"] == "main") == (script in MAIN):
                group = groups[script, owner["kind"], owner["serial"]]
                group[("count",) + model.residue_key(leak)] += leak["count"]
                group[("bytes",) + model.residue_key(leak)] += leak["bytes"]
    most = collections.defaultdict(collections.Counter)
    for (_, kind, _), counts in groups.items():
        most[kind] |= counts
    return {kind: [{"type": type, "origin": origin, "holder": holder, "count": n,
                    "bytes": counts["bytes", type, origin, holder]}
                   for (what, type, origin, holder), n in sorted(counts.items()) if what == "count"]
            for kind, counts in most.items()}


_measured = {}      # by key; all there is where the cache cannot be written to


def kept(name):
    try:
        return json.loads((cache() / (name + ".json")).read_text(encoding="utf-8"))["kinds"]
    except (OSError, RuntimeError, ValueError, KeyError):       # RuntimeError: Path.home()
        return None


def keep(name, measured):
    with contextlib.suppress(OSError, RuntimeError):
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cache(), suffix=".tmp", encoding="utf-8", delete=False) as new:
            json.dump(measured, new, indent=1)
        os.replace(new.name, cache() / (name + ".json"))


def of(process):
    """What model.build() takes off the leaks of a log: kind of interpreter -> {model.residue_key: count}."""
    if not process.hexversion or not process.exe:
        return {}
    executable, command = python_of(process)
    try:
        name = key(executable)
        if name not in _measured:
            _measured[name] = kept(name)
        if _measured[name] is None:
            print("isan: measuring what empty interpreters of %s leave (once)..." % executable, file=sys.stderr)
            _measured[name] = measure(command, process.flavor == "stock")
            keep(name, {"executable": executable, "kinds": _measured[name]})
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        process.notes.append("CPython's own residue could not be measured (%s), so it counts as findings" % error)
        return {}
    kinds = _measured[name]
    counts = {kind: collections.Counter() for kind in kinds}
    for kind, groups in kinds.items():
        for group in groups:
            origin = "" if "origin=none" in process.options.split(":") else group["origin"]
            counts[kind][group["type"], origin, group["holder"]] += group["count"]
    return counts
