"""How much a verdict rests on."""
from isan.reports.wording import plural

# "own-GIL safe" says how far the module was tried if less than this share of its C functions ran in the exercise.
TRIED_SHARE = 0.5


def tried_of(steps, reached):
    """What the steps tried, as the result has it; None if they did not get there.

    reached: how many objects were compared, or None.
    """
    counts = [event[2] for done in steps for event in done.events_like("tried")]
    return dict(counts[-1], objects=reached, own_gil_steps=sum(
        done.kind == "isolated" and done.outcome == "ended" for done in steps)) if counts else None


def how_far(tried):
    """What limits "own-GIL safe", in words; "" if enough was tried, or the calls were not counted."""
    if not tried or tried["functions_run"] is None or tried["functions_run"] >= TRIED_SHARE * tried["functions"]:
        return ""
    return "as far as tried (%d of %s)" % (tried["functions_run"], plural(tried["functions"], "function"))
