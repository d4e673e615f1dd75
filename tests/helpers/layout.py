"""What the recorder knows of the layout of CPython, against the headers of a release.

3.11 and 3.12 are written down; later releases describe themselves (_Py_DebugOffsets).
"""
import re
import subprocess

from ext.build import locations
from helpers import tree
from helpers.programs import release

# Name in struct isan__python -> expression over the internal headers.
LAYOUT = {
    "interp_id": "offsetof(PyInterpreterState, id)",
    "interp_gil": "offsetof(PyInterpreterState, ceval.gil)",            # 3.11: the runtime's
    "interp_finalizing": "offsetof(PyInterpreterState, FINALIZING)",
    "ts_interp": "offsetof(PyThreadState, interp)",
    "ts_frame": "offsetof(PyThreadState, cframe)",
    "ts_next": "offsetof(PyThreadState, next)",
    "ts_thread": "offsetof(PyThreadState, thread_id)",
    "ts_native": "offsetof(PyThreadState, native_thread_id)",
    "frame_previous": "offsetof(_PyInterpreterFrame, previous)",
    "frame_executable": "offsetof(_PyInterpreterFrame, f_code)",
    "frame_instr": "offsetof(_PyInterpreterFrame, prev_instr)",
    "frame_owner": "offsetof(_PyInterpreterFrame, owner)",
    "code_filename": "offsetof(PyCodeObject, co_filename)",
    "code_qualname": "offsetof(PyCodeObject, co_qualname)",
    "code_linetable": "offsetof(PyCodeObject, co_linetable)",
    "code_firstlineno": "offsetof(PyCodeObject, co_firstlineno)",
    "code_units": "offsetof(PyCodeObject, co_code_adaptive)",
    "type_name": "offsetof(PyTypeObject, tp_name)",
    "type_flags": "offsetof(PyTypeObject, tp_flags)",
    "bytes_size": "offsetof(PyVarObject, ob_size)",
    "bytes_data": "offsetof(PyBytesObject, ob_sval)",
    "unicode_state": "offsetof(PyASCIIObject, state)",
    "unicode_length": "offsetof(PyASCIIObject, length)",
    "unicode_ascii": "sizeof(PyASCIIObject)",
}
# Of 3.11 and 3.12 in releases.inc, where both have the structure.
FACTS = {
    "cframe_frame": "offsetof(_PyCFrame, current_frame)",
    "unicode_header": "sizeof(PyCompactUnicodeObject) - sizeof(PyASCIIObject)",
}
FACTS_311 = {
    "free_lists": "offsetof(PyInterpreterState, list.free_list)",
    "free_lists_end": "offsetof(PyInterpreterState, dict_state.keys_numfree)",
    "frame_is_entry": "offsetof(_PyInterpreterFrame, is_entry)",
    "runtime_finalizing": "offsetof(struct pyruntimestate, _finalizing)",
}


def version_of(python):
    return tuple(map(int, release(python).split(".")))


def written_down():
    """(table, text): name -> numbers for 3.11 and 3.12, and the source."""
    text = tree.LAYOUT.read_text(encoding="utf-8")
    rows = re.findall(r"\{ &isan__py\.(\w+),\s*\{\s*(\d+),\s*(\d+),\s*\d+,\s*\d+ \} \}", text)
    return {name: (int(v311), int(v312)) for name, v311, v312 in rows}, text


def facts():
    """Name -> its value in each of the releases."""
    rows = re.findall(r"^ISAN__PYTHON_FACT\(\w+, (\w+), (-?\d+), (-?\d+), (-?\d+), (-?\d+)\)$",
                      tree.RELEASES.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: tuple(map(int, values)) for name, *values in rows}


def measured(python, version, directory):
    expressions = {**LAYOUT, **FACTS}
    if version == (3, 11):
        expressions.update(FACTS_311)
        del expressions["interp_gil"]
    lines = "\n".join(f'    printf("{name} %zu\\n", (size_t)({expression}));' for name, expression in expressions.items())
    finalizing = "finalizing" if version == (3, 11) else "_finalizing"
    source = directory / "layout.c"
    source.write_text(f"""
#define Py_BUILD_CORE 1
#define FINALIZING {finalizing}
#include <Python.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_frame.h>
#include <internal/pycore_runtime.h>
#include <stddef.h>
#include <stdio.h>
int main(void) {{
{lines}
}}
""")
    includes, _ = locations(python)
    subprocess.run(["gcc", "-w", *(f"-I{path}" for path in includes), *(f"-I{path}/internal" for path in includes),
                    "-o", directory / "layout", source], check=True)
    printed = subprocess.run([directory / "layout"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {name: int(number) for name, number in (line.split() for line in printed.splitlines())}


def check(python, directory):
    """Members with offsets that differ between releases."""
    version = version_of(python)
    table, text = written_down()
    assert set(table) == set(LAYOUT)
    if version >= (3, 13):
        # The source has one number for these releases: `_finalizing` is 16 bytes before `gc`.
        source = directory / "layout.c"
        source.write_text("""
#define Py_BUILD_CORE 1
#include <Python.h>
#include <internal/pycore_interp.h>
#include <stddef.h>
_Static_assert(offsetof(PyInterpreterState, gc) - offsetof(PyInterpreterState, _finalizing) == 16, "moved");
""")
        includes, _ = locations(python)
        assert "isan__py.interp_finalizing -= 16;" in text
        subprocess.run(["gcc", "-w", "-fsyntax-only", *(f"-I{path}" for path in includes),
                        *(f"-I{path}/internal" for path in includes), source], check=True)
        return
    of = measured(python, version, directory)
    column = version[1] - 11
    for name in LAYOUT:
        assert table[name][column] == of.get(name, 0), name
    for name in {**FACTS, **(FACTS_311 if column == 0 else {})}:
        assert facts()[name][column] == of[name], name


SHARED = """
#define Py_BUILD_CORE 1
#include <Python.h>
#include <internal/pycore_dict.h>
#include <internal/pycore_gc.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_object.h>
#include <stddef.h>
#include "LAYOUT_HEADER"
#define SAME(a, b) _Static_assert((size_t)(a) == (size_t)(b), #a)
#define FIELD(name) SAME(offsetof(struct isan__type_object, name), offsetof(PyTypeObject, tp_##name))
FIELD(name); FIELD(basicsize); FIELD(itemsize); FIELD(dealloc); FIELD(flags); FIELD(traverse); FIELD(clear);
FIELD(weaklistoffset); FIELD(members); FIELD(base); FIELD(dict); FIELD(dictoffset); FIELD(bases); FIELD(mro);
FIELD(cache); FIELD(subclasses); FIELD(weaklist); FIELD(finalize);
SAME(ISAN__TYPE_MANAGED_DICT, Py_TPFLAGS_MANAGED_DICT);
SAME(ISAN__TYPE_HEAP, Py_TPFLAGS_HEAPTYPE);
SAME(ISAN__TYPE_HAVE_GC, Py_TPFLAGS_HAVE_GC);
SAME(ISAN__TYPE_LIST, Py_TPFLAGS_LIST_SUBCLASS);
SAME(ISAN__TYPE_TUPLE, Py_TPFLAGS_TUPLE_SUBCLASS);
SAME(ISAN__TYPE_DICT, Py_TPFLAGS_DICT_SUBCLASS);
SAME(ISAN__MA_KEYS, offsetof(PyDictObject, ma_keys));
SAME(ISAN__MANAGED_DICT, MANAGED_DICT_OFFSET);
SAME(sizeof(PyGC_Head), -ISAN__GC_NEXT);
SAME(offsetof(PyGC_Head, _gc_prev), ISAN__GC_PREV - ISAN__GC_NEXT);
SAME(_PyGC_PREV_MASK_FINALIZED, ISAN__GC_PREV_FINALIZED);
SAME(ISAN__OB_TYPE, offsetof(PyObject, ob_type));
SAME(ISAN__OB_SIZE, offsetof(PyVarObject, ob_size));
SAME(ISAN__OB_HEAD, sizeof(PyObject));
SAME(offsetof(struct _dictkeysobject, dk_indices), ISAN__DK_INDICES);
SAME(offsetof(struct _dictkeysobject, dk_refcnt), 0);
SAME(offsetof(struct _dictkeysobject, dk_log2_index_bytes), 9);
SAME(offsetof(struct _dictkeysobject, dk_kind), 10);
SAME(offsetof(struct _dictkeysobject, dk_nentries), 24);
SAME(DICT_KEYS_GENERAL, ISAN__DK_GENERAL);
SAME(DICT_KEYS_SPLIT, ISAN__DK_SPLIT);
SAME(sizeof(PyDictKeyEntry), 24);
SAME(offsetof(PyDictKeyEntry, me_key), 8);
SAME(sizeof(PyDictUnicodeEntry), 16);
SAME(offsetof(PyDictUnicodeEntry, me_key), 0);
SAME(offsetof(PyListObject, ob_item), ISAN__LIST_ITEMS);
SAME(offsetof(PyDictObject, ma_values), ISAN__MA_VALUES);
SAME(offsetof(PySetObject, table), ISAN__SET_TABLE);
SAME(offsetof(PySetObject, smalltable), ISAN__SET_SMALL);
SAME(offsetof(PySetObject, smalltable) + sizeof(((PySetObject *)0)->smalltable), ISAN__SET_SMALL_END);
SAME(sizeof(setentry), ISAN__SET_ENTRY);
SAME(offsetof(PyWeakReference, wr_object), ISAN__WR_OBJECT);
SAME(offsetof(PyWeakReference, wr_prev), ISAN__WR_PREV);
SAME(offsetof(PyWeakReference, wr_next), ISAN__WR_NEXT);
SAME(offsetof(PyModuleDef_Base, m_copy), ISAN__M_COPY);
SAME(offsetof(PyModuleDef, m_slots), ISAN__M_SLOTS);
SAME(offsetof(PyDescrObject, d_type), ISAN__D_TYPE);
SAME(offsetof(PyCFunctionObject, m_self), ISAN__M_SELF);
SAME(offsetof(struct _PyArg_Parser, keywords), ISAN__ARG_PARSER_KEYWORDS);
SAME(offsetof(struct _PyArg_Parser, kwtuple), arg_parser_kwtuple);
SAME(offsetof(PyTupleObject, ob_item), tuple_items);
SAME(offsetof(PyHeapTypeObject, ht_cached_keys), type_cached_keys);
SAME(offsetof(struct _dictvalues, values), values_header);
SAME(sizeof(PyCompactUnicodeObject) - sizeof(PyASCIIObject), unicode_header);
#if PY_VERSION_HEX < 0x030c0000
SAME(sizeof(PyObject *) * -4, values_pointer);
#elif PY_VERSION_HEX < 0x030d0000
SAME(MANAGED_DICT_OFFSET, values_pointer);
#endif
#ifdef Py_mod_multiple_interpreters
SAME(has_interpreters_slot, 1);
#else
SAME(has_interpreters_slot, 0);
#endif
#ifdef _Py_IMMORTAL_REFCNT
SAME(has_immortals, 1);
#endif
#if PY_VERSION_HEX >= 0x030c0000
SAME(ISAN__TYPE_STATIC_BUILTIN, _Py_TPFLAGS_STATIC_BUILTIN);
SAME(offsetof(PyLongObject, long_value.lv_tag), ISAN__LV_TAG);
SAME(offsetof(PyLongObject, long_value.ob_digit), ISAN__LV_DIGIT);
SAME(SSTATE_INTERNED_IMMORTAL, ISAN__STR_INTERNED_IMMORTAL);
#endif
#if PY_VERSION_HEX >= 0x030d0000
SAME(ISAN__TYPE_INLINE_VALUES, Py_TPFLAGS_INLINE_VALUES);
SAME(offsetof(struct _dictvalues, capacity), ISAN__VALUES_CAPACITY);
SAME(offsetof(struct _dictvalues, valid), ISAN__VALUES_VALID);
#endif
"""


def check_shared(python, directory):
    """Members at the same offset in all releases, and the facts of releases.inc."""
    version = version_of(python)
    column = version[1] - 11
    constants = [(name, values[column]) for name, values in facts().items()]
    source = directory / "shared.c"
    source.write_text(SHARED.replace("LAYOUT_HEADER", tree.LAYOUT_HEADER).replace("#define SAME", "".join("#define %s %s\n" % constant for constant in constants)
                                     + "#define SAME", 1))
    includes, _ = locations(python)
    done = subprocess.run(["gcc", "-w", "-fsyntax-only", f"-I{tree.ROOT}", f"-I{tree.INCLUDE}",
                           *(f"-I{path}" for path in includes), *(f"-I{path}/internal" for path in includes), source],
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
