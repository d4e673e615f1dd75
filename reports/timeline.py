"""A finding as a sequence of places, for formats that lead from one to the next.

The places: where the object was created, stored and used, and where its interpreter ended.
"""
import collections

from .fingerprints import module_name, users

# role: created, stored, used, access, place, ended or left. text: a phrase, escaped for terminals. thing: a frame or a
# variable with its file and line, or None. stack: frames, innermost first. interpreter: the one that did it, or None.
Step = collections.namedtuple("Step", "role text thing stack interpreter")


def steps(text, f):
    """The steps of a finding, in the order in which they happened. text: the Wording of its report."""
    found, stacks = [], f["stacks"]

    def add(role, words, stack=(), thing=None, interpreter=None):
        found.append(Step(role, words, thing or users(stack or []), list(stack or []), interpreter))

    if stacks["created"]:
        what = "the memory was allocated" if f["kind"] == "race" else "created"
        add("created", what + (" in " + text.owner_name(f["owner"]) if f["owner"] else ""), stacks["created"],
            interpreter=f["owner"])
    holder = f["holder"]
    if holder and "object" in holder:
        add("stored", "referred to by " + text.object_holding(f), stacks.get("holder"), interpreter=holder["owner"])
    if holder and holder["address"] is not None and not f["object"]["static_type"]:
        variable = f["kind"] == "race" and not f["object"]["size"]
        add("stored", ("the variable: " if variable else "stored in ") + text.holder(holder, f.get("elements", ())),
            thing=holder, interpreter=f["owner"])
    elif holder and f["object"]["static_type"]:
        add("stored", "defined as " + text.holder(holder), thing=holder)
    places = f.get("places", [])
    accesses = [place for place in places if place["role"] == "access"]
    if f["kind"] == "race":
        for place in reversed(accesses):        # the earlier one comes last in the log
            add("access", text.access(place), place["stack"], interpreter=place["interpreter"])
    for place in places:
        if f["kind"] == "race" and place["role"] == "access":
            continue
        if f["kind"] == "immortal":
            add("place", text.change_at(place), place["stack"], interpreter=place["interpreter"])
        else:
            add("place", text.happened(place), place["stack"], interpreter=place["interpreter"])
    ended = stacks.get("ended") or []
    if (f["kind"] == "stale" or f["access"] == "ended") and f.get("owner_ended_ns"):
        add("ended", text.had_ended(f), ended, interpreter=f["owner"])
    if stacks.get("used") and f["kind"] != "race":
        add("used", text.use(f), stacks["used"], interpreter=f["current"])
    if f["kind"] == "leak":
        owners = text.several_interps(f.get("owners") or [f["owner"]])
        add("left", "still there when %s had ended" % owners, interpreter=f["owner"])
    else:
        fate = text.fate_of(f)
        if fate:
            add("left", fate, interpreter=f["owner"])
    return found


def blamed(f):
    """The file name of the module that a finding is about, or of its Python file; empty if neither is known."""
    stacks = [f["stacks"].get("used", []), f["stacks"]["created"], *(place["stack"] for place in f.get("places", ()))]
    user = next((user for user in map(users, stacks) if user and not user["cpython"]), None) or {}
    return module_name((f["holder"] or {}).get("module") or user.get("module") or user.get("file") or next(
        (suspect["module"] for suspect in f.get("suspects", ())), ""))
