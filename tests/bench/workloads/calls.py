"""Function calls of every form the interpreter has a path of its own for."""
import os

SIZE = 130_000


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def defaults(a, b=2, *, c=3):
    return a + b + c


def variadic(*args, **kwargs):
    return len(args) + len(kwargs)


def adder(n):
    def add(x):
        return x + n
    return add


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def moved(self, dx):
        return Point(self.x + dx, self.y)

    def __call__(self, n):
        return n

    @classmethod
    def origin(cls):
        return cls(0, 0)

    @staticmethod
    def scale(n):
        return n + n


def main(n):
    add_five = adder(5)
    total = 0
    for i in range(n):
        total += fib(6)
        total += defaults(i) + defaults(i, 1, c=0) + defaults(a=i, b=i)
        total += variadic(i, i, i, key=i) + variadic(*(i, i), **{"k": i})
        total += add_five(i)
        p = Point.origin().moved(i)
        bound = p.moved
        total += bound(1).x + p(i) + Point.scale(i)
        total += sum(map(add_five, (1, 2, 3))) + len(sorted((3, 1, 2), key=abs))
        total += max(i, 3) + abs(-i)
    assert total > 0


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
