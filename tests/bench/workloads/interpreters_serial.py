"""The work of interpreters.py, one piece after the other in one interpreter."""
import os

import interpreters

SIZE = interpreters.SIZE


def main(n):
    interpreters.main(n, parallel=False)


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
