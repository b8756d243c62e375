/**
 * A container on several networks: packets with the address of one network leave by that network, and are answered. In
 * both families, for networks that come and go, links that are made again, and a daemon that was killed.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, on, pathOf, port } from '../harness/daemon.ts';
import { addNetns, agentIn, removeNetns, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { inside } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { HOST, LAN, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const two = suite('two networks');
const { daemon } = await wayOut(two);
const [HOST6, LAN6] = ['fd00:192::1', 'fd00:192::2'];
const SUBNETS: Record<string, [string, string]> = {
  one: ['10.56.0', 'fd00:56::'],
  other: ['10.57.0', 'fd00:57::'],
  third: ['10.58.0', 'fd00:58::'],
};

/** Returns the source that the other end of a connection from this address sees. */
const FROM = `import socket, sys
s = socket.create_connection((sys.argv[2], 7000), 2, (sys.argv[1], 0))
print(s.recv(99).decode(), end='')`;
function seenAs(container: ContainerView, from: string, to: string): string {
  try {
    return inside(pathOf(container), 'python3', '-c', FROM, from, to);
  } catch (error) {
    return (
      /TimeoutError|timed out|unreachable/.exec(String((error as { stderr?: unknown }).stderr))?.[0] ?? String(error)
    );
  }
}

/** Checks that each address of a container leads out, and is seen as the host's. */
function allLeadOut(container: ContainerView, ...networks: string[]): void {
  const seen = networks.flatMap((network) => [
    seenAs(container, addressOf(container, network), LAN),
    seenAs(container, addressOf(container, network, 6), LAN6),
  ]);
  assert.equal(
    seen,
    networks.flatMap(() => [`lan ${HOST}`, `lan ${HOST6}`]),
  );
}

const rulesIn = (path: string): string[] =>
  ['-4', '-6']
    .flatMap((family) => inside(path, 'ip', family, 'rule').trim().split('\n'))
    .filter((line) => !/lookup (local|main|default)/.test(line));

/** Connects from the host itself, by the address of a bridge. */
async function answers(container: ContainerView, ...addresses: string[]): Promise<void> {
  await withAgents([pathOf(container), null], async (agent, host) => {
    await agent.serve('server', 'tcp', 80);
    for (const address of addresses) {
      assert.match(await host.dial('tcp', address, 8080, 1000), /^server /, `published on ${address}`);
    }
  });
}

two.before(async () => {
  const commands = `addr add ${HOST6}/64 dev lan0 nodad\nroute add default via ${LAN6}\n`;
  execFileSync('ip', ['-batch', '-'], { input: commands });
  execFileSync('ip', ['-n', 'lan', 'addr', 'add', `${LAN6}/64`, 'dev', 'eth0', 'nodad']);
  for (const [name, [four, six]] of Object.entries(SUBNETS)) {
    await daemon.network({ name, subnets: [{ subnet: `${four}.0/24` }, { subnet: `${six}/64` }] });
  }
  await daemon.network({ name: 'quiet', subnets: [{ subnet: '10.59.0.0/24' }], internal: true });
  // As many distributions set it (systemd's 50-default.conf says 2, others 1).
  for (const name of ['all', 'default']) writeFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, '1');
});

two('traffic from each address leaves by its own network, whichever has the default route', async () => {
  const networks = { one: {}, other: { gateway_priority: 5 }, third: {} };
  const a = await daemon.up('a', { networks });
  allLeadOut(a, 'one', 'other', 'third');
});

two('a published port answers on the address of every gateway', async () => {
  const a = await daemon.up('a', { networks: on('one', 'other'), port_mappings: [port(8080, 80)] });
  await answers(a, '10.56.0.1', '10.57.0.1', 'fd00:56::1', 'fd00:57::1');
  const b = await daemon.done({ type: 'connect', id: 'a', network: 'third', options: { gateway_priority: 9 } });
  await answers(b, '10.56.0.1', '10.57.0.1', '10.58.0.1', 'fd00:56::1', 'fd00:58::1');
});

two('the routing by source follows connect, a full reload, a kill and disconnect', async () => {
  const alone = await daemon.up('a', { networks: on('one') });
  assert.equal(rulesIn(pathOf(alone)), []);
  const both = await daemon.done({ type: 'connect', id: 'a', network: 'other', options: { gateway_priority: 5 } });
  allLeadOut(both, 'one', 'other');
  await daemon.done({ type: 'reload', id: 'a', full: true });
  allLeadOut(both, 'one', 'other');
  await daemon.kill();
  await daemon.start();
  allLeadOut(both, 'one', 'other');
  for (const family of ['-4', '-6']) inside(pathOf(both), 'ip', family, 'rule', 'flush');
  for (const family of ['-4', '-6'])
    inside(pathOf(both), 'ip', family, 'rule', 'add', 'lookup', 'main', 'priority', '32766');
  await daemon.done({ type: 'reload', id: 'a', full: true });
  allLeadOut(both, 'one', 'other');
  const left = await daemon.done({ type: 'disconnect', id: 'a', network: 'one' });
  allLeadOut(left, 'other');
  assert.equal(rulesIn(pathOf(left)), []);
});

/** The static routes of the main table, of both families. */
const routesIn = (container: ContainerView): string[] =>
  ['-4', '-6'].flatMap((family) =>
    inside(pathOf(container), 'ip', family, 'route')
      .split('\n')
      .filter((line) => /^(10\.98|fd00:98:)/.test(line))
      .map((line) => line.replace(/ (proto|metric|pref|src) .*/, '').trim()),
  );

two(
  'networks with a route to the same destination: the first has it, then the next, and a full reload keeps it',
  async () => {
    const routes = (four: string, six: string) => [
      { destination: '10.98.0.0/16', gateway: `${four}.9` },
      { destination: 'fd00:98::/64', gateway: `${six}9` },
    ];
    const by = (link: string, four: string, six: string) => [
      `10.98.0.0/16 via ${four}.9 dev ${link}`,
      `fd00:98::/64 via ${six}9 dev ${link}`,
    ];
    const [first, second] = [
      ['10.54.0', 'fd00:54::'],
      ['10.55.0', 'fd00:55::'],
    ] as const;
    for (const [name, [four, six]] of [
      ['first', first],
      ['second', second],
    ] as const) {
      const subnets = [{ subnet: `${four}.0/24` }, { subnet: `${six}/64` }];
      await daemon.network({ name, subnets, routes: routes(four, six) });
    }
    const a = await daemon.up('a', { networks: { first: {}, second: { gateway_priority: 5 } } });
    const holds = async (link: string, four: string, six: string, what: string) => {
      assert.equal(routesIn(a), by(link, four, six), what);
      const { body } = await daemon.get<{ state: string; drift: unknown[] }>('/v1/containers/a?wait=up');
      assert.equal([body.state, body.drift], ['up', []], what);
      await daemon.clean();
    };
    await holds('eth0', ...first, 'at first');
    await daemon.done({ type: 'reload', id: 'a', full: true });
    await holds('eth0', ...first, 'after a full reload');
    await daemon.request('PATCH', '/v1/networks/first', { routes: [] });
    await holds('eth1', ...second, 'when the first network has none');
    await daemon.done({ type: 'reload', id: 'a', full: true });
    await holds('eth1', ...second, 'after another full reload');
    const back = await daemon.request('PATCH', '/v1/networks/first', { routes: routes(...first) });
    assert.is(back.status, 200, back.text);
    await holds('eth0', ...first, 'when it has one again');
    inside(pathOf(a), 'ip', 'link', 'del', 'eth0');
    await until('it is back', () => routesIn(a).join() === by('eth0', ...first).join());
    await daemon.done({ type: 'disconnect', id: 'a', network: 'first' });
    await holds('eth1', ...second, 'when the first network is left');
  },
);

two('a link that others removed comes back with its routes', async () => {
  const a = await daemon.up('a', { networks: on('one', 'other') });
  inside(pathOf(a), 'ip', 'link', 'del', 'eth1');
  await until('it is back', () => inside(pathOf(a), 'ip', '-o', 'address').includes(`${addressOf(a, 'other', 6)}/64`));
  await until('it leads out', () => seenAs(a, addressOf(a, 'other'), LAN) === `lan ${HOST}`);
  allLeadOut(a, 'one', 'other');
});

two('the routing by source follows an update that adds or removes an address', async () => {
  const a = await daemon.up('a', { networks: on('one', 'other') });
  const change = async (update: object) => {
    const { status, text } = await daemon.request('PATCH', '/v1/networks/other', update);
    assert.is(status, 200, text);
  };
  await change({ subnets: [{ subnet: '10.60.0.0/24' }] });
  const [address = ''] = /10\.60\.0\.\d+(?=\/)/.exec(inside(pathOf(a), 'ip', '-o', 'address')) ?? [];
  assert.is(seenAs(a, address, LAN), `lan ${HOST}`);
  await daemon.down('a');
  await change({ remove_subnets: ['10.60.0.0/24'] });
});

two('an internal network leads nowhere, and the one beside it does', async () => {
  const a = await daemon.up('a', { networks: on('quiet', 'one') });
  assert.is.not(seenAs(a, addressOf(a, 'quiet'), LAN), `lan ${HOST}`);
  allLeadOut(a, 'one');
});

two('a namespace of others has none of our rules when the container has gone', async () => {
  const path = addNetns('theirs');
  const agent = await agentIn(path);
  const before = rulesIn(path);
  const a = await daemon.up('a', { netns: { mode: 'path', path }, networks: on('one', 'other') });
  allLeadOut(a, 'one', 'other');
  await daemon.down('a');
  assert.equal(rulesIn(path), before);
  agent.stop();
  removeNetns('theirs');
});

two("the forwarder answers on a second uplink's address with source routing", async () => {
  const path = addNetns('lan2');
  execFileSync('ip', ['link', 'add', 'lan2', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', path]);
  const host = [
    'addr add 198.51.100.1/24 dev lan2',
    'link set lan2 up',
    'route add default via 198.51.100.2 table 200',
  ];
  execFileSync('ip', ['-batch', '-'], { input: [...host, 'rule add from 198.51.100.1 table 200'].join('\n') });
  const far = ['addr add 198.51.100.2/24 dev eth0', 'link set eth0 up', 'addr add 203.0.113.9/32 dev lo'];
  const back = 'route add 198.51.100.0/24 dev eth0 src 203.0.113.9 metric 0';
  execFileSync('ip', ['-n', 'lan2', '-batch', '-'], { input: [...far, 'route del 198.51.100.0/24', back].join('\n') });
  // Loose, as on a host with two uplinks: clients are anywhere.
  writeFileSync('/proc/sys/net/ipv4/conf/lan2/rp_filter', '2');
  const ports = { port_mappings: [port(8080, 80), port(8080, 80, { protocol: 'udp' })] };
  const a = await daemon.up('a', { networks: on('one'), ...ports, port_handler: 'forwarder' });
  await withAgents([pathOf(a), path], async (server, client) => {
    await server.serve('server', 'tcp', 80);
    await server.serve('server', 'udp', 80);
    for (const protocol of ['tcp', 'udp'] as const) {
      assert.match(await client.dial(protocol, '198.51.100.1', 8080, 2000), /^server /, protocol);
    }
  });
  execFileSync('ip', ['rule', 'del', 'from', '198.51.100.1', 'table', '200']);
  removeNetns('lan2');
});

two.run();
