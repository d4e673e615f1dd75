"""The decoder of x86-64 instructions, compared with objdump."""
import subprocess
import sys

from ext.build import build
from helpers import tree


DECODE = r"""
#include <stdio.h>
#include "X86_DECODE_HEADER"
int main(void)
{
    char line[64];
    while (scanf("%63s", line) == 1) {
        uint8_t bytes[48];
        size_t n = strlen(line) / 2;
        struct isan__x86 x;
        memset(bytes, 0x90, sizeof bytes);
        for (size_t i = 0; i < n; i++) {
            sscanf(line + 2 * i, "%2hhx", &bytes[i]);
        }
        if (!isan__x86_decode(&x, bytes, bytes + sizeof bytes) || x.length != n) {
            printf("%s\n", line);
        }
    }
}
"""


def test_decoder(root, tmp_path):
    """The lengths of more than 10,000 instructions of the Python executable and an extension."""
    program = tmp_path / "decode"
    (tmp_path / "decode.c").write_text(DECODE.replace("X86_DECODE_HEADER", tree.X86_DECODE_HEADER))
    subprocess.run(["gcc", "-I", root, "-I", tree.INCLUDE, "-o", program, tmp_path / "decode.c", tree.X86_DECODE],
                   check=True)
    code = subprocess.run(["objdump", "-d", "--insn-width=16", build("keepers.c", sys.executable, tmp_path), sys.executable],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    wanted = {"".join(fields[1].split()) for fields in (line.split("\t") for line in code.splitlines()) if len(fields) == 3}
    assert len(wanted) > 10000
    done = subprocess.run([program], input="\n".join(wanted), stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == ""
