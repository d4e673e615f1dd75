"""Why the garbage collector could not clear a cycle: what the extension's type does wrong, and nothing about its twin."""
import pytest

from helpers.product import log as logs

HEAD = 16
WEAK, CHILD, PARENT, ITEMS = (HEAD + 8 * i for i in range(4))      # struct node in traverse_wrong.c

# Type -> what makes a cycle of it, and what is said about that.
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
# An interpreter with such a cycle in it.
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
    """(reason, type, target, member, offset) of each that the log gives."""
    assert run.status in (0, 86), run.err
    found = []
    for path in sorted(run.log.iterdir()):
        log = logs.Log(path).read()
        assert not log.errors
        found += [(reason.reason, reason.type, reason.target, reason.member, reason.at)
                  for reason in log.reasons if reason.leak in log.leaks]
    return sorted(found)


def check(python, type, cycle, wanted, before=""):
    """What is said of the type of traverse_wrong, and of its twin."""
    program = PROGRAM.format(type="Sub" if before else "mod." + type, cycle=cycle, before=before)
    run = python.run(program.replace("MODULE", "traverse_wrong"))
    assert reasons(run) == sorted((reason, "traverse_wrong." + type, *more) for reason, *more in wanted)
    assert run.findings("leak")
    assert python.run(program.replace("MODULE", "traverse_right")).healthy()


MEMBER = CYCLES["Member"][1]
# What a class made in Python inherits; references that are borrowed, or in memory that is; an object that is only
# there in the last collection, when nothing but the registry of codecs has referred to it.
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
def test_reason(subject, type):
    check_type(subject, type)


@pytest.mark.parametrize("type", CYCLES)
def test_reason_stock(stock, type):
    check_type(stock, type)


@pytest.mark.parametrize("name", MORE)
def test_more(subject, name):
    check(subject, *MORE[name])


@pytest.mark.parametrize("name", MORE)
def test_more_stock(stock, name):
    check(stock, *MORE[name])
