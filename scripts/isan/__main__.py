"""The isan command: `python -m isan`, the launcher scripts/isan.sh, and what a wheel installs as `isan`."""
import os
import sys

if not __package__:     # run as a file, which needs no PYTHONPATH: this is how the launcher finds the package
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from isan.cli import main  # noqa: E402


def command():
    """The entry point of a wheel. As scripts/isan.sh does, it keeps itself out from under the sanitizer."""
    if os.environ.get("LD_PRELOAD"):
        os.environ["ISAN__LD_PRELOAD"] = os.environ.pop("LD_PRELOAD")
        os.execv(sys.executable, [sys.executable, "-I", os.path.abspath(__file__), *sys.argv[1:]])
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
