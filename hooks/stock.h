/* A stock Python: where isan begins. */
#ifndef ISAN_HOOKS_STOCK_H
#define ISAN_HOOKS_STOCK_H

void isan__stock_begin(void);

#endif
