"""The isan command.

Each subcommand is a module with add_arguments(parser) and main(args), which returns the exit status.
"""
import argparse
import importlib
import os
import sys

import isan

# (subcommand, help); the module has the name of the subcommand.
COMMANDS = [
    ("run", "run a program under the sanitizer"),
    ("check", "say whether extension modules are safe in several interpreters"),
    ("test", "run a test suite with pytest, and fail the tests that something is found in"),
    ("census", "say how isolated a Python's extension modules are"),
    ("regrtest", "run CPython's own tests under the sanitizer"),
    ("report", "render saved logs"),
    ("env", "build an extension with checked reference counts"),
    ("config", "flags for build systems, and where the built interpreters are"),
    ("doctor", "what works on this machine, and what to install"),
    ("python", "build a CPython to run programs with"),
]


class Paragraphs(argparse.HelpFormatter):
    """Keeps the paragraphs of a text apart."""

    def _fill_text(self, text, width, indent):
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.split("\n\n"))


def top_parser():
    top = argparse.ArgumentParser(
        prog="isan", description="isan: the Interpreter Sanitizer for CPython.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "".join(f"  {name:<8} {text}\n" for name, text in COMMANDS)
               + "\n`isan COMMAND --help` tells more.")
    top.add_argument("--version", action="version", version=isan.__version__)
    top.add_argument("command", metavar="COMMAND", choices=[name for name, _ in COMMANDS])
    return top


def parser_of(name, command):
    """The parser of a subcommand."""
    text = dict(COMMANDS)[name]
    parser = argparse.ArgumentParser(prog=f"isan {name}", description=text[0].upper() + text[1:] + ".",
                                     formatter_class=Paragraphs)
    command.add_arguments(parser)
    return parser


def run(name, arguments):
    """Run a subcommand; its exit status."""
    command = importlib.import_module(f"isan.cli.{name}")
    parser = parser_of(name, command)
    if getattr(command, "TAKES_MORE", False):
        return command.main(*parser.parse_known_args(arguments))
    return command.main(parser.parse_args(arguments))


def main(argv):
    # isan.sh and command() put LD_PRELOAD aside, so that it is not loaded into this process.
    preload = os.environ.pop("ISAN__LD_PRELOAD", None)
    if preload is not None:
        os.environ["LD_PRELOAD"] = preload
    name = top_parser().parse_args(argv[:1]).command
    try:
        return run(name, argv[1:])
    except isan.Problem as problem:
        print(f"isan: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of the output is gone. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
