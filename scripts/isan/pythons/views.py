"""Views: how a checkout sees the finished interpreters of the user's cache.

A view is build/python/VERSION-FLAVOR/.  Its executable is a copy, because the run-time linker looks for libisan.so.0
relative to the executable and must find this checkout's.  All else are symbolic links into the cache.
"""
import fcntl
import hashlib
import os
import shutil
import tempfile

import isan
from isan import Problem

from .releases import SERIES, check_flavor, series_of
from .sources import cache_dir


def views_dir():
    """The directory of this tree's views.

    It is in build/. If that cannot be written to, as with an installed isan, it is in the cache, in a directory that
    looks the same to the run path: lib/ beside python/.
    """
    own = os.path.join(isan.ROOT, "build")
    if os.access(own, os.W_OK):
        return os.path.join(own, "python")
    away = os.path.join(cache_dir(), "views", hashlib.sha256(isan.ROOT.encode()).hexdigest()[:12])
    os.makedirs(away, exist_ok=True)
    lib = os.path.join(away, "lib")
    if not os.path.islink(lib):
        os.symlink(os.path.join(own, "lib"), lib)
    return os.path.join(away, "python")


def make_view(prefix, version, flavor):
    view = os.path.join(views_dir(), f"{version}-{flavor}")
    os.makedirs(os.path.dirname(view), exist_ok=True)
    lock = os.open(os.path.dirname(view), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if view_key(view) != os.path.basename(prefix):
            make_view_at(view, prefix, version)
    finally:
        os.close(lock)
    return view


def make_view_at(view, prefix, version):
    fresh = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(view))
    try:
        os.chmod(fresh, 0o755)
        copies = [os.path.join("bin", f"python{series_of(version)}"), os.path.join("bin", "Programs", "_testembed")]
        os.makedirs(os.path.join(fresh, "bin", "Programs"))
        for path in copies:
            shutil.copy2(os.path.join(prefix, path), os.path.join(fresh, path))
        for directory in ("", "bin"):
            for name in os.listdir(os.path.join(prefix, directory)):
                path = os.path.join(directory, name)
                if os.path.lexists(os.path.join(fresh, path)):
                    continue
                target = os.path.join(prefix, path)
                if directory == "bin" and os.path.samefile(target, os.path.join(prefix, copies[0])):
                    target = os.path.basename(copies[0])        # python3, python3.13d: links to the view's copy
                os.symlink(target, os.path.join(fresh, path))
        make_build_tree(fresh, series_of(version))
        with open(os.path.join(fresh, "isan-key"), "w", encoding="utf-8") as file:
            file.write(os.path.basename(prefix) + "\n")
        old = fresh + ".old"
        if os.path.lexists(view):
            os.rename(view, old)
        os.rename(fresh, view)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def make_build_tree(view, series):
    """Make a tree that the interpreter takes for its build directory. Parts of test_embed work only there.

    Run it with VIEW/build-tree/python.
    """
    tree = os.path.join(view, "build-tree")
    for directory in ("Programs", "Modules"):
        os.makedirs(os.path.join(tree, directory))
    shutil.copy2(os.path.join(view, "bin", f"python{series}"), os.path.join(tree, "python"))
    shutil.copy2(os.path.join(view, "bin", "Programs", "_testembed"), os.path.join(tree, "Programs"))
    os.symlink(f"../lib/python{series}", os.path.join(tree, "Lib"))
    os.symlink("Lib/lib-dynload", os.path.join(tree, "lib-dynload"))
    # Modules/getpath.py recognises a build directory by these.
    for path, text in (("pybuilddir.txt", "lib-dynload"), ("Modules/Setup.local", "")):
        with open(os.path.join(tree, path), "w", encoding="utf-8") as file:
            file.write(text)


def view_key(view):
    """The key of the interpreter that a view shows, or None."""
    try:
        with open(os.path.join(view, "isan-key"), encoding="utf-8") as file:
            key = file.read().strip()
    except OSError:
        return None
    # The cache may have been emptied since.
    return key if os.path.exists(os.path.join(view, "lib")) else None


def built():
    """(version, flavor) of the views of this tree."""
    try:
        names = sorted(os.listdir(views_dir()))
    except OSError:
        return []
    pairs = [tuple(name.rsplit("-", 1)) for name in names if view_key(os.path.join(views_dir(), name))]
    return [pair for pair in pairs if len(pair) == 2]


def command_for(flavor, version):
    """The command that builds an interpreter, for the user of this tree."""
    if os.path.exists(os.path.join(isan.ROOT, "Makefile")):
        return f"make python FLAVOR={flavor} VERSION={version}"
    return f"isan python --flavor {flavor} --version {version}"


def find_python(flavor, version=None):
    """The executable of a built interpreter."""
    check_flavor(flavor)
    version = version or next(iter(SERIES))
    wanted = SERIES.get(version, version)
    here = [v for v, f in built() if f == flavor]
    if wanted not in here and version in SERIES:
        # A source tree of another release of the series will do.
        wanted = next((v for v in here if series_of(v) == version), wanted)
    if wanted not in here:
        raise Problem(f"the {flavor} interpreter of CPython {version} is not built here: run"
                      f" {command_for(flavor, version)}")
    return os.path.join(views_dir(), f"{wanted}-{flavor}", "bin", f"python{series_of(wanted)}")
