// slow: 30 s, thirty-two uplinks are started and asked for names
/**
 * Names behind slirp4netns and pasta. Whatever servers the host queries, on its loopback, on the address that pasta
 * copies, on the LAN, in one family or in both: each server in the container's resolv.conf answers, and there is one if
 * that is possible.
 */
import { execFileSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pathOf, type CreateOptions } from '../harness/daemon.ts';
import { withAgents } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { HOST, LAN, SLIRP, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const HOST6 = '2001:db8:2::1';
const LAN6 = '2001:db8:2::2';

const names = suite('names behind uplinks');
const { daemon, lan } = await wayOut(names);
const servers: Socket[] = [];

/** A stand-in for a name server: it answers every query. */
async function answering(address: string): Promise<void> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  servers.push(socket);
  socket.on('message', (_, { port, address: client }) => socket.send('an answer', port, client));
  socket.bind(53, address);
  await once(socket, 'listening');
}

names.before(async () => {
  execFileSync('ip', ['-batch', '-'], {
    input: `link set lo up
      addr add ${HOST6}/64 dev lan0 nodad
      route add default via ${LAN6}\n`,
  });
  execFileSync('ip', ['-n', 'lan', 'addr', 'add', `${LAN6}/64`, 'dev', 'eth0', 'nodad']);
  for (const address of ['127.0.0.1', '127.0.0.53', '::1', HOST, HOST6]) await answering(address);
  await lan.serve('lan', 'udp', 53);
});
names.after(() => {
  for (const server of servers) server.close();
});

const WAYS: [what: string, create: CreateOptions, families: (4 | 6)[]][] = [
  ['slirp4netns', { uplink: SLIRP }, [4]],
  ['slirp4netns with IPv6', { uplink: { ...SLIRP, options: ['enable_ipv6=true'] } }, [4, 6]],
  ['pasta', { uplink: { program: 'pasta' } }, [4, 6]],
  ['pasta with IPv6 alone', { uplink: { program: 'pasta', options: ['--ipv6-only'] } }, [6]],
];
const HOSTS = [['127.0.0.1'], ['127.0.0.53'], ['::1'], [HOST], [HOST6], [LAN], [LAN6], ['::1', '127.0.0.1']];
for (const host of HOSTS) {
  names(`the host queries ${host.join(' and ')}`, async () => {
    writeFileSync('/etc/resolv.conf', host.map((server) => `nameserver ${server}\n`).join(''));
    const ids = await Promise.all(
      WAYS.map(async ([what, create, families], i) => {
        const id = `a${i}`;
        const up = await daemon.up(id, { ...create, files: true });
        const told =
          readFileSync(`${daemon.runDir}/etc/${id}/resolv.conf`, 'utf8').match(/(?<=^nameserver ).*$/gm) ?? [];
        const possible = host.some((server) => families.includes(server.includes(':') ? 6 : 4));
        assert.is(told.length > 0, possible, `${what} is told: ${told.join()}`);
        await withAgents([pathOf(up)], async (inside) => {
          for (const server of told) {
            const answer = await inside.dial('udp', server, 53, 2000);
            assert.match(answer, /^(an answer|lan .*)$/, `${what}: ${server} does not answer`);
          }
        });
        return id;
      }),
    );
    await daemon.down(...ids);
  });
}

names.run();
