/* What a program asks isan: findings, owners, a scan now. */
#ifndef ISAN_API_QUERY_H
#define ISAN_API_QUERY_H

#include "runtime/base/compiler.h"

void isan__query_init(void);                /* installs the handler of the signal option */
void isan__scan_if_requested(void);         /* by that signal, if this is a place for it */

#endif
