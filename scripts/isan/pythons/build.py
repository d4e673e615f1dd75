"""Builds the CPythons that isan runs programs with.

A finished interpreter lives in the user's cache, under a key made from all that went into it (key.py). It is built once
for all checkouts, and a change of the recorder does not build it again. Checkouts see it through views (views.py).

The executables name libisan.so.0 among the libraries they need. During the build, and when an interpreter is run from
the cache directly, that is an empty stub.
"""
import fcntl
import os
import re
import shutil
import signal
import sys
import tempfile

from isan import Problem

from .key import build_key
from .progress import Failed, Progress, error_lines
from .sources import cache_dir
from .steps import Steps


def writable_cache():
    """The directory of the cache, once its parts are there and can be written to."""
    cache = cache_dir()
    if re.search(r"[\s:'\"$#\\]", cache):
        raise Problem(f"CPython cannot be built below '{cache}': "
                      "set XDG_CACHE_HOME to a path without spaces, quotes, ':', '$' or '#'")
    try:
        for name in ("python", "sources", "locks", "logs"):
            os.makedirs(os.path.join(cache, name), exist_ok=True)
            with tempfile.TemporaryFile(dir=os.path.join(cache, name)):
                pass
    except OSError as error:
        raise Problem(f"the cache {cache} cannot be written to ({error.strerror}): "
                      "set XDG_CACHE_HOME to a directory that can") from None
    return cache


def build(source, flavor):
    """The prefix of a finished interpreter in the cache. Builds it if it is not there."""
    cache = writable_cache()
    key = build_key(source, flavor)
    prefix = os.path.join(cache, "python", key)
    progress = Progress(f"CPython {source.version} {flavor}")
    with open(os.path.join(cache, "locks", key), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.step("wait for another build of it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(prefix):
            return prefix
        work = prefix + ".building"
        shutil.rmtree(work, ignore_errors=True)     # left by a build that was killed
        os.mkdir(work)
        log_path = os.path.join(cache, "logs", key + ".log")
        # A plain kill must clean up as Ctrl-C does.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        try:
            with open(log_path, "wb") as log:
                stage = Steps(work, source, flavor, prefix, log, progress).run()
            os.rename(log_path, os.path.join(stage, "isan-build.log"))
            os.rename(stage, prefix)
        except Failed as failure:
            progress.clear()
            tail = "".join(f"  {line}\n" for line in error_lines(log_path))
            raise Problem(f"building CPython {source.version} {flavor} failed ({progress.text}: {failure}); "
                          f"its last errors are below, all of it is in {log_path}\n{tail}".rstrip()) from None
        except OSError as error:
            progress.clear()
            raise Problem(f"building CPython {source.version} {flavor} failed ({progress.text}: {error}); "
                          f"the log is {log_path}") from None
        finally:
            shutil.rmtree(work, ignore_errors=True)
        progress.done(f"built in {prefix}")
    return prefix
