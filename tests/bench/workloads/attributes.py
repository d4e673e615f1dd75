"""Attribute access: get, set, delete and lookup, specialised and not."""
import os
import types

SIZE = 520_000


class Plain:
    shared = 1

    def __init__(self):
        self.a = self.b = self.c = 0

    def step(self):
        self.a += 1
        self.b = self.a
        return self.c


class Derived(Plain):
    pass


class Slots:
    __slots__ = ("left", "right")

    def __init__(self):
        self.left = self.right = 0


class Computed:
    def __init__(self):
        self._value = 1

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, new):
        self._value = new


class Dynamic:
    def __getattr__(self, name):
        return name


def main(n):
    plain, derived, slots = Plain(), Derived(), Slots()
    computed, dynamic = Computed(), Dynamic()
    wide = types.SimpleNamespace(**{f"f{i}": i for i in range(60)})
    names = [f"f{i}" for i in range(60)]
    space = types.ModuleType("space")
    space.counter = 0
    for i in range(n):
        plain.step()
        derived.step()
        derived.c = plain.a + Plain.shared + derived.shared
        slots.left = i
        slots.right = slots.left
        computed.value = computed.value
        space.counter += 1
        name = names[i % 60]
        setattr(wide, name, getattr(wide, name) + 1)
        hasattr(plain, "missing")
        plain.extra = i
        del plain.extra
        dynamic.anything
        i.real, "".join
    assert slots.right == n - 1 and space.counter == n


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
