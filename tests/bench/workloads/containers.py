"""Dictionaries, sets, lists, deques and sorting."""
import collections
import os

SIZE = 100


def numbers(count, seed=12345):
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) & 0x7fffffff
        yield seed


def main(n):
    values = list(numbers(4_000))
    texts = [str(v) for v in values]
    for _ in range(n):
        index = {}
        for value, text in zip(values, texts):
            index.setdefault(value % 97, []).append(text)
        for bucket in index.values():
            bucket.sort(key=len)
        ordered = sorted(zip(texts, values))
        ordered.reverse()
        unique = set(values) | {v + 1 for v in values} - set(values[::2])
        queue = collections.deque(maxlen=500)
        for text in texts:
            queue.append(text)
            if len(queue) == 500:
                queue.popleft()
        count = collections.Counter(text[0] for text in texts)
        merged = {**index, **count}
        for key in list(merged):
            if key in unique or key in count:
                del merged[key]
        grid = [row[:] for row in [values[:50]] * 50]
        grid[3:9] = [[], []]
        assert len(ordered) == 4_000 and len(grid) == 46


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
