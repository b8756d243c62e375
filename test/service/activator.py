"""A supervisor with one socket, for socket-activation.test.ts.

usage: activator.py PATH KIND COMMAND...

Binds PATH, and waits for a connection; then starts COMMAND with the socket as descriptor 3 (sd_listen_fds(3)), waits for
its end, and begins again, as systemd does with a .socket unit. KIND: stream, or what a daemon cannot use: datagram, quiet
(does not listen), internet, abstract; those start it once, at once.
"""
import os
import select
import socket
import sys

path, kind, *command = sys.argv[1:]
family = socket.AF_INET if kind == "internet" else socket.AF_UNIX
sock = socket.socket(family, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
# It gets its name when it listens already, so that whoever finds it can connect.
sock.bind(("127.0.0.1", 0) if kind == "internet" else "\0" + path if kind == "abstract" else path + ".new")
if kind in ("stream", "internet", "abstract"):
    sock.listen(16)
if kind not in ("internet", "abstract"):
    os.rename(path + ".new", path)
while True:
    if kind == "stream":
        select.select([sock], [], [])
    pid = os.fork()
    if pid == 0:
        os.dup2(sock.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="cleat.socket")
        os.execvp(command[0], command)
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    if kind != "stream":
        sys.exit(os.waitstatus_to_exitcode(status))
