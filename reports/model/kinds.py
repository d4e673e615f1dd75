"""What is said of each kind of finding: title, hint, rank."""
from ..read import c_tables

KINDS = {kind.name: kind for kind in c_tables.KINDS}
RETAINERS = {retainer.name: retainer for retainer in c_tables.RETAINERS}
STATES = {state.access: state for state in c_tables.STATES}
REASONS = {reason.name: reason for reason in c_tables.REASONS}
STATIC_TYPE = ("a static type is used by several interpreters",
               "Make it a heap type of each interpreter with PyType_FromModuleAndSpec, and keep it in module state."
               " See \"Isolating Extension Modules\", docs.python.org/3/howto/isolating-extensions.html")

# Title and hint of a race, by whether its two interpreters share a GIL (findings.gil_of).
RACES = {
    "different": (KINDS["race"].title, KINDS["race"].hint),
    "same": ("two threads accessed the same memory without synchronisation, at least one of them writing, though their"
             " interpreters have one GIL",
             "One of the two did not hold the GIL: take it (PyGILState_Ensure, PyEval_RestoreThread) before the access,"
             " move the access out of Py_BEGIN_ALLOW_THREADS, or protect the memory with a lock or an atomic."),
    "none": ("two threads accessed the same memory without synchronisation, at least one of them writing",
             "The GIL does not protect what a thread outside any interpreter accesses: use a lock or an atomic."),
}
RACES[None] = RACES["none"][0], KINDS["race"].hint
# The order of a report: what is wrong now, then what will go wrong, then what was left behind.
RANK = {name: rank for rank, names in enumerate((
    ("stale", "free", "race", "share"), ("immortal", "gilstate"), ("static",), ("leak",))) for name in names}
DOMAINS = {"r": "PyMem_RawMalloc", "m": "PyMem_Malloc", "o": "PyObject_Malloc"}


def interp_name(id, kind):
    return "interpreter %s (%s)" % (id, {"main": "main", "legacy": "legacy", "own-gil": "own GIL"}[kind])
