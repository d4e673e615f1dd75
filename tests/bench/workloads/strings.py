"""Text: building, splitting, formatting, searching, encoding."""
import os

SIZE = 80_000

WORDS = "the owner of an object is the interpreter that made it Größe Ελλάδα 日本".split()


def main(n):
    table = str.maketrans("aeiou", "uoiea")
    counts = {}
    size = 0
    for i in range(n):
        word = WORDS[i % len(WORDS)]
        line = " ".join((word, str(i), WORDS[i % 5], f"{i:>8}", f"{i / 7:.3f}"))
        for part in line.split():
            counts[part[:3]] = counts.get(part[:3], 0) + 1
        line = line.replace("the", "THE").translate(table).title()
        if line.startswith("T") or line.endswith("9") or "own" in line:
            line = line[::-1].strip()
        size += len(line.encode("utf-8").decode("utf-8"))
        text = "%s=%r;%d" % (word, word, i)
        key, _, value = text.partition("=")
        size += value.find(";") + len(key.upper().center(20, "*"))
        built = ""
        for c in word:
            built += c
        size += hash(built) & 1
    assert size > n and counts


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
