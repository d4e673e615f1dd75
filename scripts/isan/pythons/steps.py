"""The steps of a build of CPython: from a source to an installed interpreter."""
import os
import re
import shutil
import subprocess

import isan

from .anchors import anchors_path, apply_anchors, read_anchors
from .compilers import compiler
from .key import OVERLAY, RUNPATH, TSAN_MAIN, configure_args, inputs
from .progress import call
from .releases import FLAVORS, series_of

# Modules the interpreters must have: pip and CPython's own tests want them.
REQUIRED = ["zlib", "ssl", "_hashlib", "ctypes", "bz2", "lzma", "sqlite3"]
PIP_POLICY = """\
[externally-managed]
Error=This interpreter is kept in isan's cache and shared between programs.
 Make a virtual environment with it and install there: python3 -m venv DIR
"""


def build_environment(flavor):
    """The variables that a compiler needs, and no others.

    The user's CFLAGS, PYTHON*, MAKEFLAGS, LD_PRELOAD and the like must not find their way into the interpreter.
    """
    keep = ("PATH", "HOME", "TMPDIR", "CC")
    env = {"LC_ALL": "C.UTF-8", **{name: os.environ[name] for name in keep if name in os.environ}}
    if FLAVORS[flavor].tsan:
        env["CC"] = compiler(flavor)
    return env


class Steps:
    """One build, below the directory `work`."""

    def __init__(self, work, source, flavor, prefix, log, progress):
        self.work, self.source, self.name, self.prefix = work, source, flavor, prefix
        self.log, self.progress = log, progress
        self.flavor = FLAVORS[flavor]
        self.tree = os.path.join(work, "source")
        self.destdir = os.path.join(work, "stage")
        self.stage = self.destdir + prefix              # where `make install` puts the prefix
        self.stub = os.path.join(work, "lib", "isan-stub")
        self.env, self.cc = build_environment(flavor), compiler(flavor).split()

    def run(self):
        """Build and install. Returns the finished tree, which the caller renames to `prefix`."""
        self.source.unpack(self.tree, self.log, self.progress)
        # The names in debug information are the same wherever it was built: Python/ceval.c.
        flags = [f"-ffile-prefix-map={self.tree}=.", *self.flavor.cflags]
        libs = []
        if self.flavor.instrumented:
            self.edit_source()
            flags += self.instrument()
            libs += self.link_stub()
        if self.flavor.tsan:
            libs.append(self.tsan_main(flags))
        self.configure()
        make = self.make_command(flags, libs)
        self.compile(make)
        self.install(make)
        self.finish()
        return self.stage

    def command(self, *argv, cwd=None, on_line=None):
        call(list(argv), self.log, self.progress, cwd or self.tree, self.env, on_line)

    def edit_source(self):
        apply_anchors(self.tree, read_anchors(anchors_path(), self.source.version))

    def instrument(self):
        """Copy isan's headers into the build; the flags that use them."""
        for path in inputs(self.name):
            target = os.path.join(self.work, path.replace(OVERLAY, "include/isan/cpython"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(os.path.join(isan.ROOT, path), target)
        include = os.path.join(self.work, "include", "isan")
        return [f"-ffile-prefix-map={self.work}/include=isan-include", "-include", f"{include}/refcount.h",
                f"-I{include}/cpython"]

    def link_stub(self):
        """Make the stub of libisan.so.0; the flags that link with it."""
        os.makedirs(self.stub)
        library = f"{self.stub}/libisan.so.0"
        self.command(*self.cc, "-shared", "-Wl,-soname,libisan.so.0", "-o", library, "-x", "c", os.devnull)
        return ["-Wl,--push-state,--no-as-needed", f"-L{self.stub}", "-l:libisan.so.0", "-Wl,--pop-state",
                # Last in the run path is the stub of the prefix, for a copy of the executable elsewhere.
                f"-Wl,--enable-new-dtags,-rpath,'{RUNPATH.replace('$', '$$')}:{self.prefix}/lib/isan-stub'"]

    def tsan_main(self, flags):
        """Compile isan's part of a tsan executable. It is not instrumented: ThreadSanitizer holds its locks then."""
        target = os.path.join(self.work, "tsan_main.o")
        self.command(*self.cc, *flags, f"-I{self.work}/include", "-fPIC", "-c", "-o", target,
                     os.path.join(self.work, TSAN_MAIN))
        return target

    def configure(self):
        self.progress.step("configure")
        # One `make test` builds several interpreters, and the later ones reuse the answers of the earlier. Kept for
        # longer they would be out of date some day.
        cache = os.environ.get("ISAN__CONFIGURE_CACHE")
        name = f"{self.source.version}-{os.path.basename(self.cc[0])}"
        known = [f"--cache-file={cache}/{name}"] if cache else []
        self.command("./configure", *configure_args(self.name, self.prefix), *known)

    def make_command(self, flags, libs):
        """make with isan's flags. Given to configure they would break its compiler tests."""
        with open(os.path.join(self.tree, "Makefile"), encoding="utf-8") as makefile:
            configured = re.search(r"^LIBS=(.*)$", makefile.read(), re.M).group(1).split()
        return ["make", f"EXTRA_CFLAGS={' '.join(flags)}", f"LIBS={' '.join(libs + configured)}"]

    def compile(self, make):
        self.progress.step("compile")
        plan = subprocess.run([*make, "-n"], cwd=self.tree, env=self.env, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        compiles = re.compile(r"^\s*" + re.escape(compiler(self.name)) + " ")
        total = sum(1 for line in plan.stdout.splitlines() if compiles.match(line)) or 1
        done = 0

        def count(line):
            nonlocal done
            if compiles.match(line):
                done += 1
                return f"{min(99, 100 * done // total)}% ({done}/{total})"
            return None

        self.command(*make, f"-j{len(os.sched_getaffinity(0))}", on_line=count)

    def install(self, make):
        self.progress.step("install")
        # CPython's own byte-compilation takes minutes (three levels, all tests). finish() does what is needed.
        # compileall has no option to do nothing; with --help it only prints.
        self.command(*make, f"DESTDIR={self.destdir}", "COMPILEALL_OPTS=--help", "install")
        # test_embed looks for _testembed beside the interpreter.
        programs = os.path.join(self.stage, "bin", "Programs")
        os.mkdir(programs)
        shutil.copy2(os.path.join(self.tree, "Programs", "_testembed"), programs)
        if self.flavor.instrumented:
            shutil.copytree(os.path.join(self.work, "include", "isan"), os.path.join(self.stage, "include", "isan"))
            shutil.copytree(self.stub, os.path.join(self.stage, "lib", "isan-stub"))

    def finish(self):
        """What makes the installed interpreter ready for use: sysconfig, pip, byte-compiled modules."""
        series = series_of(self.source.version)
        python = os.path.join(self.stage, "bin", f"python{series}")
        library = os.path.join(self.stage, "lib", f"python{series}")
        clean_sysconfig(library, self.work, self.prefix)

        self.progress.step("install pip")
        self.command(python, "-m", "ensurepip", cwd=self.work)
        for name in os.listdir(os.path.dirname(python)):
            if name.startswith("pip"):      # these scripts name the stage; python3 -m pip works from everywhere
                os.unlink(os.path.join(os.path.dirname(python), name))
        with open(os.path.join(library, "EXTERNALLY-MANAGED"), "w", encoding="utf-8") as policy:
            policy.write(PIP_POLICY)

        self.progress.step("compile the library")
        self.command(python, "-m", "compileall", "-q", f"-j{len(os.sched_getaffinity(0))}", "-s", self.destdir,
                     "-x", r"/(test|tests|idle_test|idlelib|turtledemo|lib2to3)/|site-packages", library, cwd=self.work)

        self.progress.step("check")
        self.command(python, "-c", f"import {', '.join(REQUIRED)}, pip", cwd=self.work)


def clean_sysconfig(library, work, prefix):
    """Correct what sysconfig tells builders of extensions. make's EXTRA_CFLAGS have become part of its CFLAGS.

    Extensions are to be compiled with isan's header as well, from its final place. The map of file names was for this
    build alone. The directories of the build will be gone, and regrtest would make them anew.
    """
    for name in os.listdir(library):
        if name.startswith("_sysconfigdata"):
            with open(os.path.join(library, name), "r+", encoding="utf-8") as file:
                text = re.sub(r"-ffile-prefix-map=[^\s']* ?", "", file.read())
                text = re.sub(r"(?m)^ *'abs_(builddir|srcdir)': '[^']*',\n", "", text)
                file.seek(0)
                file.write(text.replace(f"{work}/include/isan", f"{prefix}/include/isan"))
                file.truncate()
