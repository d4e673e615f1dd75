"""The report as JSON."""
import json
import re

_LONE = re.compile("[\ud800-\udfff]")


def clean(value):
    """Write bytes that are not text as \\xff, since JSON cannot hold them."""
    if isinstance(value, str):
        return _LONE.sub(lambda m: "\\x%02x" % (ord(m[0]) & 0xff), value)
    if isinstance(value, dict):
        return {clean(k): clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [clean(v) for v in value]
    return value


def render(report):
    return json.dumps(clean(report), indent=1) + "\n"
