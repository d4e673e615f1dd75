"""Two own-GIL interpreters import an extension that keeps a dict in a C static;
the first then ends, the second goes on using the dict.

usage: share.py DIRECTORY-OF-THE-EXTENSION
"""
import sys

import _interpreters

USE = """
import sys
sys.path.insert(0, %r)
import cache_static
cache_static.cache["used"] = True
""" % sys.argv[1]


def run(interpreter):
    failed = _interpreters.exec(interpreter, USE)
    if failed is not None:
        sys.exit("an interpreter failed: %s" % failed.formatted)


first = _interpreters.create("isolated")
run(first)                              # makes the dict
second = _interpreters.create("isolated")
run(second)                             # is given the same dict
_interpreters.destroy(first)            # the dict's owner ends
run(second)                             # still has it
_interpreters.destroy(second)
