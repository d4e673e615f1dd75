/* Answers: lines of JSON. */
#ifndef SYMBOLIZE_JSON_H
#define SYMBOLIZE_JSON_H

#include <stdio.h>

/* null for NULL.  Bytes that are not UTF-8 become \udcXX, as Python's surrogateescape has them. */
void json_put_string(FILE *out, const char *string);
/* A whole answer: {"error":..}. */
void json_put_error(FILE *out, const char *message);

#endif
