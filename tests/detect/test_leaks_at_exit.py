"""leaks_at_exit=1: leaks of the main interpreter when Python is finalised."""
import pytest

ON = "leaks_at_exit=1"

CYCLE = """
names = {}
exec("def function(): pass", names)
names["keeper"] = MODULE.Keeper(names["function"])
del names
"""

# Uses much of the standard library, and ends in the middle of it.
ORDINARY = """
import asyncio, collections, contextlib, csv, ctypes, datetime, decimal, functools, io, json, logging, re, sqlite3
import subprocess, sys, threading, traceback, weakref, zlib

class Cycle:
    def __del__(self):
        pass
cycle = Cycle()
cycle.itself = cycle
database = sqlite3.connect(":memory:")
cursor = database.execute("create table t (a)")
async def main():
    if sys.version_info[:2] != (3, 13):         # tasks of 3.13 leak a few types
        await asyncio.gather(*[asyncio.sleep(0.001) for _ in range(10)])
asyncio.run(main())
def numbers():
    try:
        yield 1
    finally:
        pass
unfinished = numbers()
next(unfinished)
thread = threading.Thread(target=lambda: [decimal.Decimal(i).sqrt() for i in range(100)])
thread.start()
thread.join()
"""


class Anywhere:
    def test_objects_and_memory(self, way):
        run = way.run("import leak_ref\nleak_ref.use_block()\nfor _ in range(3): leak_ref.make_object()\n", ON)
        assert run.status == 86, run.err
        made, block = run.one("leak", type="list"), run.one("leak", type=None)
        for leak, line in (made, 4), (block, 3):
            assert leak["owner"]["kind"] == "main" and leak["stacks"]["created"][0]["line"] == line
        assert made["count"] == 3 and len(run.findings()) == 2

    def test_cycle_that_the_collector_cannot_see(self, way):
        run = way.run("import cycle_unseen" + CYCLE.replace("MODULE", "cycle_unseen"), ON)
        assert run.one("leak", type="cycle_unseen.Keeper")["owner"]["kind"] == "main", run.err
        assert way.run("import cycle_seen" + CYCLE.replace("MODULE", "cycle_seen"), ON).healthy()

    def test_objects_in_statics_are_no_leaks(self, way):
        """Statics live as long as the process."""
        run = way.run("import cache_static\ncache_static.cache['key'] = [1, {2: 3}]\n", ON)
        assert run.healthy()
        assert "statics" in {group["residue"]["rule"] for group in run.report["residue"]}

    @pytest.mark.parametrize("program", ["", "import sys\nsys.exit()\n", "import json, asyncio, decimal, ctypes, sqlite3\n", ORDINARY,
                                         "import leak_clean\nleak_clean.make_object()\nleak_clean.use_block()\n"],
                             ids=["empty", "exit", "imports", "ordinary", "clean"])
    def test_healthy(self, way, program):
        assert way.run(program, ON).healthy()

    def test_not_without_the_option(self, way):
        assert way.run("import leak_ref\nleak_ref.make_object()\n").healthy()

    @pytest.mark.parametrize("end", ["os._exit(0)", "ctypes.CDLL(None).exit(0)"])
    def test_not_without_finalisation(self, way, end):
        assert way.run(f"import ctypes, os, leak_ref\nleak_ref.make_object()\n{end}\n", ON).healthy()


class TestInstrumented(Anywhere):
    @pytest.fixture
    def way(self, target):
        return target


class TestStock(Anywhere):
    @pytest.fixture
    def way(self, stock):
        return stock
