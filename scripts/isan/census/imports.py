"""The imports of a census: each module is imported in a process of its own, and the process tells what that made."""
import argparse
import ast
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import types

from isan import Problem, launch
from isan.check import plan

from .module import Module

PROBE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "target", "census_probe.py")
TIMEOUT = 60            # seconds that the import of a module may take
LIST = """
import os, sys
from importlib.machinery import EXTENSION_SUFFIXES
directories = [path for path in sys.path if os.path.basename(path) == "lib-dynload"]
print(ascii((sys.version_info[:3], sys.builtin_module_names, sorted({
    file.partition(".")[0] for directory in directories for file in os.listdir(directory)
    if file[len(file.partition(".")[0]):] in EXTENSION_SUFFIXES}))))
"""


class Census:
    """The Python that a census is about."""

    def __init__(self, args, directory, symbolizer):
        flavor, python = args.flavor, args.python
        if flavor == "plain":           # it is not linked with libisan.so, so it is preloaded, as for stock Pythons
            from isan import pythons
            flavor, python = None, pythons.find_python("plain", args.version)
        self.python, self.words, self.preload = launch.python_of(argparse.Namespace(
            python=python, flavor=flavor, version=flavor and args.version))
        self.directory, self.symbolizer = directory, symbolizer
        self.env = launch.environment(self.preload, log_path=directory, exitcode=0)
        done = subprocess.run([*self.words, "-P", "-c", LIST], executable=self.python, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Problem("%s does not work, or is older than 3.11: %s" % (
                self.python, launch.last_line(done.stderr, "status %d" % done.returncode)))
        self.version, self.builtins, self.extensions = ast.literal_eval(done.stdout.splitlines()[-1])

    def start(self, argument):
        return Import(self, *plan.locate(argument))

    def elf(self, file):
        return types.SimpleNamespace(path=file, build_id="", bias=0)


class Import:
    """A process that imports a module."""

    def __init__(self, census, name, path):
        self.name, self.began = name, time.monotonic()
        self.events, self.output = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.empty = tempfile.TemporaryDirectory(prefix="isan-census-")
        os.set_inheritable(self.events.fileno(), True)
        self.process = subprocess.Popen(
            [*census.words, "-S", "-P", PROBE, repr((self.events.fileno(), name, *path))],
            executable=census.python, env=census.env, cwd=self.empty.name, stdin=subprocess.DEVNULL, stdout=self.output,
            stderr=self.output, pass_fds=[self.events.fileno()], start_new_session=True)
        self.hung = False

    def ended(self):
        if self.process.poll() is None and time.monotonic() - self.began > TIMEOUT:
            self.hung = True
            self.kill()
        return self.process.poll() is not None

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self):
        """End the process. Returns its events, and what went wrong or None."""
        self.kill()     # also processes that it has started
        status = self.process.returncode
        self.events.seek(0)
        self.output.seek(0)
        events = [ast.literal_eval(line.decode()) for line in self.events.read().split(b"\n")[:-1]]
        last = (self.output.read().decode("utf-8", "backslashreplace").strip().splitlines() or [""])[-1]
        for thing in self.events, self.output:
            thing.close()
        self.empty.cleanup()
        failed = next((": ".join(filter(None, event[1:])) for event in events if event[0] == "failed"), None)
        if events and events[-1] == ("end",):
            return events, None
        if failed or self.hung:
            return events, failed or "its import takes more than %d seconds" % TIMEOUT
        doing = "reading it" if ("imported",) in events else "its import"
        if status < 0:
            what = "crashes with %s" % signal.Signals(-status).name
        else:
            what = "ends the process (status %d)" % status
        return events, "%s %s%s" % (doing, what, ": " + last if last else "")


def modules_of(census, done, built_in):
    """The modules that an import has made."""
    events, trouble = done.close()
    found = [event[1] for event in events if event[0] == "made"]
    result = []
    for facts in found:
        module = Module(facts["name"], facts["file"] is None, trouble=trouble)
        module.loaded(facts)
        module.read_binary(census, facts)
        result.append(module)
    if not found:
        module = Module(done.name, built_in, trouble=trouble or "it loads no extension of its own")
        module.file = module.image = next((event[2] for event in events if event[:2] == ("creating", done.name)), None)
        module.read_binary(census, None)
        result.append(module)
    return result


class Progress:
    """Says on stderr what is being done, from the third second on."""

    def __init__(self, total):
        self.total, self.began, self.said = total, time.monotonic(), 0

    def show(self, done, names):
        now = time.monotonic()
        if now - self.began > 2 and now - self.said > (0.2 if sys.stderr.isatty() else 20):
            self.said = now
            line = "%d of %d: %s" % (done, self.total, " ".join(names))
            print("\r\x1b[K%s" % line if sys.stderr.isatty() else "isan census: " + line,
                  end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    def clear(self):
        if self.said and sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def import_all(census, arguments, modules):
    """Import all arguments, and fill in `modules`: index of the argument -> list. It is valid when interrupted, too."""
    waiting, running = list(enumerate(arguments)), {}
    progress = Progress(len(arguments))
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                index, argument = waiting.pop(0)
                running[index] = census.start(argument)
            for index in [index for index, one in running.items() if one.ended()]:
                done = running.pop(index)
                modules[index] = modules_of(census, done, done.name in census.builtins)
            progress.show(len(modules), [one.name for one in running.values()])
            time.sleep(0.01)
    finally:
        for one in running.values():
            one.kill()
        progress.clear()
