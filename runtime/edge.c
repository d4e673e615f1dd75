/* What a reference from one object to another is called. */
#include "runtime/owner.h"

void
isan__edge_of(const char *from, const char *memory, ptrdiff_t at, const void *to, struct isan__edge *edge)
{
    (void)to;
    memset(edge, 0, sizeof *edge);
    edge->edge = memory != NULL ? ISAN_EDGE_MEMORY : at == 8 && from ? ISAN_EDGE_TYPE : ISAN_EDGE_FIELD;
    edge->offset = (uint64_t)at;
}
