"""Build the CPythons that isan runs programs with: plain, fast, debug and tsan.

A finished interpreter lives in the user's cache under a key made from
everything that went into it, so that it is built once for all checkouts and
never for a change of the recorder.  A checkout sees it through a *view*,
build/python/<version>-<flavor>/: the executable is a copy, because the run-time
linker looks for libisan.so.0 relative to it and must find this checkout's; the
rest are symbolic links into the cache.

The executables name libisan.so.0 among the libraries they need.  While they
are built, and when one in the cache is run directly, that is an empty stub.
"""
import collections
import contextlib
import fcntl
import functools
import hashlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

from isan import ROOT, Problem

# Part of the key: raise it when a change below makes another interpreter.
RECIPE = 1

# SHA-256 of the upstream source tarball.
RELEASES = {
    "3.13.5": "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640",
    "3.13.15": "1e66a7945a48390ee4c2a4268a0e4185884059a13c4aab6d148aa208deea4a76",
    "3.14.6": "143b1dddefaec3bd2e21e3b839b34a2b7fb9842272883c576420d605e9f30c63",
}
# What each series means when no exact release is asked for; the first is the default.
SERIES = {"3.13": "3.13.5", "3.14": "3.14.6"}

Flavor = collections.namedtuple("Flavor", "configure cflags instrumented tsan help")
FLAVORS = {
    "fast": Flavor([], [], True, False, "optimised, every check on"),
    "debug": Flavor(["--with-pydebug"], [], True, False, "with CPython's own assertions as well"),
    # ThreadSanitizer's stacks have no frame for a function that ended in a jump.
    "tsan": Flavor(["--with-thread-sanitizer"], ["-O1", "-fno-optimize-sibling-calls"], True, True,
                   "with ThreadSanitizer as well: races"),
    "plain": Flavor([], [], False, False, "the same build without isan, to compare with"),
}
# ThreadSanitizer of earlier ones has another layout of the address space (runtime/core/shadow.c).
CLANG = 18
CLANG_PACKAGES = "clang-19 libclang-rt-19-dev"

# Modules the interpreters must have: pip and CPython's own tests want them.
REQUIRED = ["zlib", "ssl", "_hashlib", "ctypes", "bz2", "lzma", "sqlite3"]

# What of isan is linked into the executables of a tsan interpreter.
TSAN_MAIN = "scripts/cpython/tsan_main.c"
# Headers that are found before CPython's own of the same name while it is built.
OVERLAY = "scripts/cpython/include"

# Looked for from bin/ (python) and bin/Programs/ (_testembed): the checkout's
# recorder first, then the stub of the interpreter's own prefix.  The build tree
# has its stub at the same distance.
RUNPATH = ":".join("$ORIGIN/" + path for path in (
    "../../../lib", "../../../../lib", "../lib/isan-stub", "../../lib/isan-stub"))

# Left out when a source tree is copied: what building in it leaves behind.
GENERATED_TOP = {".git", "build", "Makefile", "Makefile.pre", "pyconfig.h", "config.status", "config.log",
                 "config.cache", "pybuilddir.txt", "platform", "python", "_bootstrap_python"}
GENERATED = re.compile(r".*\.(o|a|so|pyc)$|__pycache__$|_freeze_module$|_testembed$")

PIP_POLICY = """\
[externally-managed]
Error=This interpreter is kept in isan's cache and shared between programs.
 Make a virtual environment with it and install there: python3 -m venv DIR
"""


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(os.path.abspath(base), "isan")


# --- what is asked for -----------------------------------------------------

def check_flavor(flavor):
    if flavor not in FLAVORS:
        raise Problem(f"there is no flavor '{flavor}': choose one of {', '.join(FLAVORS)}")


def exact_version(version):
    """3.13 or 3.13.15 -> a release of the table."""
    release = SERIES.get(version, version)
    if release not in RELEASES:
        raise Problem(f"CPython {version} is not in isan's table: choose one of "
                      f"{', '.join([*SERIES, *RELEASES])}, or give its source with SOURCE=")
    return release


def series_of(version):
    return ".".join(version.split(".")[:2])


def parse_patchlevel(text, where):
    """The version a source tree says it is."""
    match = re.search(r'^#define\s+PY_VERSION\s+"([^"]+)"', text, re.M)
    if not match:
        raise Problem(f"{where} is not a CPython source: its Include/patchlevel.h names no version")
    version = match.group(1)
    if series_of(version) not in SERIES:
        raise Problem(f"{where} is CPython {version}, which isan does not support: give a source of {' or '.join(SERIES)}")
    return version.rstrip("+")


# --- progress --------------------------------------------------------------

class Progress:
    """What is going on, on stderr: one changing line on a terminal, else one
    line a step."""

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
    """Run a command with its output in the log; on_line(line) may return the
    detail to show.  Nothing of it survives us, whatever ends us."""
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
    telling = [line for line in lines if re.search(r"\berror\b|\*\*\*|undefined reference|No space left|Error \d", line, re.I)
               and not re.search(r"checking|^gcc |^cc |^clang |^\$ ", line)]
    return (telling or lines)[-limit:]


# --- sources ---------------------------------------------------------------

class Release:
    """A release of the table: looked for in the cache, the Debian mirror this
    machine is configured with, and at python.org."""

    def __init__(self, version):
        self.version, self.digest = version, RELEASES[version]

    def unpack(self, directory, log, progress):
        unpack_tarball(self._fetch(log, progress), directory, log, progress)

    def _fetch(self, log, progress):
        sources = os.path.join(cache_dir(), "sources")
        os.makedirs(sources, exist_ok=True)
        kept = os.path.join(sources, f"Python-{self.version}.tar.xz")
        if os.path.exists(kept):
            if file_digest(kept) == self.digest:
                return kept
            # Not what we stored: never use it, and do not let it be in the way.
            os.unlink(kept)
        tried = []
        for fetch, url in self._places():
            progress.step(f"fetch {url}")
            with tempfile.TemporaryDirectory(prefix="fetch-", dir=sources) as directory:
                part = os.path.join(directory, "source")
                try:
                    fetch(url, part, log, progress)
                    if file_digest(part) == self.digest:
                        os.rename(part, kept)
                        return kept
                    tried.append(f"{url} (wrong checksum)")
                except (Failed, OSError) as error:
                    tried.append(f"{url} ({error})")
        raise Problem(f"no source of CPython {self.version} to be had; give one with SOURCE=TREE-OR-TARBALL, "
                      f"or check the network; tried {', '.join(tried)}")

    def _places(self):
        series = f"python{series_of(self.version)}"
        for mirror in debian_mirrors():
            yield fetch_apt, f"{mirror}pool/main/p/{series}/{series}_{self.version}.orig.tar.xz"
        yield fetch_url, f"https://www.python.org/ftp/python/{self.version}/Python-{self.version}.tar.xz"


class Tarball:
    """SOURCE=file."""

    def __init__(self, path):
        self.path, self.digest = path, file_digest(path)
        result = subprocess.run(["tar", "-xOf", path, "--wildcards", "--no-wildcards-match-slash",
                                 "*/Include/patchlevel.h"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if result.returncode:
            raise Problem(f"SOURCE={path} is not a tarball of CPython's source: it has no Include/patchlevel.h")
        self.version = parse_patchlevel(result.stdout.decode("utf-8", "replace"), f"SOURCE={path}")

    def unpack(self, directory, log, progress):
        unpack_tarball(self.path, directory, log, progress)


class Tree:
    """SOURCE=directory: copied, never written to."""

    def __init__(self, path):
        self.path = path
        try:
            with open(os.path.join(path, "Include", "patchlevel.h"), encoding="utf-8", errors="replace") as header:
                self.version = parse_patchlevel(header.read(), f"SOURCE={path}")
        except OSError:
            raise Problem(f"SOURCE={path} is not a CPython source tree: it has no Include/patchlevel.h") from None
        digest = hashlib.sha256()
        for directory, names, files in os.walk(path):
            ignored = self._ignore(directory, names + files)
            names[:] = sorted(set(names) - ignored)
            for name in sorted(set(files) - ignored):
                file = os.path.join(directory, name)
                digest.update(os.path.relpath(file, path).encode("utf-8", "surrogateescape") + b"\0")
                digest.update((os.readlink(file) if os.path.islink(file) else file_digest(file)).encode() + b"\0")
        self.digest = digest.hexdigest()

    def _ignore(self, directory, names):
        top = os.path.samefile(directory, self.path)
        return {name for name in names if GENERATED.match(name) or (top and name in GENERATED_TOP)}

    def unpack(self, directory, log, progress):
        progress.step("copy the source")
        shutil.copytree(self.path, directory, symlinks=True, ignore=self._ignore)


def find_source(version, source):
    if source is None:
        return Release(exact_version(version or next(iter(SERIES))))
    if not os.path.exists(source):
        raise Problem(f"SOURCE={source} does not exist: give a CPython source tree or tarball")
    found = (Tree if os.path.isdir(source) else Tarball)(os.path.abspath(source))
    if version and version not in (found.version, series_of(found.version)):
        raise Problem(f"SOURCE={source} is CPython {found.version}, but VERSION={version} was asked for: drop one of them")
    return found


def file_digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def debian_mirrors():
    try:
        result = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return []
    return sorted({uri if uri.endswith("/") else uri + "/" for uri in result.stdout.split()})


def fetch_apt(url, path, log, progress):
    # apt's own downloader: its proxies, certificates and passwords apply.
    call(["/usr/lib/apt/apt-helper", "download-file", url, path], log, progress)


def fetch_url(url, path, log, progress):
    log.write(f"\nfetching {url}\n".encode())
    with urllib.request.urlopen(url, timeout=60) as response, open(path, "wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        for block in iter(lambda: response.read(1 << 16), b""):
            file.write(block)
            progress.update(f"{100 * file.tell() // total}%" if total else f"{file.tell() >> 20} MiB")


def unpack_tarball(tarball, directory, log, progress):
    progress.step("unpack the source")
    os.mkdir(directory)
    call(["tar", "-xf", tarball, "--no-same-owner", "--strip-components=1", "-C", directory], log, progress)


# --- scripted edits --------------------------------------------------------

Edit = collections.namedtuple("Edit", "file function statement line")


def read_anchors(path, version):
    """The edits of scripts/cpython/anchors.txt for a version: what no header reaches."""
    edits = []
    with open(path, encoding="utf-8") as anchors:
        for number, text in enumerate(anchors, 1):
            text = text.rstrip("\n")
            if not text.strip() or text.startswith("#"):
                continue
            fields = text.split("\t")
            where = f"{os.path.relpath(path, ROOT)}:{number}"
            if len(fields) != 4 or not all(field.strip() for field in fields):
                raise Problem(f"{where}: want FILE, VERSIONS, FUNCTION and STATEMENT, separated by single tabs")
            file, versions, function, statement = fields
            if os.path.isabs(file) or ".." in file.split("/"):
                raise Problem(f"{where}: '{file}' is not a path inside the source tree")
            if not re.fullmatch(r"\*|\d+\.\d+(,\d+\.\d+)*", versions):
                raise Problem(f"{where}: '{versions}' is neither * nor a list like 3.13,3.14")
            if not re.fullmatch(r"[A-Za-z_]\w*", function):
                raise Problem(f"{where}: '{function}' is not the name of a function")
            if versions == "*" or series_of(version) in versions.split(","):
                edits.append(Edit(file, function, statement, number))
    return edits


def apply_anchors(tree, edits):
    """Insert each statement after the `{` that opens its function, on the same
    line, so that no line number changes."""
    for file in sorted({edit.file for edit in edits}):
        path = os.path.join(tree, file)
        try:
            with open(path, encoding="utf-8", newline="") as source:
                text = source.read()
        except OSError:
            raise Problem(f"scripts/cpython/anchors.txt: this CPython has no {file}: the anchors need an update for it") from None
        inserts = collections.defaultdict(str)
        for edit in (edit for edit in edits if edit.file == file):
            # The name in the first column, then no body and no end of a
            # statement before the brace: a definition, not a prototype or a call.
            found = [m.end() for m in re.finditer(rf"^{edit.function}\([^;{{}}]*^\{{$", text, re.M)]
            if len(found) != 1:
                raise Problem(f"scripts/cpython/anchors.txt:{edit.line}: {file} has {len(found) or 'no'} "
                              f"definition{'s' if len(found) > 1 else ''} of {edit.function}() in the form expected: "
                              "the anchors need an update for this CPython")
            inserts[found[0]] += " " + edit.statement
        for position in sorted(inserts, reverse=True):
            text = text[:position] + inserts[position] + text[position:]
        with open(path, "w", encoding="utf-8", newline="") as source:
            source.write(text)


# --- the build -------------------------------------------------------------

def headers():
    """What an instrumented CPython is compiled with, relative to the root.
    Only these are there for the build, so a header that includes others of
    ours fails at once instead of escaping the key."""
    return ["include/isan/refcount.h"] + sorted(
        os.path.relpath(os.path.join(directory, name), ROOT)
        for directory, _, names in os.walk(os.path.join(ROOT, OVERLAY)) for name in names if name.endswith(".h"))


def inputs(flavor):
    """The files of ours that an interpreter of the flavor is made from."""
    files = []
    if FLAVORS[flavor].instrumented:
        files += [*headers(), "scripts/cpython/anchors.txt"]
    if FLAVORS[flavor].tsan:
        files.append(TSAN_MAIN)
    return files


def anchors_path():
    return os.path.join(ROOT, "scripts", "cpython", "anchors.txt")


def run_quietly(argv, source=None):
    """What a command says; None if it fails."""
    try:
        done = subprocess.run(argv, input=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None
    return None if done.returncode else done.stdout


def clang_version(cc):
    """Of a compiler; 0: it is not clang."""
    match = re.search(r"^#define __clang_major__ (\d+)", run_quietly([*cc.split(), "-dM", "-E", "-x", "c", "-"], "") or "", re.M)
    return int(match.group(1)) if match else 0


def newest_clang():
    """CC if it is a clang, else the newest one here; None: there is none."""
    named = os.environ.get("CC", "")
    if named and clang_version(named):
        return named
    found = set()
    for directory in os.get_exec_path():
        with contextlib.suppress(OSError):
            found.update(name for name in os.listdir(directory) if re.fullmatch(r"clang(-\d+)?", name))
    return max(found, key=clang_version, default=None)


@functools.lru_cache(maxsize=None)
def tsan_compiler():
    """The clang that has ThreadSanitizer."""
    cc = newest_clang()
    if not cc or clang_version(cc) < CLANG:
        raise Problem(f"the tsan flavor needs clang {CLANG} or newer, and there is {f'only {cc}' if cc else 'none'}: "
                      f"apt-get install {CLANG_PACKAGES}, or set CC")
    with tempfile.TemporaryDirectory() as directory:
        if run_quietly([*cc.split(), "-fsanitize=thread", "-x", "c", "-", "-o", os.path.join(directory, "a")],
                       "int main(void) { return 0; }\n") is None:
            raise Problem(f"{cc} is here without its ThreadSanitizer: apt-get install libclang-rt-{clang_version(cc)}-dev")
    return cc


def compiler(flavor="fast"):
    return tsan_compiler() if FLAVORS[flavor].tsan else os.environ.get("CC") or "gcc"


def compiler_identity(flavor="fast"):
    cc = compiler(flavor)
    output = run_quietly([*cc.split(), "--version"])
    if output is None:
        raise Problem(f"there is no C compiler '{cc}': run 'make deps' (or apt-get install gcc), or set CC")
    return cc + "\n" + output


def configure_args(flavor, prefix):
    return [f"--prefix={prefix}", "--with-ensurepip=no", "--without-static-libpython", *FLAVORS[flavor].configure]


def build_key(source, flavor):
    digest = hashlib.sha256()
    parts = [str(RECIPE), source.digest, flavor, *configure_args(flavor, ""), *FLAVORS[flavor].cflags, RUNPATH,
             compiler_identity(flavor)]
    for path in inputs(flavor):
        try:
            parts += [path, file_digest(os.path.join(ROOT, path))]
        except OSError:
            raise Problem(f"{path} is missing from {ROOT}: this copy of isan is not complete") from None
    for part in parts:
        digest.update(part.encode() + b"\0")
    return f"{source.version}-{flavor}-{digest.hexdigest()[:12]}"


def build_environment(flavor):
    """Only what a compiler needs: CFLAGS, PYTHON*, MAKEFLAGS, LD_PRELOAD and
    the like of the user must not find their way into the interpreter."""
    keep = ("PATH", "HOME", "TMPDIR", "CC")
    env = {"LC_ALL": "C.UTF-8", **{name: os.environ[name] for name in keep if name in os.environ}}
    if FLAVORS[flavor].tsan:
        env["CC"] = compiler(flavor)
    return env


def writable_cache():
    cache = cache_dir()
    if re.search(r"[\s:'\"$#\\]", cache):
        raise Problem(f"CPython cannot be built below '{cache}': set XDG_CACHE_HOME to a path without spaces, quotes, ':', '$' or '#'")
    try:
        for name in ("python", "sources", "locks", "logs"):
            os.makedirs(os.path.join(cache, name), exist_ok=True)
            with tempfile.TemporaryFile(dir=os.path.join(cache, name)):
                pass
    except OSError as error:
        raise Problem(f"the cache {cache} cannot be written to ({error.strerror}): "
                      "set XDG_CACHE_HOME to a directory that can") from None
    return cache


def build(source, flavor):
    """The prefix of a finished interpreter in the cache, built if need be."""
    cache = writable_cache()
    key = build_key(source, flavor)
    prefix = os.path.join(cache, "python", key)
    progress = Progress(f"CPython {source.version} {flavor}")
    with open(os.path.join(cache, "locks", key), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.step("wait for another build of it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(prefix):
            return prefix
        work = prefix + ".building"
        shutil.rmtree(work, ignore_errors=True)     # of a build that was killed
        os.mkdir(work)
        log_path = os.path.join(cache, "logs", key + ".log")
        # A plain kill must clean up like Ctrl-C does.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        try:
            with open(log_path, "wb") as log:
                stage = build_in(work, source, flavor, prefix, log, progress)
            os.rename(log_path, os.path.join(stage, "isan-build.log"))
            os.rename(stage, prefix)
        except Failed as failure:
            progress.clear()
            tail = "".join(f"  {line}\n" for line in error_lines(log_path))
            raise Problem(f"building CPython {source.version} {flavor} failed ({progress.text}: {failure}); "
                          f"its last errors are below, all of it is in {log_path}\n{tail}".rstrip()) from None
        except OSError as error:
            progress.clear()
            raise Problem(f"building CPython {source.version} {flavor} failed ({progress.text}: {error}); "
                          f"the log is {log_path}") from None
        finally:
            shutil.rmtree(work, ignore_errors=True)
        progress.done(f"built in {prefix}")
    return prefix


def build_in(work, source, flavor, prefix, log, progress):
    """Build and install below `work`; the finished tree, to be renamed to
    `prefix`."""
    tree = os.path.join(work, "source")
    destdir = os.path.join(work, "stage")
    stage = destdir + prefix
    instrumented = FLAVORS[flavor].instrumented
    env = build_environment(flavor)
    cc = compiler(flavor).split()

    def run(*argv, cwd=tree, on_line=None):
        call(list(argv), log, progress, cwd, env, on_line)

    source.unpack(tree, log, progress)

    # Names in debug information: Python/ceval.c, wherever it was built.
    extra = [f"-ffile-prefix-map={tree}=.", *FLAVORS[flavor].cflags]
    libs = []
    if instrumented:
        apply_anchors(tree, read_anchors(anchors_path(), source.version))
        for path in inputs(flavor):
            target = os.path.join(work, path.replace(OVERLAY, "include/isan/cpython"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(os.path.join(ROOT, path), target)
        include = os.path.join(work, "include", "isan")
        extra += [f"-ffile-prefix-map={work}/include=isan-include", "-include", f"{include}/refcount.h", f"-I{include}/cpython"]
        stub = os.path.join(work, "lib", "isan-stub")
        os.makedirs(stub)
        run(*cc, "-shared", "-Wl,-soname,libisan.so.0", "-o", f"{stub}/libisan.so.0", "-x", "c", os.devnull)
        libs = ["-Wl,--push-state,--no-as-needed", f"-L{stub}", "-l:libisan.so.0", "-Wl,--pop-state",
                # Last the stub where it will be, for a copy of the executable elsewhere.
                f"-Wl,--enable-new-dtags,-rpath,'{RUNPATH.replace('$', '$$')}:{prefix}/lib/isan-stub'"]
    if FLAVORS[flavor].tsan:
        # Without its instrumentation: TSan runs it holding its locks.
        tsan_main = os.path.join(work, "tsan_main.o")
        run(*cc, *extra, f"-I{work}/include", "-fPIC", "-c", "-o", tsan_main, os.path.join(work, TSAN_MAIN))
        libs.append(tsan_main)

    progress.step("configure")
    # The answers of the builds before it in one `make test`: kept for longer they would be out of date some day.
    cache = os.environ.get("ISAN__CONFIGURE_CACHE")
    known = [f"--cache-file={cache}/{source.version}-{os.path.basename(cc[0])}"] if cache else []
    run("./configure", *configure_args(flavor, prefix), *known)

    # Given to make, not to configure: there they would break its compiler tests.
    with open(os.path.join(tree, "Makefile"), encoding="utf-8") as makefile:
        configured = re.search(r"^LIBS=(.*)$", makefile.read(), re.M).group(1).split()
    make = ["make", f"EXTRA_CFLAGS={' '.join(extra)}", f"LIBS={' '.join(libs + configured)}"]

    progress.step("compile")
    plan = subprocess.run([*make, "-n"], cwd=tree, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    compiles = re.compile(r"^\s*" + re.escape(compiler(flavor)) + " ")
    total = sum(1 for line in plan.stdout.splitlines() if compiles.match(line)) or 1
    done = 0

    def count(line):
        nonlocal done
        if compiles.match(line):
            done += 1
            return f"{min(99, 100 * done // total)}% ({done}/{total})"
        return None

    run(*make, f"-j{len(os.sched_getaffinity(0))}", on_line=count)

    progress.step("install")
    # Its own byte-compilation takes minutes (three levels, all tests): ours is
    # below.  compileall has no option to do nothing but this.
    run(*make, f"DESTDIR={destdir}", "COMPILEALL_OPTS=--help", "install")
    binary = os.path.join(stage, "bin")
    python = os.path.join(binary, f"python{series_of(source.version)}")
    # test_embed looks for it beside the interpreter.
    os.mkdir(os.path.join(binary, "Programs"))
    shutil.copy2(os.path.join(tree, "Programs", "_testembed"), os.path.join(binary, "Programs"))
    if instrumented:
        shutil.copytree(os.path.join(work, "include", "isan"), os.path.join(stage, "include", "isan"))
        shutil.copytree(stub, os.path.join(stage, "lib", "isan-stub"))

    library = os.path.join(stage, "lib", f"python{series_of(source.version)}")
    clean_sysconfig(library, work, prefix)

    progress.step("install pip")
    run(python, "-m", "ensurepip", cwd=work)
    for name in os.listdir(binary):
        if name.startswith("pip"):      # they name the stage; python3 -m pip works from everywhere
            os.unlink(os.path.join(binary, name))
    with open(os.path.join(library, "EXTERNALLY-MANAGED"), "w", encoding="utf-8") as policy:
        policy.write(PIP_POLICY)

    progress.step("compile the library")
    run(python, "-m", "compileall", "-q", f"-j{len(os.sched_getaffinity(0))}", "-s", destdir,
        "-x", r"/(test|tests|idle_test|idlelib|turtledemo|lib2to3)/|site-packages", library, cwd=work)

    progress.step("check")
    run(python, "-c", f"import {', '.join(REQUIRED)}, pip", cwd=work)
    return stage


def clean_sysconfig(library, work, prefix):
    """What sysconfig tells builders of extensions: make's EXTRA_CFLAGS have
    found their way into its CFLAGS.  Extensions are to have isan's header as
    well, from where it stays; the map of file names was for this build, and
    the directories of the build will be gone (regrtest would make them anew)."""
    for name in os.listdir(library):
        if name.startswith("_sysconfigdata"):
            with open(os.path.join(library, name), "r+", encoding="utf-8") as file:
                text = re.sub(r"-ffile-prefix-map=[^\s']* ?", "", file.read())
                text = re.sub(r"(?m)^ *'abs_(builddir|srcdir)': '[^']*',\n", "", text)
                file.seek(0)
                file.write(text.replace(f"{work}/include/isan", f"{prefix}/include/isan"))
                file.truncate()


# --- views -----------------------------------------------------------------

def views_dir():
    """Where this tree's views are: its own build/, or when that is not ours to
    write (an installed isan) a place in the cache that looks the same to the
    run path: lib/ beside python/."""
    own = os.path.join(ROOT, "build")
    if os.access(own, os.W_OK):
        return os.path.join(own, "python")
    away = os.path.join(cache_dir(), "views", hashlib.sha256(ROOT.encode()).hexdigest()[:12])
    os.makedirs(away, exist_ok=True)
    lib = os.path.join(away, "lib")
    if not os.path.islink(lib):
        os.symlink(os.path.join(own, "lib"), lib)
    return os.path.join(away, "python")


def make_view(prefix, version, flavor):
    view = os.path.join(views_dir(), f"{version}-{flavor}")
    os.makedirs(os.path.dirname(view), exist_ok=True)
    lock = os.open(os.path.dirname(view), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if view_key(view) != os.path.basename(prefix):
            make_view_at(view, prefix, version)
    finally:
        os.close(lock)
    return view


def make_view_at(view, prefix, version):
    fresh = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(view))
    try:
        os.chmod(fresh, 0o755)
        copies = [os.path.join("bin", f"python{series_of(version)}"), os.path.join("bin", "Programs", "_testembed")]
        os.makedirs(os.path.join(fresh, "bin", "Programs"))
        for path in copies:
            shutil.copy2(os.path.join(prefix, path), os.path.join(fresh, path))
        for directory in ("", "bin"):
            for name in os.listdir(os.path.join(prefix, directory)):
                path = os.path.join(directory, name)
                if os.path.lexists(os.path.join(fresh, path)):
                    continue
                target = os.path.join(prefix, path)
                if directory == "bin" and os.path.samefile(target, os.path.join(prefix, copies[0])):
                    target = os.path.basename(copies[0])        # python3, python3.13d: the view's own
                os.symlink(target, os.path.join(fresh, path))
        make_build_tree(fresh, series_of(version))
        with open(os.path.join(fresh, "isan-key"), "w", encoding="utf-8") as file:
            file.write(os.path.basename(prefix) + "\n")
        old = fresh + ".old"
        if os.path.lexists(view):
            os.rename(view, old)
        os.rename(fresh, view)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def make_build_tree(view, series):
    """What the interpreter takes for the directory it was built in: some of
    test_embed holds only there.  Run it with <view>/build-tree/python."""
    tree = os.path.join(view, "build-tree")
    for directory in ("Programs", "Modules"):
        os.makedirs(os.path.join(tree, directory))
    shutil.copy2(os.path.join(view, "bin", f"python{series}"), os.path.join(tree, "python"))
    shutil.copy2(os.path.join(view, "bin", "Programs", "_testembed"), os.path.join(tree, "Programs"))
    os.symlink(f"../lib/python{series}", os.path.join(tree, "Lib"))
    os.symlink("Lib/lib-dynload", os.path.join(tree, "lib-dynload"))
    # The marks by which Modules/getpath.py knows a build directory.
    for path, text in (("pybuilddir.txt", "lib-dynload"), ("Modules/Setup.local", "")):
        with open(os.path.join(tree, path), "w", encoding="utf-8") as file:
            file.write(text)


def view_key(view):
    """The key of the interpreter a view shows; None if it shows none."""
    try:
        with open(os.path.join(view, "isan-key"), encoding="utf-8") as file:
            key = file.read().strip()
    except OSError:
        return None
    # The cache may have been emptied since.
    return key if os.path.exists(os.path.join(view, "lib")) else None


def built():
    """(version, flavor) of this tree's views that can be run."""
    try:
        names = sorted(os.listdir(views_dir()))
    except OSError:
        return []
    pairs = [tuple(name.rsplit("-", 1)) for name in names if view_key(os.path.join(views_dir(), name))]
    return [pair for pair in pairs if len(pair) == 2]


def command_for(flavor, version):
    """What builds an interpreter, as the user of this tree would say it."""
    if os.path.exists(os.path.join(ROOT, "Makefile")):
        return f"make python FLAVOR={flavor} VERSION={version}"
    return f"isan python --flavor {flavor} --version {version}"


def find_python(flavor, version=None):
    """The executable of a built interpreter."""
    check_flavor(flavor)
    version = version or next(iter(SERIES))
    wanted = SERIES.get(version, version)
    here = [v for v, f in built() if f == flavor]
    if wanted not in here and version in SERIES:
        # A source tree of another release of the series will do.
        wanted = next((v for v in here if series_of(v) == version), wanted)
    if wanted not in here:
        raise Problem(f"the {flavor} interpreter of CPython {version} is not built here: run {command_for(flavor, version)}")
    return os.path.join(views_dir(), f"{wanted}-{flavor}", "bin", f"python{series_of(wanted)}")


# --- the command -----------------------------------------------------------

def add_arguments(parser):
    parser.add_argument("--flavor", default="fast", metavar="|".join(FLAVORS),
                        help="; ".join(f"{name}: {flavor.help}" for name, flavor in FLAVORS.items()) + " (default: fast)")
    parser.add_argument("--version", metavar="X.Y[.Z]",
                        help=f"one of {', '.join([*SERIES, *RELEASES])} (default: {next(iter(SERIES))})")
    parser.add_argument("--source", metavar="PATH", help="a CPython source tree or tarball to build instead")


def main(args):
    check_flavor(args.flavor)
    source = find_source(args.version, args.source)
    view = make_view(build(source, args.flavor), source.version, args.flavor)
    print(os.path.join(view, "bin", f"python{series_of(source.version)}"))
    return 0
