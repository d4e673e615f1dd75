"""Findings about the same object or variable, linked to each other."""


def pair_in_log(log, findings):
    """Link what the recorder knows to be about the same object. findings: those of this log."""
    by_id = {f["id"]: f for f in findings}

    def pair(a, b):
        for one, other in (a, b), (b, a):
            if one in by_id and other not in by_id[one]["paired"]:
                by_id[one]["paired"].append(other)

    def is_leaked(id, leak):
        pair(leak, id)
        if id in by_id:
            by_id[id]["fate"] = "leaked"

    for f in log.findings.values():
        if f.gone:
            pair(f.id, f.gone)
    leak_of = {l.object.serial: l.id for l in log.leaks.values()}
    for l in log.leaks.values():
        for serial, other in l.pairs:
            leak_of[serial] = l.id
            is_leaked(other, l.id)
    for f in log.findings.values():         # the record of the leak does not name findings that were made after it
        if f.object.serial and f.object.serial in leak_of and f.id in by_id:
            is_leaked(f.id, leak_of[f.object.serial])


def leak_of_holder(log, findings, ids):
    """Tell of each leak that an object keeps alive whether that object was left behind itself: holder["leak"]."""
    by_id = {f["id"]: f for f in findings}
    samples = {(l.object.address, l.object.owner): l.id for l in log.leaks.values()}
    for l in log.leaks.values():
        holder, step = by_id[l.id]["holder"], next(iter(log.of("steps", l.id)), None)
        if holder and "object" in holder:
            id = samples.get((step.from_.address, step.from_.owner))
            holder["leak"] = ids[log, id] if id is not None and id != l.id else None


def renumber(log, findings, ids):
    """Give the findings of this log their numbers in the report, here and where others name them."""
    for f in findings:
        numbers = []
        for id in f["paired"]:
            owner = log if (log, id) in ids else log.finding(id)[0]     # else it was found before the fork
            if (owner, id) in ids:
                numbers.append(ids[owner, id])
        f["paired"] = numbers
        f["id"] = ids[log, f["id"]]


def rename(findings, renamed):
    """After merging: let findings name those that were kept, and no finding itself."""
    present = {f["id"] for f in findings}
    for f in findings:
        f["paired"] = sorted({renamed.get(id, id) for id in f["paired"]} & present - {f["id"]})
        if f["holder"] and f["holder"].get("leak"):
            other = renamed.get(f["holder"]["leak"])
            f["holder"]["leak"] = other if other in present and other != f["id"] else None


def _variable(finding):
    """What identifies the variable of a finding; None if it has none."""
    holder = finding["holder"]
    if not holder or holder["address"] is None or not holder["symbol"]:
        return None
    return finding["process"], holder["module"], holder["symbol"], bool(holder["thread_local"])


def pair_races(findings):
    """Link races with the other findings about their variable or object."""
    about = {}
    for f in findings:
        for key in {_variable(f), f["object"]["serial"] and (f["process"], f["object"]["serial"])} - {None}:
            about.setdefault(key, []).append(f)
    for some in about.values():
        for race in (f for f in some if f["kind"] == "race"):
            for other in some:
                if other is not race:
                    race["paired"].append(other["id"])
                    other["paired"].append(race["id"])
