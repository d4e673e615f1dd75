"""The automatic exercise of `isan check`, run in each interpreter in the place of an --exercise file.

It reads attributes, makes an object of each type with simple arguments, and calls documented functions with harmless
arguments. It calls no function with a name that suggests files, processes, the network, waiting, or changes that others
see. check_target.py gives isan_check: the names of the extensions, calls to leave out (*: all), words to allow.
"""
import re
import sys
import time
from types import BuiltinFunctionType, FunctionType

ARGUMENTS = [(), (1,), ("a",), (b"a",), ([],)]
SECONDS = 3
# Words in names; underscores and capitals separate them.
NEVER = set("""
abort accept acquire alarm atexit bind chdir chmod chown close connect copyfile crash create delete dir disable dlclose
dlopen dump enable exec execute exit fatal fd file files finalize fork free getaddrinfo getpass host http init input
install ioctl kill killpg link listen load loads lock login mkdir mkstemp mmap mount move open path pipe poll popen
process pthread raise read readline recv register release remove rename reset resolve restore rmdir run save seed select
send server set shutdown shm sigmask signal sigsegv sleep socket spawn stack start stat stop suspend symlink sync sys
syscall system temp terminate thread tmp trace truncate tty umask unlink unload unmount unraisable url wait watch write
""".split())


def words(name):
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)}


class Exercise:
    def __init__(self, given):
        self.tell, self.skip = given["tell"], set(given["skip"])
        self.never = set() if "all" in given["allow"] else NEVER - set(given["allow"])
        self.until = time.monotonic() + SECONDS

    def harmless(self, name):
        return not self.never & words(name)

    def attempt(self, name, function):
        """Call a function, unless that is left out. Returns its result, or None."""
        if name in self.skip or time.monotonic() > self.until:
            return None
        self.tell("call", name)
        try:
            return function()
        except Exception:
            return None

    def object(self, name, thing):
        self.attempt("repr(%s)" % name, lambda: repr(thing))
        for attribute in self.attempt("dir(%s)" % name, lambda: dir(type(thing))) or ():
            if attribute.startswith("_"):
                continue
            call = "%s.%s" % (name, attribute)
            if not callable(self.attempt("type of " + call, lambda: getattr(type(thing), attribute))):
                self.attempt(call, lambda: getattr(thing, attribute))

    def module(self, module):
        mine = module.__name__.partition(".")[0].strip("_")
        for attribute in sorted(dir(module)):
            name = "%s.%s" % (module.__name__, attribute)
            value = self.attempt(name, lambda: getattr(module, attribute))
            if attribute.startswith("_"):
                continue
            if isinstance(value, type):     # which has no __module__ if the name in its PyType_Spec has no dot
                whose = str(getattr(value, "__module__", "")).partition(".")[0].strip("_")
                python = any(isinstance(member, FunctionType) for member in vars(value).values())
                if whose != mine or python or not self.harmless(attribute) or issubclass(value, BaseException):
                    continue
            elif not isinstance(value, BuiltinFunctionType) or not value.__doc__ or not self.harmless(attribute):
                if not callable(value) and not isinstance(value, type(sys)):
                    self.attempt("repr(%s)" % name, lambda: repr(value))
                continue
            for arguments in ARGUMENTS:
                call = "%s(%s)" % (name, ", ".join(map(repr, arguments)))
                made = self.attempt(call, lambda: value(*arguments))
                if made is not None:
                    self.object(call, made)
                    break


def main(given):
    exercise = Exercise(given)
    for name in given["names"] if "*" not in given["skip"] else ():
        module = sys.modules.get(name)
        if module is not None and exercise.harmless(name):
            exercise.module(module)


main(globals()["isan_check"])
