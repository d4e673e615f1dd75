"""Building interpreters: bad input, the cache, scripted edits, views.

Fake source trees stand in for CPython in tests of isan's own steps: their `configure` and Makefile take no time.
"""
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from helpers import tree
from helpers.product import Problem, doctor, pythons

CONFIGURE = """\
#!/bin/sh
echo "$0" "$@" >> "{journal}"
prefix=$(for a; do case $a in --prefix=*) echo "${{a#--prefix=}}" ;; esac; done)
sed "s|@PREFIX@|$prefix|g" Makefile.in > Makefile
{then}
"""

MAKEFILE = """\
LIBS=\t\t-lm
all:
\tmkdir -p Programs && touch Programs/_testembed
install: all
\tmkdir -p $(DESTDIR)@PREFIX@/bin $(DESTDIR)@PREFIX@/lib/python3.13
\tprintf '#!/bin/sh\\nexit 0\\n' > $(DESTDIR)@PREFIX@/bin/python3.13
\tchmod +x $(DESTDIR)@PREFIX@/bin/python3.13
\tln -s python3.13 $(DESTDIR)@PREFIX@/bin/python3
"""


@pytest.fixture
def place(tmp_path, root):
    """A copy of isan's scripts with its own build/ and cache."""
    class Place:
        root = tmp_path / "isan"
        cache = tmp_path / "cache" / "isan"
        journal = tmp_path / "journal"

        def source(self, version="3.13.5", then=""):
            tree = tmp_path / f"source-{version}"
            (tree / "Include").mkdir(parents=True)
            (tree / "Include" / "patchlevel.h").write_text(f'#define PY_VERSION              "{version}"\n')
            (tree / "Makefile.in").write_text(MAKEFILE)
            (tree / "configure").write_text(CONFIGURE.format(journal=self.journal, then=then))
            (tree / "configure").chmod(0o755)
            return tree

        def start(self, *args, **env):
            return subprocess.Popen(
                [sys.executable, "-I", tree.inside(self.root, tree.COMMAND), "python", *map(str, args)],
                env={**os.environ, "XDG_CACHE_HOME": str(self.cache.parent), **env}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def run(self, *args, **env):
            process = self.start(*args, **env)
            out, err = process.communicate(timeout=60)
            return process.returncode, out, err

        def refused(self, *args, **env):
            """Run a wrong request; the sentence that refuses it."""
            status, out, err = self.run(*args, **env)
            assert status == 2, err
            assert out == "" and "Traceback" not in err
            self.clean()
            return err

        def clean(self):
            """Check that the cache has no unfinished files."""
            for kind in ("python", "sources"):
                assert not os.path.isdir(self.cache / kind) or os.listdir(self.cache / kind) == []

    (tmp_path / "isan").mkdir()
    for name in tree.NEEDED_TO_BUILD:
        shutil.copytree(os.path.join(root, name), tmp_path / "isan" / name)
    (tmp_path / "isan" / "build").mkdir()
    return Place()


# --- bad input ---------------------------------------------------------------

def one_sentence(text):
    return text.startswith("isan: ") and text.count("\n") == 1


@pytest.mark.parametrize("flavor", ["", "fastest"])
def test_unknown_flavor(place, flavor):
    err = place.refused("--flavor", flavor)
    assert one_sentence(err) and "fast, debug, tsan, plain" in err


@pytest.mark.parametrize("version", ["3.12", "3.13.99", "three"])
def test_unknown_version(place, version):
    err = place.refused("--version", version)
    assert one_sentence(err) and version in err and "3.14.6" in err


def test_source_missing(place, tmp_path):
    err = place.refused("--source", tmp_path / "nowhere")
    assert one_sentence(err) and "nowhere does not exist" in err


def test_source_is_something_else(place, tmp_path):
    err = place.refused("--source", tmp_path)
    assert one_sentence(err) and "not a CPython source tree" in err


def test_source_tarball_is_something_else(place, tmp_path):
    with tarfile.open(tmp_path / "other.tar.xz", "w:xz") as tar:
        tar.add(__file__, "other/file")
    err = place.refused("--source", tmp_path / "other.tar.xz")
    assert one_sentence(err) and "not a tarball of CPython's source" in err
    (tmp_path / "no-tar.tar.xz").write_text("nothing")
    assert "not a tarball of CPython's source" in place.refused("--source", tmp_path / "no-tar.tar.xz")


@pytest.mark.parametrize("packed", [False, True])
def test_source_of_unsupported_version(place, tmp_path, packed):
    source = place.source("3.11.2")
    if packed:
        with tarfile.open(tmp_path / "old.tar.gz", "w:gz") as tar:
            tar.add(source, "Python-3.11.2")
        source = tmp_path / "old.tar.gz"
    err = place.refused("--source", source)
    assert one_sentence(err) and "is CPython 3.11.2, which isan does not support" in err


def test_source_and_version_disagree(place):
    err = place.refused("--source", place.source("3.13.5"), "--version", "3.14")
    assert one_sentence(err) and "3.13.5" in err and "3.14" in err


def test_no_compiler(place):
    err = place.refused("--flavor", "plain", "--source", place.source(), CC="/nonexistent/cc")
    assert one_sentence(err) and "no C compiler '/nonexistent/cc'" in err


def test_no_clang(place, tmp_path):
    """No clang, an old one, and one without ThreadSanitizer are refused."""
    for tool in "xz", "tar", "cat", "sh", "bash", "python3", "dirname", "readlink", "env":
        (tmp_path / tool).symlink_to(shutil.which(tool))
    clang, source = tmp_path / "clang-15", place.source()

    def refused():
        err = place.refused("--flavor", "tsan", "--source", source, PATH=str(tmp_path), CC="")
        assert one_sentence(err)
        return err

    assert "needs clang 18 or newer, and there is none: apt-get install clang-19 libclang-rt-19-dev" in refused()
    clang.write_text("#!/bin/sh\necho '#define __clang_major__ 15'\n")
    clang.chmod(0o755)
    assert "needs clang 18 or newer, and there is only clang-15" in refused()
    clang.write_text("#!/bin/sh\ncase $* in *-dM*) echo '#define __clang_major__ 20';; *) exit 1;; esac\n")
    clang.rename(tmp_path / "clang-20")
    assert "clang-20 is here without its ThreadSanitizer: apt-get install libclang-rt-20-dev" in refused()


def test_unwritable_cache(place, tmp_path):
    (tmp_path / "file").write_text("")
    err = place.refused("--flavor", "plain", "--source", place.source(), XDG_CACHE_HOME=str(tmp_path / "file"))
    assert one_sentence(err) and "cannot be written to" in err and "XDG_CACHE_HOME" in err


def test_cache_path_that_breaks_make(place, tmp_path):
    err = place.refused("--flavor", "plain", "--source", place.source(), XDG_CACHE_HOME=str(tmp_path / "with space"))
    assert one_sentence(err) and "without spaces" in err


def test_wrong_checksum(tmp_path, monkeypatch):
    """A tarball with a wrong checksum is neither used nor kept, from the cache or from the network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wrong = tmp_path / "wrong.tar.xz"
    wrong.write_text("not CPython")
    sources = tmp_path / "isan" / "sources"
    sources.mkdir(parents=True)
    shutil.copy(wrong, sources / "Python-3.13.5.tar.xz")
    monkeypatch.setattr(pythons.Release, "_places", lambda self: [(pythons.fetch_url, wrong.as_uri())])
    with open(os.devnull, "wb") as log, pytest.raises(Problem, match="wrong checksum.*|SOURCE="):
        pythons.Release("3.13.5").unpack(str(tmp_path / "tree"), log, pythons.Progress("test"))
    assert os.listdir(sources) == [] and not (tmp_path / "tree").exists()


def test_source_cannot_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(pythons.Release, "_places", lambda self: [
        (pythons.fetch_url, (tmp_path / "gone").as_uri()), (pythons.fetch_apt, (tmp_path / "gone").as_uri())])
    with open(os.devnull, "wb") as log, pytest.raises(Problem, match="no source of CPython 3.14.6 to be had; give one with SOURCE="):
        pythons.Release("3.14.6").unpack(str(tmp_path / "tree"), log, pythons.Progress("test"))


def test_missing_packages_without_apt(tmp_path):
    for name in ("dirname", "cat"):
        os.symlink(shutil.which(name), tmp_path / name)
    result = subprocess.run(["/bin/sh", tree.DEPS, "build"], env={"PATH": str(tmp_path)},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert one_sentence(result.stderr) and "libunwind-dev" in result.stderr and "pytest" not in result.stderr


def test_missing_packages_without_root(tmp_path):
    for name in ("dirname", "cat"):
        os.symlink(shutil.which(name), tmp_path / name)
    for name, script in (("apt-get", "exit 1"), ("dpkg-query", "exit 1"), ("id", "echo 1000")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    result = subprocess.run(["/bin/sh", tree.DEPS, "build", "test"], env={"PATH": str(tmp_path)},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert one_sentence(result.stderr) and "have root run: apt-get install gcc " in result.stderr
    assert " python3-pytest " in result.stderr and "cppcheck" not in result.stderr


# --- the cache -----------------------------------------------------------------

def test_failure_is_reported_and_leaves_nothing(place):
    source = place.source(then="echo 'configure: error: no acceptable moon phase' >&2; exit 1")
    err = place.refused("--flavor", "plain", "--source", source)
    assert "configure: error: no acceptable moon phase" in err
    log = next((place.cache / "logs").iterdir())
    assert str(log) in err and "moon phase" in log.read_text()


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_build_leaves_nothing(place, tmp_path, number, status):
    process = place.start("--flavor", "plain", "--source", place.source(then=f"echo $$ > {tmp_path}/pid; exec sleep 60"))
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == status
    place.clean()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_built_once_and_shown(place):
    source = place.source()
    args = ["--flavor", "plain", "--source", source]
    status, out, err = place.run(*args)
    assert status == 0, err
    view = place.root / "build" / "python" / "3.13.5-plain"
    assert out == f"{view}/bin/python3.13\n"
    (key,) = os.listdir(place.cache / "python")
    assert (view / "isan-key").read_text() == key + "\n"
    assert not (view / "bin" / "python3.13").is_symlink() and not (view / "bin" / "Programs" / "_testembed").is_symlink()
    assert os.readlink(view / "bin" / "python3") == "python3.13"
    assert (view / "lib").resolve() == place.cache / "python" / key / "lib"

    assert place.run(*args)[0] == 0
    assert len(place.journal.read_text().splitlines()) == 1

    # Another source makes another interpreter, and the view leads to it.
    (source / "changed").write_text("")
    assert place.run(*args)[0] == 0
    assert len(os.listdir(place.cache / "python")) == 2
    assert (view / "isan-key").read_text() != key + "\n"
    assert os.listdir(view.parent) == ["3.13.5-plain"]

    # Files that a build leaves in the source tree make no new interpreter.
    (source / "Makefile").write_text("")
    (source / "a.o").write_text("")
    assert place.run(*args)[0] == 0
    assert len(place.journal.read_text().splitlines()) == 2

    # A user may empty the cache at any time.
    shutil.rmtree(place.cache)
    assert place.run(*args)[0] == 0
    assert (view / "lib").exists()


def test_two_builds_of_one_key_at_once(place):
    source = place.source(then="sleep 1")
    builds = [place.start("--flavor", "plain", "--source", source) for _ in range(3)]
    for build in builds:
        _, err = build.communicate(timeout=60)
        assert build.returncode == 0, err
    assert len(place.journal.read_text().splitlines()) == 1


def test_builds_of_one_make_test_share_a_configure_cache(place):
    """There is a cache for each compiler and release, and it does not change the key of the build."""
    plain = ["--flavor", "plain", "--source", place.source()]
    assert place.run(*plain, ISAN__CONFIGURE_CACHE="/answers")[0] == 0
    assert place.run("--flavor", "plain", "--source", place.source("3.13.15"), ISAN__CONFIGURE_CACHE="/answers")[0] == 0
    caches = [[word for word in line.split() if word.startswith("--cache-file")]
              for line in place.journal.read_text().splitlines()]
    assert caches == [["--cache-file=/answers/3.13.5-gcc"], ["--cache-file=/answers/3.13.15-gcc"]]
    assert place.run(*plain)[0] == 0 and len(place.journal.read_text().splitlines()) == 2


def test_files_of_a_killed_build_are_removed(place):
    source = place.source()
    assert place.run("--flavor", "plain", "--source", source)[0] == 0
    (key,) = os.listdir(place.cache / "python")
    os.rename(place.cache / "python" / key, place.cache / "python" / (key + ".building"))
    assert place.run("--flavor", "plain", "--source", source)[0] == 0
    assert os.listdir(place.cache / "python") == [key]


def test_runtime_is_no_part_of_the_key(place, monkeypatch):
    monkeypatch.setattr("isan.ROOT", str(place.root))
    release = pythons.Release("3.13.5")

    def keys_after_a_change_of(header):
        with open(place.root / "include" / "isan" / header, "a") as file:
            file.write("/* changed */\n")
        return {flavor: pythons.build_key(release, flavor) for flavor in pythons.FLAVORS}

    keys = {flavor: pythons.build_key(release, flavor) for flavor in pythons.FLAVORS}
    assert len(set(keys.values())) == len(keys)
    # Only extensions include this header.
    assert keys_after_a_change_of("overlay/Python.h") == keys
    again = keys_after_a_change_of("refcount.h")
    assert again["plain"] == keys["plain"]
    assert again["fast"] != keys["fast"] and again["debug"] != keys["debug"] and again["tsan"] != keys["tsan"]


def test_views_of_a_read_only_tree(place, monkeypatch):
    """The views of an installed isan are in the cache, and their run path finds its recorder."""
    monkeypatch.setattr("isan.ROOT", str(place.root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.cache.parent))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    views = pythons.views_dir()
    assert views.startswith(str(place.cache))
    assert os.path.realpath(os.path.join(views, "..", "lib")) == os.path.join(place.root, "build", "lib")
    assert pythons.views_dir() == views


# --- scripted edits --------------------------------------------------------------

C_SOURCE = """\
static int target(int x);

static int
target(int x)
{
    return x;
}

void
other(void)
{
    target(1);
}

int one_line(void)
{
    return 0;
}

#if 1
int
twice(void)
{
}
#else
int
twice(void)
{
}
#endif
"""


@pytest.fixture
def edit(tmp_path):
    def edit(table, version="3.13.5"):
        (tmp_path / "Objects").mkdir()
        (tmp_path / "Objects" / "a.c").write_text(C_SOURCE)
        (tmp_path / "anchors.txt").write_text(table)
        pythons.apply_anchors(str(tmp_path), pythons.read_anchors(str(tmp_path / "anchors.txt"), version))
        return (tmp_path / "Objects" / "a.c").read_text()
    return edit


def test_edit(edit):
    text = edit("# comment\n\nObjects/a.c\t*\ttarget\tONE(x);\n"
                "Objects/a.c\t3.13,3.14\ttarget\tTWO(x);\nObjects/a.c\t3.14\tother\tNO();\n")
    assert "target(int x)\n{ ONE(x); TWO(x);\n    return x;" in text
    assert "NO()" not in text
    assert text.count("\n") == C_SOURCE.count("\n")


@pytest.mark.parametrize("line, message", [
    ("Objects/b.c\t*\ttarget\tX();", "no Objects/b.c"),
    ("Objects/a.c\t*\tmissing\tX();", r"Objects/a.c has no definition of missing\(\)"),
    ("Objects/a.c\t*\tone_line\tX();", r"Objects/a.c has no definition of one_line\(\)"),
    ("Objects/a.c\t*\ttwice\tX();", r"Objects/a.c has 2 definitions of twice\(\)"),
])
def test_edit_without_its_anchor(edit, line, message):
    with pytest.raises(Problem, match=message):
        edit(line + "\n")


@pytest.mark.parametrize("line", [
    "Objects/a.c * target X();", "Objects/a.c\t*\ttarget", "Objects/a.c\t*\ttarget\t", "/etc/passwd\t*\ttarget\tX();",
    "../a.c\t*\ttarget\tX();", "Objects/a.c\tall\ttarget\tX();", "Objects/a.c\t*\ttarget()\tX();",
    "Objects/a.c\t*\ttarget\tX();\tmore",
])
def test_bad_table_of_edits(edit, line):
    with pytest.raises(Problem, match="anchors.txt:2"):
        edit("#\n" + line + "\n")


def test_missing_anchor_stops_the_build(place):
    source = place.source()
    tree.inside(place.root, tree.ANCHORS).write_text("Objects/object.c\t*\tgone\tX();\n")
    err = place.refused("--flavor", "fast", "--source", source)
    assert err.splitlines()[-1].startswith("isan: scripts/cpython/anchors.txt: this CPython has no Objects/object.c")
    assert not place.journal.exists()


# --- real interpreters -----------------------------------------------------------

def libisan_of(python):
    """The file that the run-time linker loads as libisan.so.0, or None."""
    listing = subprocess.run([python], env={"LD_TRACE_LOADED_OBJECTS": "1"}, stdout=subprocess.PIPE, text=True, check=True).stdout
    paths = [line.split("=>")[1].split()[0] for line in listing.splitlines() if "libisan.so.0" in line]
    return os.path.realpath(paths[0]) if paths else None


@pytest.mark.parametrize("flavor", ["fast", "debug"])
def test_view_loads_the_recorder_of_this_checkout(flavor_python, flavor):
    python = flavor_python(flavor)
    view = os.path.dirname(os.path.dirname(python))
    for path in (f"bin/{os.path.basename(python)}", "bin/Programs/_testembed", "build-tree/python", "build-tree/Programs/_testembed"):
        program = os.path.join(view, path)
        assert libisan_of(program) == str(tree.LIBRARY)
    prefix = os.path.dirname(os.path.realpath(os.path.join(view, "lib")))
    for program in (os.path.join(prefix, "bin", os.path.basename(python)), os.path.join(prefix, "bin", "Programs", "_testembed")):
        assert libisan_of(program) == os.path.join(prefix, "lib", "isan-stub", "libisan.so.0")


def test_plain_has_no_recorder(flavor_python):
    assert libisan_of(flavor_python("plain")) is None


@pytest.mark.parametrize("flavor", ["plain", "fast"])
def test_view_is_a_whole_python(flavor_python, tmp_path, flavor):
    python = flavor_python(flavor)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ISAN_OPTIONS": "print_summary=0:exitcode=0"}

    def run(*argv):
        result = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert result.returncode == 0, result.stdout
        return result.stdout

    assert run(python, "-c", "import sys; print(sys.prefix)").strip() == os.path.dirname(os.path.dirname(python))
    assert "pip" in run(python, "-m", "pip", "list")
    result = subprocess.run([python, "-m", "pip", "install", "--no-index", "nothing"], env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode and "python3 -m venv" in result.stdout

    venv = str(tmp_path / "venv")
    run(python, "-m", "venv", venv)
    assert venv in run(venv + "/bin/python", "-c", "import sys; print(sys.prefix)")
    assert "pip" in run(venv + "/bin/pip", "list")

    (tmp_path / "tiny.c").write_text(
        '#include <Python.h>\nstatic struct PyModuleDef def = { PyModuleDef_HEAD_INIT, .m_name = "tiny" };\n'
        "PyMODINIT_FUNC PyInit_tiny(void) { return PyModuleDef_Init(&def); }\n")
    include, *flags = run(python, "-c", "import sysconfig; print(sysconfig.get_path('include'), sysconfig.get_config_var('CFLAGS'))").split()
    assert "isan" not in "".join(flags) if flavor == "plain" else any(flag.endswith("/isan/refcount.h") for flag in flags)
    run("gcc", "-shared", "-fPIC", *flags, f"-I{include}", "-o", str(tmp_path / "tiny.so"), str(tmp_path / "tiny.c"))
    env["PYTHONPATH"] = str(tmp_path)
    assert "tiny.so" in run(python, "-c", "import tiny; print(tiny.__file__)")


@pytest.mark.parametrize("flavor,version", [("plain", "3.13"), ("fast", "3.14")])
def test_build_tree_of_a_view(flavor_python, flavor, version):
    """CPython's test_embed passes there."""
    tree = os.path.join(os.path.dirname(os.path.dirname(flavor_python(flavor, version))), "build-tree")
    result = subprocess.run(["./python", "-m", "test", "test_embed"], cwd=tree, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout


def test_names_in_debug_information_are_relative(flavor_python):
    python = flavor_python("fast")
    symbols = subprocess.run(["nm", python], stdout=subprocess.PIPE, text=True, check=True).stdout
    address = next(line.split()[0] for line in symbols.splitlines() if line.endswith(" _PyEval_EvalFrameDefault"))
    place = subprocess.run(["addr2line", "-e", python, address], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert os.path.normpath(place.split(":")[0]) in ("Python/ceval.c", "Python/generated_cases.c.h")


# --- config and doctor --------------------------------------------------------------

def test_config(isan, root):
    def config(*args):
        result = subprocess.run([isan, "config", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return result.returncode, result.stdout.strip(), result.stderr
    status, flags, _ = config("--cflags")
    assert status == 0 and f"-include {tree.REFCOUNT_HEADER}" in flags
    assert config("--libs") == (0, f"-L{root}/build/lib -lisan -Wl,--export-dynamic-symbol=isan__hooks"
                                " -Wl,--export-dynamic-symbol=isan__slot", "")
    assert config("--isan-version")[0] == 0
    assert config()[0] == 2
    assert config("--cflags", "--flavor", "fast")[0] == 2
    status, _, err = config("--python", "--flavor", "fastest")
    assert status == 2 and "fast, debug, tsan, plain" in err
    status, _, err = config("--python", "--version", "3.12")
    assert status == 2 and "make python FLAVOR=fast VERSION=3.12" in err


def test_config_names_what_is_built(isan, flavor_python):
    python = subprocess.run([isan, "config", "--python", "--flavor", "plain"], stdout=subprocess.PIPE, text=True).stdout.strip()
    assert python == flavor_python("plain") and os.access(python, os.X_OK)


def test_doctor_knows_every_package():
    assert {package for _, package, _ in doctor.packages()} == set(doctor.PROBES)


def test_doctor(isan):
    result = subprocess.run([isan, "doctor"], stdout=subprocess.PIPE, text=True)
    assert result.returncode == 0, result.stdout
    result = subprocess.run(["sh", "-c", f"ulimit -v 8000000; {isan} doctor"], stdout=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert "MISSING  address space" in result.stdout and "ulimit -v" in result.stdout


def test_doctor_asks_the_kernel(monkeypatch):
    """The kernel lets a process watch memory for root, or if kernel.perf_event_paranoid is at most 2; it refuses 3 bytes."""
    assert doctor.can_watch()
    monkeypatch.setattr(doctor, "WATCH", doctor.WATCH.replace("298, 5, 2, 4", "298, 5, 2, 3"))
    assert not doctor.can_watch()


def test_doctor_without_a_compiler(isan):
    result = subprocess.run([isan, "doctor"], env={**os.environ, "CC": "/nonexistent/cc"}, stdout=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert "apt-get install gcc " in result.stdout.splitlines()[-1]


def test_help_everywhere(isan):
    for command in ("config", "doctor", "python"):
        result = subprocess.run([isan, command, "--help"], stdout=subprocess.PIPE, text=True)
        assert result.returncode == 0 and result.stdout.startswith(f"usage: isan {command}")
    assert subprocess.run([isan, "nonsense"], stderr=subprocess.PIPE).returncode == 2
