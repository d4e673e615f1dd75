/* Overlay of CPython's Include/Python.h, found first on the include path of
 * extensions (isan config --cflags): what isan/refcount.h, forced in before
 * everything else, cannot do there. */
#ifndef ISAN__OVERLAY_PYTHON_H
#define ISAN__OVERLAY_PYTHON_H

#pragma GCC system_header       /* -Wpedantic warns of #include_next */
#include_next <Python.h>

#ifdef __cplusplus
extern "C" {
#endif

/* gcc forgets the TLS model of a declaration when a definition follows it, and
 * in an extension calls __tls_get_addr for each check: say it once more. */
extern __thread unsigned short isan__slot __attribute__((tls_model("initial-exec")));

/* Before 3.12 nothing in Py_INCREF and Py_DECREF (Include/object.h) can be
 * defined from outside, so they are replaced once CPython has defined them.
 * Py_CLEAR, Py_SETREF, Py_RETURN_NONE and the like are macros that come to use
 * the replacements; no inline function of CPython's public headers but those
 * replaced here counts references. */
#if PY_VERSION_HEX < 0x030c0000

ISAN__INLINE void
isan__py_incref(PyObject *op)
{
    isan__check_incref(op);
    Py_INCREF(op);
}

ISAN__INLINE void
isan__py_decref(PyObject *op)
{
    isan__check_decref(op);
    Py_DECREF(op);
}

ISAN__INLINE void
isan__py_xincref(PyObject *op)
{
    if (op != NULL) {
        isan__py_incref(op);
    }
}

ISAN__INLINE void
isan__py_xdecref(PyObject *op)
{
    if (op != NULL) {
        isan__py_decref(op);
    }
}

ISAN__INLINE PyObject *
isan__py_newref(PyObject *op)
{
    isan__py_incref(op);
    return op;
}

ISAN__INLINE PyObject *
isan__py_xnewref(PyObject *op)
{
    isan__py_xincref(op);
    return op;
}

#undef Py_INCREF
#undef Py_DECREF
#undef Py_XINCREF
#undef Py_XDECREF
#undef Py_NewRef
#undef Py_XNewRef
#define Py_INCREF(op)  isan__py_incref(_PyObject_CAST(op))
#define Py_DECREF(op)  isan__py_decref(_PyObject_CAST(op))
#define Py_XINCREF(op) isan__py_xincref(_PyObject_CAST(op))
#define Py_XDECREF(op) isan__py_xdecref(_PyObject_CAST(op))
#define Py_NewRef(op)  isan__py_newref(_PyObject_CAST(op))
#define Py_XNewRef(op) isan__py_xnewref(_PyObject_CAST(op))

#endif

#ifdef __cplusplus
}
#endif
#endif
