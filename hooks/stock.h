/* Where isan begins in a stock Python. */
#ifndef ISAN_HOOKS_STOCK_H
#define ISAN_HOOKS_STOCK_H

void isan__stock_begin(void);

#endif
