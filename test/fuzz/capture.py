"""Writes the kernel's netlink messages into DIRECTORY, one datagram a file: seeds of the fuzz targets.

For: rtnl, nft-dump, nft-transaction, conntrack, each a folder of DIRECTORY. The caller decides what there is to
capture: dumps show what is there now, announcements what COMMAND does.
Guarantees: nothing is changed but by COMMAND; every dump is read to its end. Limits: the network namespace it runs in.

Usage: capture.py DIRECTORY COMMAND...
"""

import json
import os
import socket
import struct
import subprocess
import sys

ROUTE, NETFILTER = 0, 12
DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
DONE = 3
INET = 1  # NFPROTO_INET
NFT, CONNTRACK = 10 << 8, 1 << 8
SET_TABLE, SET_NAME = 1, 2  # NFTA_SET_ELEM_LIST_*, too


def open_socket(protocol, groups=0):
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    netlink.bind((0, groups))
    netlink.settimeout(0.3)
    return netlink


def write(folder, datagrams):
    os.makedirs(folder, exist_ok=True)
    for number, datagram in enumerate(datagrams):
        with open(os.path.join(folder, f'{len(os.listdir(folder))}-{number}'), 'wb') as file:
            file.write(datagram)


def datagrams(netlink):
    """Yields datagrams until none comes or a dump is done."""
    try:
        while True:
            datagram = netlink.recv(1 << 16)
            yield datagram
            if struct.unpack_from('=H', datagram, 4)[0] == DONE:
                return
    except TimeoutError:
        return


def dump(protocol, kind, body):
    netlink = open_socket(protocol)
    netlink.send(struct.pack('=IHHII', 16 + len(body), kind, DUMP, 1, 0) + body)
    return list(datagrams(netlink))


def text(kind, value):
    value = value.encode() + b'\0'
    return struct.pack('=HH', 4 + len(value), kind) + value + b'\0' * (-len(value) % 4)


def main(directory, command):
    def to(target, found):
        write(os.path.join(directory, target), found)

    announced = open_socket(ROUTE, 0x1 | 0x10 | 0x40 | 0x100 | 0x400)  # links, addresses and routes of both families
    transactions = open_socket(NETFILTER, 1 << 6)  # NFNLGRP_NFTABLES
    subprocess.run(command, check=True)
    to('rtnl', datagrams(announced))
    to('nft-transaction', [b''.join(datagrams(transactions))])

    for kind, header in ((18, 16), (22, 8), (26, 12), (30, 12)):  # RTM_GETLINK, GETADDR, GETROUTE, GETNEIGH
        to('rtnl', dump(ROUTE, kind, bytes(header)))
    family = struct.pack('=BBH', INET, 0, 0)
    for kind in (1, 4, 7, 10):  # NFT_MSG_GETTABLE, GETCHAIN, GETRULE, GETSET
        to('nft-dump', dump(NETFILTER, NFT | kind, family))
    sets = subprocess.run(['nft', '-j', 'list', 'sets', 'inet'], check=True, capture_output=True, text=True).stdout
    maps = subprocess.run(['nft', '-j', 'list', 'maps', 'inet'], check=True, capture_output=True, text=True).stdout
    for listed in json.loads(sets)['nftables'] + json.loads(maps)['nftables']:
        found = listed.get('set') or listed.get('map')
        if found is None:
            continue
        of = text(SET_TABLE, found['table']) + text(SET_NAME, found['name'])
        to('nft-dump', dump(NETFILTER, NFT | 13, family + of))  # NFT_MSG_GETSETELEM
    to('conntrack', dump(NETFILTER, CONNTRACK | 1, bytes(4)))  # IPCTNL_MSG_CT_GET


main(sys.argv[1], sys.argv[2:])
