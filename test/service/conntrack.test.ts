// slow: 40 s, clients that never pause are followed through each change
/**
 * Existing connections under a change: clients that never pause, on the LAN, in another network, in the same one and on
 * the host itself, of both families. The tests show the table of docs/firewall.md.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { PortMapping } from '../../state/event.ts';
import { addressOf, on, pathOf, port, TestDaemon, type CreateOptions } from '../harness/daemon.ts';
import { addNetns } from '../harness/inside.ts';
import { scratch, until } from '../harness/native.ts';
import { calm } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { talkerIn, type Client, type Talker } from '../harness/talk.ts';

requirePrivateNamespace();

const HOST = '192.0.2.1';
const HOST6 = '2001:db8:2::1';

const daemon = new TestDaemon();
const tracked = suite('connections that exist');
let lan: Talker;
let host: Talker;
let talkers: Talker[] = [];

tracked.before(async () => {
  addNetns('lan');
  execFileSync('sysctl', ['-qw', 'net.bridge.bridge-nf-call-ip6tables=0']);
  execFileSync('ip', ['-batch', '-'], {
    input: `link add lan0 type veth peer name eth0 netns lan
      address add ${HOST}/24 dev lan0
      address add ${HOST6}/64 dev lan0 nodad
      link set lan0 up`,
  });
  execFileSync('ip', ['-n', 'lan', '-batch', '-'], {
    input: `address add 192.0.2.2/24 dev eth0
      address add 2001:db8:2::2/64 dev eth0 nodad
      link set eth0 up
      route add default via ${HOST}
      route add default via ${HOST6}`,
  });
  await daemon.start();
  for (const [name, n] of [
    ['web', 70],
    ['back', 71],
    ['open', 72],
  ] as const) {
    const subnets = [{ subnet: `10.${n}.0.0/24` }, { subnet: `fd00:${n}::/64` }];
    await daemon.network({ name, subnets, ...(name === 'open' ? { options: { isolate: 'false' } } : {}) });
  }
  await calm();
});
tracked.before.each(async () => {
  talkers = await Promise.all([talkerIn('/run/netns/lan'), talkerIn(null)]);
  [lan, host] = talkers as [Talker, Talker];
});
tracked.after.each(async () => {
  for (const talker of talkers.splice(0)) talker.stop();
  if (daemon.pid === 0) await daemon.start();
  await clear(daemon);
});
tracked.after(async () => {
  await daemon.stop();
});

interface Place extends Talker {
  view: ContainerView;
}

/** A container that answers with its name on these ports, UDP and TCP. */
async function container(id: string, create: CreateOptions, ...ports: number[]): Promise<Place> {
  const view = await daemon.up(id, create);
  const talker = await talkerIn(pathOf(view));
  talkers.push(talker);
  for (const one of ports) {
    for (const protocol of ['tcp', 'udp'] as const) await talker.serve(id, protocol, one);
  }
  return Object.assign(talker, { view });
}

/** Ports published on the same number as in the container, and on another: a late answer leaves by the first. */
const PORTS: PortMapping[] = (['tcp', 'udp'] as const).flatMap((protocol) => [
  port(8080, 80, { protocol }),
  port(53, 53, { protocol }),
]);

/** Clients of each published port, of each family, from every place. */
function clients(protocol: 'tcp' | 'udp', elsewhere: Talker[]): Promise<Client[]> {
  const places = [lan, host, ...elsewhere];
  return Promise.all([
    ...places.flatMap((from) => [HOST, HOST6].map((address) => from.talk(protocol, address, 53))),
    ...[HOST, HOST6].map((address) => lan.talk(protocol, address, 8080)),
    host.talk(protocol, '127.0.0.1', 8080),
    host.talk(protocol, '::1', 53),
    // One client is restless, so that an answer is always under way.
    lan.talk(protocol, HOST, 53, { restless: true }),
  ]);
}

async function served(all: readonly Client[], by: string[]): Promise<void> {
  const seen = await Promise.all(all.map(async (client) => ({ what: client.what, by: await client.servedBy(by) })));
  const wrong = seen.filter((one) => one.by.join() !== by.join());
  assert.equal(
    wrong.map((one) => `${one.what}: served by ${one.by.join(' and ')}, not by ${by.join()}`),
    [],
  );
}

const publish = (id: string, ports: PortMapping[], from?: string) =>
  daemon.done({ type: 'publish', id, port_mappings: ports, ...(from === undefined ? {} : { from }) });
const unpublish = (id: string, ports: PortMapping[]) => daemon.done({ type: 'unpublish', id, port_mappings: ports });

/** Restarts the daemon, which then knows only what is on disk. */
async function restart(): Promise<void> {
  await daemon.kill();
  await daemon.start();
}

const handlers = [
  ['the firewall', {}],
  ['the forwarder', { port_handler: 'forwarder' }],
] as const;

for (const [who, more] of handlers) {
  const create = (ports: PortMapping[] = []) => ({ networks: on('web'), port_mappings: ports, ...more });

  tracked(`a client that began before a port was published is served once it is: ${who}`, async () => {
    const a = await container('a', create(), 80, 53);
    const other = await container('other', { networks: on('back') });
    const all = await clients('udp', [other, a]);
    await served(all, []);
    await publish('a', PORTS);
    await served(all, ['a']);
  });

  tracked(`an unpublished port serves nobody, whatever came before: ${who}`, async () => {
    const a = await container('a', create(PORTS), 80, 53, 81);
    const other = await container('other', { networks: on('back') });
    const [udp, tcp] = [await clients('udp', [other, a]), await clients('tcp', [other, a])];
    // A client of another port, and one of the container's own address.
    await publish('a', [port(8081, 81, { protocol: 'udp' })]);
    const bystanders = [await lan.talk('udp', HOST, 8081), await host.talk('udp', addressOf(a.view, 'web'), 80)];
    await served([...udp, ...tcp, ...bystanders], ['a']);
    await restart();
    await unpublish('a', PORTS);
    await served(udp, []);
    for (const client of tcp) assert.match(await client.end(), /ECONNRESET|closed|EPIPE/, client.what);
    await served(bystanders, ['a']);
  });

  tracked(`a port that moves leads every datagram to the new container, and keeps connections: ${who}`, async () => {
    await container('a', create(PORTS), 80, 53);
    const b = await container('b', create(), 80, 53);
    const other = await container('other', { networks: on('back') });
    const [udp, tcp] = [await clients('udp', [other, b]), await clients('tcp', [other, b])];
    await served([...udp, ...tcp], ['a']);
    await restart();
    await publish('b', PORTS, 'a');
    await served(udp, ['b']);
    await served(tcp, ['a']);
    await served(await clients('tcp', [other, b]), ['b']);
    // The teardown closes the port and ends the connections that it led elsewhere.
    await daemon.down('b');
    for (const client of tcp) assert.match(await client.end(), /ECONNRESET|closed|EPIPE/, client.what);
  });
}

tracked(
  'the next owner of an address is not reached by old connections, after a teardown or a disconnect',
  async () => {
    const networks = { web: { static_ips: ['10.70.0.9', 'fd00:70::9'] } };
    for (const leave of [() => daemon.down('a'), () => daemon.done({ type: 'disconnect', id: 'a', network: 'web' })]) {
      const a = await container('a', { networks, port_mappings: PORTS }, 80, 53);
      const other = await container('other', { networks: on('back') });
      const into = await clients('udp', [other]);
      // A flow that the container itself began, to a peer that still answers.
      await lan.serve('lan', 'udp', 7000 + talkers.length);
      const out = await a.talk('udp', '192.0.2.2', 7000 + talkers.length, { from: 5000 });
      await served(into, ['a']);
      await served([out], ['lan']);
      await restart();
      talkers.splice(talkers.indexOf(a), 1)[0]?.stop();
      await leave();
      const next = await container('next', { networks }, 80, 53);
      await served(into, []);
      for (const address of ['10.70.0.9', 'fd00:70::9']) {
        const family = address.includes(':') ? 'ipv6' : 'ipv4';
        const left = execFileSync('conntrack', ['-L', '-f', family], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        assert.not.match(left, new RegExp(`=${address} `));
      }
      next.stop();
      await daemon.down('next', 'other');
      if ((await daemon.get('/v1/containers/a')).status === 200) await daemon.down('a');
    }
  },
);

tracked(
  'a network that takes over the default route gets every datagram, and keeps its connections until it goes',
  async () => {
    const a = await container('a', { networks: on('web'), port_mappings: PORTS }, 80, 53);
    const [udp, tcp] = [await clients('udp', []), await clients('tcp', [])];
    await served([...udp, ...tcp], ['a']);
    const entries = (address: string, protocol: string) =>
      execFileSync('conntrack', ['-L', '-p', protocol, '-r', address], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
        .split('\n')
        .filter((line) => /dport=(8080|53) /.test(line)).length;
    const now = await daemon.done({ type: 'connect', id: 'a', network: 'back', options: { gateway_priority: 7 } });
    await served([...udp, ...tcp], ['a']);
    assert.is(entries(addressOf(a.view, 'web'), 'udp'), 0);
    assert.ok(entries(addressOf(now, 'back'), 'udp') > 0);
    assert.ok(entries(addressOf(a.view, 'web'), 'tcp') > 0);
    await daemon.done({ type: 'disconnect', id: 'a', network: 'web' });
    await served(udp, ['a']);
    for (const client of tcp) assert.match(await client.end(), /ECONNRESET|closed|EPIPE/, client.what);
  },
);

/**
 * The entries of clients of this port of a container, by their first direction; the raw chain now drops packets that
 * would make such entries. A late answer of the container to an earlier datagram is a connection of its own, from this
 * port.
 */
const entriesTo = (number: number): string[] =>
  execFileSync('conntrack', ['-L'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    .split('\n')
    .filter((line) => / dport=(\d+) /.exec(line)?.[1] === String(number));

const LEFT_ALONE = ['table=alert', 'rule=alert', 'port=alert'];
for (const [how, mend] of [
  ['by itself', () => Promise.resolve()],
  ['by the next daemon', () => daemon.start()],
  ['by a reload', () => daemon.done({ type: 'reload', id: 'a' })],
] as const) {
  tracked(`a connection that began while the ruleset was gone ends when it is back ${how}`, async () => {
    const a = await container('a', { networks: on('web'), port_mappings: PORTS }, 80, 53, 81);
    const other = await container('other', { networks: on('back') });
    const published = await clients('udp', [other]);
    const addresses = [addressOf(a.view, 'web'), addressOf(a.view, 'web', 6)];
    const direct = await Promise.all(
      [lan, other].flatMap((from) => addresses.map((address) => from.talk('udp', address, 81))),
    );
    await served(published, ['a']);
    await served(direct, []);
    if (how !== 'by itself') await daemon.kill();
    if (how === 'by a reload') {
      daemon.drift = LEFT_ALONE;
      await daemon.start();
    }
    execFileSync('nft', ['flush', 'ruleset']);
    const late = how === 'by itself' ? [] : await clients('udp', [other]);
    if (how !== 'by itself') await served(direct, ['a']);
    await served(late, []);
    await mend();
    await until('it is put right', async () => (await daemon.get<{ clean: boolean }>('/v1/audit')).body.clean);
    await served(direct, []);
    await served([...published, ...late], ['a']);
    assert.equal(entriesTo(81), []);
    daemon.drift = [];
    if (how === 'by a reload') await restart();
  });
}

tracked('a network that is closed to others is closed to those with open connections', async () => {
  const a = await container('a', { networks: on('web') }, 81);
  const b = await container('b', { networks: on('open') });
  const isolate = async (how: string) => {
    const { status, text } = await daemon.request('PATCH', '/v1/networks/web', { options: { isolate: how } });
    assert.is(status, 200, text);
  };
  await isolate('false');
  const addresses = [addressOf(a.view, 'web'), addressOf(a.view, 'web', 6)];
  const all = await Promise.all(
    (['udp', 'tcp'] as const).flatMap((protocol) => addresses.map((address) => b.talk(protocol, address, 81))),
  );
  const neighbour = await host.talk('tcp', addresses[0]!, 81);
  await served([...all, neighbour], ['a']);
  await isolate('strict');
  await served(all, []);
  await served([neighbour], ['a']);
  assert.equal(
    entriesTo(81).filter((line) => line.includes('src=10.72.') || line.includes('src=fd00:72:')),
    [],
  );
});

tracked('an unpublish that was killed before it deleted entries is finished by the next daemon', async () => {
  await container('a', { networks: on('web'), port_mappings: PORTS }, 80, 53);
  const udp = await clients('udp', []);
  await served(udp, ['a']);
  await daemon.stop();
  const points = scratch();
  daemon.environment = { CLEAT_FAILPOINTS: points };
  await daemon.start();
  writeFileSync(`${points}/order`, 'SIGKILL unpublish:durable#1');
  await daemon.event({ type: 'unpublish', id: 'a', port_mappings: PORTS }).catch(() => {});
  await until('it dies', () => !existsSync(`/proc/${daemon.pid}/exe`));
  // Does the work that precedes the connections in this effect.
  for (const map of ['ports4', 'ports6']) execFileSync('nft', ['flush', 'map', 'inet', tableOf(), map]);
  await served(udp, ['a']);
  daemon.environment = {};
  await restart();
  await until('it has been unpublished', async () => (await daemon.get('/v1/containers/a')).body.ports?.length === 0);
  await served(udp, []);
});

/** The table of this daemon. */
function tableOf(): string {
  const tables = execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' });
  return /inet (cleat\S*)/.exec(tables)?.[1] ?? '';
}

tracked.run();
