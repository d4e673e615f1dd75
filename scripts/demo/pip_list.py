"""`pip list` through runpy in four parallel own-GIL interpreters (the workload
of bpo-40512).  Each writes to a file of its own."""
import os
import tempfile
import threading

import _interpreters

LIST = """
import runpy, sys
sys.argv = ["pip", "list", "--disable-pip-version-check", "--log", %r]
try:
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
"""


def run(n, directory, results):
    interpreter = _interpreters.create("isolated")
    failed = _interpreters.exec(interpreter, LIST % os.path.join(directory, str(n)))
    results[n] = "done" if failed is None else failed.formatted
    _interpreters.destroy(interpreter)


with tempfile.TemporaryDirectory() as directory:
    results = {}
    threads = [threading.Thread(target=run, args=(n, directory, results)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in sorted(results):
        print("pip list in interpreter %d: %s" % (n, results[n]))
