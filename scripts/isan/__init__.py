"""isan, the Interpreter Sanitizer for CPython: its interface for the program under test.

    import isan
    if isan.look() > 0: ...     findings so far, after a look at the statics

It is what isan/isan.h is for C; the header describes each function in full. It works in any interpreter. Where isan is
not loaded (`isan run` or LD_PRELOAD load it) a function does nothing and returns -1, or None if it returns no number.
Findings are numbered from 1 in the order in which this process makes them, without those of its parents and children.
"""
import os

try:
    import _isan                # added by libisan.so (runtime/api/pymodule.c)
except ImportError:
    _isan = None

# The one place of the version: the command, the wheel, pkg-config and pyproject.toml take it from here.
__version__ = "0.1.0"

# The tree that this package belongs to: a checkout, PREFIX/lib/isan, or in a wheel the directory `root` in the package.
_HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(_HERE, "root")
if not os.path.isdir(ROOT):
    ROOT = os.path.dirname(os.path.dirname(_HERE))
    # A wheel has the whole package in one directory (pyproject.toml has its layout). In a tree the subpackage
    # isan.reports is reports/, beside scripts/, and the module isan._c_tables is made by make.
    __path__ += [ROOT, os.path.join(ROOT, "build", "generated")]


class Problem(Exception):
    """Wrong usage or a missing prerequisite, in one sentence that says what to do.

    The command prints it without a traceback and exits with status 2.
    """


def loaded():
    """Whether isan is loaded."""
    return _isan is not None


def findings():
    """The number of findings so far; -1 without isan."""
    return _isan.findings() if _isan else -1


def look():
    """Look now at the statics of all extensions, about a millisecond for a megabyte. Returns findings()."""
    return _isan.look() if _isan else -1


def owned():
    """Record what the interpreters of this thread's GIL own, and what keeps it alive. Returns the number of blocks.

    It takes about a second for 100 MB. `isan report` shows the record, which is no finding.
    """
    return _isan.owned() if _isan else -1


def owner(object):
    """The id (PyInterpreterState_GetID) of the interpreter that created the object or that it was transferred to.

    -1: it has no owner, as immortal objects, or the owner is not known.
    """
    return _isan.owner(object) if _isan else -1


def log():
    """The path of this process's log, for `isan report`, or None."""
    return _isan.log() if _isan else None


def finding(number):
    """The finding with this number, or None.

    It is a dict with number, kind, access, type, owner, current, address and count (isan.h, struct isan_finding).
    """
    return _isan.finding(number) if _isan else None


def transfer(object):
    """From now on the object belongs to the calling interpreter; its items, attributes and type do not.

    To get hold of the object in Python code is a use already. Do it within ignore(), or let the extension that hands
    the object over call isan_transfer(). Returns True if its memory may be freed here, too; False if only where it was
    created, as between interpreters with GILs of their own; None if nothing was changed.
    """
    return {0: True, 1: False}.get(_isan.transfer(object)) if _isan else None


def share(object):
    """From now on any interpreter may use the object; this does not include its items, attributes and type.

    The program makes sure that this is safe. The owner must still drop the last reference. Returns True, or None if
    nothing was changed.
    """
    return True if _isan and _isan.share(object) == 0 else None


class ignore:
    """with isan.ignore(reason): no use of objects by this thread in this block is a finding.

    Blocks nest. The report shows the reason (a str) and how often it was needed.
    """

    def __init__(self, reason):
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError("isan.ignore() needs a reason")
        self.reason = reason

    def __enter__(self):
        if _isan:
            _isan.ignore_begin(self.reason)

    def __exit__(self, *unused):
        if _isan:
            _isan.ignore_end()


def on_finding(function):
    """Call function(number) soon after each finding from now on, in a separate thread of this interpreter.

    Exceptions of the function are printed. Returns a function that stops this, after the calls for all findings so far;
    the end of the interpreter does the same. Returns None without isan. A forked child must register again.
    _xxsubinterpreters (before 3.13) cannot end an interpreter that has other threads: stop it there first. Raises
    RuntimeError if the interpreter is ending or allows no threads.
    """
    if not _isan:
        return None
    import sys
    import threading
    reported, over = _isan.findings(), threading.Event()

    def listen():
        nonlocal reported
        while True:
            event, last = _isan.event(), over.is_set()
            while reported < _isan.findings():
                reported += 1
                try:
                    function(reported)
                except Exception:
                    sys.excepthook(*sys.exc_info())
            if last:
                return
            _isan.wait(event)

    def end():
        over.set()
        _isan.wake()
        if threading.current_thread() is not thread:
            thread.join()

    # Not a daemon thread: interpreters with GILs of their own have none (PyInterpreterConfig.allow_daemon_threads). As
    # concurrent.futures does, end the thread before the interpreter waits for threads.
    thread = threading.Thread(target=listen, name="isan.on_finding")
    thread.start()
    try:
        threading._register_atexit(end)
    except RuntimeError:
        end()
        raise
    return end
