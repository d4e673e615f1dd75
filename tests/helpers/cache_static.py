"""Programs that import the extension cache_static, which has one bug, or cache_state, its healthy twin; and where the bug is."""
from helpers.programs import line_of

CACHE_HOLDER = ("cache", "cache_static.c", line_of("cache_static.c", "static PyObject *cache;"))
CREATED = line_of("cache_static.c", "PyDict_New")
USED = line_of("cache_static.c", "return PyModule_AddObjectRef")

# Nothing is done with the object but to import the extension again.
IMPORTS = """
    first, second = Interpreter(KIND), Interpreter(KIND)
    first.run("import cache_static")
    second.run("import cache_static")
    first.end()
    second.end()
"""
HEALTHY = IMPORTS.replace("cache_static", "cache_state")
