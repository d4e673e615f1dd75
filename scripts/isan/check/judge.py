"""From the findings, crashes and failures of a module's steps to its verdict and the reasons for it."""
import contextlib
import os
import re

from isan import Problem, launch, reporting
from isan.reports import baseline, fingerprints
from isan.reports.read import log
from isan.reports.wording import Wording, escape, plural

from .run import INTERPRETERS, STEPS, WHERE
from .sharing import Sharing, place_definitions
from .tried import tried_of

# What an extension says of interpreters, the least first.
DECLARES = ["single-phase", "main-only", "multi-phase", "shared-gil", "own-gil"]
LEAVES = {"str", "bytes", "int", "float", "complex"}        # types of objects that refer to nothing and have no GC head
TYPE_SIZE = 408         # bytes of a PyTypeObject in 3.11; since 3.12 it is more (Include/cpython/object.h)


class Mode:
    """What a module did in one kind of interpreter."""

    def __init__(self, kind, steps):
        self.kind, self.steps, self.findings, self.troubles, self.unknown = kind, steps, [], [], False
        self.limits = []        # findings that matter only to interpreters with GILs of their own
        self.shared = []        # objects that several of these interpreters have, by the module's own doing
        refused = [event for done in steps for event in done.failures("import")]
        self.refusal = "%s: %s" % refused[0][3:] if refused else None
        failed = []             # the first failure of each step, but for interpreters in which the import failed
        for done in steps:
            without = {event[1] for event in done.failures("import")}
            failed += [(done.title, event[1], *event[3:]) for event in done.failures("exercise")
                       if event[1] not in without][:1]
        self.failures = ["%s: the exercise fails in interpreter %d: %s: %s" % one for one in failed]
        self.loads = bool(steps) and not refused and any(
            event[2] == "import" for done in steps for event in done.events_like("done"))

    @property
    def bad(self):
        return bool(self.findings or self.troubles or self.failures or self.shared)


class Judge:
    """Decides the verdict of a module. Module, which has the steps that were run, is derived from it."""

    # -- the module that a finding is about -------------------------------------------

    def culprit(self, finding):
        """The file of the extension or library that a finding is about; None if that is CPython itself.

        It is found by the static, else by the code that used or made the object, else by the object's type.
        """
        holder = finding["holder"]
        if holder and holder.get("address") is not None and holder["module"]:
            if not self.of_python(holder["module"]):
                return holder["module"]
            if re.match("_?Py[A-Za-z_]+_Type$", holder["symbol"] or ""):
                return None         # interpreters share one of CPython's types, and so its members, such as its dict
        if finding["kind"] == "immortal":
            return finding["suspects"][0]["module"] if len(finding["suspects"]) == 1 else None
        stacks = [finding["stacks"].get(name, []) for name in ("used", "created")]
        for frames in stacks + [place["stack"] for place in finding.get("places", [])]:
            module = self.innermost_extension(frames)
            if module:
                return module
        module = (finding["object"]["type"] or "").rpartition(".")[0]
        return next((e["file"] for e in self.extensions if module and module in (e["name"], self.name)), None)

    def mine(self, file):
        """Whether a file is one of the module's extensions."""
        return bool(file) and os.path.realpath(file) in self.files

    def of_python(self, module):
        return os.path.realpath(module) == os.path.realpath(self.report["process"]["executable"] or "") \
            or bool(re.match(r"libpython3", os.path.basename(module)))

    @staticmethod
    def innermost_extension(frames):
        """The file of the innermost extension or library of a stack, or None."""
        for frame in frames:
            if frame["kind"] == "native" and frame["module"]:
                if re.match("_(xxsub)?interpreters", os.path.basename(frame["module"])):
                    return None         # below are calls of target/check_target.py
                if not frame["cpython"] or "/lib-dynload/" in frame["module"]:
                    return frame["module"]
        return None

    def is_safe_with_one_gil(self, finding):
        """Whether interpreters that share a GIL may do this.

        They share static types, as CPython's own were until 3.12, with what PyType_Ready() gave them. They may also
        share objects that refer to nothing and are in no collector's list, also when the interpreter that made them
        ends, since they have one heap. And the runtime gives each of them the functions of the first one's single-phase
        module (Python/import.c).
        """
        object, holder = finding["object"], finding["holder"]
        if object["static_type"] or object["type"] in LEAVES and not object["freed"]:
            return True
        if object["type"] == "builtin_function_or_method" and finding["kind"] in ("share", "stale") \
                and not object["freed"] and any(
                    frame["function"] == "PyModule_AddFunctions" for frame in finding["stacks"].get("created", [])):
            return True
        if holder and re.search(r"(^|\.)tp_(dict|bases|mro|subclasses|cache|weaklist)$", holder.get("path") or ""):
            return True         # a member of a type that was not used itself
        return bool(holder) and any(
            holder["module"] == module and 0 <= (holder["offset"] or 0) - at < TYPE_SIZE
            for module, at in self.static_types)

    # -- from the logs to the verdict ---------------------------------------------------

    def judge(self):
        logs = self.read_logs()
        steps = {}          # pid -> Step
        for path, done in logs.items():
            for process in self.report["processes"]:
                if process["log"] == os.path.basename(path):
                    steps[process["pid"]] = done
        self.titles = {pid: done.title for pid, done in steps.items()}
        self.modes = {kind: Mode(kind, [done for done in self.steps if done.kind == kind]) for kind in WHERE}
        own = self.modes["isolated"]
        self.sharing = Sharing(own.steps, self.single if self.args.force and own.loads else [])
        own.shared = self.sharing.left if own.loads else []
        suspects = self.sort_findings(steps)
        for done in self.steps:
            if done.outcome in ("hung", "crashed", "died"):
                crashes = [crash for crash in self.report["crashes"] if steps.get(crash["pid"]) is done]
                self.blame(done, crashes, suspects.get(done))
        for mode in self.modes.values():
            if self.args.tests and mode.kind != "main" and mode.failures:      # the test runner failed, not a test
                self.notes += mode.failures
                mode.failures, mode.unknown = [], True
        self.decide(suspects)
        self.add_notes()
        self.tried = tried_of(self.steps, self.sharing.reached)

    def read_logs(self):
        """Make the report of all steps. Returns {path of a log: Step}."""
        logs = {}
        for done in self.steps:
            with contextlib.suppress(OSError):
                logs.update((path, done) for path in log.logs_in(done.log_dir))
        if not logs:
            raise Problem("%s left no log, so nothing was checked: %s" % (
                self.checker.python, launch.last_line(self.steps[-1].output, "it did not load libisan.so")))
        self.report = reporting.make(sorted(logs), suppressed=self.checker.suppressed)
        # Places are relative to the directory of this process, not to that of the steps.
        self.report["process"] = dict(self.report["process"] or {"executable": None}, cwd=os.getcwd())
        words = Wording(self.report)
        for finding in self.report["findings"] + self.report["suppressed"]:
            finding["headline"] = words.headline(finding)
        self.notes += ["%s, offset %d: %s" % (e["log"], e["offset"], e["text"]) for e in self.report["errors"]]
        bare = [note["text"] for note in self.report["notes"]
                if note["pid"] is None and any(e["file"] in note["text"] for e in self.extensions)]
        self.notes += bare[:1]
        if bare[1:]:
            self.notes.append("nor have %d more of its extensions" % len(bare[1:]))
        return logs

    def sort_findings(self, steps):
        """Give each finding to the mode that it was made in, to the leaks, or to another module.

        Returns {Step: the other module with a finding in it that may explain a crash}.
        """
        reached = {kind for kind, mode in self.modes.items() if mode.loads}
        suspects = {}
        self.static_types = {(f["holder"]["module"], f["holder"]["offset"]) for f in self.report["findings"]
                             if f["object"]["static_type"] and f["holder"] and f["holder"]["offset"] is not None}
        for finding in self.report["findings"]:
            kinds = {steps[pid].kind for pid in finding["pids"] if pid in steps}
            finding["seen_in"] = [INTERPRETERS[kind] for kind in WHERE if kind in kinds]
            culprit = self.culprit(finding)
            if not self.mine(culprit):
                self.others[culprit] = self.others.get(culprit, 0) + 1
                if finding["kind"] in ("share", "stale", "free", "race"):   # the kinds that lead to crashes
                    for done in (steps.get(pid) for pid in finding["pids"]):
                        if culprit or done not in suspects:         # another module rather than CPython itself
                            suspects[done] = culprit or suspects.get(done) or "CPython itself"
            elif finding["kind"] == "leak":
                self.leaks.append(finding)
            elif finding["kind"] == "static" and not kinds & reached:
                continue        # it refused the interpreters that could reach the static
            else:
                copied = self.sharing.is_copied(finding, self.mine)
                for kind in kinds:
                    safe = kind != "isolated" and self.is_safe_with_one_gil(finding)
                    if copied and (safe or kind == "isolated"):
                        continue        # Sharing has the reason
                    (self.modes[kind].limits if safe else self.modes[kind].findings).append(finding)
        return suspects

    def blame(self, done, crashes, suspect):
        """Decide whether a crash or hang is the module's. suspect: another module with a finding in that step."""
        at = [frame for crash in crashes for frame in crash["stack"] if frame["kind"] == "native"]
        mine = next((frame for frame in at if self.mine(frame["module"])), None)
        title = done.title.partition(", again")[0]
        step, kind = next(step[1:] for step in STEPS if step[0] == title)
        trouble = done.trouble()
        if mine:
            trouble += ", at %s" % _where(mine)
        elif kind != "main":
            theirs = self.innermost_extension(at) or not self.modes[kind].findings and suspect
            if theirs:
                trouble += ", which seems to be the doing of %s" % os.path.basename(theirs)
            if theirs or not self.checker.control(title, step, kind, self.path, self.loads_too):
                self.notes.append(trouble + ("" if theirs else "; so do interpreters without it, in this Python"))
                self.modes[kind].unknown = True
                return
        self.modes[kind].troubles.append(trouble)
        self.crashes += [dict(crash, step=done.title, trouble=trouble) for crash in crashes]

    def decide(self, suspects):
        """The verdict and its reasons."""
        main, legacy, own = (self.modes[kind] for kind in ("main", "legacy", "isolated"))
        if main.refusal:
            self.reasons.append("it cannot be imported under isan: " + main.refusal)
            return
        if main.failures:
            self.reasons += main.failures
            return
        bad = [mode for mode in (main, legacy, own) if mode.bad]
        single = self.sharing.single
        forced = self.args.force and (own.bad and self.declares in DECLARES[:DECLARES.index("own-gil")] or single)
        if bad and not (forced and bad == [own]):
            self.verdict = "unsafe"
        elif legacy.unknown and not (legacy.loads or legacy.refusal):
            self.reasons.append("legacy interpreters: not known, since a module that it imports fails there first")
        elif legacy.refusal:
            self.verdict = "main"
        elif not own.steps or own.refusal or own.bad or own.unknown or single or self.sharing.reached is None:
            self.verdict = "legacy"
            self.deciding += together(legacy.limits)
        else:
            self.verdict = "own-gil"
        if single:
            place_definitions(single)
            self.reasons.append(self.sharing.as_it_is())
            self.reasons.append("beyond that, isan found " + (
                "in its own code what follows" if bad or self.leaks
                else "nothing in its own code that stands in the way"))
        if own.shared:
            self.reasons.append(self.sharing.of_its_own())
        for mode in bad:
            self.reasons += mode.troubles + mode.failures
            self.deciding += mode.findings
        self.deciding = together(self.deciding)
        for mode in legacy, own:
            if mode.refusal:
                self.reasons.append(self.refused(mode, suspects))
        if forced and not single:
            self.reasons.append("the refusal was lifted by --force; it is right in refusing")
        for mode in legacy, own:
            failing = {event[2]: event[3] for done in mode.steps for event in done.events_like("test")
                       if event[2] not in self.skip}
            if failing:
                self.reasons.append("%s: %s there, and not in the main interpreter: %s" % (
                    WHERE[mode.kind], plural(len(failing), "of its tests fails", "of its tests fail"),
                    some_of(failing)))

    @staticmethod
    def refused(mode, suspects):
        """The reason that the module cannot be imported in interpreters of a kind."""
        is_refusal = mode.refusal.startswith("ImportError")
        reason = "%s: %s (%s)" % (WHERE[mode.kind], "refused" if is_refusal else "the import fails", mode.refusal)
        theirs = {suspects[done] for done in mode.steps if done in suspects and done.failures("import")}
        theirs -= {"CPython itself"}
        if theirs and not mode.findings and not is_refusal:
            reason += ", which seems to be the doing of %s" % ", ".join(map(os.path.basename, sorted(theirs)))
        return reason

    def add_notes(self):
        """Say what limits the verdict, unless the module already fails in the main interpreter."""
        main, legacy, own = (self.modes[kind] for kind in ("main", "legacy", "isolated"))
        if main.refusal or main.failures:
            return
        if not own.steps:
            self.notes.append(self.checker.limit)
        if own.unknown or legacy.unknown:
            self.notes.append("not all could be tried")
        if self.sharing.failed:
            self.notes.append("what own-GIL interpreters hold could not be compared: %s: %s" % self.sharing.failed)
        for name, count in self.sharing.by_others.items():
            self.notes.append("not counted: own-GIL interpreters share %s of %s" % (
                plural(count, "object"), escape(name)))
        if not self.extensions and self.builtin:
            self.notes.append("it is built into Python, where its findings cannot be distinguished from CPython's own:"
                              " only crashes, hangs and failures are judged")
        elif not self.extensions:
            self.notes.append("it has no extension of its own")
        if self.unloaded:
            self.notes.append("not looked at: %s%s" % (
                ", ".join("%s (%s)" % one for one in self.unloaded[:4]),
                ", and %d more" % (len(self.unloaded) - 4) if self.unloaded[4:] else ""))

    # -- the baseline -------------------------------------------------------------------

    def compare(self, saved, verdicts):
        """Compare with a saved result: which findings are new, and which are gone."""
        known = baseline.knows(saved)
        for finding in self.deciding:
            finding["baseline"] = "known" if known(finding) else "new"
        self.deciding.sort(key=lambda finding: finding["baseline"] == "known")
        present = {finding["fingerprint"] for finding in self.deciding} | set(common_fingerprints(
            self.report["findings"] + self.report["suppressed"]))
        self.gone = [finding for finding in baseline.gone(saved, present) if finding["checked"] == self.name]
        # Crashes have no fingerprint. In a module that was unsafe before, only new findings fail.
        if verdicts.get(self.name) == "unsafe":
            self.fails = self.fails and any(map(baseline.is_new, self.deciding))


def together(findings):
    """One finding for what was found in several kinds of interpreters, statics first: the others come of them.

    The fingerprint does not depend on the kind either: in which one a finding shows first may differ from run to run.
    """
    kept = {}
    for finding in findings:
        same = fingerprints.identity(dict(finding, owner=None, current=None))
        first = kept.setdefault(same, dict(finding, seen_in=[]))
        first["seen_in"] += [kind for kind in finding["seen_in"] if kind not in first["seen_in"]]
        if first["id"] != finding["id"]:
            first["count"] += finding["count"]
    for finding, fingerprint in zip(kept.values(), common_fingerprints(kept.values())):
        finding["fingerprint"] = fingerprint
    return sorted(kept.values(), key=lambda finding: finding["kind"] != "static")


def common_fingerprints(findings):
    """Fingerprints that do not depend on the interpreters."""
    copies = [dict(finding, owner=None, current=None) for finding in findings]
    fingerprints.assign(copies)
    return [copy["fingerprint"] for copy in copies]


def some_of(tests):
    """A few failing tests, each with the reason."""
    some = sorted(tests.items())[:3]
    return "; ".join("%s (%s)" % (test, (why.splitlines() or [""])[0]) for test, why in some) \
        + "; ..." * (len(tests) > 3)


def _where(frame):
    place = "%s:%s" % (frame["file"], frame["line"]) if frame["file"] else os.path.basename(frame["module"])
    return "%s in %s" % (escape(place), escape(frame["function"] or "?"))
