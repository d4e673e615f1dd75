"""Lists of MODULEs for `isan check`, their shards, and a directory of results that many workers fill.

NAME.json is the result for one MODULE. While a worker checks it there is NAME.begun, and the worker holds a lock on
that file (flock(2)). The kernel, or the server of a network file system, releases the lock when the worker ends, in
whatever way. So a dead worker is distinguished from a slow one without clocks and process ids. The result is written
into that file, which is then renamed: a reader finds all of a result or none.
"""
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import socket
import sys
import time

from isan import Problem
from isan.reports.wording import escape, plural

from .formats import Result

FORMAT = 1
DONE, BEGUN = ".json", ".begun"
MAX_WORKER_DEATHS = 2   # skip a MODULE after this many workers ended while they checked it
LONGEST = 150           # bytes of a file's name; with a suffix it stays below NAME_MAX (limits.h)
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
# The keys of a result, and their types.
KEYS = {"format": int, "argument": str, "configuration": dict, "python": str, "limit": (str, type(None)),
        "stamp": (list, type(None)), "ended": (int, float), "modules": list}


def file_name(argument):
    """The name of a MODULE's file: unique, without slashes, and harmless in a terminal."""
    data = argument.encode("utf-8", "surrogatepass")
    name = re.sub(rb"[^A-Za-z0-9_.-]|^\.", lambda match: b"%%%02x" % match[0][0], data).decode()
    if 0 < len(name) <= LONGEST:
        return name
    return "%s~%s" % (name[:LONGEST - 17], hashlib.sha256(data).hexdigest()[:16])


def listed(arguments, file):
    """The MODULEs that were given and then those of the file, each once."""
    lines = []
    if file:
        try:
            with open(sys.stdin.fileno() if file == "-" else file, "rb", closefd=file != "-") as stream:
                lines = [os.fsdecode(re.sub(rb"(^|\s)#.*", b"", line).strip()) for line in stream.read().split(b"\n")]
        except OSError as error:
            raise Problem("cannot read the list %s: %s" % (file, error.strerror or error))
    found = dict.fromkeys([*arguments, *filter(None, lines)])
    if file and not found:
        raise Problem("%s names no MODULE: give a list with one on each line" % ("stdin" if file == "-" else file))
    return list(found)


def shard(arguments, which):
    """The K-th of N shards: the K-th MODULE and each N-th after it, so that slow neighbours go to several shards."""
    if which is None:
        return arguments
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", which)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise Problem("--shard is K/N, the K-th of N shards, from 1/N to N/N, not %s" % escape(which))
    return arguments[int(match[1]) - 1::int(match[2])]


def stamp(argument):
    """Identifies the file or directory that was checked; None for the name of a module."""
    if os.sep not in argument and not os.path.isfile(argument):
        return None
    path = os.path.abspath(argument)
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)
        if not os.path.isdir(path):
            return [path, status.st_size, status.st_mtime_ns]
    return [path]


def read(path):
    """Read a result from its file. A ValueError says what is wrong with it."""
    with open(path, encoding="utf-8", errors="strict") as file:
        data = json.load(file)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError("is no result of this isan's")
    for key, kind in KEYS.items():
        if not isinstance(data.get(key), kind):
            raise ValueError("has no %s" % key)
    if not all(isinstance(module, dict) and set(module) >= set(BLANK) for module in data["modules"]):
        raise ValueError("has modules that are none")
    if os.path.basename(path) != file_name(data["argument"]) + DONE:
        raise ValueError("is the result for %s" % escape(data["argument"]))
    return data


BLANK = Result.unknown("", "").data


def differences(one, other):
    """The differences of two configurations, in words."""
    return ", ".join("%s is %s, not %s" % (key, escape(str(one.get(key))), escape(str(other.get(key))))
                     for key in sorted({*one, *other}) if one.get(key) != other.get(key))


def ends_in(file):
    """The workers named in a claim, oldest first, in words."""
    try:
        begun = json.loads(file)
        return [str(one) for one in begun["begun"]]
    except (ValueError, KeyError, TypeError):
        return ["by whom is not known"] if file else []


class Store:
    """A directory of results, for a worker; one MODULE at a time."""

    def __init__(self, directory, checker):
        self.directory, self.checker = os.path.abspath(directory), checker
        self.configuration = json.loads(json.dumps(checker.configuration()))
        self.kept, self.elsewhere = 0, []       # results that were there, MODULEs that others are checking
        self.argument, self.fd, self.ends = None, None, []
        try:
            os.makedirs(self.directory, exist_ok=True)
        except OSError as error:
            raise Problem("cannot make %s: %s; give --results another directory" % (directory, error.strerror))

    def path(self, argument, suffix=DONE):
        return os.path.join(self.directory, file_name(argument) + suffix)

    def say(self, what):
        print("isan check: " + what, file=sys.stderr, flush=True)

    def get(self, argument, say=True):
        """The result of an earlier run or another worker, or None."""
        path = self.path(argument)
        try:
            data = read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            if say:
                self.say("%s cannot be used (%s): %s is checked again" % (
                    path, getattr(error, "strerror", None) or error, escape(argument)))
            return None
        if data["configuration"] != self.configuration:
            raise Problem(
                "%s is another configuration's (%s): give --results another directory, or remove what is in it" % (
                    path, differences(data["configuration"], self.configuration)))
        if data["stamp"] != stamp(argument):
            if say:
                self.say("%s is another file now, or has changed: it is checked again" % escape(argument))
            return None
        return [Result(dict(module)) for module in data["modules"]]

    def take(self, argument):
        """Get the results for a MODULE, or claim it: (results, ends).

        (results, None): there are some. (None, None): another worker is checking it. (None, ends): this worker has
        claimed it, until keep(), withdraw() or failed(); `ends` are the workers that began it before and ended without
        a result.
        """
        found = self.get(argument)
        if found is None and not self.claim(argument):
            self.elsewhere.append(argument)
            return None, None
        if found is None:
            found = self.get(argument, say=False)       # another worker may have finished before the claim
            if found is not None:
                self.withdraw()
        self.kept += found is not None
        return (found, None) if found is not None else (None, self.ends)

    def claim(self, argument):
        path = self.path(argument, BEGUN)
        try:
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                if not lock(fd, fcntl.LOCK_EX):
                    os.close(fd)
                    return False
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), os.stat(path)):
                        break
                os.close(fd)        # the file has become a result, or is gone
        except OSError as error:
            raise Problem("cannot write results to %s: %s" % (self.directory, error.strerror))
        self.argument, self.fd = argument, fd
        self.ends = ends_in(os.pread(fd, 1 << 20, 0))
        self.write({"argument": argument, "begun": [*self.ends, "%s, process %d, %s" % (
            socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S %z"))]})
        return True

    def write(self, data):
        content = json.dumps(data).encode()
        try:
            os.ftruncate(self.fd, 0)
            while content:
                content = content[os.pwrite(self.fd, content, os.lseek(self.fd, 0, os.SEEK_END)):]
            os.fsync(self.fd)
        except OSError as error:
            raise Problem("cannot write results to %s: %s" % (self.directory, error.strerror))

    def close(self):
        os.close(self.fd)
        self.argument = self.fd = None

    def keep(self, found):
        """Write the result, and release the claim."""
        self.write({"format": FORMAT, "argument": self.argument, "configuration": self.configuration,
                    "python": self.checker.python, "limit": self.checker.limit, "stamp": stamp(self.argument),
                    "ended": time.time(),
                    "modules": [result.data for result in found]})
        os.replace(self.path(self.argument, BEGUN), self.path(self.argument))
        self.close()

    def withdraw(self):
        """Release the claim without a result, for a reason that is not the MODULE's."""
        if self.ends:
            self.write({"argument": self.argument, "begun": self.ends})
        else:
            os.unlink(self.path(self.argument, BEGUN))
        self.close()

    def failed(self, why):
        """Note that this worker ends while it checks the MODULE."""
        begun = ends_in(os.pread(self.fd, 1 << 20, 0))
        self.write({"argument": self.argument, "begun": begun[:-1] + ["%s: %s" % (begun[-1], why)]})
        self.close()

    def summary(self):
        if self.kept:
            self.say("%s there already" % plural(self.kept, "result was", "results were"))
        if self.elsewhere:
            self.say("%s being checked by other workers: %s" % (
                plural(len(self.elsewhere), "MODULE is", "MODULEs are"), escape(", ".join(self.elsewhere[:4]))
                + ", ..." * (len(self.elsewhere) > 4)))


def lock(fd, how):
    """Take a lock on a claim. Returns whether no other worker has it.

    On a file system without locks the answer is always True, so that each worker must have a shard of its own.
    """
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return True


class Merged:
    """The results of all workers, from their directories."""

    def __init__(self, directories):
        self.found, self.begun, self.complaints = {}, {}, []
        self.python, self.limit, first = None, None, None
        for directory in directories:
            try:
                names = sorted(os.listdir(directory))
            except OSError as error:
                raise Problem("cannot read %s: %s" % (directory, error.strerror))
            for path in (os.path.join(directory, name) for name in names):
                if path.endswith(BEGUN):
                    self.unfinished(path)
                if not path.endswith(DONE):
                    continue
                try:
                    data = read(path)
                except (OSError, ValueError) as error:
                    self.complaints.append("%s cannot be used: %s" % (
                        escape(path), getattr(error, "strerror", None) or error))
                    continue
                first = first or (path, data["configuration"])
                if data["configuration"] != first[1]:
                    raise Problem("%s and %s are of two configurations (%s): merge those of one" % (
                        path, first[0], differences(data["configuration"], first[1])))
                self.python, self.limit = data["python"], data["limit"]
                other = self.found.get(data["argument"])
                if not other or other["ended"] < data["ended"]:
                    self.found[data["argument"]] = data     # the newest of several

    def unfinished(self, path):
        with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
            content, ours = file.read(), lock(file.fileno(), fcntl.LOCK_SH)
            what = "a worker ended while it checked it (%s)" if ours else "a worker is checking it (%s)"
            self.begun[os.path.basename(path)[:-len(BEGUN)]] = what % "; ".join(ends_in(content))

    def results(self, arguments):
        """The results for the arguments, in their order; without arguments, all results."""
        found = []
        for argument in arguments or sorted(self.found):
            data = self.found.get(argument)
            found += ([Result(module) for module in data["modules"]] if data else
                      [Result.unknown(argument, "it has no result: " + self.begun.get(
                          file_name(argument), "no worker has begun with it"))])
        return found
