"""A terminal for a test: runs a command in a pseudo terminal (pty(7)) and keeps the screen that it draws.

Usage: terminal.py ROWS COLUMNS COMMAND...

Reads one JSON object a line, and answers each with one:
  {"keys": TEXT}            types TEXT
  {"size": [ROWS, COLUMNS]} changes the size, as a window manager does
  {"look": true}            answers with the screen, and what has been written since the last look
  {"signal": NUMBER}        sends the command a signal
  {"wait": true}            answers when the command has ended

The answer: {"screen": lines, "alternate": bool, "cursor": bool, "wrap": bool, "raw": bool, "written": text, "ended": exit
status or null, "stopped": bool}

Guarantees: obeys the sequences that cleat writes, and nothing else; one that it does not know ends the test with its name.
Limits: a character is one column wide. Colours are not kept.
"""
import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios

SEQUENCE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])")


class Terminal:
    def __init__(self, rows, columns):
        self.cursor = True
        self.wrap = True
        self.alternate = False
        self.at = [0, 0]
        self.size = (rows, columns)
        self.screens = {False: self.blank(), True: self.blank()}
        self.pending = ""

    def blank(self):
        rows, columns = self.size
        return [[" "] * columns for _ in range(rows)]

    def resize(self, rows, columns):
        self.size = (rows, columns)
        for name, old in self.screens.items():
            new = self.blank()
            for r, line in enumerate(old[:rows]):
                new[r][: min(columns, len(line))] = line[:columns]
            self.screens[name] = new
        self.at = [min(self.at[0], rows - 1), min(self.at[1], columns - 1)]

    def feed(self, text):
        text = self.pending + text
        self.pending = ""
        while text:
            if text[0] == "\x1b":
                found = SEQUENCE.match(text)
                if found is None:
                    if len(text) < 16:
                        self.pending = text
                        return
                    raise SystemExit(f"unknown sequence {text[:16]!r}")
                self.obey(found[1], found[2], found[3])
                text = text[found.end():]
            else:
                self.put(text[0])
                text = text[1:]

    def obey(self, private, numbers, letter):
        if private:
            on = letter == "h"
            if numbers == "1049":
                self.alternate = on
                if on:
                    self.screens[True] = self.blank()
            elif numbers == "25":
                self.cursor = on
            elif numbers == "7":
                self.wrap = on
            else:
                raise SystemExit(f"unknown mode {numbers}")
            return
        screen = self.screens[self.alternate]
        given = [int(n or 0) for n in numbers.split(";")]
        if letter == "H":
            row, column = (given + [1, 1])[:2] if numbers else (1, 1)
            self.at = [min(max(row, 1), self.size[0]) - 1, min(max(column, 1), self.size[1]) - 1]
        elif letter == "K":
            row, column = self.at
            screen[row][column:] = [" "] * (self.size[1] - column)
        elif letter == "J":
            self.screens[self.alternate] = self.blank()
        elif letter != "m":
            raise SystemExit(f"unknown sequence ESC [ {numbers} {letter}")

    def put(self, character):
        rows, columns = self.size
        screen = self.screens[self.alternate]
        if character == "\r":
            self.at[1] = 0
        elif character == "\n":
            if self.at[0] == rows - 1:
                screen.pop(0)
                screen.append([" "] * columns)
            else:
                self.at[0] += 1
        elif character < " " or "\x7f" <= character < "\xa0":
            raise SystemExit(f"unknown control character {character!r}")
        else:
            row, column = self.at
            screen[row][min(column, columns - 1)] = character
            if column < columns - 1:
                self.at[1] = column + 1
            elif self.wrap:
                self.put("\r")
                self.put("\n")

    def lines(self):
        return ["".join(line).rstrip() for line in self.screens[self.alternate]]


def set_size(descriptor, rows, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def shell(report, command):
    """Runs the command as a shell runs a job: a process group that nobody watches over could not be stopped (Ctrl-Z)."""
    child = os.fork()
    if child == 0:
        os.close(report)
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execvp(command[0], command)
    os.write(report, f"pid {child}\n".encode())
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.write(report, b"stopped 1\n")
        else:
            os.write(report, f"ended {os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)


def main():
    rows, columns = int(sys.argv[1]), int(sys.argv[2])
    reports, report = os.pipe()
    leader, master = pty.fork()
    if leader == 0:
        os.close(reports)
        set_size(0, rows, columns)
        shell(report, sys.argv[3:])
    os.close(report)
    terminal = Terminal(rows, columns)
    known = {"pid": None, "stopped": 0, "ended": None}
    decoder = codecs.getincrementaldecoder("utf-8")()
    written, waiting, orders, opened = "", False, b"", True
    sources = {0, master, reports}
    while True:
        ready, _, _ = select.select(list(sources), [], [])
        if master in ready:
            try:
                data = os.read(master, 65536)
            except OSError:
                data = b""
            if data:
                text = decoder.decode(data)
                terminal.feed(text)
                written += text
            else:
                opened = False
                sources.discard(master)
        if reports in ready:
            data = os.read(reports, 65536)
            if not data:
                sources.discard(reports)
            for line in data.decode().splitlines():
                word, value = line.split()
                known[word] = int(value)
        if waiting and known["ended"] is not None and not opened:
            waiting = False
            answer(terminal, master, written, known, opened)
        if 0 not in ready:
            continue
        data = os.read(0, 65536)
        if not data:
            if known["ended"] is None and known["pid"] is not None:
                os.kill(known["pid"], signal.SIGKILL)
            return
        orders += data
        while b"\n" in orders:
            line, orders = orders.split(b"\n", 1)
            order = json.loads(line)
            if "keys" in order:
                os.write(master, order["keys"].encode())
            if "size" in order:
                terminal.resize(*order["size"])
                set_size(master, *order["size"])
            if "signal" in order:
                known["stopped"] = 0
                os.kill(known["pid"], order["signal"])
            if "wait" in order:
                waiting = known["ended"] is None or opened
                if waiting:
                    continue
            answer(terminal, master, written, known, opened)
            if "look" in order:
                written = ""


def answer(terminal, master, written, known, opened):
    raw = opened and not termios.tcgetattr(master)[3] & termios.ICANON
    print(
        json.dumps(
            {
                "screen": terminal.lines(),
                "alternate": terminal.alternate,
                "cursor": terminal.cursor,
                "wrap": terminal.wrap,
                "raw": bool(raw),
                "written": written,
                "ended": known["ended"],
                "stopped": known["stopped"] == 1,
            }
        ),
        flush=True,
    )


main()
