"""The Python module `isan`, its built-in `_isan`, and the examples of docs/api.md."""
import re
import subprocess
import sys

import pytest

from helpers.programs import SYSTEM, TIMEOUT, release, who
from helpers.tree import DOCS, INCLUDE, LIBRARY, SCRIPTS

EXAMPLES = dict(re.findall(r"^```(\w+)\n(.*?)^```$", (DOCS / "api.md").read_text(), re.DOTALL | re.MULTILINE))
PATH = f"import sys\nsys.path.insert(0, {str(SCRIPTS)!r})\n"
# One interpreter's callback is in a static that the other interpreter uses.
REGISTER = """
import ask
other = Interpreter()
other.run("import ask; handler = ['it']; ask.keep(handler)")
def register_handler(): ask.look()
"""


@pytest.fixture(params=["system", "3.13-plain", "3.13-fast"])
def way(request, target_of):
    return target_of(request.param)


def test_without_isan(plain):
    done = subprocess.run([plain, "-I", "-c", PATH + """
import isan
with isan.ignore("no matter"):
    print(isan.loaded(), isan.findings(), isan.look(), isan.owned(), isan.owner([]), isan.log(), isan.finding(1),
          isan.transfer([]), isan.share([]), isan.on_finding(print), "_isan" in sys.builtin_module_names)
"""], stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT)
    assert done.stdout == "False -1 -1 -1 -1 None None None None None False\n"


def test_import_of_isan_loads_nothing_else():
    """It imports only os, which every Python has loaded already.  This is the Python that runs isan's own scripts."""
    done = subprocess.run([sys.executable, "-I", "-c", PATH + "before = set(sys.modules)\nimport isan\nprint(set(sys.modules) - before)"],
                          stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT)
    assert done.stdout == "{'isan'}\n"


def test_in_every_interpreter(way):
    """The answers are those of the C functions; wrong arguments raise Python's usual exceptions."""
    run = way.run(PATH + """
import _isan, functools, isan, os
print = functools.partial(print, flush=True)
assert isan.loaded() and "_isan" in sys.builtin_module_names
mine = []
print(isan.owner(mine), isan.owner(None), isan.transfer(mine), isan.share(mine), isan.transfer(None), isan.share(None))
print(isan.findings(), isan.look(), isan.finding(1), isan.finding(10 ** 12))
print(isan.log() == os.path.realpath(isan.log()), os.path.basename(isan.log()) == f"isan.{os.getpid()}.log")
for wrong in "isan.ignore('')", "isan.ignore(None)", "isan.finding('1')", "_isan.ignore_begin(1)", "_isan.ignore_begin('\\\\udc80')":
    try:
        eval(wrong)
    except (TypeError, ValueError) as error:
        print(type(error).__name__, end=" ")
for kind in "legacy", "isolated":
    other = Interpreter(kind)
    other.run(f"import sys; sys.path.insert(0, {sys.path[0]!r}); import isan; print(isan.loaded(), isan.owner([]), isan.look(), flush=True)")
    other.end()
""")
    assert run.out == ("0 -1 True True None None\n0 0 None None\nTrue True\n"
                       "ValueError ValueError TypeError TypeError UnicodeEncodeError True 1 0\nTrue 2 0\n"), run.out + run.err
    assert run.healthy()


def test_callback(way):
    """It is called for each finding until stop().  Exceptions that it raises are printed.  A forked child has no callbacks."""
    run = way.run(PATH + REGISTER + """
import isan, os, threading
told, threads = [], set()
def tell(number):
    threads.add(threading.current_thread())
    told.append(number)
    raise RuntimeError("from the callback")
stop = isan.on_finding(tell)
register_handler()
other.run("import leak_ref; leak_ref.make_object(); ask.keep(None)")
other.end()
if os.fork() == 0:          # 3.11 hangs in it while another interpreter lives
    os._exit(isan.findings() not in (0, -1))
assert os.wait()[1] == 0
stop()
assert told == list(range(1, isan.findings() + 1)) and len(told) >= 2, told
assert threading.current_thread() not in threads and threading.active_count() == 1
print([isan.finding(number)["kind"] for number in told if isan.finding(number)["type"] == "list"])
isan.on_finding(print)      # registered until the program ends
""")
    assert run.out == "['static', 'leak']\n" and run.err.count("RuntimeError: from the callback") >= 2, run.out + run.err
    assert run.one("static", type="list")["numbers"] == [{"pid": run.report["process"]["pid"], "number": 1}]


def test_callback_in_an_interpreter_that_ends(way):
    """The thread of the callbacks ends with the interpreter.  Before 3.13 CPython refuses to end an interpreter that has other
    threads."""
    run = way.run(PATH + """
other = Interpreter("legacy" if sys.version_info < (3, 12) else "isolated")
other.run(f"import sys; sys.path.insert(0, {sys.path[0]!r}); import isan; stop = isan.on_finding(print); assert isan.owned() > 100; "
          "sys.version_info < (3, 13) and stop()")
other.end()
import os
print(len(os.listdir("/proc/self/task")))
""")
    assert run.out == "1\n" and run.healthy(), run.out + run.err


def test_the_example(way, plain):
    """The example of docs/api.md, with isan and without."""
    run = way.run(PATH + REGISTER + EXAMPLES["python"])
    assert run.out == "static of a list of interpreter 1\n", run.err
    (ignored,) = run.report["ignored"]
    assert (ignored["reason"], who(run.one("static")["owner"])[0]) == ("the library keeps one handler for the process", 1)
    done = subprocess.run([plain, "-I", "-c", PATH + "def register_handler(): pass\n" + EXAMPLES["python"]],
                          stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT)
    assert done.stdout == ""


@pytest.mark.parametrize("compiler", ["gcc -std=c99", "gcc -std=gnu11 -O2", "g++ -std=c++20"])
def test_the_example_in_c(tmp_path, compiler):
    source = tmp_path / "example.c"
    source.write_text(EXAMPLES["c"])
    flags = [*compiler.split(), "-x", "c++" if "++" in compiler else "c", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{INCLUDE}"]
    subprocess.run([*flags, "-o", tmp_path / "example", source], check=True)
    for env in {}, {"LD_PRELOAD": str(LIBRARY)}:
        assert subprocess.run([tmp_path / "example"], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout == ""


EMBEDDER = """
#include <Python.h>
static struct PyModuleDef mine = { PyModuleDef_HEAD_INIT, .m_name = "mine" };
static PyObject *init(void) { return PyModuleDef_Init(&mine); }
int main(void)
{
    PyImport_AppendInittab("mine", init);
    for (int i = 0; i < 2; i++) {
        Py_Initialize();
        if (PyRun_SimpleString("import _isan, mine, sys; print(_isan.findings(), sys.builtin_module_names.count('_isan'))") < 0) {
            return 1;
        }
        if (Py_FinalizeEx() < 0) {
            return 1;
        }
    }
    return 0;
}
"""


def test_beside_built_in_modules_of_a_host(tmp_path):
    """A host adds its own built-in module; it ends Python and starts it again."""
    flags = subprocess.run([f"python{release(SYSTEM)}-config", "--embed", "--cflags", "--ldflags"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    (tmp_path / "embedder.c").write_text(EMBEDDER)
    subprocess.run(["gcc", "-g", "-o", tmp_path / "embedder", tmp_path / "embedder.c", *flags], check=True)
    done = subprocess.run([tmp_path / "embedder"], env={"LD_PRELOAD": str(LIBRARY)}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (0, "0 1\n0 1\n")
