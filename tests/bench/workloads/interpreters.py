"""Four interpreters in four threads, each doing the same work, with a GIL each from 3.12 on.

interpreters_serial.py does all of it in one such interpreter: the quotient of
the two times is the speed-up that four interpreters give.
"""
import os
import sys
import threading

try:
    import _interpreters
except ImportError:
    try:
        import _xxsubinterpreters       # up to 3.12
    except ImportError:
        sys.exit("this workload needs a CPython with the module _interpreters or _xxsubinterpreters")
    _interpreters = None

SIZE = 210_000
INTERPRETERS = 4

WORK = """
class Item:
    def __init__(self, number):
        self.number = number
        self.name = str(number)

def work(n):
    window = [None] * 1024
    total = 0
    for i in range(n):
        item = Item(i)
        window[i % 1024] = (item, [i, float(i)], {item.name: i})
        total += len(item.name) + sum(j * j for j in range(5))
    return total

assert work(SIZE) > 0
"""


def create():
    """An isolated interpreter: its id, what runs a script in it and returns an error or None, what ends it."""
    if _interpreters:
        return _interpreters.create("isolated"), _interpreters.exec, _interpreters.destroy
    # Its run_string raises the error.
    return _xxsubinterpreters.create(isolated=True), _xxsubinterpreters.run_string, _xxsubinterpreters.destroy


def run(work, errors):
    """Make an interpreter, let it do each of the pieces of work, end it."""
    interpreter, execute, destroy = create()
    try:
        for script in work:
            failed = execute(interpreter, script)
            if failed is not None:
                errors.append(failed.formatted)
    except RuntimeError as error:
        errors.append(error)
    finally:
        destroy(interpreter)


def main(n, parallel=True):
    script = WORK.replace("SIZE", str(n))
    errors = []
    if parallel:
        threads = [threading.Thread(target=run, args=([script], errors)) for _ in range(INTERPRETERS)]
    else:
        threads = [threading.Thread(target=run, args=([script] * INTERPRETERS, errors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        sys.exit(f"an interpreter failed: {errors[0]}")


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
