/* Answers: lines of JSON. */
#include "reports/symbolize/json.h"

#include <stdint.h>

/* Length of the valid UTF-8 sequence of two bytes or more at s; 0: there is none. */
static int
utf8_length(const unsigned char *s)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    int n = 0;
    if (*s >= 0xc0 && *s < 0xf8) {
        n = *s >= 0xf0 ? 4 : *s >= 0xe0 ? 3 : 2;
    }
    if (n == 0) {
        return 0;
    }
    uint32_t c = *s & (0xff >> (n + 1));
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

void
json_put_string(FILE *out, const char *string)
{
    if (string == NULL) {
        fputs("null", out);
        return;
    }
    putc('"', out);
    for (const unsigned char *s = (const unsigned char *)string; *s; s++) {
        int n = utf8_length(s);
        if (*s == '"' || *s == '\\') {
            fprintf(out, "\\%c", *s);
        }
        else if (*s < 0x20 || *s == 0x7f) {
            fprintf(out, "\\u%04x", *s);
        }
        else if (*s < 0x80) {
            putc(*s, out);
        }
        else if (n != 0) {
            fwrite(s, 1, (size_t)n, out);
            s += n - 1;
        }
        else {
            fprintf(out, "\\udc%02x", *s);
        }
    }
    putc('"', out);
}

void
json_put_error(FILE *out, const char *message)
{
    fputs("{\"error\":", out);
    json_put_string(out, message);
    fputs("}\n", out);
}
