"""The CPythons that isan builds and runs programs with: plain, fast, debug and tsan.

releases (which there are), sources (where they come from), anchors (edits of their source), compilers, key (what an
interpreter is made from), steps and build (the build), views (how a checkout sees the result).
"""
from .compilers import compiler, compiler_identity, tsan_compiler
from .key import build_key
from .releases import FLAVORS, RELEASES, SERIES, check_flavor
from .sources import Release, cache_dir, find_source
from .views import built, command_for, find_python, make_view, view_key, views_dir

__all__ = [
    "FLAVORS", "RELEASES", "SERIES", "Release", "build_key", "built", "cache_dir", "check_flavor", "command_for",
    "compiler", "compiler_identity", "find_python", "find_source", "make_view", "tsan_compiler", "view_key",
    "views_dir",
]
