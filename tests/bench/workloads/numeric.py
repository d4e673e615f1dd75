"""Arithmetic: floats, small and big integers, a matrix product, a sieve."""
import os

SIZE = 20


def orbit(steps):
    x, y, vx, vy = 1.0, 0.0, 0.0, 0.9
    for _ in range(steps):
        r3 = (x * x + y * y) ** 1.5
        vx -= 0.001 * x / r3
        vy -= 0.001 * y / r3
        x += 0.001 * vx
        y += 0.001 * vy
    return x * x + y * y


def product(size):
    a = [[i * j % 7 + 0.5 for j in range(size)] for i in range(size)]
    columns = list(zip(*a))
    return [[sum(x * y for x, y in zip(row, col)) for col in columns] for row in a]


def sieve(limit):
    flags = [True] * limit
    for i in range(2, int(limit ** 0.5) + 1):
        if flags[i]:
            for j in range(i * i, limit, i):
                flags[j] = False
    return sum(flags[2:])


def collatz(limit):
    longest = 0
    for start in range(1, limit):
        n, steps = start, 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        longest = max(longest, steps)
    return longest


def big(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a % 1_000_007 + pow(3, n, 2 ** 127 - 1) % 2


def main(n):
    for _ in range(n):
        assert 0.1 < orbit(40_000) < 10
        assert len(product(45)) == 45
        assert sieve(50_000) == 5133
        assert collatz(1_500) == 181
        big(4_000)


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
