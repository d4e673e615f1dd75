/* Statics in C++: in a class, in a namespace, in an anonymous namespace, in a
 * function. */
#include <Python.h>

namespace shop {

class Counter {
public:
    static PyObject *till;
    static PyObject **local()
    {
        static PyObject *once;
        return &once;
    }
};

PyObject *Counter::till;

static PyObject *shelf;

namespace {
PyObject *drawer;
}

PyObject **
place(Py_ssize_t which)
{
    PyObject **const places[] = { &Counter::till, &shelf, &drawer, Counter::local() };
    return which < 4 ? places[which] : nullptr;
}

}

using shop::place;

#define NAME static_cxx
#include "holds.h"
