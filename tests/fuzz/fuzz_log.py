"""Any bytes can be in a log: reading it, building and rendering the report must not fail.

An input is a log in a short form, without parts that mutations would only break: the header has no padding, and each record
begins with two bytes, its type and its size in words, in place of two numbers.  An input that begins with RAW is a log as it
is, without the padding.
"""
import json
import os
import struct
from unittest import mock

from helpers.product import html, json_, junit, log, model, packages, sarif, suggestions, suppressions, text

RAW = b"\xff"
TAIL = 16          # offset in the header of the log's length
SHORT = log.HEAD.size - 1024 + 64       # bytes of a short header: its numbers, and a short name of the parent


class Symbols:
    """Answers like a symbolizer: no names, or some, depending on the address."""
    errors = {"/nowhere": "it is not there"}

    def __init__(self):
        self.bare = {}

    def code(self, module, address):
        self.bare[module.path] = module
        names = [[], ["f"], ["_PyEval_EvalFrameDefault"], ["Py_INCREF", "g"]][address >> 4 & 3]
        return [{"function": name, "file": "a.c", "line": 7, "start": 1} for name in names]

    def data(self, module, address):
        return [{}, {"symbol": "cache", "file": "a.c", "line": 3, "element": ".next[1]", "section": ".bss"},
                {"symbol": "Type", "section": ".data", "element": ".tp_mro"}, {"atomic": True}][address >> 4 & 3]

    def tls(self, module, offset):
        return self.data(module, offset)

    def member(self, module, code, size, offset):
        return [None, "next"][offset >> 3 & 1]


def whole(data):
    """The log for an input in short form."""
    if data[:1] == RAW:
        return data[1:SHORT + 1].ljust(log.HEADER, b"\0") + data[SHORT + 1:]
    content, at = bytearray(data[:SHORT].ljust(log.HEADER, b"\0")), SHORT
    while at + 2 <= len(data):
        body = data[at + 2:at + 2 + 8 * data[at + 1]]
        content += log.RECORD.pack(data[at], 8 + len(body)) + body
        at += 2 + len(body)
    struct.pack_into("=Q", content, TAIL, len(content))
    return bytes(content)


def short(content):
    """The short form of a log."""
    data, at = bytearray(content[:SHORT]), log.HEADER
    while at < len(content):
        kind, size = log.RECORD.unpack_from(content, at)
        data += bytes([kind, (size - 8) // 8]) + content[at + 8:at + size]
        at += size
    return bytes(data)


def report_on(path):
    with mock.patch.object(packages, "advice", lambda missing: dict.fromkeys(missing, "install nothing")):     # it asks apt
        return model.build(log.read([path]), Symbols(), suppressions_of=suppressions.of_cpython)


fd = os.memfd_create("isan.1.log")


def one(data):
    os.ftruncate(fd, 0)
    os.pwrite(fd, whole(data), 0)
    report = report_on("/proc/self/fd/%d" % fd)
    text.render(report, full=True, show_residue=True)
    json.dumps(json_.clean(report))         # render() indents, which takes Python's slow encoder
    html.render(report)
    junit.render(report)
    sarif.render(report, suppressed=True)
    suggestions.render(report)
