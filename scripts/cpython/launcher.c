/* isan-python: the command line of a Python that has only a shared library.
 *
 * `isan-python LIBPYTHON ARGUMENTS` runs that library as python3 with these arguments.  isan uses
 * it to measure what an empty interpreter of such a Python leaves behind (scripts/isan/residue.py).
 */
#include <dlfcn.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    int (*python_main)(int, char **) = NULL;
    if (argc < 2) {
        fputs("isan-python: give the path of a libpython3.so, then Python's arguments\n", stderr);
        return 2;
    }
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    if (library != NULL) {
        *(void **)&python_main = dlsym(library, "Py_BytesMain");
    }
    if (python_main == NULL) {
        fprintf(stderr, "isan-python: %s\n", dlerror());
        return 2;
    }
    /* The name decides where Python looks for its standard library (Modules/getpath.py): with this
     * one it finds that of the library's host. */
    argv[1] = "python3";
    return python_main(argc - 1, argv + 1);
}
