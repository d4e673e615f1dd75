/* The Python of a host, which has nothing but its shared library:
 * `isan-python LIBPYTHON ARGUMENTS` is that Python's command line.  isan
 * measures with it what an empty interpreter of a host leaves (residue.py). */
#include <dlfcn.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) : NULL;
    int (*python)(int, char **) = NULL;
    if (library != NULL) {
        *(void **)&python = dlsym(library, "Py_BytesMain");
    }
    if (python == NULL) {
        fprintf(stderr, "isan-python: %s\n", argc > 1 ? dlerror() : "give the path of a libpython3.so, then Python's arguments");
        return 2;
    }
    /* It looks for its standard library where a host's would. */
    argv[1] = "python3";
    return python(argc - 1, argv + 1);
}
