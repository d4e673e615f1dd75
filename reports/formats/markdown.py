"""The report as the summary of a CI job, in Markdown, with the text of each finding folded.

Names come from the program under test. So all but isan's own words is in HTML blocks, which Markdown leaves unchanged
(CommonMark 0.31, 4.6), escaped as in the page (markup.py). A block is one line, since a blank line would end it. GitHub
takes up to 1 MiB as the summary of a step ("Workflow commands", docs.github.com).
"""
from ..baseline import is_new
from ..fingerprints import users
from ..timeline import blamed
from ..wording import escape
from .markup import element, join, prose, table
from .text import Text

FINDINGS, STORY, BYTES = 40, 12000, 900 << 10       # findings shown, characters of each, bytes of the whole


def _block(markup):
    return markup.replace("\n", "&#10;") + "\n\n"


class _Summary:
    def __init__(self, report):
        self.report, self.text = report, Text(report)

    def state(self, f):
        return [] if not self.report["baseline"] else ["new" if is_new(f) else "known"]

    def row(self, f):
        frames = f["stacks"].get("used") or f["stacks"]["created"]
        place = f["holder"] if f["holder"] and f["holder"].get("file") else users(frames)
        where = element("code", self.text.place(place) if place else blamed(f))
        return [*self.state(f), f["kind"], prose(f["headline"]), where]

    def story(self, tell, about, title):
        """The text of a finding or crash, folded, and cut if it is very long."""
        said = self.text.alone(tell, about)
        if len(said) > STORY:
            said = said[:said.rfind("\n", 0, STORY)] + "\n(the rest is in the report)"
        return element("details", element("summary", title), element("pre", said))

    def blocks(self):
        report, findings = self.report, self.report["findings"]
        yield element("h3", self.text.summary().removeprefix("SUMMARY: "))
        if report.get("verdicts"):
            yield table(*report["verdicts"])
        if findings:
            compared = ["since the baseline"] * bool(report["baseline"])
            yield table([*compared, "kind", "what", "where"], *map(self.row, findings[:FINDINGS]))
        if findings[FINDINGS:]:
            yield element("p", "and %s more in the report" % format(len(findings) - FINDINGS, ","))
        if report["gone"]:
            yield element("p", "Gone since the baseline:")
            yield element("ul", *(
                element("li", "%s: " % f["kind"], prose(escape(f["headline"]))) for f in report["gone"][:FINDINGS]))
        for crash in report["crashes"][:FINDINGS]:
            yield self.story("crash", crash, "crash in process %d" % crash["pid"])
        for f in list(filter(is_new, findings))[:FINDINGS]:
            yield self.story("finding", f, join("%s #%d: " % (f["kind"], f["id"]), prose(f["headline"])))

    def render(self):
        out, size = [], 0
        for block in map(_block, self.blocks()):
            size += len(block.encode("utf-8", "surrogateescape"))
            if size > BYTES:
                out.append(_block(element("p", "The rest is in the report.")))
                break
            out.append(block)
        return "".join(out)


def render(report):
    return _Summary(report).render()
