/* A module with the name NAME, the init function INIT and these methods, which allows own-GIL
 * interpreters; EXEC, if defined, is its Py_mod_exec function. */
static PyModuleDef_Slot slots[] = {
#ifdef EXEC
    {Py_mod_exec, EXEC},
#endif
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

/* By position: C++ warns of members that a designated initializer leaves out. */
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, NAME, NULL, 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
INIT(void)
{
    return PyModuleDef_Init(&definition);
}
