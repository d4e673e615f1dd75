"""CPython's own residue: what it leaves behind in every interpreter is no finding."""
import os


def residue_key(leak):
    """What identifies a group of an empty interpreter's leaks: (type, place, variable).

    place: "file:function" of the innermost Python frame. variable: "module:variable" of the static that holds it; an
    extension's does not pass for CPython's.
    """
    python = [f for f in leak["stacks"]["created"]
              if f["kind"] == "python" and f["file"] and f["interpreter"] == leak["owner"]]
    holder = leak["holder"]
    return (leak["object"]["type"] or "",
            "%s:%s" % (python[0]["file"], python[0]["function"]) if python else "",
            "%s:%s" % (os.path.basename(holder["module"] or ""), holder["symbol"])
            if holder and holder["address"] is not None else "")


def subtract_residue(leaks, measured):
    """Split leaks into (the user's, CPython's own).

    measured: kind of interpreter -> {key: count}. What exceeds the measured count is the user's.
    """
    users, own = [], []
    left = {}           # (process, interpreter, *key) -> count that is still to be subtracted
    for leak in leaks:
        if leak["residue"]:
            own.append(leak)
            continue
        owner = leak["owner"]
        key = residue_key(leak)
        if not owner or key not in measured.get(owner["kind"], {}):
            users.append(leak)
            continue
        allowance = (leak["process"], owner["serial"]) + key
        left.setdefault(allowance, measured[owner["kind"]][key])
        covered = min(leak["count"], left[allowance])
        if leak["paired"]:      # another finding is about it, and empty interpreters have none
            covered = 0
        left[allowance] -= covered
        each = leak["bytes"] // max(leak["count"], 1)
        if covered:
            all_of_it = covered == leak["count"]
            own.append(dict(leak, count=covered, bytes=leak["bytes"] if all_of_it else each * covered,
                            kept=leak["kept"] if all_of_it else {"count": 0, "bytes": 0, "types": []},
                            residue={"rule": "measured", "reason": "an empty interpreter leaves as much"}))
        if covered < leak["count"]:
            users.append(dict(leak, count=leak["count"] - covered, bytes=leak["bytes"] - each * covered))
    return users, own
