"""What is said when something is missing: scripts/deps.sh, scripts/fresh.sh and .ci/run, in copies of them with commands in
the place of the machine's."""
import os
import shutil
import subprocess

import pytest


class Machine:
    """A copy of the scripts, and a PATH with everything of this machine but what is hidden or replaced."""

    def __init__(self, root, directory):
        self.root, self.directory, self.bin = root, directory, directory / "bin"
        self.bin.mkdir()
        for path in ("/usr/sbin", "/usr/bin"):
            for name in os.listdir(path):
                if not (self.bin / name).is_symlink():
                    (self.bin / name).symlink_to(os.path.join(path, name))
        for name in ("scripts/deps.sh", "scripts/fresh.sh", ".ci/run"):
            (directory / name).parent.mkdir(exist_ok=True)
            shutil.copy(os.path.join(root, name), directory / name)

    def hide(self, name):
        (self.bin / name).unlink(missing_ok=True)

    def put(self, name, script):
        self.hide(name)
        self.file(f"bin/{name}", "#!/bin/sh\n" + script)

    def file(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, command, *args, **environment):
        done = subprocess.run([self.directory / command, *args], env={"PATH": str(self.bin), "HOME": str(self.directory), **environment},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def machine(root, tmp_path):
    return Machine(root, tmp_path)


# --- deps.sh -------------------------------------------------------------------

@pytest.fixture
def packages(machine):
    """packages(lacking="", installed="", known="") gives the machine an apt, or packages.txt and what is to be found there."""
    def make(lacking="", installed="", known=""):
        machine.file("scripts/packages.txt", "build one  first\nbuild two|deux|zwei  second\ntest three  third\n")
        machine.put("python", f"echo \"$@\" > {machine.directory}/asked; for name in {lacking}; do echo $name; done; [ -z '{lacking}' ]")
        machine.put("dpkg-query", f"for name in {installed} none; do [ $4 != $name ] || echo 'install ok installed'; done")
        machine.put("apt-cache", f"for name in {known} none; do [ $2 != $name ] || echo Package: $name; done")
        machine.put("apt-get", f"echo \"$@\" >> {machine.directory}/apt")
        machine.put("id", "echo 0")
        machine.hide("sudo")
    return make


def run_deps(machine, *groups):
    return machine.run("scripts/deps.sh", *groups, PYTHON=str(machine.bin / "python"))


def test_without_apt_all_may_be_there(machine, packages):
    packages()
    machine.hide("apt-get")
    assert run_deps(machine, "build") == (0, "", "")
    assert (machine.directory / "asked").read_text().split()[-3:] == ["doctor", "--missing", "build"]


def test_without_apt_something_is_missing(machine, packages):
    packages(lacking="two")
    machine.hide("apt-get")
    status, _, err = run_deps(machine, "build")
    assert status == 2 and "no apt on this machine" in err and err.endswith(": two\n")


def test_nothing_is_missing(machine, packages):
    packages(installed="one deux")
    assert run_deps(machine, "build") == (0, "", "")
    assert not (machine.directory / "apt").exists()


@pytest.mark.parametrize("known, chosen", [("one two deux", "one two"), ("one zwei", "one zwei"), ("", "one two")])
def test_first_alternative_that_apt_knows(machine, packages, known, chosen):
    packages(known=known)
    status, out, err = run_deps(machine, "build")
    assert (status, out, err) == (0, f"isan: installing {chosen}\n", "")
    assert (machine.directory / "apt").read_text().endswith(f"--no-install-recommends {chosen}\n")


def test_package_lists_are_fetched_before_a_name_is_chosen(machine, packages):
    """A new Debian has no lists, and apt can neither install nor name anything."""
    packages()
    apt = machine.directory / "apt"
    machine.put("apt-get", f"echo \"$@\" >> {apt}; [ $1 = update ] || grep -q update {apt}")
    machine.put("apt-cache", f"grep -q update {apt} 2>/dev/null && [ $2 != two ] && echo Package: $2")
    status, out, _ = run_deps(machine, "build")
    assert status == 0 and out.splitlines()[-1] == "isan: installing one deux"


def test_user_who_may_not_install(machine, packages):
    packages()
    machine.put("id", "echo 1000")
    assert run_deps(machine, "build") == (0, "", "")
    packages(lacking="one")
    machine.put("id", "echo 1000")
    status, _, err = run_deps(machine, "build")
    assert status == 2 and "have root run: apt-get install one two\n" in err
    assert not (machine.directory / "apt").exists()


def test_installed_and_not_found(machine, packages):
    packages(installed="one two", lacking="one")
    status, _, err = run_deps(machine, "build")
    assert status == 2 and err == "isan: installed, and yet not found: one: look at PATH, CC and PYTHON\n"


def test_what_is_missing_is_found_before_anything_is_compiled(root, tmp_path):
    """By make itself, with the probes that isan doctor has."""
    for target in ("demo", "test"):
        done = subprocess.run(["make", "-C", root, target, "DEPS=build"], env={**os.environ, "CC": str(tmp_path / "cc")},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2 and "isan: installed, and yet not found: gcc " in done.stderr
        assert " -c -o " not in done.stdout


# --- fresh.sh ------------------------------------------------------------------

@pytest.mark.parametrize("hidden, advice", [("debootstrap", "debootstrap is missing: apt-get install debootstrap"),
                                            ("unshare", "unshare is missing: apt-get install util-linux")])
def test_fresh_names_what_it_needs(machine, hidden, advice):
    machine.put("id", "echo 0")
    machine.put("debootstrap", "exit 1")
    machine.hide(hidden)
    assert machine.run("scripts/fresh.sh") == (2, "", f"fresh: {advice}\n")


def test_fresh_needs_root(machine):
    machine.put("id", "echo 1000")
    status, _, err = machine.run("scripts/fresh.sh", "--check")
    assert status == 2 and err.startswith("fresh: needs root")


def test_fresh_without_namespaces(machine):
    machine.put("id", "echo 0")
    machine.put("debootstrap", "exit 1")
    machine.put("unshare", "exit 1")
    status, _, err = machine.run("scripts/fresh.sh", "--check")
    assert status == 2 and err.startswith("fresh: may not make namespaces and mounts here")


def test_fresh_where_there_are_no_devices(machine, tmp_path):
    machine.put("id", "echo 0")
    machine.put("debootstrap", "exit 1")
    machine.put("unshare", "exit 0")
    machine.put("mknod", "exit 1")
    status, _, err = machine.run("scripts/fresh.sh", "--check", TMPDIR=str(tmp_path))
    assert status == 2 and err.startswith(f"fresh: no devices can be made in {tmp_path}: ")
    assert not list(tmp_path.glob("isan-fresh.*"))


def test_fresh_without_a_mirror(machine):
    machine.put("id", "echo 0")
    machine.put("debootstrap", "exit 1")
    machine.put("unshare", "exit 0")
    machine.put("mknod", "exit 0")
    machine.put("git", "exit 0")
    machine.put("apt-get", "echo file:///nonexistent/")
    status, _, err = machine.run("scripts/fresh.sh", "--release", "sarge", "--check")
    assert (status, err) == (2, "fresh: no mirror of this machine's apt has Debian sarge: give one with --mirror URL\n")


def test_usage_of_fresh(machine):
    status, out, _ = machine.run("scripts/fresh.sh", "--help")
    assert status == 0 and out.startswith("Usage: scripts/fresh.sh ")
    for args, message in ((["--release"], "--release needs a value"), (["bookworm"], "unknown argument 'bookworm'"),
                          (["--user", "--cache"], "--user has a cache of its own")):
        status, _, err = machine.run("scripts/fresh.sh", *args)
        assert status == 2 and message in err


# --- .ci/run -------------------------------------------------------------------

MAKEFILE = """\
all deps lint checked:
	@echo make $@
test:
	@echo '==== 2 failed, 3 passed in 4.50s ===='; echo after; {result}
"""


@pytest.mark.parametrize("result, status", [("true", 0), ("exit 1", 2)])
def test_ci_on_this_machine(machine, result, status):
    machine.put("id", "echo 1000")
    machine.file("Makefile", MAKEFILE.format(result=result))
    got, out, _ = machine.run(".ci/run")
    assert got == status
    assert "ci: on this machine, not in a new Debian: this is not root\n" in out
    assert out.splitlines()[-1] == "==== 2 failed, 3 passed in 4.50s ===="


def test_ci_stops_at_the_first_failure(machine):
    machine.put("id", "echo 1000")
    machine.file("Makefile", MAKEFILE.replace("@echo make $@", "@[ $@ != lint ]"))
    got, out, err = machine.run(".ci/run")
    assert got == 1 and "passed" not in out and err.endswith("the tests did not run to their end\n")


@pytest.mark.parametrize("status", [0, 2])
def test_ci_in_a_new_debian(machine, status):
    machine.put("id", "echo 0")
    machine.put("debootstrap", "exit 1")
    machine.file("scripts/fresh.sh", "#!/bin/sh\ncase $* in *--check*) exit 0;; esac\n"
                 f"echo \"$@\"; echo '==== 5 passed in 61.20s (0:01:01) ===='; echo after; exit {status}\n")
    got, out, _ = machine.run(".ci/run")
    assert got == status
    assert out.splitlines()[0] == "--release bookworm --cache -- .ci/run --here"
    assert out.splitlines()[-1] == "==== 5 passed in 61.20s (0:01:01) ===="


def test_ci_says_why_not_in_a_new_debian(machine):
    machine.put("id", "echo 0")
    machine.put("debootstrap", "exit 1")
    machine.file("scripts/fresh.sh", "#!/bin/sh\necho 'fresh: no room' >&2; exit 2\n")
    machine.file("Makefile", MAKEFILE.format(result="true"))
    got, out, _ = machine.run(".ci/run")
    assert got == 0 and out.splitlines()[0] == "ci: on this machine, not in a new Debian: fresh: no room"
