"""Sends raw frames from many network namespaces and reports the packets that arrive in each, in one process.

Usage: stations.py    a request a line on stdin, the answer a line on stdout, JSON both:
  {"add": NAME, "netns": PATH or null, "link": LINK or null, "listen": [PORT, ...]}    -> {}
      With a link, the station sends frames out of it and hears those that come in by it. Without one, it sends whole
      IP packets as a program of the namespace does, and hears those that the namespace took for its own. It listens on
      these TCP ports and accepts nothing, because some clients check if anybody listens before they connect.
  {"send": [[NAME, HEX], ...]}                                  -> {}
  {"heard": true}                                               -> {"tokens": {NAME: [n, ...]}, "segments": {...}}
      Returns what was heard since the last time: tokens, which are MAGIC and a number anywhere in a packet, and the
      destination of TCP segments that begin a connection, as "ADDRESS PORT". An earlier connection may still end
      meanwhile.

Guarantees: frames leave in the order given. A packet on its way on the same machine has arrived before an answer to
`heard`, unless it waits for another process or for a neighbour to be found. Limits: setns(2) and packet(7) need root.
"""
import ctypes
import json
import os
import re
import selectors
import socket
import struct
import sys

CLONE_NEWNET = 0x40000000  # linux/sched.h
ETH_P_ALL = 3  # linux/if_ether.h
PACKET_OTHERHOST = 3  # linux/if_packet.h; above it are frames that leave
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
IPV6_RECVPKTINFO = 49  # linux/in6.h
IPV6_PKTINFO = 50
ICMP_UNREACHABLE = 3  # RFC 792
ICMPV6_UNREACHABLE = 1  # RFC 4443
BUFFER = 64 << 20
SYN, ACK = 0x02, 0x10  # flags of a TCP header (RFC 9293)
QUIET_S = 0.02
TOKEN = re.compile(b"CLT!(....)", re.DOTALL)
LIBC = ctypes.CDLL(None, use_errno=True)
HOME = os.open("/proc/self/ns/net", os.O_RDONLY)
# TCP, UDP, SCTP and the ICMP of the family; the kernel gives a copy after its own input hooks.
PROTOCOLS = {socket.AF_INET: (1, 6, 17, 132), socket.AF_INET6: (58, 6, 17, 132)}


def enter(descriptor):
    if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Station:
    def __init__(self, name, link, ports):
        self.name = name
        self.tokens = set()
        self.segments = set()
        self.sockets = []
        self.servers = [socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True) for port in ports]
        if link is not None:
            self.out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.out.bind((link, ETH_P_ALL))
            self.hear(self.out, self.frame)
            return
        self.out = None
        self.raw = {
            4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
            6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
        }
        for family, protocols in PROTOCOLS.items():
            for protocol in protocols:
                ear = socket.socket(family, socket.SOCK_RAW, protocol)
                if family == socket.AF_INET6:
                    ear.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
                    self.hear(ear, {6: self.packet6, 58: self.message6}.get(protocol, self.packet))
                else:
                    self.hear(ear, {1: self.message4, 6: self.packet4}.get(protocol, self.packet))

    def hear(self, ear, read):
        ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        ear.setblocking(False)
        self.sockets.append((ear, read))

    def send(self, data):
        try:
            if self.out is not None:
                self.out.send(data)
            elif data[0] >> 4 == 4:
                self.raw[4].sendto(data, (socket.inet_ntop(socket.AF_INET, data[16:20]), 0))
            else:
                self.raw[6].sendto(data, (socket.inet_ntop(socket.AF_INET6, data[24:40]), 0))
        except OSError:
            pass  # a refusal at once (EPERM, ENETUNREACH): nothing arrives

    def note(self, data):
        for token in TOKEN.findall(data):
            self.tokens.add(struct.unpack("!I", token)[0])

    def segment(self, family, address, header):
        if len(header) < 14 or header[13] & (SYN | ACK) != SYN:
            return
        port = header[2:4]
        self.segments.add(f"{socket.inet_ntop(family, address)} {struct.unpack('!H', port)[0]}")

    def frame(self, ear):
        data, about = ear.recvfrom(65536)
        if about[2] >= PACKET_OTHERHOST:
            return
        self.note(data)
        kind = data[12:14]
        if kind == b"\x08\x00" and data[23] == 6:
            self.segment(socket.AF_INET, data[30:34], data[34:])
        elif kind == b"\x86\xdd" and data[20] == 6:
            self.segment(socket.AF_INET6, data[38:54], data[54:])

    def packet(self, ear):
        self.note(ear.recv(65536))

    # When a program of the host is refused, the host itself reports that, with a copy of the packet. That copy is not a
    # packet that has arrived.
    def message4(self, ear):
        data, sender = ear.recvfrom(65536)
        if not (data[(data[0] & 15) * 4] == ICMP_UNREACHABLE and self.is_ours(socket.AF_INET, sender)):
            self.note(data)

    def message6(self, ear):
        data, sender = ear.recvfrom(65536)
        if not (data[0] == ICMPV6_UNREACHABLE and self.is_ours(socket.AF_INET6, sender)):
            self.note(data)

    def is_ours(self, family, sender):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((sender[0], 0, *sender[2:]))  # with the scope of a link-local address
            except OSError:
                return False
        return True

    def packet4(self, ear):
        data = ear.recv(65536)
        self.note(data)
        head = (data[0] & 15) * 4
        self.segment(socket.AF_INET, data[16:20], data[head:])

    def packet6(self, ear):
        data, about, _flags, _from = ear.recvmsg(65536, 64)
        self.note(data)
        for level, kind, value in about:
            if level == socket.IPPROTO_IPV6 and kind == IPV6_PKTINFO:
                self.segment(socket.AF_INET6, value[:16], data)


def main():
    stations = {}
    ears = selectors.DefaultSelector()

    def listen(patience):
        while True:
            ready = ears.select(patience)
            if not ready:
                return
            for key, _ in ready:
                read = key.data
                try:
                    for _ in range(1000):
                        read(key.fileobj)
                except BlockingIOError:
                    pass
                except OSError:
                    pass  # an ICMP error for something that this socket sent

    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        if "add" in request:
            if request["netns"] is not None:
                there = os.open(request["netns"], os.O_RDONLY)
                enter(there)
                os.close(there)
            station = Station(request["add"], request["link"], request["listen"])
            enter(HOME)
            stations[request["add"]] = station
            for ear, read in station.sockets:
                ears.register(ear, selectors.EVENT_READ, read)
        elif "send" in request:
            for number, (name, data) in enumerate(request["send"]):
                stations[name].send(bytes.fromhex(data))
                if number % 64 == 63:
                    listen(0)
        else:
            listen(QUIET_S)
            answer = {
                "tokens": {name: sorted(station.tokens) for name, station in stations.items()},
                "segments": {name: sorted(station.segments) for name, station in stations.items()},
            }
            for station in stations.values():
                station.tokens.clear()
                station.segments.clear()
        print(json.dumps(answer), flush=True)


main()
