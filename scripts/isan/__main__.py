"""isan: the Interpreter Sanitizer for CPython."""
import argparse
import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import isan  # noqa: E402

sys.path.insert(1, isan.ROOT)       # where the reporter is

# (subcommand, module with add_arguments(parser) and main(args) -> exit status, help)
COMMANDS = [
    ("run", "isan.run", "run a program under the sanitizer"),
    ("check", "isan.check", "say whether extension modules are safe in several interpreters"),
    ("test", "isan.test", "run a test suite with pytest, and fail the tests that something is found in"),
    ("census", "isan.census", "say how isolated a Python's extension modules are"),
    ("regrtest", "isan.regrtest", "run CPython's own tests under the sanitizer"),
    ("report", "isan.report", "render saved logs"),
    ("env", "isan.env", "build an extension with checked reference counts"),
    ("config", "isan.config", "flags for build systems, and where the built interpreters are"),
    ("doctor", "isan.doctor", "what works on this machine, and what to install"),
    ("python", "isan.pythons", "build a CPython to run programs with"),
]


def main(argv):
    # The launcher put this aside so that it is not loaded into ourselves.
    preload = os.environ.pop("ISAN__LD_PRELOAD", None)
    if preload is not None:
        os.environ["LD_PRELOAD"] = preload

    top = argparse.ArgumentParser(
        prog="isan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "".join(f"  {name:<8} {text}\n" for name, _, text in COMMANDS)
               + "\n`isan COMMAND --help` tells more.")
    top.add_argument("--version", action="version", version=isan.__version__)
    top.add_argument("command", metavar="COMMAND", choices=[name for name, _, _ in COMMANDS])
    name = top.parse_args(argv[:1]).command
    module, text = next((module, text) for n, module, text in COMMANDS if n == name)
    command = importlib.import_module(module)
    parser = argparse.ArgumentParser(prog=f"isan {name}", description=text[0].upper() + text[1:] + ".")
    command.add_arguments(parser)
    try:
        if getattr(command, "TAKES_MORE", False):
            return command.main(*parser.parse_known_args(argv[1:]))
        return command.main(parser.parse_args(argv[1:]))
    except isan.Problem as problem:
        print(f"isan: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def command():
    """What a wheel installs as `isan`; like scripts/isan.sh it does not want to be under the sanitizer itself."""
    if os.environ.get("LD_PRELOAD"):
        os.environ["ISAN__LD_PRELOAD"] = os.environ.pop("LD_PRELOAD")
        os.execv(sys.executable, [sys.executable, "-I", os.path.abspath(__file__), *sys.argv[1:]])
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
