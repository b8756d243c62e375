"""UDP echo servers in many network namespaces at once, in one process.

Usage: echo.py PORT < paths    the number of paths, then one namespace path a line; prints "ready" when all listen, and
serves until stdin closes.

Guarantees: a datagram is sent back unchanged, from the address it was sent to.
Limits: IPv4; setns(2) needs CAP_SYS_ADMIN.
"""
import ctypes
import os
import selectors
import socket
import sys

CLONE_NEWNET = 0x40000000  # linux/sched.h
LIBC = ctypes.CDLL(None, use_errno=True)


def enter(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


def main():
    port = int(sys.argv[1])
    ready = selectors.DefaultSelector()
    count = int(sys.stdin.readline())
    for _ in range(count):
        enter(sys.stdin.readline().rstrip("\n"))
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("0.0.0.0", port))
        ready.register(server, selectors.EVENT_READ)
    ready.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj is sys.stdin:
                return
            data, sender = key.fileobj.recvfrom(2048)
            key.fileobj.sendto(data, sender)


main()
