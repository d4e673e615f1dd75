"""The log of a program that shares an object, and the report on it."""
from helpers.log_writer import Writer
from helpers.product import log, model

# Where _foo.so is loaded (helpers/compiled.py).
BIAS = 0x10000000


def sample_log(foo, pid=100, start=0, extra_lines=0):
    """Interpreter 1 makes an X, interpreter 2 finds it in _foo.so, 1 ends."""
    w = Writer(pid=pid, start=start)
    w.process(cwd="/src")
    w.module(str(foo.path), BIAS, build_id=foo.build_id)
    for serial, kind in (1, 0), (2, 2), (3, 1):
        w.interp(serial, log.BEGIN, kind)
    main = w.code("/src/main.py", "<module>", 1 + extra_lines, (4, 1 + extra_lines), (4, 7 + extra_lines))
    make = w.code("/src/user.py", "make", 20, (4, 21))
    get = w.code("/src/user.py", "get", 10, (4, 10), (4, 12))
    at = lambda function, callee: BIAS + foo.calls(function, callee)
    used = w.stack([at("use_cache", "deep") - 1, at("_PyEval_EvalFrameDefault", "use_cache"),
                    at("run_string", "_PyEval_EvalFrameDefault"), at("_PyEval_EvalFrameDefault", "use_cache"),
                    at("run_string", "_PyEval_EvalFrameDefault")],
                   [(get + 5, 0, 3), (get, log.FRAME_ENTRY, 3), (main + 5, log.FRAME_ENTRY, 1)])
    ended = w.stack([], [(main + 5, 1, 1)])
    holder = BIAS + foo.symbols["cache"]
    x = dict(owner=2, serial=12, origin=make, type="X")
    w.finding(1, "share", count=3, current=3, holder=holder, used=used, gone=2, time=5 * 10**8, **x)
    w.interp(2, log.FINALIZING, 2, time=10**9, stack=ended)
    w.leak(2, count=14, bytes=2240, holder=holder, pairs=[(12, 1), (12, 3)], **x)
    w.interp(2, log.END, 2, time=10**9)
    w.finding(3, "stale", "attribute", current=3, holder=holder, used=used, time=3 * 10**9, gone=2, **x)
    return w


def report_of(symbolizer, *paths, **more):
    return model.build(log.read(list(paths)), symbolizer, **more)
