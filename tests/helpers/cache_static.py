"""Programs that import cache_static, an extension with one bug, or cache_state, its healthy twin; and the lines of the bug."""
from helpers.programs import line_of

CACHE_HOLDER = ("cache", "cache_static.c", line_of("cache_static.c", "static PyObject *cache;"))
CREATED = line_of("cache_static.c", "PyDict_New")
USED = line_of("cache_static.c", "return PyModule_AddObjectRef")

# The second import uses the object that the first one made; the program does nothing else with it.
IMPORTS = """
    first, second = Interpreter(KIND), Interpreter(KIND)
    first.run("import cache_static")
    second.run("import cache_static")
    first.end()
    second.end()
"""
HEALTHY = IMPORTS.replace("cache_static", "cache_state")
