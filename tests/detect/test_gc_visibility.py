"""Cycles that the garbage collector cannot clear: the report gives the error in the extension's type, and none for its twin."""
import pytest

from helpers.product import log as logs

HEAD = 16
WEAK, CHILD, PARENT, ITEMS = (HEAD + 8 * i for i in range(4))      # struct node in traverse_wrong.c

# Type -> code that makes a cycle with it, and the reasons in the report.
CYCLES = {
    "Member": ("node.child = [node]", [("no_visit_member", "list", "child", CHILD)]),
    "Memory": ("node.hold([node])", [("no_visit_member", "list", "", ITEMS)]),
    "Type": ("mod.Type.node = node", [("no_visit_type", "", "", 0)]),
    "Managed": ("node.attribute = [node]", [("no_visit_member", "", "__dict__", 0)]),
    "Clear": ("node.child = mod.Clear(); node.child.child = node", [("no_clear", "", "", 0)]),
    "Untracked": ("node.child = [node]", [("untracked", "", "", 0)]),
    "Plain": ("node.child = [node]", [("no_gc", "list", "child", CHILD)]),
    "Bare": ("mod.Bare.node = node", [("no_gc", "", "", 0)]),
    "Derived": ("mod.Derived.node = node", [("no_visit_type", "", "", 0)]),
}
# An interpreter ends with such a cycle in it.
PROGRAM = """
    interpreter = Interpreter("legacy")
    interpreter.run('''if True:
        import gc, MODULE as mod
        {before}
        node = {type}()
        {cycle}
        del node
        gc.collect()
    ''')
    interpreter.end()
"""


def reasons(run):
    """(reason, type, target, member, offset) of each reason in the log."""
    assert run.status in (0, 86), run.err
    found = []
    for path in sorted(run.log.iterdir()):
        log = logs.Log(path).read()
        assert not log.errors
        found += [(reason.reason, reason.type, reason.target, reason.member, reason.at)
                  for reason in log.reasons if reason.leak in log.leaks]
    return sorted(found)


def check(python, type, cycle, wanted, before=""):
    """The reasons for a type of traverse_wrong; its twin is healthy."""
    program = PROGRAM.format(type="Sub" if before else "mod." + type, cycle=cycle, before=before)
    run = python.run(program.replace("MODULE", "traverse_wrong"))
    assert reasons(run) == sorted((reason, "traverse_wrong." + type, *more) for reason, *more in wanted)
    assert run.findings("leak")
    assert python.run(program.replace("MODULE", "traverse_right")).healthy()


MEMBER = CYCLES["Member"][1]
# Classes that inherit the error; borrowed references, and borrowed memory with references; an object that becomes garbage
# only in the last collection, since the registry of codecs refers to it until then.
MORE = {
    "subclass": ("Member", "node.child = [node]", MEMBER, "class Sub(mod.Member): pass"),
    "subclass of no_gc": ("Plain", *CYCLES["Plain"], "class Sub(mod.Plain): pass"),
    "borrowed": ("Member", "kept = mod.Node(); kept.adopt(mod.Node()); node.child = [node, kept]; del kept", MEMBER),
    "borrowed in the cycle": ("Memory", "kept = mod.Memory(); kept.adopt(node); node.hold([kept]); del kept",
                              CYCLES["Memory"][1]),
    "no_clear beside": ("Member", "kept = mod.Clear(); kept.child = node; node.child = [kept]; del kept", MEMBER),
    "state": ("Member", "node.child = [node]; node.join(mod)", MEMBER),
    "resurrected": ("Finalize", "import codecs; node.child = [node]; codecs.register(lambda name, node=node: None)",
                    [("resurrected", "", "", 0)]),
}


def check_type(python, type):
    if type == "Managed" and python.hexversion < (3, 13):
        return                      # PyObject_VisitManagedDict is new
    check(python, type, *CYCLES[type])


@pytest.mark.parametrize("type", CYCLES)
def test_reason(target, type):
    check_type(target, type)


@pytest.mark.parametrize("type", CYCLES)
def test_reason_stock(stock, type):
    check_type(stock, type)


@pytest.mark.parametrize("name", MORE)
def test_more(target, name):
    check(target, *MORE[name])


@pytest.mark.parametrize("name", MORE)
def test_more_stock(stock, name):
    check(stock, *MORE[name])
