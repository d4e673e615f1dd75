"""isan, the Interpreter Sanitizer for CPython: ask it, and tell it what it cannot know, from the program under test.

    import isan
    if isan.look() > 0: ...     findings so far, after a look at the statics

The same as isan/isan.h is for C, where each function is described in full.  It works in any interpreter, and as well
without isan (`isan run` or LD_PRELOAD loads it): then a function does nothing and gives -1, or None where it gives no
number.  Findings are numbered in the order in which this process has made them, from 1; those of processes that it was
forked from or has forked are not among them.
"""
import os

try:
    import _isan                # libisan.so has added it (runtime/api/pymodule.c)
except ImportError:
    _isan = None

__version__ = "0.1.0"

# The tree this package is part of: a checkout, PREFIX/lib/isan, or what a wheel (scripts/make_wheel.py) puts into the package.
_HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(_HERE, "root")
if not os.path.isdir(ROOT):
    ROOT = os.path.dirname(os.path.dirname(_HERE))


class Problem(Exception):
    """Wrong usage or a missing prerequisite: one sentence that says what to
    do, printed without a traceback, exit status 2."""


def loaded():
    """Whether isan is there."""
    return _isan is not None


def findings():
    """The number of findings so far; -1 without isan."""
    return _isan.findings() if _isan else -1


def look():
    """Look now at the statics of all extensions, about a millisecond for a megabyte; what findings() gives then."""
    return _isan.look() if _isan else -1


def owned():
    """Record what the interpreters own whose GIL this thread has, by what keeps it alive, about a second for 100 MB; the
    number of blocks.  `isan report` shows it; it is no finding."""
    return _isan.owned() if _isan else -1


def owner(object):
    """The id (PyInterpreterState_GetID) of the interpreter that created the object, or that it was transferred to; -1:
    none, as with immortal objects, or not known."""
    return _isan.owner(object) if _isan else -1


def log():
    """The path of this process's log, for `isan report`; None: there is none."""
    return _isan.log() if _isan else None


def finding(number):
    """What is known of that finding: a dict with number, kind, access, type, owner, current, address, count (isan.h,
    struct isan_finding); None: there is none."""
    return _isan.finding(number) if _isan else None


def transfer(object):
    """From now on the object belongs to the interpreter this is called in; its items, attributes and type do not.  That
    Python code has it here is a use already: get it within ignore(), or let the extension that hands it over call
    isan_transfer().  True: its memory may be freed here, too; False: only where it was created, which is so between
    interpreters with GILs of their own; None: nothing was changed."""
    return {0: True, 1: False}.get(_isan.transfer(object)) if _isan else None


def share(object):
    """From now on any interpreter may use the object, its items, attributes and type not included: the program sees to it
    that this is safe.  Its last reference is still its owner's to give back.  True; None: nothing was changed."""
    return True if _isan and _isan.share(object) == 0 else None


class ignore:
    """with isan.ignore(reason): no use by this thread in this block is a finding.  They nest.  The report gives the reason
    (a str) and how often it was needed."""

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
    """Call function(number) for each finding from now on, in a thread of its own of this interpreter, soon after it was
    made.  What it raises is printed.  Returns a function that ends this when all so far have been told, as the end of the
    interpreter does, None without isan.  A forked child must register again.  _xxsubinterpreters (before 3.13)
    ends no interpreter that has other threads: end it there first.  RuntimeError: the interpreter ends, or allows no threads."""
    if not _isan:
        return None
    import sys
    import threading
    told, over = _isan.findings(), threading.Event()

    def listen():
        nonlocal told
        while True:
            event, last = _isan.event(), over.is_set()
            while told < _isan.findings():
                told += 1
                try:
                    function(told)
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

    # No daemon: an interpreter with a GIL of its own has none (PyInterpreterConfig.allow_daemon_threads).  As
    # concurrent.futures does, end it before threads are waited for.
    thread = threading.Thread(target=listen, name="isan.on_finding")
    thread.start()
    try:
        threading._register_atexit(end)
    except RuntimeError:
        end()
        raise
    return end
