"""Turns the recorder's C tables into a Python module, for the reporter and the pytest plugin.

    generate_c_tables.py OUTPUT TABLE...

A table is C source that consists of MACRO(argument, ...) rows (ISAN_KIND, ISAN_NUM, ...). The C files stay the only
place of these facts; make runs this when one of them has changed.
"""
import ast
import os
import re
import sys

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[A-Za-z0-9_|.+-]+|[(),]|\S')

# Macro -> (list of the module, number of its arguments).
LISTS = {
    "ISAN_KIND": ("KINDS", 3), "ISAN_ACCESS": ("ACCESSES", 1), "ISAN_STATE": ("STATES", 2), "ISAN_PLACE": ("PLACES", 2),
    "ISAN_RESIDUE": ("RESIDUES", 2), "ISAN_RETAINER": ("RETAINERS", 2), "ISAN_REASON": ("REASONS", 2),
}
HEAD = '''"""The recorder's tables. Made by scripts/generate_c_tables.py from %s: edit those."""
'''


def rows(text):
    """Yield (macro, arguments) for each MACRO(argument, ...) in C source."""
    tokens = _TOKEN.findall(re.sub(r"/\*.*?\*/|^#.*?$", " ", text, flags=re.S | re.M))
    at = 0
    while at < len(tokens):
        macro, at = tokens[at], at + 1
        if not re.match(r"ISAN_[A-Z]+$", macro) or at >= len(tokens) or tokens[at] != "(":
            raise ValueError("expected ISAN_NAME(...), found %r" % macro)
        arguments, at = [""], at + 1
        while tokens[at] != ")":
            if tokens[at] == ",":
                arguments.append("")
            elif tokens[at].startswith('"'):    # adjacent literals join, as in C
                arguments[-1] += ast.literal_eval(tokens[at])
            else:
                arguments[-1] += tokens[at]
            at += 1
        at += 1
        yield macro, arguments


def option(macro, a):
    """An option's (type, name, default, choices, least, most, help)."""
    kind = macro[len("ISAN_"):].lower()
    if kind == "num":
        return kind, a[0], int(a[1]), (), int(a[2]), int(a[3]), a[4]
    if kind == "enum":
        return kind, a[0], a[1], tuple(a[2].split("|")), None, None, a[3]
    if kind == "bool":
        return kind, a[0], int(a[1]), ("0", "1"), 0, 1, a[2]
    if kind == "str":
        return kind, a[0], a[1], (), None, None, a[2]
    raise ValueError("%s is no macro of a table that Python reads" % macro)


def module(texts):
    """The lists of the module, by name."""
    lists = {name: [] for name, _ in LISTS.values()}
    lists["OPTIONS"] = []
    for text in texts:
        for macro, arguments in rows(text):
            if macro not in LISTS:
                lists["OPTIONS"].append(option(macro, arguments))
                continue
            name, count = LISTS[macro]
            if len(arguments) != count:
                raise ValueError("%s takes %d arguments, not %d: %s" % (macro, count, len(arguments), arguments[0]))
            lists[name].append(tuple(arguments) if count > 1 else arguments[0])
    return lists


def main(output, *tables):
    texts = []
    for path in tables:
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    content = HEAD % ", ".join(tables)
    for name, found in module(texts).items():
        if not found:
            sys.exit("generate_c_tables.py: %s has no rows for %s" % (", ".join(tables), name))
        content += "%s = [\n%s]\n" % (name, "".join("    %s,\n" % ascii(row) for row in found))
    os.makedirs(os.path.dirname(output), exist_ok=True)
    with open(output + ".tmp", "w", encoding="utf-8") as file:
        file.write(content)
    os.replace(output + ".tmp", output)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
