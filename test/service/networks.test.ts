// as user: proving
/**
 * The networks as a container sees them: interfaces in order, addresses, routes, MTU, and who reaches whom. Packets
 * show the connectivity.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetworkRequest } from '../../state/network.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, on, pathOf, TestDaemon } from '../harness/daemon.ts';
import { agentIn, withAgents } from '../harness/inside.ts';
import { carries, assertComesBackTo, inspect, ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const networks = suite('networks');
const twice = rounds(networks, daemon);

const DEFINITIONS: NetworkRequest[] = [
  { name: 'four', subnets: [{ subnet: '10.70.0.0/24' }] },
  { name: 'six', subnets: [{ subnet: 'fd00:71::/64' }] },
  { name: 'both', subnets: [{ subnet: '10.72.0.0/24', gateway: '10.72.0.254' }, { subnet: 'fd00:72::/64' }] },
  { name: 'low', subnets: [{ subnet: '10.73.0.0/24' }], options: { metric: '50', mtu: '1400' } },
  { name: 'quiet', subnets: [{ subnet: '10.74.0.0/24' }], options: { no_default_route: 'true' } },
  { name: 'inner', subnets: [{ subnet: '10.75.0.0/24' }], internal: true },
  {
    name: 'routed',
    subnets: [{ subnet: '10.76.0.0/24' }],
    routes: [
      { destination: '192.0.2.0/24', gateway: '10.76.0.7' },
      { destination: '198.51.100.0/24', gateway: '10.76.0.8', metric: 7 },
    ],
  },
  {
    name: 'ranged',
    subnets: [{ subnet: '10.77.0.0/24', lease_range: { start_ip: '10.77.0.100', end_ip: '10.77.0.101' } }],
  },
  ...(['strict', 'true', 'false'] as const).flatMap((isolate, i): NetworkRequest[] =>
    ['a', 'b'].map((letter, j) => ({
      name: `${letter}-${isolate}`,
      subnets: [{ subnet: `10.${80 + i}.${j}.0/24` }, { subnet: `fd00:${80 + i}:${j}::/64` }],
      options: { isolate },
    })),
  ),
];

networks.before(async () => {
  await daemon.start();
  for (const definition of DEFINITIONS) await daemon.network(definition);
});
networks.after(async () => {
  await daemon.stop();
});

interface Route {
  dst: string;
  gateway?: string;
  dev: string;
  metric?: number;
}
interface Link {
  ifname: string;
  address: string;
  mtu: number;
  flags: string[];
  addr_info: { family: string; local: string; prefixlen: number; scope: string }[];
}

const links = (container: ContainerView) =>
  ipJson<Link[]>(pathOf(container), 'address').filter(({ ifname }) => ifname !== 'lo');
/** "default via 10.70.0.1 dev eth0 metric 100" */
const routes = (container: ContainerView, family: '-4' | '-6' = '-4') =>
  ipJson<Route[]>(pathOf(container), family, 'route')
    .filter(({ gateway }) => gateway !== undefined)
    .map(({ dst, gateway, dev, metric }) => `${dst} via ${gateway} dev ${dev} metric ${metric}`)
    .sort();
/** "eth0 10.70.0.2/24", without what the kernel adds by itself. */
const addresses = (container: ContainerView) =>
  links(container).flatMap(({ ifname, addr_info }) =>
    addr_info
      .filter(({ scope }) => scope === 'global')
      .map(({ local, prefixlen }) => `${ifname} ${local}/${prefixlen}`),
  );

twice('IPv4 alone gives one address, one default route, and IPv6 off', async () => {
  const up = await daemon.up('a', { networks: on('four') });
  assert.match(addressOf(up, 'four'), /^10\.70\.0\.\d+$/);
  assert.equal(addresses(up), [`eth0 ${addressOf(up, 'four')}/24`]);
  assert.equal(routes(up), ['default via 10.70.0.1 dev eth0 metric 100']);
  assert.equal(routes(up, '-6'), []);
  assert.equal(
    links(up)[0]?.addr_info.filter(({ family }) => family === 'inet6'),
    [],
  );
  await daemon.down('a');
});

twice('IPv6 alone gives one address, usable at once, and no IPv4', async () => {
  const up = await daemon.up('a', { networks: on('six') });
  assert.equal(addresses(up), [`eth0 ${addressOf(up, 'six', 6)}/64`]);
  assert.equal(routes(up), []);
  assert.equal(routes(up, '-6'), ['default via fd00:71::1 dev eth0 metric 100']);
  const other = await daemon.up('b', { networks: on('six') });
  await withAgents([pathOf(up), pathOf(other), null], async (a, b, host) => {
    await a.serve('a', 'tcp', 80);
    assert.is(await b.dial('tcp', addressOf(up, 'six', 6), 80), `a ${addressOf(other, 'six', 6)}`);
    assert.is(await host.dial('tcp', addressOf(up, 'six', 6), 80), 'a fd00:71::1');
  });
  await daemon.down('a', 'b');
});

twice('both families give an address and a default route each, through the gateway of the definition', async () => {
  const up = await daemon.up('a', { networks: on('both') });
  assert.equal(addresses(up), [`eth0 ${addressOf(up, 'both')}/24`, `eth0 ${addressOf(up, 'both', 6)}/64`]);
  assert.equal(routes(up), ['default via 10.72.0.254 dev eth0 metric 100']);
  assert.equal(routes(up, '-6'), ['default via fd00:72::1 dev eth0 metric 100']);
  await daemon.down('a');
});

twice('three networks are eth0 to eth2 in the requested order, with a default route by metric', async () => {
  const up = await daemon.up('a', { networks: on('both', 'quiet', 'low') });
  assert.equal(
    links(up).map(({ ifname, flags, mtu }) => `${ifname} ${carries(flags)} ${mtu}`),
    ['eth0 UP 1500', 'eth1 UP 1500', 'eth2 UP 1400'],
  );
  assert.equal(
    addresses(up).map((line) => line.split('.').slice(0, 2).join('.')),
    ['eth0 10.72', `eth0 ${addressOf(up, 'both', 6)}/64`, 'eth1 10.74', 'eth2 10.73'],
  );
  assert.equal(routes(up), ['default via 10.72.0.254 dev eth0 metric 100', 'default via 10.73.0.1 dev eth2 metric 50']);
  await daemon.down('a');
});

twice('a container keeps a way out when the network of its default route is disconnected', async () => {
  await daemon.up('a', { networks: on('four', 'both') });
  const left = await daemon.done({ type: 'disconnect', id: 'a', network: 'four' });
  assert.equal(routes(left), ['default via 10.72.0.254 dev eth1 metric 101']);
  await daemon.down('a');
});

twice('connect and disconnect of a running container use the lowest free name, and leave nothing', async () => {
  await daemon.up('a', { networks: on('four', 'low') });
  const before = inspect(daemon).links;
  const less = await daemon.done({ type: 'disconnect', id: 'a', network: 'four' });
  assert.equal(
    links(less).map(({ ifname }) => ifname),
    ['eth1'],
  );
  const more = await daemon.done({ type: 'connect', id: 'a', network: 'both', options: { aliases: ['db'] } });
  assert.equal(Object.keys(more.networks), ['low', 'both']);
  assert.equal(
    links(more)
      .map(({ ifname }) => ifname)
      .sort(),
    ['eth0', 'eth1'],
  );
  assert.is.not(JSON.stringify(inspect(daemon).links), JSON.stringify(before));
  await daemon.down('a');
});

twice('a container gets the requested addresses, MAC and interface name', async () => {
  const wish = {
    static_ips: ['10.72.0.77', 'fd00:72::77'],
    static_mac: '02:00:5E:10:00:01',
    interface_name: 'lan',
  };
  const up = await daemon.up('a', { networks: { both: wish } });
  assert.equal(addresses(up), ['lan 10.72.0.77/24', 'lan fd00:72::77/64']);
  assert.is(links(up)[0]?.address, '02:00:5e:10:00:01');
  assert.is(up.networks.both?.interfaces.lan?.mac_address, '02:00:5e:10:00:01');
  await daemon.down('a');
});

twice('bridge and both ends have the MTU of the network', async () => {
  const up = await daemon.up('a', { networks: on('low') });
  assert.is(links(up)[0]?.mtu, 1400);
  // tap0 is the way out of a user's networks.
  const host = ipJson<Link[]>(undefined, 'link').filter(({ ifname }) => !['lo', 'tap0'].includes(ifname));
  assert.equal(
    host.map(({ mtu }) => mtu),
    [1400, 1400],
  );
  await daemon.down('a');
});

twice('a container gets the routes of the network, with their metrics', async () => {
  const up = await daemon.up('a', { networks: on('routed') });
  assert.equal(routes(up), [
    '192.0.2.0/24 via 10.76.0.7 dev eth0 metric 100',
    '198.51.100.0/24 via 10.76.0.8 dev eth0 metric 7',
    'default via 10.76.0.1 dev eth0 metric 100',
  ]);
  await daemon.down('a');
});

twice('addresses come from the lease range, and only from there', async () => {
  await daemon.up('a', { networks: on('ranged') });
  await daemon.up('b', { networks: on('ranged') });
  await daemon.done({ type: 'create', id: 'c', networks: on('ranged') });
  assert.is((await daemon.event({ type: 'configure', id: 'c' })).body.error?.code, 'SUBNET_FULL');
  await daemon.down('a', 'b', 'c');
});

twice('an internal network reaches itself alone', async () => {
  const [a, b, c] = [
    await daemon.up('a', { networks: on('inner') }),
    await daemon.up('b', { networks: on('inner') }),
    await daemon.up('c', { networks: on('a-false') }),
  ];
  assert.equal(routes(a), []);
  await withAgents([pathOf(a), pathOf(b), pathOf(c)], async (inA, inB, inC) => {
    await inA.serve('a', 'tcp', 80);
    await inC.serve('c', 'tcp', 80);
    assert.is(await inB.dial('tcp', addressOf(a, 'inner'), 80), `a ${addressOf(b, 'inner')}`);
    assert.is(await inB.dial('tcp', addressOf(c, 'a-false'), 80), 'ENETUNREACH');
    // Also when somebody inside adds a default route by hand.
    inB.ip('route add default via 10.75.0.1');
    assert.is(await inB.dial('tcp', addressOf(c, 'a-false'), 80), 'timeout');
    assert.is(await inC.dial('tcp', addressOf(a, 'inner'), 80), 'timeout');
  });
  await daemon.down('a', 'b', 'c');
});

networks('networks reach each other as their isolation says, in both families', async () => {
  const before = inspect(daemon);
  const names = DEFINITIONS.map(({ name }) => name).filter((name) => /^[ab]-/.test(name));
  const all = await Promise.all(
    names.map(async (name) => {
      const container = await daemon.up(name, { networks: on(name) });
      const agent = await agentIn(pathOf(container));
      await agent.serve(name, 'tcp', 80);
      return { name, container, agent };
    }),
  );
  const reached: string[] = [];
  const expected: string[] = [];
  // Rows: the source network; which sources the destination accepts: strict none, true only false, false all but
  // strict.
  const lets = { strict: [] as string[], true: ['false'], false: ['true', 'false'] };
  await Promise.all(
    all.flatMap((from) =>
      all
        .filter((to) => to !== from)
        .map(async (to) => {
          const kinds = [from, to].map(({ name }) => name.slice(2)) as [string, keyof typeof lets];
          if (lets[kinds[1]].includes(kinds[0])) expected.push(`${from.name} -> ${to.name} 4 6`);
          const families = await Promise.all(
            ([4, 6] as const).map(async (family) => {
              const answer = await from.agent.dial('tcp', addressOf(to.container, to.name, family), 80, 700);
              return answer.startsWith(`${to.name} `) ? ` ${family}` : '';
            }),
          );
          if (families.join('') !== '') reached.push(`${from.name} -> ${to.name}${families.join('')}`);
        }),
    ),
  );
  for (const { agent } of all) agent.stop();
  assert.equal(reached.sort(), expected.sort());
  await daemon.down(...names);
  await assertComesBackTo(before, () => inspect(daemon));
});

networks.run();
