"""isan/isan.h: transfers, shared objects, scopes to ignore, and callbacks for findings."""
import json
import re

import pytest

from helpers.programs import line_of, who

MAIN, LEGACY, OWN = (0, "main"), (1, "legacy"), (1, "own-gil")
MEMORY = "memory", line_of("declare.c", "static void *memory;")
SLOT = "slot", line_of("declare.c", "static PyObject *slot;")


def own_gil(way):
    """Whether isolated interpreters have their own GIL, and therefore their own allocator."""
    return way.hexversion >= (3, 12)


def held_by(finding):
    return (finding["holder"]["symbol"], finding["holder"]["line"]) if finding["holder"] else None


class Anywhere:
    def test_transfers(self, way):
        """Between interpreters with one allocator the whole list moves, its array included: the new owner resizes and frees
        both.  From an interpreter with its own allocator only the use moves: the list goes back, and its first owner frees
        it.  Raw memory belongs to no allocator, and moves as a whole."""
        run = way.run("""
            import declare
            legacy = Interpreter("legacy")
            legacy.run("import declare; declare.give(lambda: [1, 2, 3])")
            print(declare.take(), declare.take())
            declare.use(lambda items: items.extend(range(100)))
            declare.drop()
            legacy.end()

            other = Interpreter()
            other.run("import declare; declare.give(lambda: [1, 2, 3]); declare.raw()")
            print(declare.take(), declare.use(lambda mine: len(mine)))
            print(declare.raw_owner() > 0, declare.raw_take(), declare.raw_owner())
            other.run("declare.take(); declare.use(lambda items: items.extend(range(100))); declare.drop()")
            other.end()
            declare.raw_free()
            print(declare.take())

            third = Interpreter()
            third.run("import declare; declare.raw(); assert declare.raw_share() == 0")
            third.end()
        """)
        assert run.out == "0 0\n%d 3\nTrue 0 0\n-1\n" % own_gil(way) and run.healthy(), run.err
        assert [leak["object"]["size"] for leak in run.report["residue"] if leak["residue"]["rule"] == "shared"] == [3008]

    def test_limits_of_a_transfer(self, way):
        """Objects in the list do not move.  Neither does memory of an interpreter's own allocator: the new owner must not
        resize it, and it is a leak of the interpreter with that allocator."""
        run = way.run("""
            import declare
            other = Interpreter()
            other.run("import declare; declare.give(lambda: [['inner'], 2, 3])")
            declare.take()
            declare.use(lambda items: len(items[0]))
            declare.use(lambda items: items.extend(range(100)))
            declare.raw()
            other.end()
            declare.forget()
        """)
        if own_gil(way):
            resized = run.one("free")
            assert (resized["access"], who(resized["owner"]), who(resized["current"])) == ("realloc", OWN, MAIN), run.err
            leak = run.one("leak", type="list", size=64)
            assert (who(leak["owner"]), leak["maker"], held_by(leak)) == (OWN, None, SLOT), run.err
        assert way.stock or [who(f["owner"])[0] for f in run.findings("share", type="list")][:1] == [1], run.err

    def test_leak_of_a_transferred_object(self, way):
        """The leak is the new owner's, and the report names the creator; raw memory without a declaration is a leak, too."""
        run = way.run("""
            import declare
            class Mine: pass
            declare.give(Mine)
            other = Interpreter("legacy")
            other.run("import declare; declare.take(); declare.raw()")
            other.end()
        """)
        leak = run.one("leak", type="Mine")
        assert (who(leak["owner"]), who(leak["maker"]), held_by(leak)) == (LEGACY, MAIN, SLOT), run.err
        assert "given by interpreter 0 (main) to interpreter 1 (legacy) (isan_transfer)" in run.err
        assert who(leak["stacks"]["created"][-1]["interpreter"]) == MAIN
        raw = [held_by(f) for f in run.findings("leak") if not f["object"]["python"]]
        assert raw == [MEMORY], run.err

    @pytest.mark.parametrize("kind", ["legacy", "isolated"])
    def test_shared(self, way, kind):
        """Any interpreter may use a shared object, and a static may hold it; without the declaration both are findings."""
        script = """
            import declare
            other = Interpreter(kind)
            other.run("import declare; mine = {'a': 1}; declare.put(mine)")
            if declared: assert declare.share() == 0
            declare.use(lambda mine: len(mine))
            declare.look()
            other.run("declare.drop(); del mine")
            other.end()
        """
        run = way.run(script, kind=kind, declared=True)
        assert run.healthy()
        if kind == "isolated":
            run = way.run(script, kind=kind, declared=False)
            assert {"share", "static"} <= {f["kind"] for f in run.findings(type="dict")}, run.err

    def test_owner_of_a_shared_object(self, way):
        """Another interpreter must not free it; if it outlives its owner, it is a leak."""
        run = way.run("""
            import declare
            other = Interpreter()
            other.run("import declare; declare.give(dict)")
            declare.share()
            declare.drop()
            other.run("declare.give(list)")
            declare.share()
            other.end()
        """)
        leak = run.one("leak", type="list")
        assert held_by(leak) == SLOT and who(leak["owner"])[0] == 1, run.err
        if own_gil(way):
            free = run.one("free", type="dict")
            assert (who(free["owner"]), who(free["current"])) == (OWN, MAIN), run.err

    def test_ignored(self, way):
        """A scope applies to its thread, until its end; if an interpreter ends in it, its leaks are not reported."""
        run = way.run("""
            import declare, threading
            other = Interpreter()
            other.run("import declare; mine = {'a': 1}; declare.put(mine)")
            def nested():
                declare.ignore(lambda: None)
                declare.use(lambda mine: len(mine))
                declare.look()
            declare.ignore(nested)
            other.run("declare.forget()")
            leaks = Interpreter()
            leaks.run("import leak_ref; leak_ref.make_object()")
            declare.ignore(leaks.end)
            if outside:
                def elsewhere():
                    declare.use(lambda mine: len(mine))
                def during():
                    thread = threading.Thread(target=elsewhere)
                    thread.start()
                    thread.join()
                other.run("declare.put(mine)")
                declare.ignore(during)
                def after():
                    declare.use(lambda mine: len(mine))
                after()
                other.run("declare.forget()")
            other.end()
        """, outside=False)
        leaks = run.findings("leak", type="dict")       # forget() drops the pointer, not the reference
        assert run.report["findings"] == leaks, run.err
        (ignored,) = run.report["ignored"]
        assert ignored["reason"] == "declare.c has its reasons" and ignored["count"] > 1
        assert re.search(r"ignored by the program \(isan_ignore_begin\): \d+ uses: declare.c has its reasons\n", run.err), run.err

        run = way.run(run.path.read_text().replace("outside = False", "outside = True"))
        users = {frame["function"] for finding in run.findings("share") for frame in finding["stacks"]["used"]
                 if frame["kind"] == "python"}
        assert {"elsewhere", "after"} <= users and "nested" not in users, run.err
        assert not run.findings("leak", type="object"), run.err

    def test_callback(self, way):
        """It is called once for each finding, in order, with the finding's fields.  isan_log() gives an absolute path."""
        run = way.run("""
            import declare, json, os
            assert declare.listen() == 0
            other = Interpreter()
            other.run("import declare; mine = {'a': 1}; declare.put(mine)")
            declare.use(lambda mine: len(mine))
            declare.look()
            other.run("declare.drop(); import leak_ref; leak_ref.make_object()")
            other.end()
            print(json.dumps(declare.heard()))
            print(declare.heard())
            os.chdir("/")
            n, cut, path = declare.log()
            print(n == cut == len(path), os.path.exists(path), os.path.basename(path) == "isan.%d.log" % os.getpid())
        """)
        heard, again, log = run.out.splitlines()
        assert (again, log) == ("None", "True True True"), run.err
        made = {number["number"]: finding for finding in run.report["findings"] for number in finding["numbers"]}
        heard = json.loads(heard)
        assert [entry[0] for entry in heard] == list(range(1, len(heard) + 1)) and {"share", "static", "leak"} <= {e[1] for e in heard}
        for number, kind, access, owner, current, type, variable in heard:
            # The report leaves out CPython's own residue.
            finding = made.get(number)
            assert finding or kind == "leak", run.err
            if finding:
                assert (kind, access, type or None) == (finding["kind"], finding["access"], finding["object"]["type"])
                assert owner == finding["owner"]["id"] == 1 and current == (-1 if kind == "leak" else 0)
                assert variable == bool(finding["holder"] and finding["holder"].get("address"))

    def test_ended_in_the_callback(self, way):
        """isan_off_finding() in the callback ends it at once: it is called neither for findings that have been made
        meanwhile nor for later ones.  Other callbacks go on."""
        run = way.run("""
            import declare, time
            assert declare.listen_once() == 0 and declare.listen() == 0
            other = Interpreter()
            other.run("import declare; mine = {'a': 1}; declare.put(mine)")
            declare.use(lambda mine: len(mine))
            declare.look()
            until = time.monotonic() + 20
            while declare.heard_once()[0] == 0 and time.monotonic() < until:
                time.sleep(0.001)
            other.run("declare.drop(); import leak_ref; leak_ref.make_object()")
            other.end()
            heard = len(declare.heard())
            time.sleep(0.1)
            print(heard > 2, *declare.heard_once())
            print(declare.listen_once())
        """)
        assert run.out == "True 1 0\n0\n", run.err


class TestInstrumented(Anywhere):
    @pytest.fixture
    def way(self, target_of):
        return target_of("3.13-fast")


class TestStock(Anywhere):
    @pytest.fixture(params=["system", "3.13-plain"])
    def way(self, request, target_of):
        return target_of(request.param)
