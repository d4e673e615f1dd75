/* Requests and answers, one line each.
 *
 *   code<TAB>PATH<TAB>BUILDID<TAB>HEXVADDR
 *     {"frames":[{"function":..,"file":..,"line":..,"start":..}, ..]}
 *     The innermost inlined call is first.  "start" is the line that the function begins at.
 *   data<TAB>PATH<TAB>BUILDID<TAB>HEXVADDR[<TAB>HEXOFFSET..]
 *     {"symbol":..,"offset":..,"size":..,"file":..,"line":..,"element":..,"atomic":..,
 *      "followed":..,"section":..}
 *     A static variable of a function is "function::variable".  Where no variable is known, symbol
 *     is null, and offset counts from the start of the section.  "atomic": the variable, or the
 *     member or element there, is _Atomic or a std::atomic.  Offsets: the pointer at HEXVADDR leads
 *     to memory; at the first offset in that memory is a pointer to more memory, and so on.
 *     "element" is then the C expression for as many steps as the types tell; "followed" is how
 *     many that are.
 *   tls<TAB>PATH<TAB>BUILDID<TAB>HEXOFFSET[<TAB>HEXOFFSET..]
 *     The same for a thread-local variable.  The first offset is that in the module's block.
 *   statics<TAB>PATH<TAB>BUILDID
 *     {"statics":[{"symbol":..,"address":..,"size":..,"file":..,"line":..,
 *                  "parts":[{"what":..,"offset":..,"element":..}, ..]}, ..],"imports":[..]}
 *     The variables in writable memory, as debug information has them and without thread-local
 *     ones, that are or have as members ("what"): "object", a pointer to a Python object; "type", a
 *     PyTypeObject; "definition", a PyModuleDef; "parser", a _PyArg_Parser; "instance", another
 *     object.  "imports": the functions and variables of Python that the file needs.
 *   member<TAB>PATH<TAB>BUILDID<TAB>HEXVADDR<TAB>HEXSIZE<TAB>HEXOFFSET
 *     {"member":..}: the member at OFFSET of the C structs for Python objects that are SIZE bytes
 *     long; null unless all agree.  Those of the compilation unit with the code at HEXVADDR come
 *     first.
 *
 * Each answer also has "debug", which is true if the file has debug information, or is
 * {"error":".."}.  HEXVADDR is an address of the ELF file: the run-time address minus the load
 * bias.  BUILDID may be empty; otherwise a file with a different one is refused, because its lines
 * would be wrong.  In PATH a tab, newline or backslash is written \t, \n, \\.  Bytes of names that
 * are not UTF-8 come as \udcXX, as in Python's surrogateescape.
 */
#ifndef SYMBOLIZE_PROTOCOL_H
#define SYMBOLIZE_PROTOCOL_H

#include <stdio.h>

/* Answer the request in a line, without its newline; the line is changed. */
void protocol_answer(char *line, FILE *out);

#endif
