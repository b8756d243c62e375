"""Sends one ICMP echo request to an address, by the packet's whole size, and waits for the answer.

    ping.py ADDRESS [SIZE [SOURCE [SECONDS]]]

Exits with 0 if an answer comes within the time (1 second). Never fragments. SOURCE may be any address of the namespace.
"""
import os
import socket
import struct
import sys
import time

address = sys.argv[1]
size = int(sys.argv[2]) if len(sys.argv) > 2 else 60
source = sys.argv[3] if len(sys.argv) > 3 else ''
patience = float(sys.argv[4]) if len(sys.argv) > 4 else 1.0
v6 = ':' in address


def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


if v6:
    channel = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.getprotobyname('ipv6-icmp'))
    channel.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO
    request, answer, header = 128, 129, 0
else:
    channel = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    channel.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    request, answer, header = 8, 0, 20
if source:
    channel.bind((source, 0))
mark = os.urandom(8)
payload = mark + bytes((size - (40 if v6 else 20) - 8 - len(mark)) // 2 * 2)
identifier = os.getpid() & 0xFFFF
packet = struct.pack('!BBHHH', request, 0, 0, identifier, 1) + payload
if not v6:
    packet = packet[:2] + struct.pack('!H', checksum(packet)) + packet[4:]
try:
    channel.sendto(packet, (address, 0))
except OSError as error:
    sys.exit(f'{address}: {error}')
deadline = time.monotonic() + patience
while time.monotonic() < deadline:
    channel.settimeout(max(0.001, deadline - time.monotonic()))
    try:
        data, _ = channel.recvfrom(65536)
    except OSError:
        continue
    if data[header] == answer and mark in data:
        sys.exit(0)
sys.exit(1)
