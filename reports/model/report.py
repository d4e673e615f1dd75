"""From logs to the report, a dictionary: the JSON formatter prints it, and the other formatters read nothing else.

The stages: make findings of each log's records (frames, variables, findings, leaks); link findings about one object
(pair); subtract CPython's own residue from the leaks (residue); apply suppressions; make one finding of the
observations of one bug (merge); give fingerprints, order and headlines.
"""
import os

from .. import fingerprints, packages, suppressions, wording
from ..fingerprints import users
from . import pair
from .findings import is_all_atomic
from .leaks import Leaks
from .merge import merge as merge_findings, merge_suppressed
from .order import ordered
from .residue import subtract_residue


def build(logs, symbolizer, residue_of=lambda log: {}, merge=True, version="", suppressions_of=lambda log: []):
    """The report of these logs (log.read).

    residue_of(log): what an empty interpreter of that log's Python leaves behind, as subtract_residue() takes it; asked
    only about processes that have leaks. suppressions_of(log): the suppressions for its findings. merge=False: stop
    before suppressions and merging.
    """
    builder = Leaks(symbolizer)
    report = {"isan": version, "baseline": None, "gone": [], "findings": [], "interpreters": [], "process": None,
              "processes": [], "owned": [], "crashes": [], "residue": [], "suppressed": [], "suppressions": [],
              "ignored": [], "notes": [], "errors": [], "dropped": 0}
    findings, suppressions_for, ids = [], {}, _numbers(logs)
    for log in logs:
        report["errors"] += [{"log": log.path, "offset": offset, "text": text} for offset, text in log.errors]
        if not log.valid:
            continue
        log.number = len(report["processes"])
        some, own = _findings_of(builder, log, ids, residue_of)
        given = suppressions_of(log)
        findings += some
        report["residue"] += own
        report["suppressions"] += given
        suppressions_for.update((f["id"], given) for f in some)
        report["owned"] += builder.owned(log)
        _add_process(report, builder, log)
    report["process"] = report["processes"][0] if report["processes"] else None
    _complete_frames(report, findings, builder)
    if not merge:
        return dict(report, findings=findings, suppressions=[])
    pair.pair_races(findings)
    # Suppressions are applied before merging: of the observations of one bug, one may be an extension's doing.
    findings, suppressed = suppressions.split(findings, lambda f: suppressions_for[f["id"]], builder.own)
    report["suppressed"], report["suppressions"] = merge_suppressed(suppressed, report["suppressions"])
    findings, renamed = merge_findings(findings)
    pair.rename(findings, renamed)
    fingerprints.assign(findings + report["suppressed"])
    report["findings"] = ordered(findings)
    said = wording.Wording(report)
    for f in report["findings"] + report["suppressed"]:
        f["headline"] = said.headline(f)
    report["notes"] += _debug_notes(findings, builder) + [
        {"pid": None, "text": "no symbols for %s: %s" % (path, why)}
        for path, why in sorted(symbolizer.errors.items()) if "/" in path]       # the kernel's vdso is not a file
    return report


def _numbers(logs):
    """(log, id) -> number in the report: the recorder's own, unless a finding of another process has it."""
    ids, next_id = {}, 1
    for log in logs:
        used = set(ids.values())
        for id in sorted(set(log.findings) | set(log.leaks)):
            ids[log, id] = id if id not in used else max(next_id, *used) + 1
            used.add(ids[log, id])
            next_id = max(used)
    return ids


def _findings_of(builder, log, ids, residue_of):
    """(findings of a log, CPython's own residue)."""
    traps = [trap for trap in (builder.trap(log, f) for f in log.findings.values()) if not is_all_atomic(log, trap)]
    leaks = [builder.leak(log, l) for l in log.leaks.values()]
    pair.pair_in_log(log, traps + leaks)
    pair.leak_of_holder(log, leaks, ids)
    pair.renumber(log, traps + leaks, ids)
    leaks, own = subtract_residue(leaks, residue_of(log) if leaks else {})
    return traps + leaks, own


def _add_process(report, builder, log):
    """Add to the report what a log has beside findings."""
    report["processes"].append({
        "pid": log.pid, "ppid": log.ppid, "executable": log.exe, "cwd": log.cwd, "argv": log.argv, "flavor": log.flavor,
        "python": _release(log.hexversion), "options": log.options, "started_ns": log.start, "ended_ns": log.exit_time,
        "log": log.name, "directory": os.path.dirname(log.path),
        "leaks_checked": "leaks=0" not in log.options.split(":")})
    for interp in log.interps.values():
        report["interpreters"].append(dict(
            builder.interp(log, interp.serial), pid=log.pid, process=log.number,
            began_ns=interp.began.time if interp.began else None,
            ended_ns=interp.ended.time if interp.ended else None))
    for crash in log.crashes:
        report["crashes"].append({
            "signal": crash.signal, "code": crash.code, "address": crash.address, "pid": log.pid, "process": log.number,
            "tid": crash.tid, "current": builder.interp(log, crash.current),
            "stack": builder.stack(log, crash.stack, ours=True)})
    report["ignored"] += [{"pid": log.pid, "reason": reason, "count": count} for reason, count in log.ignored]
    report["notes"] += [{"pid": log.pid, "text": note} for note in log.notes]
    if log.torn is not None:
        report["notes"].append({"pid": log.pid, "text": "the process was killed while it recorded; the log ends at"
                                " offset %d" % log.torn})
    # Forked processes often end with _exit().
    elif not (log.exit_time or log.crashes or log.dropped or log.parent_name):
        report["notes"].append({"pid": log.pid, "text": "the process was killed, executed another program, or is still"
                                " running: this is what it did until then"})
    report["dropped"] += log.dropped


def _complete_frames(report, findings, builder):
    """Add what is known when all stacks have been made: which frames are CPython's own, and what follows from that."""
    for f in findings + report["residue"] + report["owned"]:
        for frames in [*f["stacks"].values(), *(place["stack"] for place in f.get("places", []))]:
            builder.mark(frames)
        maker = users(f["stacks"].get("holder", []))
        if maker:
            f["holder"].update(file=maker["file"], line=maker["line"])
        if f["access"] == "detached":
            f["function"] = _called(f["stacks"]["used"]) or f["function"]
    for crash in report["crashes"]:
        builder.mark(crash["stack"])


def _called(frames):
    """The function of the C API that the innermost of the user's frames has called; None if the stack shows none."""
    user = next((i for i, f in enumerate(frames) if not f["cpython"]), 0)
    native = user and frames[user]["kind"] == frames[user - 1]["kind"] == "native"
    return frames[user - 1]["function"] if native else None


def _debug_notes(findings, builder):
    """What to install for those modules of findings that have no debug information."""
    missing = set(builder.nameless)
    for f in findings:
        for frames in f["stacks"].values():
            user = users(frames)
            if user and user["kind"] == "native" and not user["cpython"]:
                missing.add(user["module"])
    missing &= set(builder.symbolizer.bare)
    return [{"pid": None, "text": "%s has no debug information, so that names and lines are missing: %s" % (path, what)}
            for path, what in sorted(packages.advice(missing).items())]


def _release(hexversion):
    return "%d.%d.%d" % (hexversion >> 24, hexversion >> 16 & 255, hexversion >> 8 & 255) if hexversion else None
