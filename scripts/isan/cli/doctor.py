"""isan doctor: what works on this machine, and what to install."""
import glob
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile

import isan
from isan import pythons
from isan.pythons import compilers


def command(name):
    return lambda: shutil.which(name) is not None


def library(header, name):
    def probe():
        return compiles(f"#include <stdio.h>\n#include <{header}>\nint main(void) {{ return 0; }}\n", f"-l{name}")
    return probe


def file(pattern):
    return lambda: bool(glob.glob(pattern))


def module(name):
    return lambda: importlib.util.find_spec(name) is not None


def compiles(source, *flags):
    with tempfile.TemporaryDirectory() as directory:
        try:
            command = [*pythons.compiler().split(), "-x", "c", "-", "-o", os.path.join(directory, "a"), *flags]
            return subprocess.run(command, input=source.encode(), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL).returncode == 0
        except OSError:
            return False


def has_tsan():
    try:
        return bool(pythons.tsan_compiler())
    except isan.Problem:
        return False


def has_compiler():
    try:
        return bool(pythons.compiler_identity())
    except isan.Problem:
        return False


def has_debug_information():
    """Of Debian's Python: its own, or in a file under its build ID."""
    notes = compilers.run_quietly(["readelf", "-nSW", "/usr/bin/python3"]) or ""
    build_id = re.search(r"Build ID: (..)(\w+)", notes)
    return " .debug_info" in notes or (
        build_id is not None and os.path.exists("/usr/lib/debug/.build-id/{}/{}.debug".format(*build_id.groups())))


# Package of scripts/packages.txt -> a function that says whether it, or what it would bring, is there.
PROBES = {
    "gcc": has_compiler,
    "libc6-dev": lambda: compiles("#include <stdio.h>\nint main(void) { return 0; }\n"),
    "make": command("make"),
    "python3": lambda: sys.version_info >= (3, 9),
    "libunwind-dev": library("libunwind.h", "unwind"),
    "libdw-dev": library("elfutils/libdwfl.h", "dw"),
    "libelf-dev": library("libelf.h", "elf"),
    "xz-utils": command("xz"),
    "ca-certificates": lambda: bool(ssl.get_default_verify_paths().cafile
                                    or os.listdir(ssl.get_default_verify_paths().capath)),
    "pkg-config": command("pkg-config"),
    "zlib1g-dev": library("zlib.h", "z"),
    "libssl-dev": library("openssl/ssl.h", "ssl"),
    "libffi-dev": library("ffi.h", "ffi"),
    "libbz2-dev": library("bzlib.h", "bz2"),
    "liblzma-dev": library("lzma.h", "lzma"),
    "libsqlite3-dev": library("sqlite3.h", "sqlite3"),
    "libreadline-dev": library("readline/readline.h", "readline"),
    "python3-dbg": has_debug_information,
    "python3-pytest": module("pytest"),
    "python3-pytest-xdist": module("xdist"),
    "python3-dev": file(f"/usr/include/{os.path.basename(os.path.realpath('/usr/bin/python3'))}/Python.h"),
    "apache2-bin": file("/usr/sbin/apache2"),
    "libapache2-mod-wsgi-py3": file("/usr/lib/apache2/modules/mod_wsgi.so"),
    "weechat-headless": command("weechat-headless"),
    "weechat-python": file("/usr/lib/*/weechat/plugins/python.so"),
    "weechat-plugins": file("/usr/lib/*/weechat/plugins/fifo.so"),
    "g++": command("g++"),
    "python3-setuptools": module("setuptools"),
    "groff-base": command("groff"),
    "python3-pip": module("pip"),
    **{"python3-" + name: module(name) for name in (
        "markupsafe", "simplejson", "ujson", "hiredis", "xxhash", "netifaces", "brotli", "kiwisolver", "yaml", "gemmi",
        "bcrypt", "cryptography")},
    "valgrind": command("valgrind"),
    "clang-19": lambda: compilers.clang_version(compilers.newest_clang() or "") >= compilers.CLANG,
    "libclang-rt-19-dev": has_tsan,
    "python3-jsonschema": module("jsonschema"),
    "npm": command("npm"),
    "chromium": command("chromium"),
    "parallel": command("parallel"),
    "cppcheck": command("cppcheck"),
    "clang-format-19": command("clang-format-19"),
    "pyflakes3": module("pyflakes"),
    "python3-pycodestyle": module("pycodestyle"),
    "shellcheck": command("shellcheck"),
    "debootstrap": lambda: bool(shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")),
}

SHADOW = """\
import ctypes, sys
mmap = ctypes.CDLL(None, use_errno=True).mmap
mmap.restype, mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
at, size = int(sys.argv[1]), int(sys.argv[2])
PROT_READ, PROT_WRITE = 1, 2
MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, MAP_FIXED_NOREPLACE = 0x2, 0x20, 0x4000, 0x100000
got = mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0)
sys.exit(got != at)
"""
SHADOW_NOTE = ("32 TiB (none of it used) for the owner tags: raise 'ulimit -v', and set sysctl vm.overcommit_memory to 0"
               " or 1")


def packages():
    """(group, package, purpose) of scripts/packages.txt, by the first of several names."""
    with open(os.path.join(isan.ROOT, "scripts", "packages.txt"), encoding="utf-8") as table:
        lines = [line.split(None, 2) for line in map(str.strip, table) if line and not line.startswith("#")]
    return [(group, names.split("|")[0], purpose) for group, names, purpose in lines]


def has_shadow():
    """Whether a process can map the owner tags at the recorder's place. A child process tries."""
    with open(os.path.join(isan.ROOT, "include", "isan", "refcount.h"), encoding="utf-8") as header:
        at = int(re.search(r"^#define ISAN__SHADOW (0x[0-9a-f]+)", header.read(), re.M).group(1), 16)
    # A 32-bit word for every 16 bytes of a 47-bit address space.
    size = 1 << 45
    return subprocess.run([sys.executable, "-I", "-c", SHADOW, str(at), str(size)]).returncode == 0


# ThreadSanitizer has room for this much randomisation: the kernel places executables and libraries up to
# 2^(bits + 12) bytes apart.
RANDOM_BITS = 30
FIXED = """\
import ctypes, sys
ADDR_NO_RANDOMIZE = 0x40000
sys.exit(ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE) == -1)
"""


def random_bits():
    try:
        with open("/proc/sys/vm/mmap_rnd_bits", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def can_fix_addresses():
    """Whether a process may turn off the randomisation of its addresses. ThreadSanitizer does if there is too much."""
    return subprocess.run([sys.executable, "-I", "-c", FIXED]).returncode == 0


# Opens the event of the recorder's hardware breakpoints on a word of this process (perf_event_open(2)). The flags of
# struct perf_event_attr are inherit, exclude_kernel, exclude_hv, inherit_thread, remove_on_exec and sigtrap.
WATCH = """\
import ctypes, struct, sys
SYS_perf_event_open, PERF_TYPE_BREAKPOINT, HW_BREAKPOINT_W, HW_BREAKPOINT_LEN_4, SIZE = 298, 5, 2, 4, 128
word = ctypes.create_string_buffer(16)
flags = sum(1 << bit for bit in (1, 5, 6, 35, 36, 37))
attr = struct.pack("=IIQQQQQIIQQ", PERF_TYPE_BREAKPOINT, SIZE, 0, 1, 0, 0, flags, 0, HW_BREAKPOINT_W,
                   ctypes.addressof(word) + 7 & ~7, HW_BREAKPOINT_LEN_4).ljust(SIZE, b"\\0")
sys.exit(ctypes.CDLL(None).syscall(SYS_perf_event_open, attr, 0, -1, -1, ctypes.c_ulong(0)) < 0)
"""


def can_watch():
    """Whether a process may have the kernel watch its own memory."""
    return subprocess.run([sys.executable, "-I", "-c", WATCH]).returncode == 0


def interpreters():
    """(name, whether it is up to date) of the interpreters that are built."""
    for version, flavor in pythons.built():
        current = True
        if version in pythons.RELEASES and flavor in pythons.FLAVORS and has_compiler():
            if pythons.FLAVORS[flavor].tsan and not has_tsan():
                continue
            key = pythons.view_key(os.path.join(pythons.views_dir(), f"{version}-{flavor}"))
            current = key == pythons.build_key(pythons.Release(version), flavor)
        yield f"{version}-{flavor}", current


def add_arguments(parser):
    parser.add_argument("--missing", nargs="+", metavar="GROUP",
                        help="only print the packages that are missing, of these groups: build, test, lint, fresh")
    parser.epilog = "Exit status: 0 if all that is required is there, else 1."


def print_missing(groups):
    """For make deps, before anything is compiled."""
    missing = [package for group, package, _ in packages() if group in groups and not PROBES[package]()]
    print("".join(package + "\n" for package in missing), end="")
    if not missing and not has_shadow():
        raise isan.Problem(f"not enough address space: {SHADOW_NOTE}")
    return 1 if missing else 0


def say(state, what, note=""):
    print(f"{state:<8} {what:<24} {note}".rstrip())


def tell_packages():
    """Say which packages are there. Returns those that are missing and required."""
    wanted = []
    for group, package, purpose in packages():
        if PROBES[package]():
            say("ok", package, purpose)
        elif group != "build":
            say("optional", package, purpose)
        else:
            say("MISSING", package, purpose)
            wanted.append(package)
    if shutil.which("gdb"):
        say("ok", "gdb")
    else:
        say("optional", "gdb", "to look into a crash; isan does not need it")
    return wanted


def tell_address_space():
    """Say whether the kernel grants what isan needs. Returns whether that is missing."""
    failed = not has_shadow()
    if failed:
        say("MISSING", "address space", SHADOW_NOTE)
    else:
        say("ok", "address space", "for the owner tags")
    bits = random_bits()
    if bits <= RANDOM_BITS:
        say("ok", "address layout", "for the tsan interpreter")
    elif can_fix_addresses():
        say("ok", "address layout", f"for the tsan interpreter: vm.mmap_rnd_bits is {bits}, more than ThreadSanitizer"
                                    f" has"
            " room for, so it starts programs again without (setarch -R)")
    else:
        say("optional", "address layout", f"for the tsan interpreter: vm.mmap_rnd_bits is {bits}, more than"
            " ThreadSanitizer has room for, and personality(2) is forbidden here: sysctl"
            f" vm.mmap_rnd_bits={RANDOM_BITS - 2} on the host, or a container without that rule"
            " (--security-opt seccomp=unconfined)")
    if can_watch():
        say("ok", "watching memory", "for the option immortal=NAME")
    else:
        say("optional", "watching memory", "for the option immortal=NAME: be root, set sysctl"
            " kernel.perf_event_paranoid to at most 2, or use a container that allows perf_event_open(2);"
            " Linux 5.13 or newer")
    return failed


def tell_built():
    """Say what of isan is built. Returns whether a part is missing."""
    failed = False
    for path in ("build/lib/libisan.so.0", "build/libexec/isan-symbolize"):
        if os.path.exists(os.path.join(isan.ROOT, path)):
            say("ok", os.path.basename(path))
        else:
            failed = True
            say("MISSING", os.path.basename(path), "run make")
    count = 0
    for name, current in interpreters():
        count += 1
        version, flavor = name.rsplit("-", 1)
        say("ok" if current else "old", name, "interpreter" if current else
            f"interpreter of an earlier isan: run {pythons.command_for(flavor, version)}")
    if not count:
        command = pythons.command_for("fast", next(iter(pythons.SERIES)))
        say("optional", "interpreters", f"none built yet: run {command}")
    return failed


def main(args):
    if args.missing:
        return print_missing(args.missing)
    wanted = tell_packages()
    failed = tell_address_space()
    failed |= tell_built()
    if wanted:
        print(f"\nInstall what is missing: apt-get install {' '.join(wanted)}")
    return 1 if failed or wanted else 0
