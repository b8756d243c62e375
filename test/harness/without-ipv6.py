"""
Runs a program as if the kernel had no IPv6 (ipv6.disable=1): socket(AF_INET6) fails with EAFNOSUPPORT, for the program
and for all that it starts. `without-ipv6.py PROGRAM ARGUMENT...`

Guarantees: a filter of seccomp(2) does this, which nothing can remove; every other system call goes to the kernel.
Limits: /proc and netlink still show IPv6. As root; x86-64 and arm64.
"""
import ctypes
import errno
import os
import platform
import socket
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARGUMENT_AT = 0, 16  # struct seccomp_data
SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]

rules = [
    (LOAD, 0, 0, NUMBER_AT),
    (EQUALS, 0, 3, SOCKET),
    (LOAD, 0, 0, ARGUMENT_AT),
    (EQUALS, 0, 1, socket.AF_INET6),
    (RETURN, 0, 0, ERRNO | errno.EAFNOSUPPORT),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) != 0:
    raise OSError(ctypes.get_errno(), "prctl")
os.execvp(sys.argv[1], sys.argv[1:])
