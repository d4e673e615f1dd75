/* libFuzzer for the parser of ISAN_OPTIONS.  Where the parser would end the process,
 * it ends the input instead. */
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static jmp_buf wrong;
#include "runtime/base/options.c"

void
isan__die(const char *format, ...)
{
    (void)format;
    longjmp(wrong, 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    if (setjmp(wrong) == 0) {
        parse(text, "ISAN_OPTIONS");
    }
    free(text);
    return 0;
}
