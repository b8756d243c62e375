// slow: 40 s, each option of two programs is tried with a program of its own
/**
 * User-mode networking as a container and its clients see it: the real slirp4netns and pasta, their options, their
 * ports, and the refusals.
 *
 * Limits: no name is resolved, because there is no name server. uplink-life.test.ts shows how the programs end.
 */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { ContainerStats } from '../../state/answers/container/stats.ts';
import { on, pathOf, port } from '../harness/daemon.ts';
import { addNetns, sleeper, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { inspect, ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { HOST, LAN, SLIRP, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

type SlirpShown = Extract<NonNullable<Inspection['uplink']>, { program: 'slirp4netns' }>;

const uplink = suite('uplink');
const { daemon, lan, host, before, shown, isUp, restart, assertAsBefore, assertNothingLeft } = await wayOut(uplink);

uplink('slirp4netns: the container has an interface, a way out, and no way in to the host', async () => {
  const up = await daemon.up('a', { uplink: SLIRP, files: true });
  const { process, ...facts } = (await shown('a')).uplink as SlirpShown;
  assert.is(facts.interface, 'tap0');
  assert.equal(facts.addresses, [{ address: '10.0.2.100', prefix: 24, gateway: '10.0.2.2' }]);
  assert.equal(facts.dns, ['10.0.2.3']);
  assert.equal([facts.mtu, facts.cidr, facts.missing], [65_520, '10.0.2.0/24', []]);
  assert.equal([process?.state, process?.ended], ['ready', 0]);
  assert.match(readFileSync(`${daemon.runDir}/etc/a/resolv.conf`, 'utf8'), /^nameserver 10\.0\.2\.3$/m);
  const { NetworkSettings: settings, drift } = await shown('a');
  assert.equal([settings.IPAddress, settings.Gateway, settings.IPPrefixLen], ['10.0.2.100', '10.0.2.2', 24]);
  assert.equal(drift, []);
  const links = ipJson<{ ifname: string; mtu: number }[]>(pathOf(up), 'link');
  assert.equal(links.find(({ ifname }) => ifname === 'tap0')?.mtu, 65_520);
  await withAgents([pathOf(up)], async (inside) => {
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.is(await inside.dial('udp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.not.match(await inside.dial('tcp', '10.0.2.2', 7001, 500), /^host/);
  });
  const stats = (await daemon.get<ContainerStats>('/v1/containers/a/stats')).body.interfaces?.tap0;
  assert.is(stats?.network, 'slirp4netns');
  assert.ok((stats?.tx_bytes ?? 0) > 0);
  await assertNothingLeft('a');
});

uplink("slirp4netns: every option works, the engine's before the container's", async () => {
  await restart({ uplinks: { slirp4netnsOptions: ['mtu=1400', 'cidr=10.7.0.0/24'] } });
  const options = ['cidr=10.9.0.0/16', 'allow_host_loopback=true', 'enable_ipv6=true', `outbound_addr=${HOST}`];
  const up = await daemon.up('a', { uplink: { ...SLIRP, options } });
  const found = (await shown('a')).uplink as SlirpShown;
  assert.equal(
    found.addresses.map(({ address, prefix }) => `${address}/${prefix}`),
    ['10.9.0.100/16', 'fd00::100/64'],
  );
  assert.is(found.mtu, 1400);
  await withAgents([pathOf(up)], async (inside) => {
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.match(await inside.dial('tcp', '10.9.0.2', 7001, 2000), /^host/);
  });
  await daemon.up('b', { uplink: SLIRP });
  const { mtu, cidr, ipv6, host_loopback, outbound_addr } = (await shown('b')).uplink as SlirpShown;
  const ofTheEngine = [1400, '10.7.0.0/24', false, false, null];
  assert.equal(
    [mtu, cidr, ipv6, host_loopback, outbound_addr],
    ofTheEngine,
    'options of one container are not the next one’s',
  );
  await daemon.down('a', 'b');
  await restart({ uplinks: {} });
  await assertAsBefore();
});

uplink('slirp4netns: protections that the executable does not support are shown', async () => {
  const directory = mkdtempSync('/run/older-');
  chmodSync(directory, 0o755);
  const file = `${directory}/slirp4netns`;
  const real = '/usr/bin/slirp4netns';
  const lines = [
    '#!/bin/sh',
    `[ "$1" = --help ] && exec sh -c '${real} --help | grep -v seccomp'`,
    `exec ${real} "$@"`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o755 });
  await restart({ uplinks: { slirp4netns: file } });
  await daemon.up('a', { uplink: SLIRP });
  assert.equal((await shown('a')).uplink?.missing, ['--enable-seccomp']);
  await daemon.down('a');
  await restart({ uplinks: {} });
  await assertAsBefore();
});

for (const [what, create] of [
  ['behind slirp4netns', { uplink: SLIRP }],
  ['on a bridge', { networks: on('web'), port_handler: 'forwarder' }],
  ['behind pasta', { uplink: { program: 'pasta' }, port_handler: 'forwarder' }],
] as const) {
  uplink(`the forwarder ${what}: clients keep their address, and ports come and go while it runs`, async () => {
    const up = await daemon.up('a', {
      ...create,
      port_mappings: [port(8080, 80), port(8080, 80, { protocol: 'udp' }), port(8081, 80, { host_ip: '127.0.0.1' })],
    });
    await withAgents([pathOf(up)], async (inside) => {
      await inside.serve('a', 'tcp', 80);
      await inside.serve('a', 'udp', 80);
      assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
      assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
      assert.match(await host.dial('tcp', '127.0.0.1', 8080, 2000), /^a (?!127\.)/);
      assert.match(await host.dial('tcp', '::1', 8080, 2000), /^a /);
      assert.match(await host.dial('tcp', '127.0.0.1', 8081, 2000), /^a (?!127\.)/);
      assert.is(await lan.dial('tcp', HOST, 8081, 500), 'ECONNREFUSED');
      await daemon.clean();

      await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(9000, 80, { range: 3 })] });
      const taken = await daemon.event({
        type: 'create',
        id: 'b',
        networks: on('web'),
        port_mappings: [port(9001, 1)],
      });
      assert.is(taken.status, 200);
      assert.is((await daemon.event({ type: 'configure', id: 'b' })).body.error?.code, 'PORT_TAKEN');
      await daemon.down('b');
      // range 3 leads to 80, 81, 82: only the first is served.
      assert.is(await lan.dial('tcp', HOST, 9000, 2000), `a ${LAN}`);
      await daemon.done({ type: 'unpublish', id: 'a', port_mappings: [port(9000, 80, { range: 3 })] });
      assert.is(await lan.dial('tcp', HOST, 9000, 500), 'ECONNREFUSED');
      assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
    });
    await assertNothingLeft('a');
  });
}

const HANDLERS: [handler: string, create: Parameters<typeof daemon.up>[1]][] = [
  ['firewall', { networks: on('web') }],
  ['forwarder', { networks: on('web'), port_handler: 'forwarder' }],
  ['slirp4netns', { uplink: { ...SLIRP, options: ['port_handler=slirp4netns'] } }],
  ['pasta', { uplink: { program: 'pasta' } }],
];
for (const [handler, create] of HANDLERS) {
  uplink(`${handler}: a port on one address and on all of them is published on all of them`, async () => {
    const mappings = ['', '::', '0.0.0.0', '127.0.0.1', '::1'].map((host_ip) =>
      port(8080, 80, { host_ip, protocol: 'udp' }),
    );
    await daemon.up('a', { ...create, port_mappings: mappings });
    const published = async () => (await shown('a')).ports.map(({ host_ip, host_port }) => `${host_ip} ${host_port}`);
    assert.equal(await published(), [' 8080']);
    await withAgents([pathOf(await shown('a'))], async (inside) => {
      await inside.serve('a', 'udp', 80);
      assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
      await restart({});
      if (handler !== 'pasta') await daemon.done({ type: 'publish', id: 'a', port_mappings: mappings.slice(1) });
      assert.equal(await published(), [' 8080']);
      assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
    });
    await assertNothingLeft('a');
  });
}

for (const [handler, create] of HANDLERS) {
  uplink(`${handler}: the audit finds a port on each host address that can be named, and nothing else`, async () => {
    // A port without an address of this family inside, or outside, is not published in it.
    const six = handler === 'forwarder' ? ['::', '::1'] : [];
    for (const host_ip of ['', '0.0.0.0', '127.0.0.1', HOST, ...six]) {
      await daemon.up('a', { ...create, port_mappings: [port(8080, 80, { host_ip })] });
      await daemon.clean();
      await assertNothingLeft('a');
    }
  });
}

/** Answers two datagrams at a time, once both have come. */
const SERVER = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 80))
print('ready', flush=True)
while True:
    for data, client in [s.recvfrom(99), s.recvfrom(99)]: s.sendto(b'to ' + data, client)`;
/** Two clients, each of a port of its own, send at the same time; prints the answer that each gets. */
const CLIENTS = `import socket, sys
clients = []
for port in (8080, 8081):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((sys.argv[1], port))
    s.settimeout(3)
    clients.append(s)
for s, name in zip(clients, (b'one', b'other')): s.send(name)
print(', '.join(s.recv(99).decode() for s in clients))`;
const BOTH = [8080, 8081].map((host) => port(host, 80, { protocol: 'udp' }));
for (const [handler, create] of HANDLERS.slice(0, 2)) {
  uplink(`${handler}: two UDP host ports lead to one container port, and each client hears from its own`, async () => {
    await daemon.up('a', { ...create, port_mappings: BOTH });
    const enter = [`--net=${pathOf(await shown('a'))}`, 'python3', '-c', SERVER];
    const server = spawn('nsenter', enter, { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await new Promise((resolve) => server.stdout.once('data', resolve));
      const said = execFileSync('ip', ['netns', 'exec', 'lan', 'python3', '-c', CLIENTS, HOST], { encoding: 'utf8' });
      assert.is(said.trim(), 'to one, to other');
    } finally {
      server.kill('SIGKILL');
    }
    await assertNothingLeft('a');
  });
}
for (const [handler, create] of HANDLERS.slice(2)) {
  uplink(`${handler}: of two UDP host ports to one container port the second is refused`, async () => {
    const twice = /carries one udp host port to a container port, and 80\/udp would have two/;
    const refused = await daemon.event({ type: 'create', id: 'a', ...create, port_mappings: BOTH });
    assert.equal([refused.status, refused.body.error?.code], [400, 'BAD_REQUEST']);
    assert.match(refused.body.error?.message ?? '', twice);
    await daemon.done({ type: 'create', id: 'a', ...create, port_mappings: BOTH.slice(0, 1) });
    const late = await daemon.event({
      type: 'publish',
      id: 'a',
      port_mappings: [port(9000, 79, { range: 2, protocol: 'udp' })],
    });
    assert.match(late.body.error?.message ?? '', /carries one udp host port/);
    await daemon.done({ type: 'publish', id: 'a', port_mappings: [...BOTH.slice(0, 1), port(8081, 80)] });
    await daemon.done({ type: 'configure', id: 'a' });
    await assertNothingLeft('a');
  });
}

uplink('ports follow the network with the default route, and move: the forwarder refuses no connection', async () => {
  const create = { networks: on('web'), port_handler: 'forwarder' } as const;
  const [a, b] = [await daemon.up('a', { ...create, port_mappings: [port(8080, 80)] }), await daemon.up('b', create)];
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inA.serve('a', 'tcp', 80);
    await inB.serve('b', 'tcp', 80);
    const answers: string[] = [];
    let over = false;
    const dialling = (async () => {
      // A connection that is lost says "timeout" after this. A busy machine may take two seconds for one that is not.
      while (!over) answers.push(await lan.dial('tcp', HOST, 8080, 10_000));
    })();
    await daemon.done({ type: 'connect', id: 'a', network: 'back', options: { gateway_priority: 3 } });
    await daemon.clean();
    await daemon.done({ type: 'disconnect', id: 'a', network: 'back' });
    await daemon.done({ type: 'publish', id: 'b', port_mappings: [port(8080, 80)], from: 'a' });
    over = true;
    await dialling;
    answers.push(await lan.dial('tcp', HOST, 8080, 2000));
    assert.equal([...new Set(answers)].sort(), [`a ${LAN}`, `b ${LAN}`]);
    assert.is(answers.at(-1), `b ${LAN}`);
  });
  await assertNothingLeft('a', 'b');
});

uplink('slirp4netns carries ports over its API socket, and they come and go while it runs', async () => {
  const up = await daemon.up('a', {
    uplink: { ...SLIRP, options: ['port_handler=slirp4netns'] },
    port_mappings: [port(8080, 80), port(8080, 80, { protocol: 'udp' })],
  });
  assert.is((await shown('a')).port_handler, 'slirp4netns');
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('a', 'tcp', 80);
    await inside.serve('a', 'udp', 80);
    assert.match(await lan.dial('tcp', HOST, 8080, 2000), /^a /);
    assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
    await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(9000, 80)] });
    assert.match(await lan.dial('tcp', HOST, 9000, 2000), /^a /);
    await daemon.done({ type: 'unpublish', id: 'a', port_mappings: [port(8080, 80)] });
    assert.is(await lan.dial('tcp', HOST, 8080, 500), 'ECONNREFUSED');
    assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
    const no6 = await daemon.event({ type: 'publish', id: 'a', port_mappings: [port(9001, 80, { host_ip: '::1' })] });
    assert.is(no6.body.error?.code, 'PORTS_NEED_NETWORK');
    assert.ok(await isUp('a'));
  });
  await assertNothingLeft('a');
});

uplink("pasta: the container has the host's addresses, and ports set at its start and not changed after", async () => {
  // UDP: this pasta loses the first data of a TCP server that sends first (plan/uplinks/pasta.ts).
  const mappings = [port(8080, 80, { protocol: 'udp' })];
  const up = await daemon.up('a', { uplink: { program: 'pasta' }, port_mappings: mappings });
  const { uplink: found } = await shown('a');
  assert.equal(
    found?.addresses.map(({ address, prefix }) => `${address}/${prefix}`),
    [`${HOST}/24`],
  );
  assert.is((await shown('a')).port_handler, 'pasta');
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('a', 'udp', 80);
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
    const more = await daemon.event({ type: 'publish', id: 'a', port_mappings: [port(9000, 80)] });
    assert.equal([more.status, more.body.error?.code], [409, 'MODE_NOT_SUPPORTED']);
    await daemon.done({ type: 'reload', id: 'a' });
    // Datagrams that come while the new one begins to listen may be lost: it is UDP.
    await until('the port leads in', async () => (await lan.dial('udp', HOST, 8080, 1000)).startsWith('a '));
  });
  await assertNothingLeft('a');
});

uplink('an uplink works with a process, and in a namespace of others', async () => {
  const guest = await sleeper();
  await daemon.up('a', { netns: { mode: 'pid', pid: guest.pid! }, uplink: SLIRP });
  const path = addNetns('theirs');
  await daemon.up('b', { netns: { mode: 'path', path }, uplink: SLIRP });
  await withAgents([`/proc/${guest.pid}/ns/net`, path], async (inA, inB) => {
    assert.is(await inA.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.is(await inB.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
  });
  await daemon.down('b');
  assert.equal(
    ipJson<{ ifname: string }[]>(path, 'link').map(({ ifname }) => ifname),
    ['lo'],
  );
  execFileSync('ip', ['netns', 'del', 'theirs']);
  guest.kill('SIGKILL');
  await daemon.gone('a');
  await assertAsBefore();
});

// --- What cannot be ---------------------------------------------------------------------------------------------

const REFUSED: [what: string, create: object, message: RegExp][] = [
  ['an option without a value', { options: ['mtu'] }, /^unknown option for slirp4netns: "mtu"$/],
  ['an unknown option', { options: ['color=red'] }, /^unknown option for slirp4netns: "color=red"$/],
  ['a cidr that is none', { options: ['cidr=10.0.0'] }, /^invalid cidr "10\.0\.0"$/],
  ['a cidr without room', { options: ['cidr=10.0.2.0/30'] }, /not within given subnet/],
  ['an unknown port handler', { options: ['port_handler=x'] }, /^unknown port_handler for slirp4netns: "x"$/],
  ['an interface that is not there', { options: ['outbound_addr=nope0'] }, /^invalid outbound_addr "nope0"$/],
];
for (const [what, more, message] of REFUSED) {
  uplink(`an impossible request is refused, and nothing changes: ${what}`, async () => {
    const { status, body } = await daemon.event({ type: 'create', id: 'a', uplink: { ...SLIRP, ...more } });
    assert.equal([status, body.error?.code], [400, 'BAD_REQUEST']);
    assert.match(body.error?.message ?? '', message);
    assert.equal(inspect(daemon), before);
  });
}

uplink('an uplink is refused with a network beside it, for a shared namespace, or with an unfit handler', async () => {
  const refusal = async (more: object) =>
    (await daemon.event({ type: 'create', id: 'a', ...more })).body.error?.message ?? '';
  assert.match(await refusal({ uplink: SLIRP, networks: on('web') }), /multiple networks/);
  assert.match(await refusal({ uplink: SLIRP, netns: { mode: 'host' } }), /shares a namespace/);
  assert.match(await refusal({ uplink: SLIRP, port_handler: 'firewall' }), /carried by forwarder or slirp4netns/);
  assert.match(await refusal({ networks: on('web'), port_handler: 'pasta' }), /carried by firewall or forwarder/);
  assert.match(
    await refusal({ uplink: { program: 'pasta', options: ['--pcap', '/etc/x'] } }),
    /unknown option for pasta/,
  );
  assert.match(
    await refusal({ uplink: SLIRP, port_mappings: [port(8080, 80, { protocol: 'sctp' })] }),
    /carries tcp and udp, not sctp/,
  );
  await daemon.up('a', { uplink: SLIRP });
  const connect = await daemon.event({ type: 'connect', id: 'a', network: 'web' });
  assert.equal([connect.status, connect.body.error?.code], [409, 'MODE_NOT_SUPPORTED']);
  assert.match(connect.body.error?.message ?? '', /"slirp4netns" is not supported/);
  await assertNothingLeft('a');
});

uplink('a port that somebody listens on is a fault, and the program is gone again', async () => {
  await host.serve('busy', 'tcp', 8099);
  for (const options of [[], ['port_handler=slirp4netns']]) {
    await daemon.done({ type: 'create', id: 'a', uplink: { ...SLIRP, options }, port_mappings: [port(8099, 80)] });
    const { body } = await daemon.event({ type: 'configure', id: 'a' });
    assert.is(body.error?.code, 'PORT_TAKEN');
    await assertNothingLeft('a');
  }
});

uplink.run();
