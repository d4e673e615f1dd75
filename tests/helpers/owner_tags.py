"""Owner tags, read by the program under test in its own memory.

Imported by the programs that tests/detect/test_owner_tags.py and tests/bench/soak.py run under
an instrumented Python.  The layout's numbers come from the headers.
"""
import ctypes
import os
import re

from helpers import tree


def constants():
    """The numbers that the two headers define, by name."""
    found = {}
    for header in tree.REFCOUNT_HEADER, tree.SHADOW_HEADER:
        text = header.read_text(encoding="utf-8")
        for name, value, shift in re.findall(
                r"^(?:#define)?\s+(ISAN__[A-Z_]+)\s*=?\s+(0x[0-9a-f]+|\d+)u?l*\b(?:\s*<<\s*(\d+))?", text, re.M):
            found[name.removeprefix("ISAN__")] = int(value, 0) << int(shift or 0)
    return found


C = constants()
SHADOW, GRANULE = C["SHADOW"], C["GRANULE"]
START, LONG, NOTED, FREED, RAW = (C[name] for name in ("START", "LONG", "NOTED", "FREED", "RAW"))
OBJECT, NOBODY, SIZE_BIG = C["OBJECT"], C["NO_INTERP"], C["SIZE_BIG"]


def word(address):
    return ctypes.c_uint32.from_address(SHADOW + (address >> 4 << 2)).value


def slot(address):
    return word(address) & 0xffff


class Block:
    """The block with an object (or its first byte) at this address, as described by its tags."""

    def __init__(self, address):
        start = address & -GRANULE
        while not word(start) & START:
            start -= GRANULE
            assert address - start <= 3 * GRANULE, f"no block at {address:#x}"
        self.start = start
        self.words = [word(start + i * GRANULE) for i in range(3 if word(start) & LONG else 2)]
        self.slot = self.words[0] & 0xffff
        self.flags = self.words[0] & (NOTED | FREED | RAW)
        self.origin = (self.words[0] >> 16 & 0x3ff) | (self.words[1] >> 16 & 0x3fff) << 10
        size = 2
        if self.words[0] & LONG:
            size = self.words[2] >> 16 & SIZE_BIG
            if size == SIZE_BIG:
                size = word(start + 3 * GRANULE)
        self.size = size * GRANULE
        self.objects = [start + i * GRANULE for i, w in enumerate(self.words) if w & OBJECT]


def mapped():
    """[(start, end, permissions, file or "")] of this process's memory."""
    maps = []
    with open("/proc/self/maps", encoding="utf-8") as file:
        for line in file:
            fields = line.split(None, 5)
            start, end = (int(number, 16) for number in fields[0].split("-"))
            maps.append((start, end, fields[1], fields[5].strip() if len(fields) > 5 else ""))
    return maps


def written():
    """(address, words) of the shadow pages that have been written: `words` are
    the tags of 16 KiB of memory from `address` on."""
    page = os.sysconf("SC_PAGESIZE")
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap, open("/proc/self/mem", "rb", buffering=0) as memory:
        done = 0
        for start, end, permissions, _ in mapped():
            if permissions != "rw-p" or SHADOW <= start < SHADOW + (1 << 45) or end >> 47:
                continue
            first = max(SHADOW + (start >> 2) & -page, done)
            done = max(done, SHADOW + (end >> 2) + page - 1 & -page)
            if first >= done:
                continue
            pagemap.seek(first // page * 8)
            entries = memoryview(pagemap.read((done - first) // page * 8)).cast("Q")
            for i, entry in enumerate(entries):
                if entry >> 62:
                    memory.seek(first + i * page)
                    yield (first + i * page - SHADOW << 2, memoryview(memory.read(page)).cast("I"))


def blocks():
    """(address, first word) of every tagged block."""
    for address, words in written():
        for i, word in enumerate(words):
            if word & START:
                yield address + i * GRANULE, word
