/**
 * Answers that are not the kernel's: a process with CAP_NET_ADMIN in a namespace can write to the netlink sockets in
 * it.
 *
 * A user who brings an outside namespace of their own has that capability there, and the daemon's nfnetlink socket lies
 * in it.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const NETLINK_NETFILTER = 12;
const TABLE = 'ours';

/** Sends to a port, for each of the next sequence numbers, an NLMSG_ERROR with an errno (0: success). */
const FORGER = `
import socket, struct, sys
forger = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ${NETLINK_NETFILTER})
for number in range(100):
    forger.sendto(struct.pack('=IHHIIi', 20, 2, 0, number, 0, -int(sys.argv[2])), (int(sys.argv[1]), 0))
`;

/** Answers everything that this process may next request from nfnetlink. */
function forge(errno: number): void {
  const ports = readFileSync('/proc/self/net/netlink', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/)) // sk Eth Pid ... (netlink_native_seq_show); the kernel's own are Pid 0
    .filter(([, protocol, port]) => protocol === String(NETLINK_NETFILTER) && port !== '0')
    .map(([, , port]) => port ?? '');
  assert.ok(ports.length > 0, 'nobody to forge answers to');
  for (const port of ports) execFileSync('python3', ['-c', FORGER, port, String(errno)]);
}

test('a forged success does not hide what is in a table', async () => {
  const outside = openOutside();
  await outside.nft([
    { op: 'table.add', table: TABLE },
    { op: 'chain.add', table: TABLE, chain: 'rules' },
  ]);
  const before = await outside.nftTable('inet', TABLE);
  assert.is(before?.chains.length, 1);
  forge(0);
  assert.equal(await outside.nftTable('inet', TABLE), before);
});

test('a forged refusal does not undo a transaction that was made', async () => {
  const outside = openOutside();
  await outside.nft([{ op: 'table.add', table: TABLE }]);
  forge(1);
  await outside.nft([{ op: 'chain.add', table: TABLE, chain: 'more' }]);
});

test.run();
