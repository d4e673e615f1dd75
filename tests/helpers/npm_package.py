"""npm packages that tests check formats with, unpacked into isan's cache; this repository has no copy of them."""
import hashlib
import subprocess
import tempfile
from pathlib import Path

import pytest

from helpers.product import pythons


def unpacked(package, digests):
    """The directory of a package (NAME@VERSION), of which these files (name -> SHA-256) are used."""
    path = Path(pythons.cache_dir()) / "npm" / package.replace("/", "-")
    if not path.exists():
        fetch(package, path)
    for name, digest in digests.items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest, "%s is not what it was: remove %s" % (name, path)
    return path


def fetch(package, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        try:
            done = subprocess.run(["npm", "pack", "--silent", package], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=120)
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.fail("%s comes from npm, which cannot be run (%s): run make deps" % (package, error), pytrace=False)
        packed = list(Path(directory).glob("*.tgz"))
        if done.returncode or not packed:
            pytest.fail("npm cannot fetch %s: %s\nwhat is in it is to be at %s" % (package, done.stdout, path), pytrace=False)
        subprocess.run(["tar", "-xf", packed[0], "--no-same-owner", "-C", directory], check=True)
        try:
            (Path(directory) / "package").rename(path)
        except OSError:         # another process of the tests was faster
            assert path.exists()
