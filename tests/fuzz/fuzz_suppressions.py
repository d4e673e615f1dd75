"""Any bytes can be in a file of suppressions: it is read, or refused with the number of the wrong line."""
import os

from helpers.product import matching, suppressions

FINDING = {"kind": "static", "holder": {"symbol": "cache", "path": ".member[2]", "module": "/lib/_foo.so"},
           "object": {"type": "dict"}, "stacks": {"created": [{"function": "f", "module": "/lib/_foo.so"}]}}
fd = os.memfd_create("suppressions")
path = "/proc/self/fd/%d" % fd


def one(data):
    os.ftruncate(fd, 0)
    os.pwrite(fd, data, 0)
    suppressions.read.cache_clear()
    try:
        lines = suppressions.read(path)
    except suppressions.Malformed as error:
        assert str(error).startswith(path + ":")
        return
    names = suppressions.names(FINDING)
    for line in lines:
        matching._parts.cache_clear()
        suppressions.matches(line, FINDING, names)
