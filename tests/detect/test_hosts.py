"""Real programs that embed Python, with an interpreter for each plug-in: Apache with mod_wsgi, and WeeChat.

They are Debian's packages, linked with Debian's Python, and run under LD_PRELOAD.  Each runs in a new directory and reads no
configuration of the system.  The plug-ins keep counts in the dictionary of an extension: cache_static.c has the bug,
cache_state.c is its healthy twin.
"""
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from ext.build import build
from helpers.product import doctor
from helpers.programs import Run, holder_of, in_static, line_of, places, who
from helpers.tree import HOSTS

# Debian's hosts are linked with the libpython of this one.
PYTHON = "/usr/bin/python3"
# Seconds for a host to become ready, to answer, or to end.  Each takes less than one on an idle machine.
PATIENCE = 60
# Another program may take the free port before Apache does.
TRIES = 5

BAD, HEALTHY = "cache_static", "cache_state"
HOLDER = "cache", "cache_static.c", line_of("cache_static.c", "static PyObject *cache;")
CREATED = line_of("cache_static.c", "PyDict_New")
USED = line_of("cache_static.c", "return PyModule_AddObjectRef")
MAIN, FIRST, SECOND, THIRD = (0, "main"), (1, "legacy"), (2, "legacy"), (3, "legacy")


def need(*packages):
    missing = [package for package in packages if not doctor.PROBES[package]()]
    if missing:
        pytest.fail(f"packages are missing: apt-get install {' '.join(missing)}", pytrace=False)


class Host:
    """A program, in a directory that each user may enter: Apache, started by root, changes its user."""

    def __init__(self, isan, extension):
        need("python3-dev", *self.PACKAGES)
        self.isan, self.extension, self.process = isan, extension, None
        self.here = Path(tempfile.mkdtemp(prefix="isan-host-"))
        self.here.chmod(0o755)
        self.log = self.here / "log"
        self.log.mkdir()
        self.log.chmod(0o1777)
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.here), "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(self.here), "PYTHONDONTWRITEBYTECODE": "1", "EXTENSION": extension,
            "LD_PRELOAD": str(Path(isan).resolve().parents[1] / "lib" / "libisan.so"),
            "ISAN_OPTIONS": f"log_path={self.log}"}

    def __enter__(self):
        try:
            build(f"{self.extension}.c", PYTHON, self.here)
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)     # and its children
        except (AttributeError, ProcessLookupError):        # not started, or all have ended
            pass
        else:
            self.process.wait()
        shutil.rmtree(self.here)

    def start(self, *command):
        with open(self.here / "output", "wb") as output:
            self.process = subprocess.Popen(command, cwd=self.here, env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output, start_new_session=True)

    def said(self):
        files = self.here / "output", self.here / "error.log"
        return "".join(file.read_text() for file in files if file.exists())

    def wait_for(self, event):
        """Wait until event() is true, and return its value; None if the host ends before."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ended = self.process.poll() is not None
            happened = event()
            if happened or ended:
                return happened or None
            assert time.monotonic() < deadline, f"nothing happened in {PATIENCE} s:\n{self.said()}"
            time.sleep(0.01)

    def report(self):
        """The report on its logs so far."""
        run = Run(self.isan, None, self.log, subprocess.CompletedProcess((), self.process.poll(), "", self.said()))
        assert run.report and "isan:" not in self.said(), self.said()
        return run

    def end(self):
        """Wait until it has ended, and read the report."""
        self.process.wait(PATIENCE)
        return self.report()


def names(findings, known):
    """The names of the known defects that have a finding, and the findings that are none of these."""
    return ({name for name, is_it in known.items() if any(map(is_it, findings))},
            [finding for finding in findings if not any(is_it(finding) for is_it in known.values())])


def summaries(findings):
    """Kind, access, type, owner and current interpreter of each finding."""
    return sorted((finding["kind"], finding["access"], finding["object"]["type"], who(owner), who(finding["current"]))
                  for finding in findings for owner in finding["owners"])


def accused(findings):
    """The findings about the dictionary in the extension's static; each names the static, and the lines of creation and use."""
    some = [finding for finding in findings if in_static(finding)]
    for finding in some:
        assert holder_of(finding) == HOLDER
        assert CREATED in places(finding["stacks"]["created"], "cache_static.c")
        if finding["kind"] in ("share", "stale"):
            assert places(finding["stacks"]["used"], "cache_static.c") == [USED]
    leak, = (finding for finding in some if finding["kind"] == "leak")
    assert leak["paired"] == sorted(finding["id"] for finding in some if finding is not leak)
    return some


# --- Apache -----------------------------------------------------------------------------------------------------------

APACHE = "/usr/sbin/apache2"
MODULES = "/usr/lib/apache2/modules"


# Defects of mod_wsgi itself (4.9.4; 5.0.2 with Python 3.13) -> whether a finding is about it.
MOD_WSGI = {
    "wsgi_acquire_interpreter() means PyGILState_Ensure() to enter the main interpreter, to which the table of"
    " interpreters belongs, but it enters the one that this thread was in first, and makes the entries there":
        lambda finding: finding["kind"] in ("share", "gilstate")
        and finding["stacks"]["used"][0]["function"] == "wsgi_acquire_interpreter"
        or finding["kind"] in ("free", "leak") and finding["object"]["type"] == "mod_wsgi.Interpreter",
    "SignalIntercept, in the globals of signal.signal() and referring to it, takes no part in garbage collection":
        lambda finding: finding["kind"] == "leak" and finding["object"]["type"] == "mod_wsgi.SignalIntercept",
    "ShutdownInterpreter_dealloc() does not free the object":
        lambda finding: finding["kind"] == "leak" and (finding["object"]["type"] == "mod_wsgi.ShutdownInterpreter"
                                                       or not finding["object"]["python"] and finding["object"]["size"] == 32),
    "newInterpreterObject() and Interpreter_dealloc() never give back the modules they import, site and threading":
        lambda finding: finding["kind"] == "leak" and finding["object"]["type"] == "module" and not in_static(finding),
}


class Apache(Host):
    """/embedded/NAME is served by Apache's worker process, /daemon/NAME by mod_wsgi's; NAME is one or two.

    With -DFOREGROUND Apache forks its workers as usual; with -X it would serve from one process.
    """

    PACKAGES = "apache2-bin", "libapache2-mod-wsgi-py3"

    def __init__(self, isan, extension, mpm):
        super().__init__(isan, extension)
        self.mpm = mpm

    def begin(self):
        shutil.copy(HOSTS / "application.wsgi", self.here)
        for _ in range(TRIES):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
            define = {"MPM": self.mpm, "MODULES": MODULES, "PORT": self.port, "HERE": self.here}
            self.start(APACHE, *(word for item in define.items() for word in ("-C", "Define %s %s" % item)),
                       *(["-DAS_ROOT"] if os.geteuid() == 0 else []), "-DFOREGROUND", "-f", HOSTS / "httpd.conf")
            if self.wait_for(self.listens):
                break
            assert "could not bind" in self.said(), self.said()

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path):
        """The id of the process that answered, and its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        assert response.status == 200, self.said()
        pid, answer = body.split(" ", 1)
        return int(pid), answer

    def end(self):
        """Stop it as `apachectl graceful-stop` does.

        The worker ends when it has no more requests; mod_wsgi ends its interpreters in a cleanup of the child's pool.  The
        parent terminates the daemon process, and kills it after 3 s (APR_KILL_AFTER_TIMEOUT).  SIGTERM would be faster, but
        the event MPM may crash then: the main thread closes sockets that workers are closing (close_worker_sockets).
        """
        self.process.send_signal(signal.SIGWINCH)
        run = super().end()
        assert "exit signal" not in run.err, run.err
        return run


class Served:
    """The answers of two applications in two processes, and the report."""

    def __init__(self, isan, extension, mpm):
        self.extension, self.answers, self.pids = extension, [], {}
        with Apache(isan, extension, mpm) as apache:
            for _ in range(4):
                for process in "embedded", "daemon":
                    for name in "one", "two":
                        pid, answer = apache.get(f"/{process}/{name}")
                        self.answers.append(answer)
                        self.pids.setdefault(process, set()).add(pid)
            self.parent, self.run = apache.process.pid, apache.end()


@pytest.fixture(scope="module", params=[(HEALTHY, "event"), (BAD, "event"), (BAD, "prefork")], ids="-".join)
def served(isan, request):
    return Served(isan, *request.param)


def test_apache_goes_on(served):
    assert served.answers == [f"{name} {count}" for count in (1, 2, 3, 4) for _ in range(2) for name in ("one", "two")]
    assert served.run.status == 0


def test_apache_has_a_log_for_each_process(served):
    """Each process has its own interpreters.  All have ended but the main one, which lives as long as its process."""
    pids = {served.parent} | served.pids["embedded"] | served.pids["daemon"]
    assert len(pids) == 3 and pids == {process["pid"] for process in served.run.report["processes"]}
    interpreters = [(interpreter["pid"], who(interpreter), interpreter["ended_ns"] is not None)
                    for interpreter in served.run.report["interpreters"]]
    assert sorted(interpreters) == sorted(
        (pid, *state) for pid in pids - {served.parent} for state in ((MAIN, False), (FIRST, True), (SECOND, True)))


def test_apache_findings(served):
    hosts, ours = names(served.run.findings(), MOD_WSGI)
    assert "mod_wsgi/4.9.4" not in served.run.err or hosts == set(MOD_WSGI)
    if served.extension == HEALTHY:
        assert ours == []
        return
    assert summaries(ours) == [
        ("leak", "none", "dict", FIRST, None),
        ("leak", "none", "str", SECOND, None),          # a key of that dictionary
        ("share", "argument", "dict", FIRST, SECOND),
        ("static", "none", "dict", FIRST, SECOND),
    ]
    assert len(accused(ours)) == 3
    for finding in ours:
        assert set(finding["pids"]) == served.pids["embedded"] | served.pids["daemon"] and finding["count"] == 2


# --- WeeChat ----------------------------------------------------------------------------------------------------------

WEECHAT = "/usr/bin/weechat-headless"


# Defects of WeeChat 3.8 itself -> whether a finding is about it.
WEECHAT_PYTHON = {
    "weechat_python_set_output() never gives back the module that it makes sys.stdout":
        lambda finding: finding["kind"] == "leak" and finding["object"]["type"] == "module"
        and finding["holder"]["kind"] == "reference",
    "the module weechat has no state (m_size is -1): plug-ins share its functions and constants until one of them ends":
        lambda finding: finding["kind"] == "leak" and finding["object"]["type"] in ("builtin_function_or_method", "str")
        and "<frozen importlib._bootstrap>" in {frame["file"] for frame in finding["stacks"]["created"][:1]},
}


class WeeChat(Host):
    """It reads commands from its FIFO.  After each, a command that prints to stdout shows that it has been done."""

    PACKAGES = "weechat-headless", "weechat-python", "weechat-plugins"

    def begin(self):
        self.start(WEECHAT, "-d", self.here / "home", "-a", "-P", "fifo,python")
        fifo = self.here / "home" / f"weechat_fifo_{self.process.pid}"
        assert self.wait_for(fifo.exists), self.said()
        # WeeChat has opened it for reading and writing (fifo_create), so that this does not block.
        self.fifo, self.steps = open(fifo, "w", buffering=1), 0

    def do(self, command):
        """Run a command; its output on stdout."""
        before, mark = self.said(), f"step {self.steps} is done\n"
        self.steps += 1
        self.fifo.write(f"*{command}\n*/print -stdout -escape {mark[:-1]}\\n\n")
        assert self.wait_for(lambda: self.said().endswith(mark)), self.said()
        return self.said()[len(before):-len(mark)]

    def load(self, plugin):
        shutil.copy(HOSTS / "plugin.py", self.here / f"{plugin}.py")
        return self.do(f"/python load {self.here / plugin}.py")

    def unload(self, plugin):
        return self.do(f"/python unload {plugin}")

    def end(self):
        with self.fifo:
            self.fifo.write("*/quit\n")
        return super().end()


class Chatted:
    """Two plug-ins; the first is unloaded, then a third is loaded.  Their answers, and the report."""

    def __init__(self, isan, extension):
        self.extension = extension
        self.version = subprocess.run([WEECHAT, "--version"], stdout=subprocess.PIPE, text=True).stdout.strip()
        with WeeChat(isan, extension) as weechat:
            weechat.load("first")
            weechat.load("second")
            self.answers = [weechat.do(f"/{name}") for name in ("first", "second", "first")]
            weechat.unload("first")
            self.unloaded = weechat.report()
            weechat.load("third")
            self.answers += [weechat.do(f"/{name}") for name in ("second", "third")]
            self.pid, self.run = weechat.process.pid, weechat.end()


@pytest.fixture(scope="module", params=[HEALTHY, BAD])
def chatted(isan, request):
    return Chatted(isan, request.param)


def test_weechat_goes_on(chatted):
    assert chatted.answers == ["first 1\n", "second 1\n", "first 2\n", "second 2\n", "third 1\n"]
    assert chatted.run.status == 0
    assert [process["pid"] for process in chatted.run.report["processes"]] == [chatted.pid]


def test_weechat_unloads(chatted):
    """Leaks of a plug-in are in the log as soon as it is unloaded; WeeChat goes on."""
    for run, ended in (chatted.unloaded, {FIRST}), (chatted.run, {FIRST, SECOND, THIRD}):
        assert {who(interpreter) for interpreter in run.report["interpreters"] if interpreter["ended_ns"]} == ended
        assert {who(owner) for leak in run.findings("leak") for owner in leak["owners"]} == ended
    leaks = [leak for leak in chatted.unloaded.findings("leak") if in_static(leak)]
    assert [holder_of(leak) for leak in leaks] == [HOLDER] * (chatted.extension == BAD)


def test_weechat_findings(chatted):
    hosts, ours = names(chatted.run.findings(), WEECHAT_PYTHON)
    assert chatted.version != "3.8" or hosts == set(WEECHAT_PYTHON)
    if chatted.extension == HEALTHY:
        assert ours == []
        return
    assert summaries(ours) == [
        ("leak", "none", "dict", FIRST, None),
        ("leak", "none", "str", SECOND, None),          # keys of that dictionary
        ("leak", "none", "str", THIRD, None),
        ("share", "argument", "dict", FIRST, SECOND),
        ("stale", "argument", "dict", FIRST, THIRD),
        ("static", "none", "dict", FIRST, SECOND),
    ]
    assert len(accused(ours)) == 4
