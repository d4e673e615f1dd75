#include "runtime/internal.h"
void isan__boundary_modules(void) {}
