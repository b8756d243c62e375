"""
Runs a program for which the kernel refuses a system call, and for all that it starts:
`refusing.py CALL N WHICH ERRNO PROGRAM ARGUMENT...`. Only calls are refused whose argument N (from 0) has a flag (`has:0x20000`) or is
a number (`is:10`); or `all`.

Guarantees: a filter of seccomp(2) does this, which nothing can remove; every other system call goes to the kernel.
Limits: as root, so that programs keep the rights that their files give them; x86-64 and arm64.
"""
import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, EQUALS, ANY_OF, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER_AT, ARGUMENTS_AT = 0, 16  # struct seccomp_data
CALLS = {
    "x86_64": {"unshare": 272, "setxattr": 188, "flock": 73, "socket": 41},
    "aarch64": {"unshare": 97, "setxattr": 5, "flock": 32, "socket": 198},
}

call, argument = CALLS[platform.machine()][sys.argv[1]], int(sys.argv[2])
(how, _, value), error = sys.argv[3].partition(":"), getattr(errno, sys.argv[4])
about = [] if how == "all" else [
    (LOAD, 0, 0, ARGUMENTS_AT + 8 * argument),
    ({"has": ANY_OF, "is": EQUALS}[how], 0, 1, int(value, 0)),
]
rules = [
    (LOAD, 0, 0, NUMBER_AT),
    (EQUALS, 0, len(about) + 1, call),
    *about,
    (RETURN, 0, 0, ERRNO | error),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) != 0:
    raise OSError(ctypes.get_errno(), "prctl")
os.execvp(sys.argv[5], sys.argv[5:])
