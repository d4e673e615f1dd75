"""What runtime/python.c says of the layout of 3.11 and 3.12 (later ones tell it themselves), against their headers."""
import re
import subprocess

from ext.build import locations

# Name in struct isan__python -> expression over the internal headers.
LAYOUT = {
    "interp_id": "offsetof(PyInterpreterState, id)",
    "interp_gil": "offsetof(PyInterpreterState, ceval.gil)",            # 3.11: the runtime's
    "interp_finalizing": "offsetof(PyInterpreterState, FINALIZING)",
    "ts_interp": "offsetof(PyThreadState, interp)",
    "ts_frame": "offsetof(PyThreadState, cframe)",
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
# Set apart from the table, by release.
APART = {
    "cframe_frame": "offsetof(_PyCFrame, current_frame)",
    "unicode_header": "sizeof(PyCompactUnicodeObject) - sizeof(PyASCIIObject)",
}
APART_311 = {
    "frame_is_entry": "offsetof(_PyInterpreterFrame, is_entry)",
    "runtime_finalizing": "offsetof(struct pyruntimestate, _finalizing)",
    "thread_id": "offsetof(PyThreadState, thread_id)",
}


def said(root):
    """(table, text): name -> numbers for 3.11 and 3.12, and the source."""
    text = open(f"{root}/runtime/python.c", encoding="utf-8").read()
    rows = re.findall(r"\{ &isan__py\.(\w+),\s*\{\s*(\d+),\s*(\d+),\s*\d+,\s*\d+ \} \}", text)
    return {name: (int(v311), int(v312)) for name, v311, v312 in rows}, text


def measured(python, version, tmp_path):
    expressions = {**LAYOUT, **APART}
    if version == (3, 11):
        expressions.update(APART_311)
        del expressions["interp_gil"]
    lines = "\n".join(f'    printf("{name} %zu\\n", (size_t)({expression}));' for name, expression in expressions.items())
    finalizing = "finalizing" if version == (3, 11) else "_finalizing"
    source = tmp_path / "layout.c"
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
                    "-o", tmp_path / "layout", source], check=True)
    printed = subprocess.run([tmp_path / "layout"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {name: int(number) for name, number in (line.split() for line in printed.splitlines())}


def test_layout(stock, root, tmp_path):
    table, text = said(root)
    assert set(table) == set(LAYOUT)
    if stock.hexversion >= (3, 13):
        # Nothing is written down but that `_finalizing` is 16 bytes before `gc`.
        source = tmp_path / "layout.c"
        source.write_text("""
#define Py_BUILD_CORE 1
#include <Python.h>
#include <internal/pycore_interp.h>
#include <stddef.h>
_Static_assert(offsetof(PyInterpreterState, gc) - offsetof(PyInterpreterState, _finalizing) == 16, "moved");
""")
        includes, _ = locations(stock.python)
        assert "isan__py.interp_finalizing -= 16;" in text
        subprocess.run(["gcc", "-w", "-fsyntax-only", *(f"-I{path}" for path in includes),
                        *(f"-I{path}/internal" for path in includes), source], check=True)
        return
    of = measured(stock.python, stock.hexversion, tmp_path)
    column = stock.hexversion[1] - 11
    for name in LAYOUT:
        assert table[name][column] == of.get(name, 0), name
    for name in {**APART, **(APART_311 if column == 0 else {})}:
        pattern = {"cframe_frame": r"cframe_frame = v == V311 \? (\d+) : (\d+);",
                   "unicode_header": r"unicode_header = v == V311 \? (\d+) : (\d+);",
                   "frame_is_entry": r"frame_is_entry = v == V311 \? (\d+) : (\d+);",
                   "runtime_finalizing": r"runtime_finalizing = v == V311 \? (\d+) : (\d+);"}.get(name)
        if pattern:
            assert int(re.search(pattern, text)[column + 1]) == of[name], name
    if column == 0:
        stock_c = open(f"{root}/hooks/stock.c", encoding="utf-8").read()
        assert int(re.search(r"THREAD_ID = (\d+)", stock_c)[1]) == of["thread_id"]
