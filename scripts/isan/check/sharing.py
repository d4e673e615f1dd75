"""What own-GIL interpreters share: the objects that two of them reach from a module, and why they have them."""
import os
import types

from isan.reports.symbolize.symbols import Symbolizer
from isan.reports.wording import escape, plural

DEFINITION_SIZE = 104           # bytes of a PyModuleDef (Include/moduleobject.h)
EXAMPLES = 3                    # objects that a reason names


class Sharing:
    """What target/check_target_reach.py told. single: the single-phase extensions that the module loads."""

    def __init__(self, steps, single):
        self.single = single
        self.objects = [event[2] for done in steps for event in done.events_like("shared")]
        told = [event for done in steps for event in done.events_like("compared")]
        self.failed = next((event[3:] for done in steps for event in done.events_like("failed")
                            if event[2] not in ("import", "exercise")), None)
        self.reached = told[-1][2] if told and not self.failed else None        # None: not all was compared
        self.count = told[-1][3] if told else 0
        self.by_others = told[-1][4] if told else {}        # other modules -> how many objects are shared by them
        self.copied, self.left = [], []     # what comes of single-phase initialisation, and what does not
        for one in self.objects:
            (self.copied if single and one["single_phase"] and not one["static_type"] else self.left).append(one)

    def is_copied(self, finding, is_mine):
        """Whether a finding is about an object that the runtime copied from the import of a single-phase module.

        Since 3.13 the runtime makes these objects in the main interpreter (Python/import.c, import_run_extension),
        which in these steps runs no other code of the module. Before, the interpreter that imports the module first
        makes them. is_mine(file): whether a static of that file would be the module's.
        """
        holder, owner = finding["holder"], finding["owner"]
        if not self.single or not owner or finding["object"]["static_type"] or owner["kind"] != "main" and not any(
                (frame["function"] or "").startswith("PyInit") for frame in finding["stacks"].get("created", ())):
            return False
        return not holder or not is_mine(holder["module"]) or any(
            one["definition"] is not None and os.path.realpath(one["file"]) == os.path.realpath(holder["module"] or "")
            and 0 <= (holder["offset"] or 0) - one["definition"] < DEFINITION_SIZE for one in self.single)

    def as_it_is(self):
        """The reason that single-phase initialisation gives."""
        reason = "as it is, it cannot be used in own-GIL interpreters, which refuse single-phase initialisation: " \
            + ", ".join(map(definition_of, self.single))
        if self.copied:
            reason += "; under --force, own-GIL interpreters share %s made by the first import, such as %s" % (
                self.number(self.copied), examples(self.copied))
        return reason + "; convert it to multi-phase initialisation (PEP 489)"

    def of_its_own(self):
        """The reason that other shared objects give."""
        return "own-GIL interpreters share %s: %s" % (
            self.number(self.left, "mortal or mutable object"), examples(self.left))

    def number(self, objects, what="object"):
        """How many they are, as far as they were told one by one."""
        return "at least " * (self.count > len(self.objects)) + plural(len(objects), what)


def examples(objects):
    """A few of them, public names first."""
    some = sorted(objects, key=lambda one: "._" in one["path"])[:EXAMPLES]
    return ", ".join("%s (%s)" % (escape(one["path"]), "static type" if one["static_type"] else escape(one["type"]))
                     for one in some) + ", ..." * (len(objects) > EXAMPLES)


def definition_of(extension):
    """What a single-phase definition is called: its variable, with the place if that is known, and its file."""
    place = extension["place"]
    return "%sof %s%s" % (
        "the PyModuleDef `%s` " % place["symbol"] if place["symbol"] else "the definition ",
        escape(os.path.basename(extension["file"] or extension["name"])),
        " (%s:%d)" % (escape(os.path.basename(place["file"])), place["line"]) if place["file"] else "")


def place_definitions(single):
    """Find the variables of single-phase definitions: adds "place" to each."""
    with Symbolizer() as symbolizer:
        for one in single:
            found = {} if one["definition"] is None else symbolizer.data(
                types.SimpleNamespace(path=one["file"], build_id="", bias=0), one["definition"])
            one["place"] = {key: found.get(key) for key in ("symbol", "file", "line")}
