/* Requests for statics: all variables that are or hold Python objects, and Python's functions that
 * the file uses. */
#ifndef SYMBOLIZE_STATICS_H
#define SYMBOLIZE_STATICS_H

#include <stdio.h>

struct module;

void statics_answer(struct module *module, FILE *out);

#endif
