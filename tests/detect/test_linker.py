"""isan beside the dynamic linker: its locks, and what it runs before a library is known."""
import subprocess

from helpers.programs import holder_of, line_of, places, who

# A callback of dl_iterate_phdr() runs with the linker's lock, and waits there for the GIL.  isan must not wait for that
# lock with the GIL, as its unwinder did.  Without isan the program ends in less than a second.
CALLBACK = """
import ctypes, sys, threading
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
names = []
@Callback
def callback(info, size, data):
    names.append(sum(range(500)))
    return 0
going_on = True
def go_on():
    while going_on:
        ctypes.CDLL(None).dl_iterate_phdr(callback, None)
sys.setswitchinterval(1e-5)
thread = threading.Thread(target=go_on)
thread.start()
for _ in range(10):
    interpreter = Interpreter("legacy")
    interpreter.run(WHAT)
    interpreter.end()
going_on = False
thread.join()
print(len(names) > 100)
"""


def test_callback_of_dl_iterate_phdr_that_runs_python(every):
    run = every.run(CALLBACK, WHAT="[str(i) for i in range(1000)]")
    assert run.out == "True\n" and run.healthy()


def test_errno_of_dlopen(stock):
    """dlopen() leaves the errno that it leaves without isan, also where isan looks into what is loaded."""
    program = ("import ctypes, _ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfor name in b'libz.so.1', b'none.so':\n"
               "    ctypes.set_errno(1000)\n    libc.dlopen(name, 2)\n    print(ctypes.get_errno())\n")
    plain = subprocess.run([stock.python, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert stock.run(program).out == plain


def test_finding_beside_such_a_callback(every):
    run = every.run(CALLBACK.replace("going_on = True", "import cache_static\ngoing_on = True", 1), WHAT="import cache_static")
    assert run.out == "True\n" and run.status == 86 and run.findings("share", type="dict"), run.err


def test_object_made_in_a_constructor_of_a_library(either):
    """isan does not know a library before its constructors have run, and yet has the whole stack."""
    run = either.run("""
        import static_constructor
        interpreter = Interpreter()
        interpreter.run("import static_constructor; len(static_constructor.get())")
        interpreter.end()
    """)
    source = "static_constructor.c"
    found = run.one("static", type="bytes")
    assert who(found["owner"]) == (0, "main")
    assert holder_of(found) == ("kept", source, line_of(source, "static PyObject *kept;"))
    assert places(found["stacks"]["created"], source) == [line_of(source, "return PyBytes_FromStringAndSize(NULL, 100);"),
                                                         line_of(source, "kept = make();")]
