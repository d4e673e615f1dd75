"""The report as SARIF 2.1.0 (OASIS), for code scanning.

It keeps to GitHub's limits ("SARIF support for code scanning" and "SARIF results exceed one or more limits",
docs.github.com): 25,000 results a run, of which the first 5,000 are shown, 100 locations a result, 1,000 locations in
its flows, 10 tags a rule, 10 MB when compressed.

GitHub takes each result for an open alert and disregards `suppressions` and `baselineState`. So suppressed findings are
written only on request, and findings that are gone are counted, not written as "absent". GitHub distinguishes alerts by
`primaryLocationLineHash`, a name of its own. Given isan's fingerprint under that name, it does not hash the line.
"""
import gzip
import json
import os
import re
import signal
import urllib.parse

from .. import fingerprints, timeline
from ..fingerprints import users
from ..model.kinds import KINDS, RACES, RANK, STATIC_TYPE
from ..wording import Wording, escape, incomplete
from .json import clean

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RESULTS, LOCATIONS, FLOW, BYTES = 25000, 100, 1000, 10 << 20
BASE = "%SRCROOT%"
# The step that a result is located at: where the mistake is, rather than where it shows.
_BEST = {"static": ("stored", "created", "used"), "race": ("stored", "access"), "leak": ("stored", "created"),
         "immortal": ("place",)}
_BEST_OF_OTHERS = ("used", "stored", "created", "place", "ended")
_LINK = re.compile(r"docs\.python\.org/[\w./#-]*\w")


def _message(text):
    """Plain text as SARIF wants it, without anything that looks like a link (3.11.6)."""
    return {"text": text.replace("](", "] (") or "?"}


def _level(kind):
    return "error" if RANK[kind] < RANK["static"] else "warning"


def _rule(id, title, hint, level):
    sentence = title[:1].upper() + title[1:] + "."
    rule = {
        "id": id, "name": id.capitalize(),
        "shortDescription": {"text": sentence}, "fullDescription": {"text": sentence},
        "help": {"text": hint, "markdown": _LINK.sub(lambda link: "[%s](https://%s)" % (link[0], link[0]), hint)},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["correctness", "python", "sub-interpreters"], "precision": "very-high",
                       "problem.severity": level},
    }
    link = _LINK.search(hint)
    return dict(rule, helpUri="https://" + link[0]) if link else rule


def _rules():
    """A rule for each kind of finding, and one for crashes."""
    hints = {"race": RACES["different"][1] + " " + RACES["same"][1],
             "static": KINDS["static"].hint + " A static type: " + STATIC_TYPE[1]}
    return [_rule(kind.name, kind.title, hints.get(kind.name, kind.hint), _level(kind.name))
            for kind in KINDS.values()] + [
        _rule("crash", "the program was killed by a signal while isan watched it",
              "See the stack of the crash, and the findings of the same process: what was found just before is often"
              " its cause.", "error")]


class _Sarif:
    def __init__(self, report, root):
        self.report, self.root = report, os.path.abspath(root).rstrip("/") + "/"
        self.text = Wording(report)
        self.rules = _rules()
        self.index = {rule["id"]: i for i, rule in enumerate(self.rules)}

    # -- locations ---------------------------------------------------------------------

    def is_local(self, thing):
        return bool(thing) and os.path.normpath(thing["file"] or "").startswith(self.root)

    def artifact(self, path):
        """A file: below the root relative to it, as code scanning wants it, else by its full path."""
        path = os.path.normpath(path)
        if path.startswith(self.root):
            return {"uri": urllib.parse.quote(os.fsencode(path[len(self.root):])), "uriBaseId": BASE}
        return {"uri": ("file://" if path.startswith("/") else "") + urllib.parse.quote(os.fsencode(path))}

    def location(self, thing, message=None):
        """The location of a frame or a variable; without a source file, that of its module."""
        found = {}
        path = thing and (thing["file"] if not (thing["file"] or "<").startswith("<") else thing.get("module"))
        if path:
            physical = {"artifactLocation": self.artifact(path)}
            if path == thing["file"] and thing["line"] and thing["line"] > 0:
                physical["region"] = {"startLine": thing["line"]}
            found["physicalLocation"] = physical
        name, kind = (thing or {}).get("function"), "function"
        if thing and "symbol" in thing:
            name, kind = thing["symbol"], "variable"
        if name:
            module = fingerprints.module_name(thing.get("module"))
            logical = {"name": escape(name), "kind": kind}
            if module:
                logical["fullyQualifiedName"] = "%s:%s" % (escape(module), escape(name))
            found["logicalLocations"] = [logical]
        if message:
            found["message"] = _message(message)
        return found

    def best(self, steps, kind):
        """The step that a result is located at: one in the source tree, if there is one."""
        wanted = _BEST.get(kind, ()) + _BEST_OF_OTHERS
        order = sorted((s for s in steps if s.thing and s.role in wanted), key=lambda s: wanted.index(s.role))
        return next((s for s in order if self.is_local(s.thing)), None) or next(
            (s for s in order if s.thing["file"] and not s.thing["file"].startswith("<")), None) or next(
            (s for s in order if s.thing.get("module")), None)

    def fallback(self):
        """The location of a finding without any place: the program."""
        program = (self.report["process"] or {}).get("executable") or "?"
        return {"physicalLocation": {"artifactLocation": self.artifact(program)}}

    def stack(self, step):
        frames = []
        for frame in step.stack:
            frames.append({"location": self.location(frame)})
            if frame.get("module"):
                frames[-1]["module"] = escape(os.path.basename(frame["module"]))
        return {"message": _message(step.text), "frames": frames}

    # -- results -----------------------------------------------------------------------

    def result(self, f):
        steps = timeline.steps(self.text, f)
        best = self.best(steps, f["kind"])
        related, words = [], []
        for step in steps:
            location = self.location(step.thing, step.text) if step.thing else {}
            if "physicalLocation" in location and len(related) < LOCATIONS - 1:
                related.append(dict(location, id=len(related) + 1))
                place = self.text.place(step.thing)
                words.append("%s ([%s](%d))" % (_message(step.text.removesuffix(" (%s)" % place))["text"],
                                                re.sub(r"[][]", "_", place), len(related)))
            else:
                words.append(_message(step.text)["text"])
        result = {
            "ruleId": f["kind"], "ruleIndex": self.index[f["kind"]], "level": _level(f["kind"]), "kind": "fail",
            "message": {"text": "; ".join([_message(f["headline"])["text"], *words])},
            "locations": [self.location(best.thing) if best else self.fallback()],
            "partialFingerprints": {"isan/v1": f["fingerprint"], "primaryLocationLineHash": f["fingerprint"]},
            "occurrenceCount": max(f["count"], 1),
            "properties": {"tags": [f["kind"]], "hint": f["hint"], "access": f["access"], "id": f["id"],
                           "interpreters": [interp["name"] for interp in (f["owner"], f["current"]) if interp],
                           **({"checked": escape(f["checked"])} if "checked" in f else {})},
        }
        if related:
            result["relatedLocations"] = related
        flows = self.flows(steps, f["kind"])
        if flows:
            result["codeFlows"] = [{"message": _message(f["headline"]), "threadFlows": flows}]
        stacks = []
        for step in [step for step in steps if step.stack][:LOCATIONS]:
            stack = self.stack(step)
            if stack not in stacks:         # the schema wants each once
                stacks.append(stack)
        if stacks:
            result["stacks"] = stacks
        if f["baseline"]:
            result["baselineState"] = {"new": "new", "known": "unchanged"}[f["baseline"]]
        if f.get("suppression"):
            given = f["suppression"]
            result["suppressions"] = [{
                "kind": "external", "status": "accepted", "justification": escape(given["reason"]),
                "location": {"physicalLocation": {"artifactLocation": self.artifact(os.path.abspath(given["file"])),
                                                  "region": {"startLine": given["line"]}}}}]
        return result

    def flows(self, steps, kind):
        """A flow, from where the object was made to what became of it; for a race one flow for each thread."""
        def flow(id, some):
            return {"id": id, "locations": [
                {"location": self.location(step.thing, step.text), "executionOrder": i, "importance": "essential",
                 "kinds": [step.role]} for i, step in enumerate(some[:FLOW // 2], 1)]}

        if kind == "race":
            common = [step for step in steps if step.role in ("created", "stored")]
            return [flow("thread %d" % i, common + [step]) for i, step in enumerate(
                (step for step in steps if step.role == "access"), 1)]
        return [flow("object", steps)] if steps else []

    def crash(self, crash):
        try:
            name = signal.Signals(crash["signal"]).name
        except ValueError:
            name = "signal %d" % crash["signal"]
        frame = users(crash["stack"])
        where = " at %s" % self.text.where(frame) if frame else ""
        location = self.location(frame) if frame else {}
        fingerprint = fingerprints.digest(
            [name, frame and [frame["function"], fingerprints.module_name(frame.get("module"))]])
        said = "the program was killed by %s in %s%s" % (name, self.text.current_name(crash["current"]), where)
        result = {
            "ruleId": "crash", "ruleIndex": self.index["crash"], "level": "error", "kind": "fail",
            "message": _message(said),
            "locations": [location if "physicalLocation" in location else self.fallback()],
            "partialFingerprints": {"isan/v1": fingerprint, "primaryLocationLineHash": fingerprint},
        }
        if crash["stack"]:
            step = timeline.Step("crash", "the stack of the crash", None, crash["stack"], None)
            result["stacks"] = [self.stack(step)]
        return result

    # -- the run -----------------------------------------------------------------------

    def invocation(self, process, crashes):
        found = {"executionSuccessful": True, "processId": process["pid"],
                 "arguments": [escape(argument) for argument in process["argv"][1:]],
                 "properties": {"python": process["python"], "flavor": process["flavor"],
                                "options": escape(process["options"])}}
        if process["executable"]:
            found["executableLocation"] = self.artifact(process["executable"])
        for crash in crashes:
            found["exitSignalNumber"] = crash["signal"]
        return found

    def notifications(self):
        """The notes and errors of the report."""
        said = [("note", note["text"]) for note in self.report["notes"]]
        said += [("error", "%s, offset %d: %s" % (error["log"], error["offset"], error["text"]))
                 for error in self.report["errors"]]
        if self.report["dropped"]:
            said.append(("warning", incomplete(self.report)))
        return [{"level": level, "message": _message(escape(text))} for level, text in dict.fromkeys(said)]

    def run(self, suppressed):
        findings = sorted(self.report["findings"], key=lambda f: f["baseline"] == "known")
        results = [self.crash(crash) for crash in self.report["crashes"]] + [self.result(f) for f in findings]
        if suppressed:
            results += [self.result(f) for f in self.report["suppressed"]]
        crashes = {}
        for crash in self.report["crashes"]:
            crashes.setdefault(crash["process"], []).append(crash)
        invocations = [self.invocation(process, crashes.get(i, ()))
                       for i, process in enumerate(self.report["processes"][:LOCATIONS])]
        notifications = self.notifications()
        if notifications:
            if not invocations:
                invocations = [{"executionSuccessful": False}]
            invocations[0]["toolExecutionNotifications"] = notifications
        run = {
            "tool": {"driver": {"name": "isan", "fullName": "isan, the Interpreter Sanitizer for CPython",
                                "version": self.report["isan"] or "0", "rules": self.rules}},
            "invocations": invocations, "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {BASE: {"description": {"text": "The root of the source tree."}}},
            "results": results[:RESULTS],
        }
        if len(results) > RESULTS:
            run["properties"] = {"left_out": len(results) - RESULTS}
        if self.report["baseline"]:
            run.setdefault("properties", {})["gone"] = len(self.report["gone"])
        return run


def _fit(log, most=BYTES):
    """The text of a log; without stacks, or with fewer results, if it would be too long when compressed."""
    def write():
        return json.dumps(clean(log), separators=(",", ":")) + "\n"

    def fits(text):
        return len(text) <= most or len(gzip.compress(text.encode("ascii"), 6)) <= most

    run, = log["runs"]
    text = write()
    if not fits(text):
        for result in run["results"]:
            result.pop("stacks", None)
        text = write()
    while run["results"] and not fits(text):
        half = len(run["results"]) // 2
        run.setdefault("properties", {}).setdefault("left_out", 0)
        run["properties"]["left_out"] += len(run["results"]) - half
        del run["results"][half:]
        text = write()
    return text


def render(report, root=".", suppressed=False):
    """SARIF, in one line.

    root: paths below this directory are written relative to it. suppressed: write suppressed findings, too, marked as
    such.
    """
    return _fit({"$schema": SCHEMA, "version": "2.1.0", "runs": [_Sarif(report, root).run(suppressed)]})
