"""Small objects made and dropped: tuples, lists, dicts, instances, trees."""
import os

SIZE = 200_000


class Node:
    __slots__ = ("left", "right")

    def __init__(self, left, right):
        self.left, self.right = left, right


class Record:
    def __init__(self, key, value):
        self.key, self.value = key, value


def tree(depth):
    if depth == 0:
        return Node(None, None)
    return Node(tree(depth - 1), tree(depth - 1))


def main(n):
    window = [None] * 4096      # keeps objects alive for a while, then drops them
    for i in range(n):
        items = [i, (i, i + 1), {"n": i}, [i] * 5, {i, i + 1}, float(i), i + 100_000]
        window[i % 4096] = (Record(i, items), str(i), bytes(40))
        if i % 8 == 0:
            tree(3)
        if i % 100 == 0:
            block = bytearray(3000)             # past the small-object limit
            block.extend(block)                 # a realloc that moves
        grown = []
        for j in range(6):
            grown.append((i, j))
    assert window[(n - 1) % 4096][0].key == n - 1


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
