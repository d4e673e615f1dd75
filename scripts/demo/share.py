"""Two interpreters (with a GIL of their own where Python has that) import an
extension that keeps a dict in a C static; the first then ends, the second goes
on using the dict.

usage: share.py DIRECTORY-OF-THE-EXTENSION
"""
import sys

try:
    import _interpreters as api

    def create():
        return api.create("isolated")

    def execute(interpreter, code):
        failed = api.exec(interpreter, code)
        if failed is not None:
            sys.exit("an interpreter failed: %s" % failed.formatted)
except ImportError:                     # before 3.13
    import _xxsubinterpreters as api
    create, execute = api.create, api.run_string

USE = """
import sys
sys.path.insert(0, %r)
import cache_static
cache_static.cache["used"] = True
""" % sys.argv[1]


first = create()
execute(first, USE)                     # makes the dict
second = create()
execute(second, USE)                    # is given the same dict
api.destroy(first)                      # the dict's owner ends
execute(second, USE)                    # still has it
api.destroy(second)
