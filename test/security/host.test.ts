// slow: 30 s, silence is shown by waiting, after the same packet was heard elsewhere
/**
 * The router advertisements and redirects that the host and the containers accept while networks are up, the hosts for
 * which the host forwards, and the queries that the name servers of networks answer.
 *
 * The host has two LANs. Each test that shows silence also shows that the same packet is received where it should be.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { dig } from '../harness/dns.ts';
import { advertise, macOf, redirect, send } from '../harness/frames.ts';
import { addNetns, withAgents } from '../harness/inside.ts';
import { inside, ipJson } from '../harness/picture.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const ROUTER = 'fe80::bad';
const PREFIX = '2001:db8:bad::';

const host = suite('the host beside its networks');
const lans: Record<string, string> = {};

const sysctl = (key: string) => readFileSync(`/proc/sys/${key}`, 'utf8').trim();
const set = (...assignments: string[]) => execFileSync('sysctl', ['-qw', ...assignments]);
const ip = (input: string, ...where: string[]) => execFileSync('ip', [...where, '-batch', '-'], { input });

/** A LAN of the host with one neighbour, whose router is the host. */
function lan(name: string, v4: string, v6: string): string {
  const netns = addNetns(name);
  ip(`link add ${name}0 type veth peer name eth0 netns ${name}
    address add ${v4}.1/24 dev ${name}0
    address add ${v6}::1/64 dev ${name}0 nodad
    link set ${name}0 up`);
  ip(
    `link set eth0 up
    address add ${v4}.2/24 dev eth0
    address add ${v6}::2/64 dev eth0 nodad
    route add default via ${v4}.1
    route add default via ${v6}::1`,
    '-n',
    name,
  );
  return netns;
}

/** Returns true if an interface has an address of the prefix that the neighbour advertises. */
const believes = (link: string): boolean =>
  JSON.stringify(ipJson(undefined, '-6', 'address', 'show', 'dev', link)).includes(PREFIX.replace(/:$/, ''));

host.before(() => {
  set('net.ipv4.ip_forward=0', 'net.ipv6.conf.all.forwarding=0', 'net.ipv4.conf.all.accept_redirects=0');
  lans['one'] = lan('one', '192.0.2', '2001:db8:2');
  lans['two'] = lan('two', '198.51.100', '2001:db8:51');
});

const SUBNETS = [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }];

/** Runs `work` with a daemon that has a network of both families and a container on it, and then removes everything. */
async function withNetwork(
  work: (daemon: TestDaemon) => Promise<void>,
  { forwardOthers = false, dns = false } = {},
): Promise<void> {
  const daemon = new TestDaemon();
  daemon.forwardOthers = forwardOthers;
  await daemon.start();
  try {
    await daemon.network({ name: 'web', subnets: SUBNETS, dns_enabled: dns });
    await daemon.network({ name: 'inner', subnets: [{ subnet: '10.71.0.0/24' }], internal: true, dns_enabled: dns });
    await daemon.up('web', { networks: on('web') });
    await daemon.up('inner', { networks: on('inner') });
    await work(daemon);
    for (const id of ['web', 'inner']) await daemon.down(id);
  } finally {
    await daemon.stop();
  }
}

// --- Router advertisements ----------------------------------------------------------------------------------------

host('an uplink that accepted router advertisements still does, and so does one that appears later', async () => {
  const before = switches();
  await withNetwork(async () => {
    assert.is(sysctl('net/ipv6/conf/all/forwarding'), '1');
    await until('the advertisement to be believed', () => {
      advertise(lans['one'] ?? '', 'eth0', ROUTER, PREFIX);
      return believes('one0');
    });
    lan('late', '203.0.113', '2001:db8:113');
    await until('the advertisement to be believed by the interface that came later', () => {
      advertise('/run/netns/late', 'eth0', ROUTER, PREFIX);
      return believes('late0');
    });
  });
  // As it would be without any network at the time it came.
  await until('the switches to be put back', () => sysctl('net/ipv6/conf/late0/accept_ra') === '1');
  execFileSync('ip', ['link', 'del', 'late0']);
  await until('the host to be as before', () => switches() === before);
});

host('a router still ignores router advertisements', async () => {
  execFileSync('ip', ['-6', 'address', 'flush', 'dev', 'two0', 'scope', 'global']);
  set('net.ipv6.conf.all.forwarding=1');
  const before = switches();
  await withNetwork(async () => {
    for (let n = 0; n < 5; n++) {
      advertise(lans['two'] ?? '', 'eth0', ROUTER, PREFIX);
      await sleep(50);
    }
    assert.is(sysctl('net/ipv6/conf/two0/accept_ra'), '1');
    assert.not.ok(believes('two0'));
  });
  await until('the host to be as before', () => switches() === before);
  // An interface that is no router and accepts advertisements does not become one.
  set('net.ipv6.conf.one0.forwarding=0');
  await withNetwork(async () => {
    assert.is(sysctl('net/ipv6/conf/one0/forwarding'), '0');
    await Promise.resolve();
  });
  assert.is(sysctl('net/ipv6/conf/one0/forwarding'), '0');
  set('net.ipv6.conf.all.forwarding=0');
  ip('address add 2001:db8:51::1/64 dev two0 nodad');
});

/** The switches that turning forwarding on or off changes, of the host and its LANs. */
function switches(): string {
  const links = ['all', 'default', 'lo', 'one0', 'two0'];
  const keys = links.flatMap((link) => [
    ...['forwarding', 'accept_redirects'].map((key) => `net/ipv4/conf/${link}/${key}`),
    ...['forwarding', 'accept_ra', 'accept_redirects'].map((key) => `net/ipv6/conf/${link}/${key}`),
  ]);
  return keys.map((key) => `${key}=${sysctl(key)}`).join('\n');
}

host('switches that the kernel resets beside forwarding are restored', async () => {
  set('net.ipv4.conf.two0.forwarding=1', 'net.ipv6.conf.two0.forwarding=1', 'net.ipv6.conf.one0.accept_ra=0');
  const before = switches();
  await withNetwork(async (daemon) => {
    assert.is(sysctl('net/ipv6/conf/one0/accept_ra'), '0');
    await daemon.kill();
    await daemon.start();
  });
  await until('the host to be as before', () => switches() === before);
  set('net.ipv4.conf.two0.forwarding=0', 'net.ipv6.conf.two0.forwarding=0', 'net.ipv6.conf.one0.accept_ra=1');
});

// --- Forwarding ---------------------------------------------------------------------------------------------------

const [V4, V6] = ['198.51.100.2', '2001:db8:51::2'];
const OTHERS = [
  ['tcp', V4],
  ['udp', V4],
  ['tcp', V6],
  ['udp', V6],
] as const;

/** The answer that a neighbour on the first LAN gets from a server on the second. */
const across = (): Promise<string[]> =>
  withAgents([lans['one'] ?? '', lans['two'] ?? ''], async (client, server) => {
    for (const protocol of ['tcp', 'udp'] as const) await server.serve('far', protocol, 7);
    return Promise.all(OTHERS.map(([protocol, address]) => client.dial(protocol, address, 7)));
  });
const SILENCE = OTHERS.map(() => 'timeout');
const HEARD = OTHERS.map(([, address]) => `far ${address === V4 ? '192.0.2.2' : '2001:db8:2::2'}`);

host('a host that forwarded nothing forwards only for its networks', async () => {
  await withNetwork(async (daemon) => {
    assert.equal(await across(), SILENCE);
    await withAgents([pathOf(await view(daemon, 'web')), lans['one'] ?? ''], async (container, server) => {
      for (const protocol of ['tcp', 'udp'] as const) await server.serve('near', protocol, 7);
      for (const address of ['192.0.2.2', '2001:db8:2::2']) {
        for (const protocol of ['tcp', 'udp'] as const) {
          assert.match(await container.dial(protocol, address, 7), /^near /, `${protocol} ${address}`);
        }
      }
    });
    // Changes by others are reverted, and a restart does not forget the setting.
    execFileSync('nft', ['flush', 'chain', 'inet', tableOf(daemon), 'others4']);
    await until('the rule to be put back', () =>
      execFileSync('nft', ['list', 'chain', 'inet', tableOf(daemon), 'others4'], { encoding: 'utf8' }).includes('drop'),
    );
    await daemon.kill();
    await daemon.start();
    assert.equal(await across(), SILENCE);
  });
});

host('containers of another daemon are forwarded, in and out', async () => {
  await withNetwork(async () => {
    const second = new TestDaemon();
    await second.start();
    await second.network({ name: 'web', subnets: [{ subnet: '10.72.0.0/24' }, { subnet: 'fd00:72::/64' }] });
    const mapped = [port(8080, 80)];
    const web = await second.up('web', { networks: on('web'), port_mappings: mapped });
    await withAgents([pathOf(web), lans['one'] ?? ''], async (container, neighbour) => {
      await container.serve('web', 'tcp', 80);
      await neighbour.serve('near', 'tcp', 7);
      for (const address of ['192.0.2.2', '2001:db8:2::2'])
        assert.match(await container.dial('tcp', address, 7), /^near /);
      for (const address of ['192.0.2.1', '2001:db8:2::1'])
        assert.match(await neighbour.dial('tcp', address, 8080), /^web /);
    });
    await second.down('web');
    await second.stop();
  });
});

host('an interface that the host forwarded from before is still forwarded from', async () => {
  set('net.ipv4.conf.one0.forwarding=1', 'net.ipv4.conf.two0.forwarding=1');
  await withNetwork(async () => {
    assert.equal((await across()).slice(0, 2), HEARD.slice(0, 2));
  });
  set('net.ipv4.conf.one0.forwarding=0', 'net.ipv4.conf.two0.forwarding=0');
});

host('a router still forwards, and so does any host where the operator says so', async () => {
  await withNetwork(async () => assert.equal(await across(), HEARD), { forwardOthers: true });
  set('net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  await withNetwork(async () => assert.equal(await across(), HEARD));
  set('net.ipv4.ip_forward=0', 'net.ipv6.conf.all.forwarding=0');
});

host("frames that pass another program's bridge are not affected", async () => {
  set('net.bridge.bridge-nf-call-iptables=1', 'net.bridge.bridge-nf-call-ip6tables=1');
  ip('link add theirs type bridge\nlink set theirs up\naddress add 203.0.113.1/24 dev theirs');
  for (const [name, address] of [
    ['left', '203.0.113.2'],
    ['right', '203.0.113.3'],
  ]) {
    addNetns(name ?? '');
    ip(`link add ${name}0 type veth peer name eth0 netns ${name}\nlink set ${name}0 master theirs up`);
    ip(`link set eth0 up\naddress add ${address}/24 dev eth0`, '-n', name ?? '');
  }
  await withNetwork(() =>
    withAgents(['/run/netns/left', '/run/netns/right'], async (client, server) => {
      await server.serve('right', 'tcp', 7);
      assert.is(await client.dial('tcp', '203.0.113.3', 7), 'right 203.0.113.2');
    }),
  );
  execFileSync('ip', ['link', 'del', 'theirs']);
  set('net.bridge.bridge-nf-call-iptables=0', 'net.bridge.bridge-nf-call-ip6tables=0');
});

// --- Redirects ----------------------------------------------------------------------------------------------------

host('a neighbour in a network cannot redirect what a container sends, nor what the host sends', async () => {
  await withNetwork(async (daemon) => {
    const web = await view(daemon, 'web');
    const peer = await daemon.up('peer', { networks: on('web') });
    const theirs = addNetns('theirs');
    const joined = await daemon.up('joined', { netns: { mode: 'path', path: theirs }, networks: on('web') });
    const { network_interface: bridge } = (await daemon.get<{ network_interface: string }>('/v1/networks/web')).body;
    const TARGET = '192.0.2.2';
    const attack = (victim: typeof web) => {
      const forged = redirect({
        from: '10.70.0.1',
        to: addressOf(victim, 'web'),
        via: addressOf(peer, 'web'),
        destination: TARGET,
      });
      send(pathOf(peer), 'eth0', macOf(pathOf(victim), 'eth0'), forged);
    };
    const routeOf = (victim: typeof web) => inside(pathOf(victim), 'ip', 'route', 'get', TARGET);
    for (const victim of [web, joined]) {
      const before = routeOf(victim);
      for (let n = 0; n < 3; n++) attack(victim);
      await sleep(50);
      assert.is(routeOf(victim), before, victim.id);
      // IPv6 accepts its first router alone, by its link-local address; ours has a global one.
      assert.is(inside(pathOf(victim), 'sysctl', '-n', 'net.ipv6.conf.eth0.accept_redirects').trim(), '0');
    }
    inside(
      pathOf(web),
      'sysctl',
      '-qw',
      'net.ipv4.conf.all.accept_redirects=1',
      'net.ipv4.conf.eth0.accept_redirects=1',
    );
    await until('a redirect to be believed where it may be', () => {
      attack(web);
      return routeOf(web).includes(`via ${addressOf(peer, 'web')}`);
    });
    for (const family of ['ipv4', 'ipv6']) assert.is(sysctl(`net/${family}/conf/${bridge}/accept_redirects`), '0');
    for (const id of ['joined', 'peer']) await daemon.down(id);
  });
});

const DNS = { dns: true };

// --- Name servers -------------------------------------------------------------------------------------------------

host('the name server of a network answers that network and the host, and nobody else', async () => {
  const outside = openOutside();
  await withNetwork(async (daemon) => {
    const [web, inner] = [await view(daemon, 'web'), await view(daemon, 'inner')];
    const ask = (netns: string | undefined, server: string, name: string) => dig(outside, netns, server, name);
    assert.is(await ask(pathOf(web), '10.70.0.1', 'web'), `NOERROR ${addressOf(web, 'web')}`);
    assert.is(await ask(pathOf(inner), '10.71.0.1', 'inner'), `NOERROR ${addressOf(inner, 'inner')}`);
    assert.is(await ask(undefined, '10.70.0.1', 'web'), `NOERROR ${addressOf(web, 'web')}`);
    for (const [netns, server, name] of [
      [lans['one'], '10.70.0.1', 'web'],
      [lans['one'], '10.71.0.1', 'inner'],
      [lans['one'], 'fd00:70::1', 'web'],
      [pathOf(web), '10.71.0.1', 'inner'],
      [pathOf(inner), '10.70.0.1', 'web'],
    ] as const) {
      assert.is(await ask(netns, server, name), 'silence', `${server} from ${netns}`);
    }
  }, DNS);
});

/** Named after the state directory (service/daemon.ts). */
const tableOf = ({ stateDir }: TestDaemon) =>
  `cleat-${createHash('sha256').update(stateDir).digest('hex').slice(0, 8)}`;
const view = async (daemon: TestDaemon, id: string) =>
  (await daemon.get<Awaited<ReturnType<TestDaemon['up']>>>(`/v1/containers/${id}`)).body;

host.run();
