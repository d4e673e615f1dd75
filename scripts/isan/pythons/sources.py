"""Where the source of a CPython comes from: a release that is downloaded, a tarball, or a source tree."""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request

from isan import Problem

from .progress import Failed, call
from .releases import RELEASES, SERIES, exact_version, parse_patchlevel, series_of

# Builds leave these in a source tree. Copies leave them out.
GENERATED_TOP = {".git", "build", "Makefile", "Makefile.pre", "pyconfig.h", "config.status", "config.log",
                 "config.cache", "pybuilddir.txt", "platform", "python", "_bootstrap_python"}
GENERATED = re.compile(r".*\.(o|a|so|pyc)$|__pycache__$|_freeze_module$|_testembed$")


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(os.path.abspath(base), "isan")


class Release:
    """A release of the table: from the cache, the Debian mirror of this machine, or python.org."""

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
            # It has changed since it was stored: remove it.
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
    """The tarball of SOURCE=file."""

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
    """The source tree of SOURCE=directory, which is copied and never written to."""

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
        raise Problem(f"SOURCE={source} is CPython {found.version}, but VERSION={version} was asked for: drop one of"
                      f" them")
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
    # apt's downloader knows its proxies, certificates and passwords.
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
