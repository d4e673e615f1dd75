"""Lists of MODULEs for `isan check`, their shards, and a directory of results that many workers fill.

NAME.json is the result for one MODULE.  While a worker is at it there is NAME.begun, which it holds a lock on, flock(2): the
kernel, or the server of a network file system, gives that back when the worker ends, however it ends, so that no clock and
no process id has to tell a dead worker from a slow one.  The result is written into that file, which is then renamed: a
reader finds all of a result or none.
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

from reports import text

from . import Problem, verdicts

FORMAT = 1
DONE, BEGUN = ".json", ".begun"
ENDS = 2                # so many workers may end while they check a MODULE before it is left alone
LONGEST = 150           # of a file's name, in bytes: with what is added to it below NAME_MAX, limits.h
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
# What each file has, and of which type.
KEYS = {"format": int, "argument": str, "configuration": dict, "python": str, "limit": (str, type(None)), "stamp": (list, type(None)),
        "ended": (int, float), "modules": list}


def file_name(argument):
    """A file's name for a MODULE, its own for each, that is one part of a path and harmless in a terminal."""
    data = argument.encode("utf-8", "surrogatepass")
    name = re.sub(rb"[^A-Za-z0-9_.-]|^\.", lambda match: b"%%%02x" % match[0][0], data).decode()
    if 0 < len(name) <= LONGEST:
        return name
    return "%s~%s" % (name[:LONGEST - 17], hashlib.sha256(data).hexdigest()[:16])


def listed(arguments, file):
    """MODULEs as they were given and then those of the file, each once."""
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
    """The K-th of N shards: every N-th from the K-th on, so that no shard gets all that are slow."""
    if which is None:
        return arguments
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", which)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise Problem("--shard is K/N, the K-th of N shards, from 1/N to N/N, not %s" % text.escape(which))
    return arguments[int(match[1]) - 1::int(match[2])]


def stamp(argument):
    """What tells whether a file or directory is the one that was checked; None: a name."""
    if os.sep not in argument and not os.path.isfile(argument):
        return None
    path = os.path.abspath(argument)
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)
        if not os.path.isdir(path):
            return [path, status.st_size, status.st_mtime_ns]
    return [path]


def read(path):
    """A result from its file; ValueError, which says what is wrong with it."""
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
        raise ValueError("is the result for %s" % text.escape(data["argument"]))
    return data


BLANK = verdicts.Result.unknown("", "").data


def differences(one, other):
    """What two configurations differ in, in words."""
    return ", ".join("%s is %s, not %s" % (key, text.escape(str(one.get(key))), text.escape(str(other.get(key))))
                     for key in sorted({*one, *other}) if one.get(key) != other.get(key))


def ends_in(file):
    """Who began what is in a claim, oldest first, in words."""
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
        self.kept, self.elsewhere = 0, []       # results that were there, MODULEs that others are at
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
        """The result that is there, or None."""
        path = self.path(argument)
        try:
            data = read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            say and self.say("%s cannot be used (%s): %s is checked again" % (path, getattr(error, "strerror", None) or error, text.escape(argument)))
            return None
        if data["configuration"] != self.configuration:
            raise Problem("%s is another configuration's (%s): give --results another directory, or remove what is in it" % (
                path, differences(data["configuration"], self.configuration)))
        if data["stamp"] != stamp(argument):
            say and self.say("%s is another file now, or has changed: it is checked again" % text.escape(argument))
            return None
        return [verdicts.Result(dict(module)) for module in data["modules"]]

    def take(self, argument):
        """(results, None) if there are any; (None, None) if another worker is at it; else it is ours, until keep(), withdraw()
        or failed(): (None, who began it before and ended without a result)."""
        found = self.get(argument)
        if found is None and not self.claim(argument):
            self.elsewhere.append(argument)
            return None, None
        if found is None:
            found = self.get(argument, say=False)       # made before we had the claim
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
                os.close(fd)        # it has become a result, or is gone
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
        """It is done."""
        self.write({"format": FORMAT, "argument": self.argument, "configuration": self.configuration, "python": self.checker.python,
                    "limit": self.checker.limit, "stamp": stamp(self.argument), "ended": time.time(),
                    "modules": [result.data for result in found]})
        os.replace(self.path(self.argument, BEGUN), self.path(self.argument))
        self.close()

    def withdraw(self):
        """It is not done, and that is not its fault."""
        if self.ends:
            self.write({"argument": self.argument, "begun": self.ends})
        else:
            os.unlink(self.path(self.argument, BEGUN))
        self.close()

    def failed(self, why):
        """This worker ends while it checks it."""
        begun = ends_in(os.pread(self.fd, 1 << 20, 0))
        self.write({"argument": self.argument, "begun": begun[:-1] + ["%s: %s" % (begun[-1], why)]})
        self.close()

    def summary(self):
        if self.kept:
            self.say("%s there already" % text.plural(self.kept, "result was", "results were"))
        if self.elsewhere:
            self.say("%s being checked by other workers: %s" % (
                text.plural(len(self.elsewhere), "MODULE is", "MODULEs are"), text.escape(", ".join(self.elsewhere[:4]))
                + ", ..." * (len(self.elsewhere) > 4)))


def lock(fd, how):
    """Whether nobody else has it.  Where there are no locks nobody knows: each worker has to have a shard of its own there."""
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
    """The results in directories, of all workers."""

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
                    self.complaints.append("%s cannot be used: %s" % (text.escape(path), getattr(error, "strerror", None) or error))
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
            self.begun[os.path.basename(path)[:-len(BEGUN)]] = (
                ("a worker ended while it checked it (%s)" if ours else "a worker is checking it (%s)") % "; ".join(ends_in(content)))

    def results(self, arguments):
        """Those of the arguments in their order; of all, if there are none.  What has no result is not checked."""
        found = []
        for argument in arguments or sorted(self.found):
            data = self.found.get(argument)
            found += ([verdicts.Result(module) for module in data["modules"]] if data else
                      [verdicts.Result.unknown(argument, "it has no result: " + self.begun.get(
                          file_name(argument), "no worker has begun with it"))])
        return found
