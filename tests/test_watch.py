"""statics=watch: interpreters with GILs of their own that store into the same static at a time."""
import os

import pytest

from subject import line_of, places, who

# Both call bump(), again and again, from the same moment on.
RACE = """
    import threading, time
    interpreters = [Interpreter(KIND) for _ in range(2)]
    for interpreter in interpreters: interpreter.run(f"import time, {MODULE} as mod")
    start = time.time() + 0.2
    code = f"time.sleep({start} - time.time())\\nfor i in range({TIMES}): mod.bump({EACH})"
    threads = [threading.Thread(target=interpreter.run, args=(code,)) for interpreter in interpreters]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    for interpreter in interpreters: interpreter.end()
"""
MANY = {"KIND": "isolated", "TIMES": 100, "EACH": 10000}

RACES = {
    "race_counter": ("counter", "static long counter;", "return ++counter;"),
    "race_lazy": ("table", "static char *table;", "table = calloc"),
    "race_buffer": ("buffer.text[0]", "} buffer;", "return snprintf"),
}
HEALTHY = ["race_mutex", "race_atomic", "race_once", "race_thread", "race_state"]


@pytest.fixture(scope="session", params=["3.13-fast", "3.14-fast", "3.13-plain", "3.14-plain"])
def parallel(request, subject_of):
    """Those whose interpreters can have GILs of their own."""
    return subject_of(request.param)


@pytest.mark.parametrize("module", RACES)
def test_race(parallel, module):
    variable, definition, use = RACES[module]
    run = parallel.run(RACE, "statics=watch", MODULE=module, **MANY)
    race = run.one("race")
    assert run.status == 86 and race["access"] == "none"
    holder = race["holder"]
    assert (holder["symbol"] + (holder["path"] or ""), os.path.basename(holder["file"]), holder["line"]) \
        == (variable, module + ".c", line_of(module + ".c", definition))
    assert {who(place["interpreter"]) for place in race["places"]} == {(1, "own-gil"), (2, "own-gil")}
    assert len({place["tid"] for place in race["places"]}) == 2
    for place in race["places"]:
        assert place["role"] == "access" and place["write"] and not place["atomic"]
        assert places(place["stack"], module + ".c")[:1] == [line_of(module + ".c", use)]
        assert any(frame["kind"] == "python" for frame in place["stack"])


@pytest.mark.parametrize("module", HEALTHY)
def test_healthy(parallel, module):
    assert parallel.run(RACE, "statics=watch", MODULE=module, **MANY).healthy()
