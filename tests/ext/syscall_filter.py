"""Filters of system calls, for tests and for the programs that they run."""
import ctypes
import os
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
ALLOW, KILL, FAIL = 0x7fff0000, 0x80000000, 0x00050001      # linux/seccomp.h; FAIL: with EPERM


def filter_call(number, action):
    """Install a seccomp(2) filter with this action for one system call of x86-64, by its number; all others pass."""
    PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in (
        (0x20, 0, 0, 0),                                # load the number of the call (linux/bpf_common.h)
        (0x15, 1, 0, number),                           # if it is that one, skip the next
        (0x06, 0, 0, ALLOW), (0x06, 0, 0, action)))
    kept = ctypes.create_string_buffer(program)
    rules = struct.pack("HP", len(program) // 8, ctypes.addressof(kept))
    for what in (PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, MODE_FILTER, rules):
        assert LIBC.prctl(*what, 0, 0) == 0, os.strerror(ctypes.get_errno())
