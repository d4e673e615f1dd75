"""The HTML page in Chromium.

It is complete without scripts, and has filters with them; it fits a phone; names of the program under test are only text.
"""
import json
import os
import re
import shutil
import subprocess

import pytest

from helpers.product import baseline, html, timeline
from helpers.sample_report import HOSTILE, Logs, sample_report

# A script that acts as a reader of the page, and leaves its observations in an attribute.
DRIVER = """
const seen = {errors: []};
addEventListener("error", (event) => seen.errors.push(event.message));
const shown = () => [...document.querySelectorAll(".finding")].filter((f) => f.checkVisibility()).map((f) => f.id);
const box = document.querySelector("input[type=search]"), select = document.querySelector("select");
const type = (element, value) => { element.value = value; element.dispatchEvent(new Event("input", {bubbles: true})); };
seen.all = shown();
seen.styled = getComputedStyle(document.querySelector("h1")).fontWeight;
type(box, "GILSTATE lands");
seen.searched = shown();
seen.said = document.querySelector("output").textContent;
type(box, "no such thing");
seen.none = shown();
type(box, "");
type(select, "app.py");
seen.module = shown();
document.querySelector("td a[data-kind=race]").click();
seen.cell = shown();
location.hash = "#f20";
setTimeout(() => {
  seen.revealed = shown().length === seen.all.length && document.getElementById("f20").open;
  document.querySelector(".filter button").click();
  seen.opened = document.querySelectorAll(".finding:not([open])").length;
  document.querySelectorAll("details").forEach((d) => { d.open = true; });
  const page = document.scrollingElement;
  seen.width = [innerWidth, page.scrollWidth, [...document.querySelectorAll("body *")].filter(
    (e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .excerpt, svg")).map((e) => e.outerHTML.slice(0, 99))];
  document.documentElement.dataset.seen = JSON.stringify(seen);
}, 200);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """browser(page, width) -> the document in Chromium."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.fail("chromium is missing: run make deps", pytrace=False)

    def dump(page, width=1400):
        directory = tmp_path_factory.mktemp("browser")
        (directory / "page.html").write_text(page)
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=%s" % (directory / "profile"),
             "--virtual-time-budget=3000", "--window-size=%d,900" % width,
             "--dump-dom", "file://%s" % (directory / "page.html")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=120)
        shutil.rmtree(directory / "profile", ignore_errors=True)
        assert done.returncode == 0 and done.stdout, done.stderr.decode()
        return done.stdout.decode()
    return dump


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return sample_report(tmp_path_factory.mktemp("html"))


def driven(page):
    """The page with a content security policy that allows the driver's script, too; nothing else is changed."""
    assert page.count("script-src ") == 1 and page.count("</body>") == 1
    return re.sub(r"script-src &#x27;[^&]*&#x27;", "script-src &#x27;unsafe-inline&#x27;", page).replace(
        "</body>", "<script>%s</script></body>" % DRIVER)


def seen_in(document):
    found = re.search(r'data-seen="([^"]*)"', document)
    assert found, document[:500]
    return json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def ids(findings):
    return ["f%d" % f["id"] for f in findings]


def test_filter_and_search(browser, report):
    seen = seen_in(browser(driven(html.render(report))))
    findings = report["findings"]
    assert seen["errors"] == [] and seen["all"] == ids(findings) and seen["styled"] == "600"
    assert seen["searched"] == ["f10"] and seen["said"] == "1 of %d" % len(findings)
    assert seen["none"] == []
    assert seen["module"] == ids(f for f in findings if timeline.blamed(f) == "app.py") != []
    assert seen["cell"] == ["f4"] and seen["revealed"] and seen["opened"] == 0
    width, scrolled, outside = seen["width"]
    assert width == 1400 and scrolled <= width and outside == []


def test_on_a_phone(browser, tmp_path):
    """The page fits the screen, even with long and hostile names."""
    seen = seen_in(browser(driven(html.render(sample_report(tmp_path, hostile=True))), 390))
    width, scrolled, outside = seen["width"]
    assert width <= 500 and scrolled <= width and outside == []


def test_without_scripts(browser, report):
    page = re.sub("<script>.*?</script>", "", html.render(report), flags=re.S)
    document = browser(page)
    body = document.partition("<body>")[2]
    for f, line in ((f, f["headline"]) for f in report["findings"]):
        assert 'id="f%d"' % f["id"] in body
        for word in re.split(r"`[^`]*`", line):
            assert word in body
        assert f["hint"].split("docs.python.org")[0].replace('"', '"') in body.replace("&amp;", "&")
    assert body.count('class="finding ') == len(report["findings"]) and re.search(r'<div class="filter" hidden', body)
    assert "cache = PyDict_New();" in body and 'class="hit"' in body
    # The timeline shows interpreters as bars, and findings as marks on them.
    assert body.count('class="life"') == len(report["interpreters"]) + len(report["processes"])
    assert body.count("<circle") >= len(report["findings"]) - 5
    assert "SIGSEGV" in body and "a note" in body and "2 records could not be recorded" in body


def test_hostile_names_are_text(browser, tmp_path):
    page = html.render(sample_report(tmp_path, hostile=True))
    document = browser(page)
    assert "<title>isan: " in document and "<title>owned" not in document
    # isan's script ran, and no other.
    assert '<div class="filter">' in document and document.count("<script") == 1 and "<img" not in document and "onerror" in document
    assert all(c in "\n" or c.isprintable() for c in page)
    assert HOSTILE.decode("utf-8", "surrogateescape") not in page


def test_one_file(report):
    page = html.render(report)
    page.encode("utf-8")
    outside = re.sub(r'href="https://docs\.python\.org/[^"]*" rel="noreferrer"', "", page.partition("</style>")[2])
    assert not re.search(r"\b(src|href|action|style|on\w+)=\"(?!#)", outside.partition("<script>")[0])
    assert "@import" not in page and "url(" not in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src &#x27;none&#x27;; ") and "unsafe" not in policy


def test_excerpts_of_source_files_only(tmp_path):
    """The page shows only files that are sources: a hostile log could name any file."""
    secret = tmp_path / "secret"
    secret.write_text("hush\n" * 10)
    (tmp_path / "link.c").symlink_to(secret)
    (tmp_path / "long.c").write_text("x" * 5000 + "\n")
    os.mkfifo(tmp_path / "pipe.c")
    html._source.cache_clear()
    assert [html._source(str(tmp_path / name)) for name in ("secret", "link.c", "pipe.c", "missing.c", "a\0.c")] == [None] * 5
    (tmp_path / "own.c").write_text("one\ntwo\x1b\n")
    page = html._Page(sample_report(tmp_path))
    assert "hush" not in str(page.excerpt({"file": str(secret), "line": 1}))
    assert "two\\x1b" in page.excerpt({"file": str(tmp_path / "own.c"), "line": 2})
    assert len(page.excerpt({"file": str(tmp_path / "long.c"), "line": 1})) < 500
    assert page.excerpt({"file": str(tmp_path / "own.c"), "line": 7}) is None and page.excerpt(None) is None


def test_baseline_and_suppressed(tmp_path):
    report = sample_report(tmp_path, suppressed="race:*  # counted <roughly>\n")
    baseline.compare(report, "b.json", {report["findings"][1]["fingerprint"]: {}, "x": {
        "fingerprint": "x", "kind": "share", "headline": "a `dict` & more"}})
    page = html.render(report)
    assert page.count('<span class="tag known">') == 1 and page.count('<span class="tag new">') == len(report["findings"]) - 1
    assert "Gone since the baseline: 1" in page and "a <code>dict</code> &amp; more" in page
    assert "counted &lt;roughly&gt;" in page and "Suppressed: 1" in page
    assert "<h1>%d findings, 1 crash: %d new</h1>" % (len(report["findings"]), len(report["findings"]) - 1) in page


def test_nothing_found(tmp_path):
    logs = Logs(tmp_path)
    logs.begin()
    logs.end()
    page = html.render(logs.report())
    assert "<h1>Nothing was found</h1>" in page and "<script" not in page and "Overview" not in page


def test_many(tmp_path):
    """The number of bars and marks is limited; the list of findings is not."""
    report = sample_report(tmp_path)
    report["interpreters"] = [dict(report["interpreters"][1], process=i % 30, serial=i // 30 + 2) for i in range(30 * 60)]
    report["processes"] = report["processes"][:1] * 30
    share = next(f for f in report["findings"] if f["kind"] == "share")
    report["findings"] = [dict(share, id=1000 + i, process=0, current=dict(share["current"], serial=2)) for i in range(300)]
    page = html.render(report)
    assert page.count('class="life"') == html.PROCESSES * (html.INTERPRETERS + 1) and "18 processes more are not drawn." in page
    assert "20 interpreters more." in page and "240 more found" in page and page.count('class="finding ') == 300
