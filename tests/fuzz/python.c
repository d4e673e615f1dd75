/* libFuzzer for Python code: calls one(data) of the module named by ISAN_FUZZ, with
 * the lines it executes in reports/ and scripts/isan/ as libFuzzer's counters
 * (lib/fuzzer/FuzzerExtraCounters.cpp).  An exception is a crash. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[1 << 16];
static PyObject *one;
static uint32_t last;

static int
trace(PyObject *Py_UNUSED(object), PyFrameObject *frame, int event, PyObject *Py_UNUSED(argument))
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    if (event == PyTrace_CALL) {
        const char *file = PyUnicode_AsUTF8(code->co_filename);
        if (strstr(file, "/reports/") == NULL && strstr(file, "/scripts/isan/") == NULL) {
            PyObject_SetAttrString((PyObject *)frame, "f_trace_lines", Py_False);
        }
    }
    else if (event == PyTrace_LINE) {
        uint32_t here = (uint32_t)((uintptr_t)code >> 4) * 31 + (uint32_t)PyFrame_GetLineNumber(frame);
        uint8_t *counter = &counters[(here ^ last * 7919) % sizeof counters];
        last = here;
        *counter += *counter != UINT8_MAX;
    }
    Py_DECREF(code);
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (one == NULL) {
        const char *name = getenv("ISAN_FUZZ");
        Py_InitializeEx(0);
        PyObject *module = name == NULL ? NULL : PyImport_ImportModule(name);
        one = module == NULL ? NULL : PyObject_GetAttrString(module, "one");
        if (one == NULL) {
            PyErr_Print();
            fprintf(stderr, "ISAN_FUZZ names a module on PYTHONPATH that has one(data)\n");
            exit(2);
        }
        PyEval_SetTrace(trace, NULL);
    }
    last = 0;
    PyObject *result = PyObject_CallFunction(one, "y#", (const char *)data, (Py_ssize_t)size);
    if (result == NULL) {
        PyErr_Print();
        abort();
    }
    Py_DECREF(result);
    return 0;
}
