"""Generators, delegation, comprehensions and coroutines."""
import itertools
import os

SIZE = 4_500


def count(n):
    for i in range(n):
        yield i


def evens(source):
    return (i for i in source if i % 2 == 0)


def walk(depth):
    if depth:
        yield from walk(depth - 1)
        yield depth
        yield from walk(depth - 1)


def average():
    total = number = 0
    value = None
    while True:
        value = yield value
        total += value
        number += 1
        value = total / number


class Ready:
    def __await__(self):
        yield self
        return 1


async def nested(depth):
    return await Ready() if depth == 0 else await nested(depth - 1) + 1


def drive(coroutine):
    while True:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value


def main(n):
    for _ in range(n):
        assert sum(i * i for i in evens(count(400))) == 10586800
        assert sum(walk(7)) == 247
        mean = average()
        next(mean)
        for i in range(100):
            mean.send(i)
        mean.close()
        assert drive(nested(20)) == 21
        list(itertools.islice(itertools.chain.from_iterable([j, j] for j in count(200)), 300))
        pairs = {i: [j for j in range(4)] for i in range(50)}
        assert len(pairs) == 50


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
