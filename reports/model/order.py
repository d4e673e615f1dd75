"""The order of a report."""
from .kinds import RANK


def ordered(findings):
    """Findings in order of weight. Findings about one object stay together, its leak last."""
    by_id = {f["id"]: f for f in findings}
    same_object = {}
    for f in findings:
        if f["object"]["serial"]:
            same_object.setdefault((f["process"], f["object"]["serial"]), []).append(f["id"])
    groups, seen = [], set()
    for finding in sorted(findings, key=lambda f: (RANK[f["kind"]], f["id"])):
        if finding["id"] in seen:
            continue
        group, queue = [], [finding["id"]]
        while queue:
            id = queue.pop()
            if id in seen or id not in by_id:
                continue
            seen.add(id)
            group.append(by_id[id])
            queue += by_id[id]["paired"] + same_object.get((by_id[id]["process"], by_id[id]["object"]["serial"]), [])
        group.sort(key=lambda f: (f["kind"] == "leak", RANK[f["kind"]], f["id"]))
        groups.append(group)
    # Of leaks without other findings the largest first.
    groups.sort(key=lambda s: (RANK[s[0]["kind"]], -s[0].get("bytes", 0)))
    return [f for group in groups for f in group]
