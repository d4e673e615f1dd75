"""Logs of a list that one interpreter takes from another, without debug information."""
from helpers.log_writer import Writer
from helpers.product import log, model


class Symbols:
    """No module has any."""
    bare, errors = (), {}
    code = lambda *_: {}
    data = tls = lambda *_: {}
    member = lambda *_: None


def made(*places, pid=100, edited=0, directory="/src", count=1):
    """The log of a list that interpreter 2 takes from 1, for each of these lines of a function in which it was created."""
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
