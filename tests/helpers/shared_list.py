"""Logs of a program without debug information, in which an interpreter uses lists of another."""
from helpers.log_writer import Writer
from helpers.product import log, model


class Symbols:
    """Symbols of modules that have none."""
    bare, errors = (), {}
    code = lambda *_: {}
    data = tls = lambda *_: {}
    member = lambda *_: None


def made(*places, pid=100, edited=0, directory="/src", count=1):
    """The log of a program in which interpreter 2 uses lists of interpreter 1: one for each of these lines of make()."""
    w = Writer(pid=pid)
    w.process(exe="", cwd=directory)
    w.interp(1, log.BEGIN, 0)
    w.interp(2, log.BEGIN, 2)
    make = w.code(directory + "/a.py", "make", 10 + edited, *((1, line + edited) for line in places))
    for id, _ in enumerate(places, 1):
        w.finding(id, "share", current=2, owner=1, origin=make + id - 1, type="list", serial=id, count=count)
    w.exit()
    return w


def report_of(*paths, **more):
    return model.build(log.read(list(paths)), Symbols(), **more)
