"""Objects that CPython itself makes in one interpreter for another: single-phase modules, data sent, names of arguments."""
import pytest

from helpers.programs import holder_of, line_of, places, who


SINGLE_PHASE = """
    first, second = Interpreter("legacy"), Interpreter("legacy")
    first.run("import " + MODULE)
    second.run("import " + MODULE + AND)
    second.end()
    first.end()
"""


def test_module_copied_by_the_runtime(stock):
    """The dictionary of a single-phase module is copied for each interpreter (Python/import.c), its values are not."""
    run = stock.run(SINGLE_PHASE, MODULE="single_copy", AND="")
    assert run.findings("share", "stale", "free", "static") == [], run.err
    # The original outlives the interpreter that made it, if that was not the main one.
    assert {finding["object"]["type"] for finding in run.findings()} <= {"list"}


def test_module_each_interpreter_makes(stock):
    assert stock.run(SINGLE_PHASE, MODULE="single_init_clean", AND="; single_init_clean.shared.append(None)").healthy()
    run = stock.run(SINGLE_PHASE, MODULE="single_init", AND="")
    assert run.status == 86
    holder = ("list", "single_init.c", line_of("single_init.c", "static PyObject *list;"))
    shares = [finding for finding in run.findings("share", "stale", type="list", access="argument")
              if places(finding["stacks"]["used"], "single_init.c") == [line_of("single_init.c", "PyModule_AddObjectRef")]]
    assert shares and {holder_of(finding) for finding in shares} == {holder}
    assert holder in {holder_of(finding) for finding in run.findings("static")}


def test_where_a_single_phase_module_made_what_it_shares(stock):
    """From 3.13 on CPython runs its init function in the main interpreter, without a Python frame (Python/import.c,
    switch_to_main_interpreter)."""
    run = stock.run(SINGLE_PHASE, MODULE="single_class", AND="; single_class.use(single_class.error)")
    shares = run.findings("share", type="type", access="argument")
    assert shares, run.err
    for share in shares:
        assert who(share["owner"]) == ((0, "main") if stock.hexversion >= (3, 13) else (1, "legacy"))
        assert who(share["current"])[0] in (1, 2)
        assert places(share["stacks"]["created"], "single_parts.c") == [line_of("single_parts.c", "PyErr_NewException")]
        assert places(share["stacks"]["used"], "single_parts.c") == [line_of("single_parts.c", "PyObject_IsTrue")]


SEND = {
    "queue": """
        from interpreters import queues
        queue = queues().create()
        sender, receiver = Interpreter(), Interpreter()
        sender.run(f"from interpreters import queues; queues().Queue({queue.id}).put(('text', 10 ** 30, 1.5))")
        receiver.run(f"from interpreters import queues; x = queues().Queue({queue.id}).get(); assert x[1] == 10 ** 30")
        receiver.end()
        sender.end()
    """,
    "channel": """
        import interpreters
        channels = interpreters.channels()
        channel = channels.create()
        sender, receiver = Interpreter("legacy"), Interpreter("legacy")
        sender.run(f"import interpreters; interpreters.channels().send({int(channel)}, b'bytes' * 9)")
        receiver.run(f"import interpreters; assert interpreters.channels().recv({int(channel)}) == b'bytes' * 9")
        receiver.end()
        sender.end()
    """,
}


@pytest.mark.parametrize("way", SEND)
def test_data_sent(stock, way):
    """The receiver gets a new object; the data in between belongs to the process."""
    if way == "queue" and stock.hexversion < (3, 13):
        way = "channel"                     # these releases have no queues
    elif way == "channel" and stock.hexversion >= (3, 13):
        way = "queue"
    assert stock.run(SEND[way]).healthy()


def test_names_of_arguments(stock):
    """CPython makes the tuple of a function's argument names once, in the main interpreter (Python/getargs.c)."""
    script = """
        import arg_parser
        arg_parser.keep(NAME)
        other = Interpreter("legacy")
        other.run("import arg_parser")
        other.end()
    """
    assert stock.run(script, NAME="name").healthy()
    if stock.hexversion < (3, 12):          # any interpreter makes it in these releases
        made = """
            other = Interpreter("legacy")
            other.run(f"import arg_parser; arg_parser.keep({NAME!r})")
            other.end()
        """
        assert stock.run(made, NAME="name").healthy()
        assert stock.run(made, NAME="other").one("leak", type="tuple")["holder"]["path"] == ".kwtuple"
    static = stock.run(script, NAME="other").one("static", type="tuple")
    assert (who(static["owner"]), who(static["current"])) == ((0, "main"), (1, "legacy"))
    assert static["holder"]["symbol"] == "parser" and static["holder"]["path"] == ".kwtuple"
    assert static["holder"]["line"] == line_of("arg_parser.c", "} parser =")
