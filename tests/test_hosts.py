"""Real programs that embed Python, with an interpreter for each plug-in: Apache with mod_wsgi, and WeeChat.

They are Debian's own, with the Python they are linked with, preloading libisan.so.  Each runs in a directory made for
it and reads nothing of the system's configuration.  The plug-ins keep their counts in the dictionary of an extension:
cache_static.c, the bad one, or its healthy twin, cache_state.c.
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

from isan import doctor
from subject import Run, build

HOSTS = Path(__file__).resolve().parent / "hosts"
# Debian's hosts are linked with the libpython of this one.
PYTHON = "/usr/bin/python3"
# What a host may take for one step: to be ready, to answer, to end.  Each takes
# less than a second on an idle machine, and a host that hangs never does it.
PATIENCE = 60
# Somebody may take the free port before Apache does.
TRIES = 5


def need(*packages):
    missing = [package for package in packages if not doctor.PROBES[package]()]
    if missing:
        pytest.fail(f"packages are missing: apt-get install {' '.join(missing)}", pytrace=False)


class Host:
    """A program, in a directory that everybody may enter: what root starts, Apache goes on with as somebody else."""

    def __init__(self, isan, extension):
        need("python3-dev")
        self.isan, self.process = isan, None
        self.here = Path(tempfile.mkdtemp(prefix="isan-host-"))
        self.here.chmod(0o755)
        self.log = self.here / "log"
        self.log.mkdir()
        self.log.chmod(0o1777)
        build(f"{extension}.c", PYTHON, self.here)
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.here), "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(self.here), "PYTHONDONTWRITEBYTECODE": "1", "EXTENSION": extension,
            "LD_PRELOAD": str(Path(isan).resolve().parents[1] / "lib" / "libisan.so"),
            "ISAN_OPTIONS": f"log_path={self.log}"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)     # the children as well
        except (AttributeError, ProcessLookupError):        # not started; all have ended
            pass
        else:
            self.process.wait()
        shutil.rmtree(self.here)

    def start(self, *command):
        with open(self.here / "output", "wb") as output:
            self.process = subprocess.Popen(command, cwd=self.here, env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output, start_new_session=True)

    def said(self):
        return "".join((self.here / name).read_text() for name in ("output", "error.log") if (self.here / name).exists())

    def wait_for(self, event):
        """What event() gives once it is true, or None if the host ends before."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ended = self.process.poll() is not None
            happened = event()
            if happened or ended:
                return happened or None
            assert time.monotonic() < deadline, f"nothing happened in {PATIENCE} s:\n{self.said()}"
            time.sleep(0.01)

    def end(self):
        """Wait for its own end, and read the reports."""
        self.process.wait(PATIENCE)
        run = Run(self.isan, None, self.log, subprocess.CompletedProcess((), self.process.returncode, "", self.said()))
        assert run.report
        return run


# --- Apache -----------------------------------------------------------------------------------------------------------

APACHE = "/usr/sbin/apache2"
MODULES = "/usr/lib/apache2/modules"


class Apache(Host):
    """/embedded/NAME is served by Apache's worker process, /daemon/NAME by mod_wsgi's; NAME is one or two."""

    def __init__(self, isan, extension, mpm):
        need("apache2-bin", "libapache2-mod-wsgi-py3")
        super().__init__(isan, extension)
        shutil.copy(HOSTS / "application.wsgi", self.here)
        for _ in range(TRIES):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
            define = {"MPM": mpm, "MODULES": MODULES, "PORT": self.port, "HERE": self.here}
            self.start(APACHE, *(word for item in define.items() for word in ("-C", "Define %s %s" % item)),
                       *(["-DAS_ROOT"] if os.geteuid() == 0 else []), "-DFOREGROUND", "-f", HOSTS / "httpd.conf")
            if self.wait_for(self.listens):
                break
            assert "could not bind" in self.said(), self.said()

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path):
        """The process that answered, and what."""
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
        """As `apachectl graceful-stop` does: the parent ends its children, and mod_wsgi in each of them its interpreters."""
        self.process.send_signal(signal.SIGWINCH)
        return super().end()


# --- WeeChat ----------------------------------------------------------------------------------------------------------

WEECHAT = "/usr/bin/weechat-headless"


class WeeChat(Host):
    """Told what to do through its FIFO; what a command prints to stdout says that those before it are done."""

    def __init__(self, isan, extension, *plugins):
        need("weechat-headless", "weechat-python", "weechat-plugins")
        super().__init__(isan, extension)
        for plugin in plugins:
            shutil.copy(HOSTS / "plugin.py", self.here / f"{plugin}.py")
        self.start(WEECHAT, "-d", self.here / "home", "-a", "-P", "fifo,python")
        fifo = self.here / "home" / f"weechat_fifo_{self.process.pid}"
        assert self.wait_for(fifo.exists), self.said()
        self.fifo, self.steps = open(fifo, "w", buffering=1), 0

    def __exit__(self, *_):
        self.fifo.close()
        super().__exit__()

    def do(self, command):
        """What a command printed to stdout."""
        before, mark = self.said(), f"step {self.steps} is done\n"
        self.steps += 1
        self.fifo.write(f"*{command}\n*/print -stdout -escape {mark[:-1]}\\n\n")
        assert self.wait_for(lambda: self.said().endswith(mark)), self.said()
        return self.said()[len(before):-len(mark)]

    def load(self, plugin):
        return self.do(f"/python load {self.here / plugin}.py")

    def unload(self, plugin):
        return self.do(f"/python unload {plugin}")

    def end(self):
        self.fifo.write("*/quit\n")
        return super().end()
