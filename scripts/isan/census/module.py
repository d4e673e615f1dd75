"""One extension or built-in module of a census, and what is known of it."""
import os

from isan.reports.wording import escape, plural

# How a type was made -> (the functions that make such types, the heading of the column).
MAKERS = {
    "static": ((), "STATIC"),
    "bound": (("PyType_FromModuleAndSpec", "PyType_FromMetaclass"), "BOUND"),
    "unbound": (("PyType_FromSpec", "PyType_FromSpecWithBases"), "UNBOUND"),
    "called": (("PyErr_NewException", "PyErr_NewExceptionWithDoc"), "CALLED"),
    "sequence": (("PyStructSequence_NewType",), "SEQUENCE"),
}


class Module:
    """What a census knows of a module. None stands for: not known."""

    def __init__(self, name, built_in, file=None, trouble=None):
        self.name, self.built_in, self.file, self.trouble = name, built_in, file, trouble
        self.phase = self.declares = self.state = self.types = self.hold = self.may = None
        self.imports, self.notes, self.debug, self.image = None, [], None, None
        self.doubtful = []      # static types that may be its
        self.in_core = False    # it is defined in a file of CPython's own types

    def count(self, kind):
        return None if self.types is None else sum(one["kind"] == kind for one in self.types)

    def at_least(self, kind):
        """Whether there may be more of them."""
        return kind == "static" and (self.in_core or bool(self.doubtful))

    def has(self, kind):
        """Whether it has types of this kind; if it could not be loaded, by the functions that it uses."""
        if self.types is None:
            functions = MAKERS[kind][0]
            return None if self.imports is None or not functions else not set(functions).isdisjoint(self.imports)
        return self.count(kind) > 0 or (None if self.at_least(kind) else False)

    def loaded(self, facts):
        self.declares, self.state = facts["declares"], facts["state"]
        self.phase = self.declares and ("single-phase" if self.declares == "single-phase" else "multi-phase")
        self.file, self.image = facts["file"], facts["image"]
        self.types = [{"kind": kind, "name": name, "address": address, "symbol": None, "file": None, "line": None}
                      for kind, name, address in facts["types"]]
        self.doubtful = [one for one in self.types if one["kind"] == "static?"]
        self.types = [one for one in self.types if one["kind"] != "static?"]
        if facts["early"]:
            self.notes.append("it was loaded before the census began, so that its heap types are recognised by their"
                              " names")

    def read_binary(self, census, facts):
        """Add what the binary and its debug information tell. facts: of target/census_probe.py, None if not loaded."""
        if not self.image:
            return
        elf, symbolizer = census.elf(self.image), census.symbolizer
        statics, imports = symbolizer.statics(elf)
        error = symbolizer.errors.get(elf.path)
        self.debug = None if error else elf.path not in symbolizer.bare
        if error:
            self.notes.append("%s cannot be read: %s" % (elf.path, error))
        if not self.built_in:
            self.imports = imports
        if facts is None:
            used = {"PyModuleDef_Init", "PyModule_Create2"} & set(imports)
            if len(used) == 1:
                self.phase = "multi-phase" if used == {"PyModuleDef_Init"} else "single-phase"
                self.declares = "single-phase" if self.phase == "single-phase" else None
        for one in self.types or ():
            if one["address"] is not None:
                found = symbolizer.data(elf, one["address"])
                one.update({key: found.get(key) for key in ("symbol", "file", "line")})
        if self.built_in:
            statics = self.statics_of_its_own(statics, symbolizer, elf, facts)
            if statics is None:
                return
        self.add_static_types(statics, facts)
        hold = self.holding_statics(statics, symbolizer, elf, facts)
        if facts and facts["held"] is None:
            self.notes.append("isan does not know this Python, and so not which of its statics hold objects")
        elif facts:
            self.hold = list(hold.values())
        if self.debug and self.hold is not None:
            self.may = [_place(static, part) for static in statics if static["address"] not in hold
                        for part in [p for p in static["parts"] if p["what"] == "object"][:1]]

    def statics_of_its_own(self, statics, symbolizer, elf, facts):
        """Of the statics of CPython those that belong to this built-in module; None if that is not known."""
        source = None
        if self.debug and facts and facts["definition"]:
            source = symbolizer.data(elf, facts["definition"]).get("file")
        self.in_core = bool(source) and os.path.basename(os.path.dirname(source)) == "Objects"
        if source and not self.in_core:
            self.doubtful = []
            return [static for static in statics if _is_of(static["file"], source, self.name)]
        if source:
            self.notes.append("its statics and static types cannot be distinguished from CPython's own: both are in "
                              + source)
        else:
            self.notes.append("its statics cannot be distinguished from CPython's own without debug information of "
                              + self.image)
        if self.doubtful:
            self.notes.append("nor is it known whether these static types are its: " + ", ".join(
                one["name"] for one in self.doubtful))
        return None

    def add_static_types(self, statics, facts):
        """Add static types that are not ready yet, and those of built-in modules that were ready before the census."""
        known = {one["address"] for one in self.types or ()}
        for static in statics if self.types is not None else ():
            for part in static["parts"]:
                address = static["address"] + part["offset"]
                if part["what"] == "type" and address not in known:
                    self.types.append(dict(_place(static, part), kind="static", name=facts["ready"].get(address),
                                           address=address))
        if self.types:
            self.types.sort(key=lambda one: (one["kind"], one["name"] or one["symbol"] or ""))

    def holding_statics(self, statics, symbolizer, elf, facts):
        """The statics that hold objects, by address, each with the first type and the number of further objects."""
        hold = {}
        for address, type_name in facts and facts["held"] or ():
            static, part = _part_at(statics, address)
            if self.built_in and static is None:
                continue        # of another file of CPython's
            if static is None:  # a pointer of another type, or nothing is known of types
                found = symbolizer.data(elf, address)
                if found.get("symbol"):
                    static = {**found, "address": address - found["offset"]}
                else:           # without a name each word counts
                    static = {"symbol": None, "file": None, "line": None, "address": address}
                part = {"element": found.get("element")}
            elif part["what"] in ("type", "definition", "parser"):
                continue        # the runtime fills these
            if static["address"] in hold:
                hold[static["address"]]["more"] += 1
            else:
                hold[static["address"]] = dict(_place(static, part), holds=type_name, more=0)
        return hold

    def as_json(self):
        return {
            "name": self.name, "built_in": self.built_in, "file": self.file, "trouble": self.trouble,
            "initialisation": self.phase, "declares": self.declares, "state": self.state,
            "types": None if self.types is None else [
                {key: value for key, value in one.items() if key != "address"} for one in self.types],
            "counts": {kind: self.count(kind) for kind in MAKERS},
            "at_least": [kind for kind in MAKERS if self.at_least(kind)],
            "statics": {"hold": self.hold, "may_hold": self.may}, "debug_information": self.debug,
            "imports": self.imports and sorted(self.imports), "notes": self.notes}

    def statics_in_short(self):
        if self.hold is None and self.may is None:
            return "?"
        bare = sum(one["symbol"] is None for one in self.hold or ())
        named = "?" if self.hold is None else str(len(self.hold) - bare)
        words = [None if named == "0" and bare else named,
                 "%s without names" % plural(bare, "word") if bare else None]
        if self.may is None:
            words.append("others: ?")
        elif self.may:
            words.append("%d may" % len(self.may))
        return ", ".join(filter(None, words))

    def row(self):
        if self.trouble and self.types is None:
            return [self.name, "built-in" if self.built_in else "", self.declares or self.phase or "?", self.trouble]
        state = ("?" if self.state is None else str(self.state) if self.state > 0 else
                 "none" if self.state == 0 else "global")
        return [self.name, "built-in" if self.built_in else "", self.declares or "?", state,
                *map(self.cell, MAKERS), self.statics_in_short()]

    def cell(self, kind):
        """How many types of a kind."""
        count = self.count(kind)
        if self.at_least(kind):
            return "%d+" % count if count else "?"
        return "?" if count is None else str(count or "-")

    def details(self, full):
        lines = []
        if full:
            for kind in MAKERS:
                names = [_type_name(one) for one in self.types or () if one["kind"] == kind]
                if names:
                    lines.append("  %s types: %s" % (kind, ", ".join(names)))
        for one in self.hold or ():
            if one["symbol"]:
                more = ", and %d more" % one["more"] if one["more"] else ""
                lines.append("  %s holds an object of type `%s`%s" % (_variable(one), escape(one["holds"]), more))
        bare = [one["holds"] for one in self.hold or () if not one["symbol"]]
        if bare:
            lines.append("  %s hold objects: %s" % (
                plural(len(bare), "word of a variable without a name", "words of variables without names"),
                ", ".join("%d `%s`" % (bare.count(name), escape(name)) for name in sorted(set(bare)))))
        if full:
            lines += ["  %s may hold an object, and does not after the import" % _variable(one)
                      for one in self.may or ()]
            lines += ["  note: " + escape(note) for note in self.notes]
        return [escape(self.name) + ":"] + lines if lines else []


def _place(static, part):
    return {"symbol": static["symbol"], "element": part["element"] or None, "file": static["file"],
            "line": static["line"]}


def _line(one):
    return escape("%s:%s" % (os.path.normpath(one["file"]), one["line"]))


def _variable(one):
    where = " (%s)" % _line(one) if one["file"] else ""
    return "`%s%s`%s" % (escape(one["symbol"]), escape(one["element"] or ""), where)


def _type_name(one):
    name = escape(one["name"] or one["symbol"] or "?")
    where = ", ".join(filter(None, ["not ready" if one["name"] is None else None,
                                    _line(one) if one["file"] else None]))
    return name + (" (%s)" % where if where else "")


def _is_of(file, source, name):
    """Whether a variable of this file is one of the module that is defined in `source`: that file, or all in a
    directory of
    the module's own (Modules/_io)."""
    if file is None:
        return False
    directory = os.path.dirname(source)
    is_own = os.path.basename(directory).strip("_") == name.strip("_")
    return file == source or is_own and os.path.dirname(file) == directory


def _part_at(statics, address):
    """The variable at an address, and the part of it."""
    for static in statics:
        if 0 <= address - static["address"] < static["size"]:
            parts = [part for part in static["parts"] if part["offset"] <= address - static["address"]]
            if parts and (parts[-1]["what"] != "object" or parts[-1]["offset"] == address - static["address"]):
                return static, parts[-1]
    return None, None
