/**
 * pasta as the way out of a container, with the real program: the link and the addresses that the container gets, the
 * ports that lead in, and that nothing is left when it is removed.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findUplink } from '../../effects/uplinks/uplink-keeper.ts';
import { uplinkFile } from '../../effects/uplinks/uplink-probe.ts';
import { parsePasta } from '../../plan/uplinks/pasta.ts';
import type { UplinkInput } from '../../plan/uplinks/uplink.ts';
import type { PortMapping } from '../../state/event.ts';
import type { PastaSettings } from '../../state/uplink.ts';
import { resolve } from '../harness/fixtures.ts';
import { addNetns, ended, removeNetns, withAgents } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import {
  container,
  makeServedWorld,
  outside,
  runUplink,
  settled,
  toldOfEnd,
  uplinkInput,
  Uplinks,
} from '../harness/uplink.ts';

requirePrivateNamespace();
const world = await makeServedWorld();
addNetns('peer');
execFileSync('ip', ['-batch', '-'], {
  input: 'link add p0 type veth peer name p1 netns peer\nlink set p0 master world up\n',
});
execFileSync('ip', ['-n', 'peer', '-batch', '-'], { input: 'link set p1 up\naddr add 10.99.1.9/24 dev p1\n' });
let netns = await container('c1');
const uplinks = new Uplinks();
const directory = uplinks.at('c1');

function settings(...options: string[]): PastaSettings {
  const parsed = parsePasta([], options, uplinkFile('pasta'));
  if ('fault' in parsed) throw new Error(parsed.fault.message);
  return parsed.settings;
}

const port = (host_ip: string, host_port: number, container_port: number, more: Partial<PortMapping> = {}) =>
  resolve({ host_ip, host_port, container_port, ...more });

const input = (verb: UplinkInput['verb'], more: Partial<UplinkInput> = {}): UplinkInput =>
  uplinkInput(verb, { directory, netns, settings: settings(), ...more });
const child = () => findUplink(directory)?.child?.pid ?? 0;

/**
 * Servers in the container that answer only after the client has sent: this pasta loses the first data of others
 * (plan/pasta.ts).
 */
async function answerers(ports: number[]): Promise<() => Promise<void>> {
  const program = `
    const { createServer } = require('node:net');
    const listening = ${JSON.stringify(ports)}.map((port) => new Promise((ready) => createServer((socket) =>
      socket.on('error', () => {}).on('data', () => socket.end('inside ' + port))).listen(port, '::', ready)));
    Promise.all(listening).then(() => console.log('ready'));`;
  const child = spawn('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', program]);
  await once(child.stdout, 'data');
  return async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
}

function talk(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port }, () => void socket.write('?'));
    socket.setTimeout(3000, () => socket.destroy(new Error('timeout')));
    socket.on('data', (text) => {
      socket.destroy();
      resolve(text.toString());
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

const pasta = suite('pasta');

pasta.after.each(async () => {
  assert.is((await runUplink(input('stop'))).outcome, 'stopped');
  uplinks.assertNothingLeft();
});
pasta.after(() => {
  world.stop();
  removeNetns('c1');
  removeNetns('peer');
  uplinks.end();
});

pasta("pasta gives the container the host's addresses and a way out, and the gateway is not the host", async () => {
  const output = await runUplink(input('start'));
  assert.equal(settled(output), {
    outcome: 'ready',
    link: {
      name: 'world',
      mtu: 65_520,
      addresses: [
        { address: '10.99.1.2', prefix: 24, gateway: '10.99.1.1' },
        { address: 'fd99::2', prefix: 64, gateway: 'fd99::1' },
      ],
    },
    missing: output.missing,
    fault: null,
  });
  const keys = ['net/ipv6/conf/default/disable_ipv6', 'net/ipv6/conf/default/accept_dad'];
  assert.equal(await outside.sysctlRead(keys, netns), ['1', '0'], 'as it was');
  // Only CAP_NET_BIND_SERVICE and CAP_SYS_ADMIN, behind seccomp and with an empty root.
  assert.match(readFileSync(`/proc/${child()}/status`, 'utf8'), /CapEff:\t0000000000200400\n/);
  assert.match(readFileSync(`/proc/${child()}/status`, 'utf8'), /Seccomp:\t2\n/);
});

pasta('options are kept, and the way out leads to the host too where that is requested', async () => {
  const wanted = settings(
    '--mtu',
    '1500',
    '-I',
    'eth9',
    '-a',
    '10.5.0.9',
    '-n',
    '24',
    '-g',
    '10.5.0.1',
    '-4',
    '--map-gw',
  );
  const output = await runUplink(input('start', { settings: wanted }));
  assert.equal(settled(output), {
    outcome: 'ready',
    link: {
      name: 'eth9',
      mtu: 1500,
      addresses: [{ address: '10.5.0.9', prefix: 24, gateway: '10.5.0.1' }],
    },
    missing: output.missing,
    fault: null,
  });
  await withAgents([netns], async (inside) => {
    assert.is(await inside.dial('tcp', '10.99.1.2', 7001), 'world 10.99.1.2');
    assert.is(await inside.dial('udp', '10.99.1.2', 7001), 'world 10.99.1.2');
    assert.match(await inside.dial('tcp', '10.5.0.1', 7001), 'world');
  });
});

pasta('pasta carries published ports of every kind it has, each to its own destination', async () => {
  const ports = [
    port('', 8080, 80),
    port('10.99.1.2', 8081, 81, { range: 2 }),
    port('', 8090, 90, { protocol: 'udp' }),
    port('::1', 8085, 80),
  ];
  const output = await runUplink(input('start', { ports, settings: settings('-I', 'eth9') }));
  assert.is(output.fault, null);
  const stop = await answerers([80, 81, 82]);
  try {
    assert.is(await talk('10.99.1.2', 8080), 'inside 80');
    assert.is(await talk('::1', 8080), 'inside 80');
    assert.is(await talk('10.99.1.2', 8082), 'inside 82');
    assert.is(await talk('127.0.0.1', 8081), 'ECONNREFUSED');
    assert.is(await talk('::1', 8085), 'inside 80');
  } finally {
    await stop();
  }
  await withAgents([netns, '/run/netns/peer'], async (inside, peer) => {
    await inside.serve('inside 90', 'udp', 90);
    assert.is(await peer.dial('udp', '10.99.1.2', 8090, 3000), 'inside 90 10.99.1.9');
  });
  // Other ports need another pasta.
  const pid = child();
  assert.is(
    (await runUplink(input('start', { ports: ports.slice(0, 1), settings: settings('-I', 'eth9') }))).fault,
    null,
  );
  assert.is.not(child(), pid);
  assert.is(await talk('10.99.1.2', 8082), 'ECONNREFUSED');
});

pasta('a port that another process has is found, though pasta is content with a part of it', async () => {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(8080, '0.0.0.0', listening));
  try {
    for (const ports of [[port('', 8080, 80)], [port('10.99.1.2', 8079, 79, { range: 2 })]]) {
      const output = await runUplink(input('start', { ports }));
      assert.is(output.outcome, 'stopped');
      assert.is(output.fault?.code, 'PORT_TAKEN');
      assert.match(output.fault?.owner ?? '', `pid ${process.pid}`);
      uplinks.assertNothingLeft();
    }
    const output = await runUplink(input('start', { ports: [port('10.99.1.2', 8080, 80)] }));
    assert.match(
      output.fault?.message ?? '',
      /^pasta failed: "Failed to bind any port for .*exiting" \(exit status 1\)$/,
    );
  } finally {
    server.close();
  }
});

pasta('pasta is adopted, is restarted when it was killed, and ends with its keeper', async () => {
  await runUplink(input('start'));
  const pid = child();
  assert.is((await runUplink(input('repair'))).fault, null);
  assert.is(child(), pid);
  process.kill(pid, 'SIGKILL');
  await ended(pid);
  assert.is((await runUplink(input('repair'))).fault, null);
  const second = child();
  assert.is.not(second, pid);
  process.kill(findUplink(directory)?.keeper.pid ?? 0, 'SIGKILL');
  await ended(second);
  assert.is((await runUplink(input('repair'))).fault, null);
});

pasta('pasta ends by itself when the namespace is removed', async () => {
  await runUplink(input('start'));
  const told = toldOfEnd(directory);
  removeNetns('c1');
  await told;
  assert.is(findUplink(directory)?.code, 0);
  netns = await container('c1');
});

pasta('pasta reports a host that has no way out', async () => {
  const routes = (verb: string) =>
    execFileSync('ip', ['-batch', '-'], {
      input: `route ${verb} default via 10.99.1.1\nroute ${verb} ::/0 via fd99::1 dev world\n`,
    });
  routes('del');
  try {
    const output = await runUplink(input('start'));
    assert.is(output.outcome, 'stopped');
    assert.match(output.fault?.message ?? '', /^pasta failed: "No external routable interface for IPv4/);
  } finally {
    routes('add');
  }
});

pasta.run();
