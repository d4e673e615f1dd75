"""Regular expressions: tokenising, scanning log lines, substitution."""
import os
import re

SIZE = 550

TOKEN = re.compile(r"""
    (?P<number>\d+(?:\.\d*)?) | (?P<name>[A-Za-z_]\w*) |
    (?P<string>"(?:\\.|[^"\\])*") | (?P<op>[-+*/=<>!]=?|[(),:;{}\[\]]) |
    (?P<space>\s+)""", re.VERBOSE)
LOG = re.compile(r"^(\S+) \[(\d+)/(\w+)\] \"(GET|POST) (/[^ ]*)\" (\d{3})$", re.MULTILINE)
KEY = re.compile(r"(\w+)=(\w*)")

SOURCE = 'def area(width, height):\n    text = "a \\"quoted\\" word"\n    return width*height + 3.25\n' * 8
LINES = "\n".join(
    f'host{i % 13}.example [{i}/Jan] "{"GET" if i % 3 else "POST"} /page/{i}?a={i}&b=x" {200 + i % 5}'
    for i in range(120))


def main(n):
    for _ in range(n):
        kinds = {}
        for match in TOKEN.finditer(SOURCE):
            kinds[match.lastgroup] = kinds.get(match.lastgroup, 0) + 1
        assert kinds["string"] == 8 and kinds["number"] == 8
        found = LOG.findall(LINES)
        assert len(found) == 120
        assert KEY.sub(lambda m: m[2] + "=" + m[1], LINES).count("=") == 240
        assert len(re.split(r"[\s\"]+", LINES)) > 120
        re.sub(r"(a|b|c)+d?", "-", SOURCE)


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
