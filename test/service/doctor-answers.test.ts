/**
 * A host whose routing goes by the source: doctor names the published ports that clients elsewhere get no answer from, of
 * both families, and they get none; with what doctor hints at they do, and nothing is said.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Check } from '../../service/doctor.ts';
import { on, pathOf, port } from '../harness/daemon.ts';
import { addNetns, agentIn, withAgents } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { HOST, LAN, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const answers = suite('answers');
const { daemon, lan } = await wayOut(answers);

/** The host on its second uplink, and the router there, behind which the client has an address. */
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
const client = await agentIn(far);

/** Of the second uplink, or of these addresses: they leave by the second uplink. */
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

/** What the client hears from the port on the second uplink: of each family and protocol. */
function heard(container: Parameters<typeof pathOf>[0]): Promise<string[]> {
  return withAgents([pathOf(container)], async (inside) => {
    await inside.serve('a', 'tcp', 80);
    await inside.serve('a', 'udp', 80);
    const asked = (['tcp', 'udp'] as const).flatMap((protocol) =>
      Object.values(SECOND).map((address) => client.dial(protocol, address, 8080, 700)),
    );
    return Promise.all(asked);
  });
}
const NOTHING = ['timeout', 'timeout', 'timeout', 'timeout'];
const KEPT = Object.values(CLIENT).map((address) => `a ${address}`);

const bothProtocols = [port(8080, 80), port(8080, 80, { protocol: 'udp' })];

answers.before(async () => {
  ip([`route add default via ${ROUTER[4]} table ${TABLE}`, `route add default via ${ROUTER[6]} table ${TABLE}`]);
  await daemon.network({ name: 'six', subnets: [{ subnet: '10.52.0.0/24' }, { subnet: 'fd00:52::/64' }] });
});
answers.before.each(() => {
  for (const family of ['-4', '-6']) {
    // Whatever a failed test left.
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

answers('nothing is said of a host with one way out, nor where nothing is published', async () => {
  bySource('add');
  assert.equal(
    (await checks()).map(({ ok }) => ok),
    [true],
  );
  bySource('del');
  await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
  assert.equal(await findings(), []);
});

for (const filter of ['0', '1', '2']) {
  answers(`ports on a second uplink with source routing do not answer, rp_filter ${filter}`, async () => {
    for (const link of ['all', 'second', 'lan0']) writeFileSync(`/proc/sys/net/ipv4/conf/${link}/rp_filter`, filter);
    bySource('add');
    const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
    assert.equal(await heard(a), NOTHING);
    const seen = await findings();
    assert.is(seen.length, 2, seen.join('\n'));
    for (const family of [4, 6] as const) {
      const first = family === 4 ? '192.0.2.2' : 'fd00:192::2';
      const said =
        `ports published on ${SECOND[family]} do not answer clients elsewhere: from that address the host sends by ` +
        `second (gateway ${ROUTER[family]}), and what containers of network six answer leaves by lan0 (gateway ${first}) ` +
        '(8080/tcp of a, 8080/udp of a)';
      assert.ok(seen.includes(said), seen.join('\n'));
    }
  });
}

/** What docs/firewall.md tells an administrator to do, command by command. */
function asDocumented(): void {
  const page = readFileSync(new URL('../../../docs/firewall.md', import.meta.url), 'utf8');
  const [, commands = ''] = /```sh\n(nft add table inet uplink\n[^`]*)```/.exec(page) ?? [];
  execFileSync('sh', ['-e'], { input: commands, stdio: ['pipe', 'ignore', 'inherit'] });
}

function undocumented(): void {
  for (const family of ['-4', '-6']) {
    for (const priority of ['100', '101']) spawnSync('ip', [family, 'rule', 'del', 'priority', priority]);
  }
  spawnSync('nft', ['delete', 'table', 'inet', 'uplink']);
  writeFileSync('/proc/sys/net/ipv4/conf/all/src_valid_mark', '0');
}

for (const filter of ['0', '1', '2']) {
  answers(`with the rules that an administrator may add they answer on both uplinks, rp_filter ${filter}`, async () => {
    for (const link of ['all', 'second', 'lan0']) writeFileSync(`/proc/sys/net/ipv4/conf/${link}/rp_filter`, filter);
    bySource('add');
    const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
    const b = await daemon.up('b', { networks: on('web') });
    try {
      asDocumented();
      assert.equal(await heard(a), [...KEPT, ...KEPT]);
      await withAgents([pathOf(a), pathOf(b), null], async (inside, neighbour, host) => {
        await inside.serve('a', 'tcp', 80);
        assert.match(await lan.dial('tcp', HOST, 8080, 700), /^a /, 'by the first uplink');
        assert.match(await neighbour.dial('tcp', SECOND[4], 8080, 700), /^a /, 'from another network');
        assert.match(await host.dial('tcp', HOST, 8080, 700), /^a /, 'from the host');
        assert.match(await inside.dial('tcp', SECOND[6], 8080, 700), /^a /, 'from the container itself');
      });
    } finally {
      undocumented();
    }
    assert.equal(await heard(a), NOTHING);
  });
}

answers('with the port handler of the hint they answer, and nothing is said', async () => {
  bySource('add');
  const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols, port_handler: 'forwarder' });
  const [tcp4, tcp6, ...udp] = await heard(a);
  assert.equal([tcp4, tcp6], KEPT);
  for (const answer of udp) assert.match(answer, /^a /);
  assert.equal(await findings(), []);
});

answers('led out by the same way they answer there, and on the first uplink no more', async () => {
  const subnets = ['10.52.0.0/24', 'fd00:52::/64'];
  bySource('add');
  bySource('add', subnets);
  const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
  assert.equal(await heard(a), [...KEPT, ...KEPT]);
  const seen = await findings();
  assert.is(seen.length, 2, seen.join('\n'));
  for (const address of [HOST, HOST6]) {
    assert.ok(
      seen.some((text) => text.startsWith(`ports published on ${address} do not answer`)),
      seen.join('\n'),
    );
  }
});

answers('nothing is said of equal-cost routes, of which packets of each source take another', async () => {
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

answers('a table that leads to some networks alone', async () => {
  const inner = ['198.51.100.0/24', 'fd00:99::/64'];
  ip([`route del default table ${TABLE}`]);
  execFileSync('ip', ['-6', 'route', 'del', 'default', 'table', String(TABLE)]);
  ip(inner.map((to, i) => `route add ${to} via ${Object.values(ROUTER)[i]} table ${TABLE}`));
  try {
    bySource('add');
    const a = await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
    assert.equal(await heard(a), NOTHING);
    const seen = await findings();
    assert.is(seen.length, 2, seen.join('\n'));
    for (const [i, address] of Object.values(SECOND).entries()) {
      const said = `ports published on ${address} do not answer clients in ${inner[i]}: from that address`;
      assert.ok(
        seen.some((text) => text.startsWith(said)),
        seen.join('\n'),
      );
    }
    ip(inner.map((to, i) => `route add ${to} via ${Object.values(ROUTER)[i]}`));
    assert.equal(await heard(a), [...KEPT, ...KEPT]);
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

answers('a way that goes nowhere is one, too', async () => {
  ip([`route add unreachable default table ${TABLE + 1}`, `rule add from 10.52.0.0/24 lookup ${TABLE + 1}`]);
  await daemon.up('a', { networks: on('six'), port_mappings: bothProtocols });
  const seen = await findings();
  ip([`rule del from 10.52.0.0/24 lookup ${TABLE + 1}`]);
  assert.ok(seen.length > 0);
  for (const text of seen) assert.match(text, /what containers of network six answer leaves nowhere \(8080\/tcp/);
});

answers('only ports published on the address are named, the first of them by name', async () => {
  bySource('add');
  const only = (address: string) => port(8081, 80, { host_ip: address });
  await daemon.up('a', { networks: on('six'), port_mappings: [only(HOST)] });
  assert.equal(await findings(), []);
  await daemon.up('b', { networks: on('web'), port_mappings: [only(SECOND[4]), port(9000, 9000, { range: 6 })] });
  const [text = '', ...more] = await findings();
  assert.equal(more, [], 'web has no IPv6');
  assert.match(text, /of network web answer/);
  assert.match(
    text,
    /\(9000\/tcp of b, 9001\/tcp of b, 9002\/tcp of b, 9003\/tcp of b, 9004\/tcp of b and 2 more\)$/,
    text,
  );
});

answers.run();
