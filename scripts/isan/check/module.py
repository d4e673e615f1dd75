"""The check of one module: the steps that are run, and the result."""
import os
import shutil
import time

from isan import Problem, launch
from isan.reports.wording import escape, incomplete, plural

from . import build, formats, store
from .judge import DECLARES, Judge, some_of
from .run import INTERPRETERS, SILENT, STEPS

QUICK = 20              # seconds that a step may be silent at least, however quick the main interpreter was
RETRIES = 8             # automatic calls that are left out one by one, before all others are
ALL = "*"               # leaves out all calls (target/check_target_calls.py)
ENDS_PROCESS = ("hung", "crashed", "died")


def check(checker, name, path):
    """The result for a module. path: what to put into sys.path for it."""
    try:
        return Module(checker, name, path).check()
    finally:
        if not checker.args.log:
            shutil.rmtree(os.path.join(checker.directory, store.file_name(name)), ignore_errors=True)


class Module(Judge):
    """One module, while it is checked."""

    def __init__(self, checker, name, path):
        self.checker, self.args, self.name, self.path = checker, checker.args, name, path
        self.steps, self.extensions, self.loads_too, self.unloaded, self.notes, self.skip = [], [], [], [], [], set()
        self.verdict, self.reasons, self.deciding, self.leaks = None, [], [], []
        self.fails = False      # unsafe, by something that the baseline does not have
        self.gone = []          # findings that only the baseline has
        self.others = {}        # file of another module, or None for CPython itself -> number of findings
        self.declares, self.report, self.crashes, self.files = None, None, [], set()
        self.sharing, self.tried = None, None
        self.modes, self.titles = {}, {}
        self.single = []        # the single-phase extensions among its own and those that it loads
        self.runner, self.silent = None, SILENT
        self.began = time.monotonic()
        self.seconds = 0

    def run_step(self, title, step, kind, isan=True):
        done = self.checker.step(
            self.name, title, step, kind, self.name, self.path, [extension["name"] for extension in self.extensions],
            self.skip, isan, self.runner, self.silent, self.files, [one["name"] for one in self.single])
        if isan:
            self.steps.append(done)
        return done

    def find_extensions(self):
        """Find out, without isan, what the module consists of. Returns False if it cannot be imported."""
        look = self.run_step("look", "list_extensions", "main", isan=False)
        while look.events_like("module") and look.last[2] and look.outcome in ENDS_PROCESS and len(self.skip) < RETRIES:
            self.skip.add(look.last[2])     # an extension that the package itself does not import
            look = self.run_step("look", "list_extensions", "main", isan=False)
        failed = look.failures("import")
        if failed or not look.events_like("module"):
            what = "%s: %s" % failed[0][3:] if failed else look.trouble()
            self.reasons.append("it cannot be imported in %s (%s)" % (self.checker.python, escape(what)))
            if os.path.isdir(self.name) and build.is_one(os.path.join(os.curdir, self.name)):
                self.reasons.append("to check the project in the directory of that name, say ./" + escape(self.name))
            return False
        found = [{"name": name, "file": file, "importer": importer, "declares": declares, "state": state,
                  "definition": offset}
                 for _, name, file, importer, declares, state, offset in look.events_like("extension")]
        self.single = [e for e in found if e["declares"] == "single-phase"]
        top = self.name.partition(".")[0]
        self.extensions = ([e for e in found if e["name"] == self.name]
                           if any(e["name"] == self.name for e in found)
                           else [e for e in found if e["name"].partition(".")[0] == top]
                           or [e for e in found if short(e["name"]).startswith(top.strip("_"))]
                           or [e for e in found if e["importer"] and e["importer"].partition(".")[0] == top])
        self.builtin = look.events_like("module")[0][1] == "built-in"
        self.loads_too = [e["name"] for e in found if e not in self.extensions]
        self.files = {os.path.realpath(e["file"]) for e in self.extensions}
        self.unloaded = [event[1:] for event in look.events_like("unloaded")]
        if not look.ended:
            self.notes.append("not all that it declares could be read (%s)" % look.trouble())
        if self.extensions:
            self.declares = min((e["declares"] for e in self.extensions), key=DECLARES.index)
        elif self.builtin:
            self.declares = "built-in"
        else:
            self.declares = "pure Python"
        return True

    def check(self):
        if self.find_extensions():
            self.run_all()
            self.judge()
            if self.report["dropped"]:
                self.reasons.append(incomplete(self.report))
                self.verdict = self.verdict if self.verdict == "unsafe" else None
            self.fails = self.verdict == "unsafe"
            if self.checker.known:
                self.compare(*self.checker.known)
        self.seconds = time.monotonic() - self.began
        return self.result()

    def run_all(self):
        for title, step, kind in STEPS:
            if kind == "isolated" and self.checker.version < (3, 12):
                continue
            before = [done for done in self.steps if done.kind == kind]
            if before and before[-1].outcome != "ended":
                continue        # it has failed in one interpreter at a time
            done = self.run_step(title, step, kind)
            while kind == "main" and not self.args.exercise and done.outcome in ENDS_PROCESS and self.can_leave_out(done):
                # The call fails in the main interpreter, too, so it says nothing of several.
                self.notes.append("%s, and is left out" % done.trouble())
                self.leave_out(done.last[2])
                self.steps.remove(done)
                done = self.run_step("%s, again %d" % (title, len(self.skip)), step, kind)
            if kind == "main":
                if done.outcome in ("crashed", "died") and done.last[0] == "start":
                    raise Problem("%s does not get to the module under isan: %s: %s" % (
                        self.checker.python, done.trouble(),
                        escape(launch.last_line(done.output, "it says nothing"))))
                if done.outcome in ("refused", "failed"):
                    break
                for _, _, self.runner, count in done.events_like("tests"):
                    self.tested(done, count)
                self.silent = min(max(QUICK, 3 * self.args.interpreters * done.silence), 60 * SILENT)

    def can_leave_out(self, done):
        """Whether a call ended the process, and may be left out. An import cannot be."""
        phase, _, call = done.last
        return phase == "exercise" and call and call not in self.skip and len(self.skip) < RETRIES

    def leave_out(self, call):
        """Leave out the call that ended the process.

        If another attribute of the same object ended the process before, leave out what makes that object. After
        RETRIES calls leave out all.
        """
        made = call.rpartition(".")[0]
        if made.endswith(")") and any(other.startswith(made + ".") for other in self.skip):
            call = made.partition("(")[0]
            self.notes[-1] += ", with all that %s makes" % call
        self.skip.add(call)
        if self.checker.automatic and len(self.skip) == RETRIES:
            self.skip.add(ALL)
            self.notes[-1] += ", with the rest of the exercise, so that nothing was judged but the import"

    def tested(self, done, count):
        """Read what the tests did in the main interpreter. Those that fail there say nothing of several."""
        failing = {event[2]: event[3] for event in done.events_like("test")}
        self.skip |= set(failing)
        self.notes.append("its tests in each interpreter: %s, with %s" % (plural(count, "test"), self.runner))
        if failing:
            self.notes.append("%s in the main interpreter, too, and %s left out: %s" % (
                plural(len(failing), "of them fails", "of them fail"), "is" if len(failing) == 1 else "are",
                some_of(failing)))
        if count <= len(failing):
            self.notes.append("none of its tests could be used, so that nothing was judged but the import")

    def result(self):
        """The result. It is plain data, so that it looks the same when it was read from a file."""
        return formats.Result({
            "name": self.name, "declares": self.declares, "verdict": self.verdict, "fails": self.fails,
            "reasons": self.reasons, "findings": self.deciding, "leaks": self.leaks, "crashes": self.crashes,
            "extensions": [{key: e.get(key) for key in ("name", "file", "declares", "state", "place")}
                           for e in self.extensions],
            "shared": self.sharing.objects if self.sharing else [], "tried": self.tried,
            "steps": [{"name": done.title, "outcome": done.outcome, "seconds": round(done.seconds, 2)}
                      for done in self.steps],
            "other_findings": [{"module": file, "count": count} for file, count in self.others.items()],
            "left_out": sorted(self.skip), "not_looked_at": [name for name, _ in self.unloaded],
            "notes": self.notes,
            "seconds": round(self.seconds, 2),
            "loads": [INTERPRETERS[kind] for kind, mode in self.modes.items() if mode.loads], "gone": self.gone,
            "report": self.report and self.short_report()})

    def short_report(self):
        """The report without the findings that the result does not show, which are most."""
        shown = {finding["id"] for finding in self.deciding + self.leaks}
        needed = shown | {finding["holder"].get("leak") for finding in self.deciding + self.leaks if finding["holder"]}
        return dict(
            self.report, residue=[],
            findings=[dict(finding, paired=[id for id in finding["paired"] if id in shown])
                      for finding in self.report["findings"] if finding["id"] in needed],
            processes=[dict(process, step=self.titles.get(process["pid"], "?"))
                       for process in self.report["processes"]])


def short(name):
    """The name that a module shares with its accelerator: json for _json."""
    return name.partition(".")[0].strip("_")
