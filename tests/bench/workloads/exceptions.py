"""Exceptions: raised, caught, chained, re-raised, through deep stacks."""
import os

SIZE = 80_000


class Refused(Exception):
    def __init__(self, reason, code):
        super().__init__(reason)
        self.code = code


class Resource:
    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        return kind is not None and issubclass(kind, LookupError)


def deep(n):
    if n == 0:
        raise Refused("too deep", 7)
    try:
        deep(n - 1)
    finally:
        n += 1


def chained(key):
    try:
        return {}[key]
    except KeyError as error:
        raise ValueError(f"no {key}") from error


def main(n):
    codes = 0
    for i in range(n):
        try:
            deep(8)
        except Refused as error:
            codes += error.code
        try:
            chained(i)
        except (TypeError, ValueError) as error:
            codes += error.__cause__ is not None
        with Resource():
            [][i]
        try:
            try:
                int("x")
            except ValueError:
                raise
        except Exception:
            codes += 1
        getattr(i, "missing", None)
        for _ in iter([]):
            pass
        try:
            None.attribute
        except AttributeError as error:
            codes += error.name == "attribute"
    assert codes == 10 * n


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
