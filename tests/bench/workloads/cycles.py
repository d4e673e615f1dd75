"""The cycle collector: cyclic garbage, and full collections of a live heap."""
import gc
import os
import weakref

SIZE = 130_000


class Node:
    def __init__(self):
        self.peer = None
        self.children = []


def ring(length):
    nodes = [Node() for _ in range(length)]
    for i, node in enumerate(nodes):
        node.peer = nodes[i - 1]
        node.children.append(node)
    return nodes[0]


def main(n):
    died = []
    live = [(Node(), [i], {"n": [i]}) for i in range(min(n, 10_000))]
    for i in range(n):
        head = ring(6)
        if i % 10 == 0:
            head.watch = weakref.ref(head, died.append)
            weakref.finalize(head, died.append, None).atexit = False
        if i % 5 == 0:
            def closure():
                return closure
        if i % 5_000 == 0:
            gc.collect()
    del head
    gc.collect()
    assert len(died) == (n + 9) // 10 and live


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
