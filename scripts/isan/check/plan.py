"""The modules that arguments name, and their checks one by one."""
import os
import shutil

from isan import Problem
from isan.reports.symbolize.symbols import Missing
from isan.reports.wording import escape

from . import build, formats, module, store


def locate(argument):
    """(name, sys.path) of the module that an argument names; sys.path: what to put there for it."""
    if not argument.endswith(".so") and os.sep not in argument:
        return argument, [os.getcwd()]
    file = os.path.abspath(argument)
    if not os.path.exists(file):
        raise Problem("there is no %s: give the name of a module, or the path of an extension, a wheel or a project"
                      % argument)
    if os.path.isdir(file) and not os.path.exists(os.path.join(file, "__init__.py")):
        raise Problem("%s is no package, and has no %s: give the path of an extension, a wheel or a project" % (
            argument, " or ".join(build.PROJECT)))
    directory, base = os.path.split(file)
    name = base.partition(".")[0]
    while os.path.exists(os.path.join(directory, "__init__.py")):
        directory, package = os.path.split(directory)
        name = package + "." + name
    return name, [directory]


def modules_of(argument, checker, directory):
    """[(name, sys.path)] of the modules that an argument stands for. directory: where pip may install."""
    if build.is_one(argument):
        return [(name, [directory]) for name in build.install(argument, checker, directory)]
    return [locate(argument)]


def each(checker, arguments):
    """Check modules. Yields first the names of all, then the results, one list at a time."""
    modules = []
    for number, argument in enumerate(arguments, 1):
        modules += modules_of(argument, checker, os.path.join(checker.directory, "installed", str(number)))
    yield [name for name, _ in modules]
    for name, path in modules:
        yield [module.check(checker, name, path)]


def each_kept(checker, arguments, kept):
    """The same with a store. What has a result is not checked again, nor what another worker is checking."""
    yield arguments
    for argument in arguments:
        found, ends = kept.take(argument)
        if found is None and ends is None:
            continue
        if found is None:
            found = check_kept(checker, argument, kept, ends)
        yield found


def check_kept(checker, argument, kept, ends):
    """Check an argument that has no result, and keep the result. ends: the workers that ended while they checked it.

    A worker that ends while it checks a MODULE may be killed by it. That pip cannot install it is a result, too.
    """
    if len(ends) >= store.MAX_WORKER_DEATHS:
        found = [formats.Result.unknown(
            argument, "workers ended while they checked it: %s; to have it checked again, remove %s" % (
                "; ".join(ends), kept.path(argument)))]
        kept.keep(found)
        return found
    if ends:
        checker.progress("%s was being checked when a worker ended (%s): once more" % (escape(argument), ends[-1]))
    target = os.path.join(checker.directory, "installed", store.file_name(argument))
    try:
        try:
            modules = modules_of(argument, checker, target)
        except Problem as problem:
            found = [formats.Result.unknown(argument, str(problem))]
        else:
            found = [module.check(checker, name, path) for name, path in modules]
    except (KeyboardInterrupt, Problem, Missing):       # not the module's fault
        kept.withdraw()
        raise
    except Exception as error:
        kept.failed("%s: %s" % (type(error).__name__, error))
        raise
    finally:
        if not checker.args.log:
            shutil.rmtree(target, ignore_errors=True)
    for result in found if ends else []:
        result.notes.append("it was being checked when a worker ended (%s), and was checked once more" % ends[-1])
    kept.keep(found)
    return found
