"""Progress on stderr, and the commands of a build, which report through it."""
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time


class Progress:
    """Says on stderr what is being done: in one changing line on a terminal, else in a line for each step."""

    def __init__(self, what):
        self.what, self.start, self.text, self.shown = what, time.monotonic(), "", 0.0
        self.tty = sys.stderr.isatty()

    def step(self, text):
        self.text, self.shown = text, 0.0
        if self.tty:
            self.update()
        else:
            print(f"isan: {self.what}: {text} ({self._elapsed()})", file=sys.stderr, flush=True)

    def update(self, detail=""):
        now = time.monotonic()
        if self.tty and now - self.shown > 0.1:
            self.shown = now
            line = f"isan: {self.what}: {self.text} {detail} {self._elapsed()}"
            print("\r" + line[:shutil.get_terminal_size().columns - 1] + "\x1b[K", end="", file=sys.stderr, flush=True)

    def done(self, text):
        print(("\r\x1b[K" if self.tty else "") + f"isan: {self.what}: {text} ({self._elapsed()})",
              file=sys.stderr, flush=True)

    def clear(self):
        if self.tty:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _elapsed(self):
        seconds = int(time.monotonic() - self.start)
        return f"{seconds // 60}:{seconds % 60:02}"


class Failed(Exception):
    """A command of the build failed; its output is in the log."""


def call(argv, log, progress, cwd=None, env=None, on_line=None):
    """Run a command with its output in the log. on_line(line) may return a detail to show.

    When this process is interrupted, the command and its children are killed.
    """
    log.write((f"\n$ {' '.join(argv)}\n").encode())
    log.flush()
    process = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            rest, detail = b"", ""
            while True:
                progress.update(detail)
                if not selector.select(0.5):
                    continue
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    break
                log.write(data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines if on_line else ():
                    detail = on_line(line.decode("utf-8", "replace")) or detail
        status = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        process.stdout.close()
        log.flush()
    if status:
        raise Failed(f"{os.path.basename(argv[0])} ended with status {status}")


def error_lines(path, limit=5):
    """The lines of a build log that say what went wrong."""
    with open(path, encoding="utf-8", errors="replace") as log:
        lines = [line.rstrip() for line in log if line.strip()]
    error = re.compile(r"\berror\b|\*\*\*|undefined reference|No space left|Error \d", re.I)
    telling = [line for line in lines if error.search(line)
               and not re.search(r"checking|^gcc |^cc |^clang |^\$ ", line)]
    return (telling or lines)[-limit:]
