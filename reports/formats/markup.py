"""HTML markup: escaped by construction."""
import html
import re

from ..wording import escape

_LINK = re.compile(r"\bdocs\.python\.org/[\w./#-]*\w")


class Markup(str):
    """Text that is escaped already."""


def element(tag, *children, **attributes):
    """The markup of an element. Attributes and children that are not Markup are escaped.

    class_ stands for class. An attribute that is None or False is left out; one that is True has no value.
    """
    names = "".join(
        " %s" % name.rstrip("_").replace("_", "-") + ("" if value is True else '="%s"' % html.escape(_clean(value)))
        for name, value in attributes.items() if value is not None and value is not False)
    return Markup("<%s%s>%s" % (tag, names, "" if tag in ("input", "meta") else join(*children) + "</%s>" % tag))


def join(*children):
    return Markup("".join(child if isinstance(child, Markup) else html.escape(_clean(child))
                          for child in children if child is not None))


def _clean(value):
    """Text that is safe in a browser: no control characters, none that change the direction of text."""
    return "\n".join(escape(line).replace("\u200b", "") for line in str(value).replace("\t", "    ").split("\n"))


def prose(words):
    """Words of a report as markup: names between backticks become code, links become links."""
    parts = re.split(r"`([^`]*)`", words)
    out = []
    for i, part in enumerate(parts):
        if i % 2:
            out.append(element("code", part))
            continue
        at = 0
        for link in _LINK.finditer(part):
            out += [part[at:link.start()], element("a", link[0], href="https://" + link[0], rel="noreferrer")]
            at = link.end()
        out.append(part[at:])
    return join(*out)


def table(head, *rows):
    """A table. The first cell of each row is its heading."""
    return element(
        "table", element("thead", element("tr", *(element("th", name, scope="col") for name in head))),
        element("tbody", *(
            element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in more))
            for first, *more in rows)))
