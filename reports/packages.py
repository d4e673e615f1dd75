"""What to install, or to do, where a file has no debug information."""
import os
import re
import subprocess

_PYTHON = re.compile(r"(?:lib)?(python3\.\d+)(?:-|$)")
_PATTERN = re.compile(r"[*?\[\\\n]")


def owners(paths):
    """path -> the Debian package it came with, as dpkg knows it; all in one call."""
    asked = {}
    for path in paths:
        name = os.path.realpath(path)
        # Since the merge of / and /usr a package may name either.
        for form in (name, name[len("/usr"):] if name.startswith("/usr/lib") else "/usr" + name):
            if path.startswith("/") and not _PATTERN.search(form):
                asked.setdefault(form, []).append(path)
    if not asked:
        return {}
    try:
        done = subprocess.run(["dpkg", "-S", *asked], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=dict(os.environ, LC_ALL="C"), timeout=60)
    except (OSError, subprocess.SubprocessError):       # not a Debian
        return {}
    found = {}
    for line in done.stdout.decode("utf-8", "surrogateescape").splitlines():
        package, colon, form = line.partition(": ")
        if colon and form in asked and not package.startswith("diversion by"):
            for path in asked[form]:
                found.setdefault(path, package.split(",")[0].split(":")[0])
    return found


def advice(paths):
    """path -> what brings debug information for it."""
    packages, says = owners(paths), {}
    for path in paths:
        package = packages.get(path)
        python = _PYTHON.match(package or "")
        says[path] = ("install %s-dbg" % python[1] if python
                      else "install %s-dbg or %s-dbgsym" % (package, package) if package else "build it with -g")
    return says
