"""Two hundred megabytes of small objects, all alive at once: for peak memory."""
import os

SIZE = 285_000


class Item:
    __slots__ = ("number", "name", "pair")

    def __init__(self, number):
        self.number = number
        self.name = f"item {number}"
        self.pair = (number, float(number))


def main(n):
    heap = []
    for i in range(n):
        heap.append(Item(i))
        heap.append({"key": i, "list": [i, i + 1]})
        heap.append(bytes(32 + i % 64))
    total = 0
    for i in range(0, len(heap), 3):
        total += heap[i].pair[0] + heap[i + 1]["list"][1]
    assert total == n * n


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
