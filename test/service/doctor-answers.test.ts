// slow: 40 s, each routing of the host is tried with both families and protocols, before and after the remedy
/**
 * A host that routes by the source: clients elsewhere get answers from published ports by way of the address that they
 * used, of both families. Where that is impossible, doctor names the ports; with doctor's remedy they answer, and it
 * says nothing.
 * Over 400 lines because every case is tried on one host behind one router, which are expensive to build.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Check } from '../../state/answers/doctor.ts';
import type { ContainerView as Container } from '../../state/answers/container/container.ts';
import { addressOf, on, pathOf, port } from '../harness/daemon.ts';
import { addNetns, agentIn, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { HOST, LAN, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const answers = suite('answers');
const { daemon, lan } = await wayOut(answers);

/** The host on its second uplink, and the router there; the client's address is behind that router. */
const SECOND = { 4: '203.0.113.1', 6: 'fd00:203::1' };
const ROUTER = { 4: '203.0.113.2', 6: 'fd00:203::2' };
const CLIENT = { 4: '198.51.100.9', 6: 'fd00:99::9' };
const HOST6 = 'fd00:192::1';
const TABLE = 203;

const ip = (commands: string[], ...netns: string[]): void =>
  void execFileSync('ip', [...netns, '-batch', '-'], { input: `${commands.join('\n')}\n` });

const far = addNetns('far');
ip([
  `link add second type veth peer name eth0 netns ${far}`,
  `addr add ${SECOND[4]}/24 dev second`,
  `addr add ${SECOND[6]}/64 dev second nodad`,
  `addr add ${HOST6}/64 dev lan0 nodad`,
  'link set second up',
  'route add default via fd00:192::2',
]);
ip(
  [
    `addr add ${ROUTER[4]}/32 dev eth0`,
    `addr add ${ROUTER[6]}/128 dev eth0 nodad`,
    'link set eth0 up',
    `addr add ${CLIENT[4]}/32 dev lo`,
    `addr add ${CLIENT[6]}/128 dev lo nodad`,
    `route add ${SECOND[4]} dev eth0 src ${CLIENT[4]}`,
    `route add ${SECOND[6]} dev eth0 src ${CLIENT[6]}`,
  ],
  '-n',
  'far',
);
// Neighbours on the LAN reach the other address of the host through the host.
ip([`route add ${SECOND[4]}/32 via ${HOST}`], '-n', 'lan');
const client = await agentIn(far);

/** Rules for the second uplink, or for these addresses: their packets leave by the second uplink. */
function bySource(verb: 'add' | 'del', sources: readonly string[] = Object.values(SECOND)): void {
  for (const source of sources) {
    const family = source.includes(':') ? '-6' : '-4';
    execFileSync('ip', [family, 'rule', verb, 'from', source, 'lookup', String(TABLE)]);
  }
}

async function checks(): Promise<Check[]> {
  const { body } = await daemon.get<{ checks: Check[] }>('/v1/doctor');
  return body.checks.filter(({ name }) => name === 'answers');
}
const findings = async () => (await checks()).filter(({ ok }) => !ok).map(({ text }) => text);

/** The answers that the client gets from the port on the second uplink, of each family and protocol. */
function heard(container: Container): Promise<string[]> {
  return withAgents([pathOf(container)], async (inside) => {
    await inside.serve('a', 'tcp', 80);
    await inside.serve('a', 'udp', 80);
    const asked = (['tcp', 'udp'] as const).flatMap((protocol) =>
      Object.values(SECOND).map((address) => client.dial(protocol, address, 8080, 700)),
    );
    return Promise.all(asked);
  });
}
/** A host behind the default route of the first uplink. */
const REMOTE = '198.51.100.77';
const KEPT = Object.values(CLIENT).map((address) => `a ${address}`);

const bothProtocols = [port(8080, 80), port(8080, 80, { protocol: 'udp' })];

answers.before(async () => {
  ip([`route add default via ${ROUTER[4]} table ${TABLE}`, `route add default via ${ROUTER[6]} table ${TABLE}`]);
  await daemon.network({ name: 'six', subnets: [{ subnet: '10.52.0.0/24' }, { subnet: 'fd00:52::/64' }] });
});
answers.before.each(() => {
  for (const family of ['-4', '-6']) {
    // Removes whatever a failed test left.
    for (let i = 0; i < 8; i++) {
      try {
        execFileSync('ip', [family, 'rule', 'del', 'lookup', String(TABLE)], { stdio: 'ignore' });
      } catch {
        break;
      }
    }
  }
});
answers.after(() => client.stop());

answers('doctor says nothing about a host with one way out, nor if nothing is published', async () => {
  bySource('add');
  assert.equal(
    (await checks()).map(({ ok }) => ok),
    [true],
  );
  bySource('del');
  await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
  assert.equal(await findings(), []);
});

/**
 * Checks clients everywhere else, as without a second uplink: on the first one, another network, the host and the
 * container itself.
 */
async function answersElsewhere(a: Container, b: Container): Promise<void> {
  await withAgents([pathOf(a), pathOf(b), null], async (inside, neighbour, host) => {
    await inside.serve('a', 'tcp', 80);
    assert.match(await lan.dial('tcp', HOST, 8080, 700), /^a /, 'by the first uplink');
    assert.match(await lan.dial('tcp', SECOND[4], 8080, 700), /^a /, 'from a neighbour there, by the other address');
    assert.match(await neighbour.dial('tcp', SECOND[4], 8080, 700), /^a /, 'from another network');
    assert.match(await host.dial('tcp', HOST, 8080, 700), /^a /, 'from the host');
    assert.match(await inside.dial('tcp', SECOND[6], 8080, 700), /^a /, 'from the container itself');
  });
}

const setFilter = (value: string, links = ['all', 'second', 'lan0']): void => {
  for (const link of links) writeFileSync(`/proc/sys/net/ipv4/conf/${link}/rp_filter`, value);
};
const all = [...KEPT, ...KEPT];
const isHeard = async (a: Container) => String(await heard(a)) === String(all);

for (const filter of ['0', '2']) {
  answers(`ports on a second uplink with source routing answer, and on others too, rp_filter ${filter}`, async () => {
    setFilter(filter);
    bySource('add');
    const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
    const b = await daemon.up('b', { networks: on('web') });
    await until('answers', () => isHeard(a));
    assert.equal(await findings(), []);
    await answersElsewhere(a, b);
  });
}

/** net.ipv4.conf.*.rp_filter of the second uplink. */
const filterOfSecond = (): string => readFileSync('/proc/sys/net/ipv4/conf/second/rp_filter', 'utf8').trim();

/**
 * Sends datagrams from the client that come in by the second uplink, and returns the addresses of the host that
 * received one.
 */
async function hearByTheSecond(addresses: string[]): Promise<string[]> {
  const got = new Set<string>();
  const server = createSocket('udp4').on('message', (text) => got.add(String(text)));
  await new Promise<void>((bound) => server.bind(7009, '0.0.0.0', bound));
  ip([`route replace ${HOST} via ${SECOND[4]} dev eth0 src ${CLIENT[4]}`], '-n', 'far');
  const send =
    'import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n' +
    'for a in sys.argv[1:]: s.sendto(a.encode(), (a, 7009))';
  execFileSync('nsenter', [`--net=${far}`, 'python3', '-c', send, ...addresses]);
  await until('one', () => got.size > 0);
  await new Promise((resolve) => setTimeout(resolve, 200));
  server.close();
  return [...got];
}

for (const [all, own] of [
  ['1', '1'],
  ['0', '1'],
  ['1', '0'],
] as const) {
  answers(
    `with a strict rp_filter ports answer, and what it dropped is still dropped: all=${all}, ${own}`,
    async () => {
      setFilter('1');
      setFilter(all, ['all']);
      setFilter(own, ['second']);
      bySource('add');
      // From the address HOST the route to the client is the first uplink.
      assert.equal(await hearByTheSecond([HOST, SECOND[4]]), [SECOND[4]], 'as the host has it');
      const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
      const b = await daemon.up('b', { networks: on('web') });
      await until('answers', () => isHeard(a));
      assert.equal(await findings(), []);
      assert.is(filterOfSecond(), '2');
      assert.equal(await hearByTheSecond([HOST, SECOND[4]]), [SECOND[4]]);
      await answersElsewhere(a, b);
      await daemon.kill();
      assert.ok(await isHeard(a), 'while no daemon runs');
      assert.equal(await hearByTheSecond([HOST, SECOND[4]]), [SECOND[4]], 'while no daemon runs');
      await daemon.start();
      await daemon.down('a', 'b');
      await until('the filter as it was', () => filterOfSecond() === own);
    },
  );
}

answers('a filter that was loosened is restored when no rule selects by the source any more', async () => {
  setFilter('1');
  bySource('add');
  const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
  await until('answers', () => isHeard(a));
  await daemon.kill();
  bySource('del');
  await daemon.start();
  await until('put back', () => filterOfSecond() === '1');
  bySource('add');
  await until('answers again', () => isHeard(a));
  assert.is(filterOfSecond(), '2');
  writeFileSync('/proc/sys/net/ipv4/conf/second/rp_filter', '1');
  await until('loosened again', () => filterOfSecond() === '2');
  bySource('del');
  await until('put back', () => filterOfSecond() === '1');
});

const mountSwitches = (how: 'ro' | 'rw'): void =>
  void execFileSync('mount', ['-o', `remount,${how},bind`, '/proc/sys']);

/** A read-only /proc/sys, on a host that forwards already and has a strict filter. */
async function withReadOnlySwitches(work: () => Promise<void>): Promise<void> {
  const forwarding = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'].map((key) => `/proc/sys/${key}`);
  const before = forwarding.map((path) => readFileSync(path, 'utf8'));
  for (const path of forwarding) writeFileSync(path, '1');
  setFilter('1');
  execFileSync('mount', ['--bind', '/proc/sys', '/proc/sys']);
  mountSwitches('ro');
  try {
    await work();
    await clear(daemon);
  } finally {
    execFileSync('umount', ['/proc/sys']);
    for (const [n, path] of forwarding.entries()) writeFileSync(path, before[n] ?? '0');
  }
}

answers("ports are named if the filter cannot be loosened, and they answer with doctor's remedy", () =>
  withReadOnlySwitches(async () => {
    bySource('add');
    const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
    await until('IPv6 answers', async () => (await heard(a))[1] === KEPT[1]);
    const [found, ...more] = (await checks()).filter(({ ok }) => !ok);
    assert.equal(more, []);
    assert.is(
      found?.text,
      `ports published on ${SECOND[4]} (8080/tcp of a, 8080/udp of a) do not answer clients elsewhere: from that address ` +
        `the host sends by second (gateway ${ROUTER[4]}), and there rp_filter drops what is for containers of network six, ` +
        'whose way back is by lan0 (gateway 192.0.2.2)',
    );
    const [, link = '', value = ''] = /^sysctl net\.ipv4\.conf\.(\S+)\.rp_filter=(\d) /.exec(found?.hint ?? '') ?? [];
    mountSwitches('rw');
    setFilter(value, [link]);
    mountSwitches('ro');
    await until('answers', () => isHeard(a));
    assert.equal(await findings(), []);
  }),
);

/** Reads accept_local and rp_filter of the bridge of `six`. */
const switches = async (): Promise<string[]> => {
  const { body } = await daemon.get<{ network_interface: string }>('/v1/networks/six');
  const directory = `/proc/sys/net/ipv4/conf/${body.network_interface}`;
  return ['accept_local', 'rp_filter'].map((name) => readFileSync(`${directory}/${name}`, 'utf8').trim());
};
const rules = (): string[] => {
  const text = execFileSync('nft', ['-a', 'list', 'ruleset'], { encoding: 'utf8' });
  return [...text.matchAll(/^.*ip6? saddr set .*$/gm)].map(([line]) => line.trim());
};

answers('rules and switches exist only while a rule selects by the source, also across a restart', async () => {
  setFilter('0');
  const before = readFileSync('/proc/sys/net/ipv4/conf/default/rp_filter', 'utf8').trim();
  const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
  assert.equal(await switches(), ['0', before]);
  bySource('add');
  await until('answers', () => isHeard(a));
  assert.equal([await switches(), rules().length], [['1', '2'], 2]);
  await daemon.kill();
  assert.ok(await isHeard(a), 'while no daemon runs');
  await daemon.start();
  assert.ok(await isHeard(a));
  assert.equal([await switches(), rules().length], [['1', '2'], 2]);
  bySource('del');
  await until('as before', async () => rules().length === 0 && (await switches())[0] === '0');
  assert.equal(await switches(), ['0', before]);

  bySource('add');
  await until('answers again', () => isHeard(a));
  await daemon.kill();
  bySource('del');
  await daemon.start();
  await until('taken away', async () => rules().length === 0 && (await switches())[0] === '0');
  assert.equal(await switches(), ['0', before]);
  assert.not.match(daemon.log(), /chain (replies|sources) was changed/);
});

answers('changes of it by others are reverted', async () => {
  setFilter('0');
  bySource('add');
  const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
  await until('answers', () => isHeard(a));
  const table = /table inet (\S+) \{\n(?:(?!^table)[^])*chain replies/m.exec(
    execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }),
  )?.[1];
  execFileSync('nft', ['flush', 'chain', 'inet', table ?? '', 'sources']);
  const { body } = await daemon.get<{ network_interface: string }>('/v1/networks/six');
  writeFileSync(`/proc/sys/net/ipv4/conf/${body.network_interface}/accept_local`, '0');
  await until('put back', async () => rules().length === 2 && (await switches())[0] === '1');
  assert.equal(await heard(a), all);
});

/** Sends a datagram from a container, with this source, to a port of the host. */
function sendAs(container: Container, source: string, port: number): void {
  const netns = `--net=${pathOf(container)}`;
  const send =
    'import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 0)); ' +
    's.sendto(sys.argv[1].encode(), (sys.argv[2], int(sys.argv[3])))';
  execFileSync('nsenter', [netns, 'python3', '-c', send, source, HOST, String(port)]);
}

answers("a container cannot pose as the host while its bridge accepts answers with the host's address", async () => {
  setFilter('0');
  bySource('add');
  const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
  await until('answers', () => isHeard(a));
  assert.equal(await switches(), ['1', '2']);
  const got: string[] = [];
  const server = createSocket('udp4').on('message', (text) => got.push(String(text)));
  await new Promise<void>((bound) => server.bind(7009, '0.0.0.0', bound));
  try {
    const own = addressOf(a, 'six');
    for (const forged of [SECOND[4], '203.0.113.7']) {
      execFileSync('nsenter', [`--net=${pathOf(a)}`, 'ip', 'addr', 'add', `${forged}/32`, 'dev', 'lo']);
      sendAs(a, forged, 7009);
    }
    sendAs(a, own, 7009);
    await until('its own', () => got.length > 0);
    assert.equal(got, [own]);
  } finally {
    server.close();
  }
});

answers('with the forwarder ports answer, and doctor says nothing', async () => {
  setFilter('1');
  bySource('add');
  const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols, port_handler: 'forwarder' });
  const [tcp4, tcp6, ...udp] = await heard(a);
  assert.equal([tcp4, tcp6], KEPT);
  for (const answer of udp) assert.match(answer, /^a /);
  assert.equal(await findings(), []);
});

/** A client behind the default route of the first uplink gets an answer there. */
async function byTheFirst(a: Container): Promise<void> {
  const from = ['-n', 'lan'];
  ip([`addr add ${REMOTE}/32 dev lo`, `route add ${HOST} dev eth0 src ${REMOTE}`], ...from);
  try {
    await withAgents([pathOf(a)], async (inside) => {
      await inside.serve('a', 'tcp', 80);
      await until('an answer', async () => (await lan.dial('tcp', HOST, 8080, 700)) === `a ${REMOTE}`);
    });
  } finally {
    ip([`route del ${HOST} dev eth0`, `addr del ${REMOTE}/32 dev lo`], ...from);
  }
}

answers('a network that is routed through the second uplink answers by both', async () => {
  setFilter('0');
  bySource('add');
  bySource('add', ['10.52.0.0/24', 'fd00:52::/64']);
  const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
  await until('answers', () => isHeard(a));
  await byTheFirst(a);
  assert.equal(await findings(), []);
});

answers('doctor says nothing about equal-cost routes, which distribute packets of each source', async () => {
  const more = Array.from({ length: 16 }, (_, i) => i + 100);
  const addresses = (verb: string) => more.map((i) => `addr ${verb} 203.0.113.${i}/32 dev second`);
  const both = `nexthop via ${LAN} dev lan0 nexthop via ${ROUTER[4]} dev second`;
  ip([...addresses('add'), `route replace default ${both}`]);
  try {
    await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
    assert.equal(await findings(), []);
  } finally {
    ip([...addresses('del'), `route replace default via ${LAN}`]);
  }
});

answers('ports answer where a table leads to some networks alone', async () => {
  const inner = ['198.51.100.0/24', 'fd00:99::/64'];
  ip([`route del default table ${TABLE}`]);
  execFileSync('ip', ['-6', 'route', 'del', 'default', 'table', String(TABLE)]);
  ip(inner.map((to, i) => `route add ${to} via ${Object.values(ROUTER)[i]} table ${TABLE}`));
  try {
    bySource('add');
    const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
    await until('answers', () => isHeard(a));
    assert.equal(await findings(), []);
    ip(inner.map((to, i) => `route add ${to} via ${Object.values(ROUTER)[i]}`));
    await until('the main table leads there, too: nothing is changed', () => rules().length === 0);
    assert.equal(await heard(a), all);
    assert.equal(await findings(), [], 'the main table leads there, too');
  } finally {
    for (const [i, family] of ['-4', '-6'].entries()) {
      for (const table of ['main', String(TABLE)]) {
        spawnSync('ip', [family, 'route', 'del', inner[i] ?? '', 'table', table]);
      }
    }
    ip(Object.values(ROUTER).map((router) => `route add default via ${router} table ${TABLE}`));
  }
});

for (const [what, routing] of [
  ['a table that leads nowhere', `lookup ${TABLE + 1}`],
  ['nowhere by the rule itself', 'unreachable'],
] as const) {
  answers(
    `containers are routed by ${what}: ports answer, or are named because any rp_filter drops requests`,
    async () => {
      setFilter('0');
      if (routing.startsWith('lookup')) ip([`route replace unreachable default table ${TABLE + 1}`]);
      ip([`rule add from 10.52.0.0/24 ${routing}`]);
      try {
        const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
        await byTheFirst(a);
        assert.equal(await findings(), []);
        setFilter('2');
        const [found, ...more] = (await checks()).filter(({ ok }) => !ok);
        assert.match(found?.text ?? '', /whose way back is nowhere$/);
        assert.match(found?.hint ?? '', /^give those containers --port-handler forwarder/);
        assert.ok(more.every(({ text }) => text.endsWith('nowhere')));
      } finally {
        ip([`rule del from 10.52.0.0/24 ${routing}`]);
      }
    },
  );
}

answers('a host whose traffic goes through a VPN, except its own address, answers by that address', async () => {
  setFilter('0');
  // As wg-quick does it: only the default route differs.
  const rules = ['298 lookup main suppress_prefixlength 0', `299 from ${HOST} lookup main`, `300 lookup ${TABLE}`];
  ip(rules.map((rule) => `rule add priority ${rule}`));
  try {
    const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
    await byTheFirst(a);
    assert.equal(await findings(), []);
  } finally {
    ip(rules.map((rule) => `rule del priority ${rule}`));
  }
});

answers('doctor names only ports published on the address, the first of them by name', () =>
  withReadOnlySwitches(async () => {
    bySource('add');
    const only = (address: string) => port(8081, 80, { host_ip: address });
    await daemon.up('a', { networks: on('six'), port_mappings: [only(HOST)] });
    assert.equal(await findings(), []);
    await daemon.up('b', { networks: on('web'), port_mappings: [only(SECOND[4]), port(9000, 9000, { range: 6 })] });
    const [text = '', ...more] = await findings();
    assert.equal(more, [], 'web has no IPv6');
    assert.match(text, /for containers of network web/);
    const named = [0, 1, 2, 3, 4].map((n) => `900${n}/tcp of b`).join(', ');
    assert.ok(text.includes(`(${named} and 2 more) do not answer`), text);
  }),
);

answers.run();
