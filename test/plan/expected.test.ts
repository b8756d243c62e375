/**
 * The objects of an attachment in the kernel, and the names of differences: each object is removed or changed, one at a
 * time, and nothing else is found.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  compareInside,
  compareOutside,
  expectedInside,
  expectedOutside,
  type Dump,
  type LinkSeen,
} from '../../plan/kernel/expected.ts';
import { knownInside, PERMANENT } from '../../plan/addresses/neighbours.ts';
import type { Attachment, Difference } from '../../state/container.ts';
import { leaseOf } from '../harness/fixtures.ts';

const expected = suite('what is expected');

const attachment = (more: Partial<Attachment> = {}): Attachment => ({
  ...leaseOf('web'),
  addresses: [
    { address: '10.89.0.2', prefix: 24, gateway: '10.89.0.1' },
    { address: 'fd00::2', prefix: 64, gateway: 'fd00::1' },
  ],
  routes: [{ destination: '10.7.0.0', prefix: 16, gateway: '10.89.0.9', metric: null }],
  mac: '02:00:00:00:00:01',
  mtu: 1400,
  ordinal: 0,
  hostLink: 've0',
  link: 'eth0',
  alias: 'cleat:main:c1:7:web',
  aliases: [],
  gatewayPriority: 0,
  ...more,
});

const link = (index: number, name: string, more: Partial<LinkSeen> = {}): LinkSeen => ({
  index,
  name,
  mac: '02:00:00:00:00:01',
  mtu: 1400,
  up: true,
  master: 0,
  alias: '',
  ...more,
});

/** The kernel as it is when everything has been made. */
function dumpOf(...attachments: Attachment[]): Dump {
  const links = [link(1, 'lo', { mtu: 65_536, mac: '00:00:00:00:00:00' })];
  const dump = {
    links,
    addresses: [] as Dump['addresses'][number][],
    routes: [] as Dump['routes'][number][],
    neighbours: [] as Dump['neighbours'][number][],
  };
  attachments.forEach((one, n) => {
    const inside = expectedInside(one);
    const index = n + 2;
    links.push(link(index, inside.link, { mac: inside.mac, mtu: inside.mtu }));
    for (const { address, prefix } of inside.addresses) {
      dump.addresses.push({ link: index, address, prefix });
      const [destination, metric] = address.includes(':') ? ['fd00::', 256] : [address.replace(/\.\d+$/, '.0'), 0];
      dump.routes.push(route({ destination, prefix, gateway: null, link: index, metric }));
    }
    for (const wanted of inside.routes) dump.routes.push(route({ ...wanted, link: index }));
    for (const known of knownInside(one)) dump.neighbours.push({ ...known, link: index, state: PERMANENT });
  });
  return dump;
}

const route = (more: Partial<Dump['routes'][number]>): Dump['routes'][number] => ({
  destination: '0.0.0.0',
  prefix: 0,
  gateway: null,
  link: 2,
  metric: 100,
  table: 254,
  type: 'unicast',
  ...more,
});

const words = (differences: Difference[]): string[] =>
  differences.map(({ kind, object, network, problem }) => `${problem} ${kind} ${object} (${network})`);

expected("inside, names, addresses, default routes per family and the network's routes are expected", () => {
  assert.equal(expectedInside(attachment()), {
    link: 'eth0',
    mac: '02:00:00:00:00:01',
    mtu: 1400,
    addresses: [
      { address: '10.89.0.2', prefix: 24 },
      { address: 'fd00::2', prefix: 64 },
    ],
    routes: [
      { destination: '0.0.0.0', prefix: 0, gateway: '10.89.0.1', metric: 100 },
      { destination: '::', prefix: 0, gateway: 'fd00::1', metric: 100 },
      { destination: '10.7.0.0', prefix: 16, gateway: '10.89.0.9', metric: 100 },
    ],
  });
  assert.equal(expectedOutside(attachment()), {
    link: 've0',
    alias: 'cleat:main:c1:7:web',
    master: 'cl-web',
    mtu: 1400,
  });
});

expected('of a link on a parent, everything is inside, where its alias says whose it is', () => {
  const child = { kind: 'macvlan', mode: 'bridge', bclim: null } as const;
  const own = attachment({ child, unmanaged: true, bridge: 'up0' });
  assert.equal(compareOutside([own], []), []);
  const dump = dumpOf(own);
  const withLink = (more: Partial<LinkSeen>): Dump => ({
    ...dump,
    links: dump.links.map((one) => (one.name === 'eth0' ? { ...one, alias: own.alias, ...more } : one)),
  });
  const found = (more: Partial<LinkSeen>, of = own) => words(compareInside([of], withLink(more)));
  assert.equal(found({}), []);
  assert.equal(found({ name: 'other' }), ['missing link eth0 (web)']);
  assert.equal(found({ alias: '' }), [`changed link alias ${own.alias} on eth0 (web)`]);
  assert.equal(found({ mac: '02:00:00:00:00:09' }), ['changed link mac 02:00:00:00:00:01 on eth0 (web)']);
  // The kernel gives it the MAC of its parent, whatever that is by now.
  const passthru = { ...own, child: { ...child, mode: 'passthru' } as const };
  for (const of of [passthru, { ...own, child: { kind: 'ipvlan', mode: 'l2' } as const }]) {
    assert.equal(found({ mac: '02:00:00:00:00:09' }, of), []);
  }
});

expected(
  'values that the kernel fills in are expected: an MTU, the metric 0 of IPv6, the first of equal routes',
  () => {
    assert.is(expectedInside(attachment({ mtu: null })).mtu, 1500);
    const zero = expectedInside(attachment({ defaultMetric: 0, routes: [] })).routes;
    assert.equal(
      zero.map(({ metric }) => metric),
      [0, 1024],
    );
    const addresses = [
      { address: '10.89.0.2', prefix: 24, gateway: '10.89.0.1' },
      { address: '10.90.0.2', prefix: 24, gateway: '10.90.0.1' },
    ];
    const two = expectedInside(attachment({ addresses, routes: [] })).routes;
    assert.equal(
      two.map(({ gateway }) => gateway),
      ['10.89.0.1'],
    );
  },
);

expected('a route has its own metric, and each default is the usual one', () => {
  const routes = [{ destination: '10.7.0.0', prefix: 16, gateway: '10.89.0.9', metric: 7 }];
  assert.is(expectedInside(attachment({ routes })).routes.at(-1)?.metric, 7);
  assert.equal([expectedOutside(attachment({ mtu: null })).mtu, expectedOutside(attachment()).mtu], [1500, 1400]);
});

expected('objects on another link do not count for this one', () => {
  const [one, two] = [attachment(), attachment({ network: 'back', link: 'eth1', hostLink: 've1', defaultMetric: 101 })];
  const dump = dumpOf(one, two);
  const swap = (index: number) => (index === 1 ? 1 : 5 - index);
  const swapped = (kind: 'addresses' | 'routes' | 'neighbours') =>
    words(
      compareInside([one], { ...dump, [kind]: dumpOf(one)[kind].map((each) => ({ ...each, link: swap(each.link) })) }),
    );
  const addresses = ['missing address 10.89.0.2/24 on eth0 (web)', 'missing address fd00::2/64 on eth0 (web)'];
  assert.equal(swapped('addresses'), addresses);
  assert.equal(swapped('routes'), [
    'missing route 10.89.0.0/24 on eth0 (web)',
    'missing route fd00::/64 on eth0 (web)',
    'changed route default via 10.89.0.1 on eth0 (web)',
    'changed route default via fd00::1 on eth0 (web)',
    'changed route 10.7.0.0/16 via 10.89.0.9 on eth0 (web)',
  ]);
  assert.ok(swapped('neighbours').length > 0);
  const elsewhere = dumpOf(one).addresses.map((each) => ({ ...each, link: 1 }));
  assert.equal(words(compareInside([one], { ...dumpOf(one), addresses: elsewhere, neighbours: [] })), addresses);
  // A link without an address of the family has no neighbours of it, and a link that is down has none at all.
  const bare = dumpOf(one);
  const four = bare.addresses.filter(({ address }) => !address.includes(':'));
  const knows4 = bare.neighbours.filter(({ address }) => !address.includes(':'));
  assert.equal(words(compareInside([one], { ...bare, addresses: four, neighbours: knows4 })), [addresses[1]]);
  const down = bare.links.map((each) => ({ ...each, up: each.index === 1 }));
  assert.equal(words(compareInside([one], { ...bare, links: down, neighbours: [] })), [
    'changed link up on eth0 (web)',
  ]);
});

expected('lo down is a difference of the first network, once', () => {
  const [one, two] = [attachment(), attachment({ network: 'back', link: 'eth1', hostLink: 've1', defaultMetric: 101 })];
  const full = dumpOf(one, two);
  const links = [...full.links.filter(({ name }) => name !== 'lo'), link(1, 'lo', { up: false })];
  assert.equal(words(compareInside([one, two], { ...full, links })), ['changed link up on lo (web)']);
  assert.equal(compareInside([], { ...full, links }), []);
});

expected("a subnet's route is expected where its address is complete, on a link that is up", () => {
  const host = [
    { address: '10.89.0.2', prefix: 32, gateway: null },
    { address: 'fd00::2', prefix: 128, gateway: null },
  ];
  const alone = attachment({ addresses: host, routes: [] });
  const without = (dump: Dump): Dump => ({ ...dump, routes: [], neighbours: [] });
  assert.equal(words(compareInside([alone], without(dumpOf(alone)))), [], 'an address alone has none');
  const wide = attachment({
    addresses: [
      { address: '10.89.0.2', prefix: 31, gateway: null },
      { address: 'fd00::2', prefix: 127, gateway: null },
      { address: 'fd01::2', prefix: 32, gateway: null },
    ],
    routes: [],
  });
  const missing = ['10.89.0.2/31', 'fd00::2/127', 'fd01::/32'].map((subnet) => `missing route ${subnet} on eth0 (web)`);
  assert.equal(words(compareInside([wide], without(dumpOf(wide)))), missing);
  const dump = without(dumpOf(wide));
  const elsewhere = dump.addresses.map((each) => ({ ...each, link: 1 }));
  assert.equal(
    words(compareInside([wide], { ...dump, addresses: elsewhere })).filter((one) => one.includes('route')),
    [],
  );
  const longer = dump.addresses.map((each) => ({ ...each, prefix: each.prefix - 1 }));
  assert.equal(
    words(compareInside([wide], { ...dump, addresses: longer })).filter((one) => one.includes('route')),
    [],
  );
  assert.equal(
    words(compareInside([wide], { ...dump, addresses: [...longer, ...elsewhere] })).filter((one) =>
      one.includes('route'),
    ),
    [],
    'as it should be, but on another link',
  );
  const down = dump.links.map((each) => ({ ...each, up: each.name === 'lo' }));
  assert.equal(words(compareInside([wide], { ...dump, links: down })), ['changed link up on eth0 (web)']);
});

expected('no default route is expected where there is no gateway, or none is wanted', () => {
  const addresses = [{ address: '10.89.0.2', prefix: 24, gateway: null }];
  assert.equal(expectedInside(attachment({ addresses, routes: [] })).routes, []);
  assert.equal(expectedInside(attachment({ defaultMetric: null, routes: [] })).routes, []);
});

expected('an unchanged container has no differences', () => {
  const [one, two] = [attachment(), attachment({ network: 'back', link: 'eth1', hostLink: 've1', defaultMetric: 101 })];
  assert.equal(compareInside([one, two], dumpOf(one, two)), []);
  const port = { alias: one.alias, master: 7 };
  assert.equal(compareOutside([one], [link(3, 've0', port), link(7, 'cl-web')]), []);
  // Two networks with the same route: the kernel keeps the first.
  const dump = dumpOf(one, two);
  const once = dump.routes.filter(({ destination, link: on }) => !(destination === '10.7.0.0' && on === 3));
  assert.equal(compareInside([one, two], { ...dump, routes: once }), []);
});

expected('inside, everything that is missing or changed is found, and nothing else', () => {
  const one = attachment();
  const full = dumpOf(one);
  const bend = (more: Partial<LinkSeen>): Dump => ({
    ...full,
    links: full.links.map((seen) => (seen.name === 'eth0' ? { ...seen, ...more } : seen)),
  });
  const routes = (change: (seen: Dump['routes'][number]) => Dump['routes'][number] | null): Dump => ({
    ...full,
    routes: full.routes.map(change).filter((seen) => seen !== null),
  });
  const isDefault = (seen: Dump['routes'][number]) => seen.prefix === 0 && seen.destination === '0.0.0.0';
  const cases: [Dump, string][] = [
    [{ ...full, links: [full.links[0]!] }, 'missing link eth0 (web)'],
    [bend({ name: 'eth9' }), 'missing link eth0 (web)'],
    [bend({ mac: '02:00:00:00:00:02' }), 'changed link mac 02:00:00:00:00:01 on eth0 (web)'],
    [bend({ mtu: 1500 }), 'changed link mtu 1400 on eth0 (web)'],
    [bend({ up: false }), 'changed link up on eth0 (web)'],
    [
      { ...full, neighbours: full.neighbours.slice(1) },
      'missing neighbour 10.89.0.1 at 02:ff:ff:ff:ff:ff on eth0 (web)',
    ],
    [{ ...full, addresses: full.addresses.slice(1) }, 'missing address 10.89.0.2/24 on eth0 (web)'],
    [
      { ...full, addresses: [{ link: 2, address: '10.89.0.2', prefix: 16 }, ...full.addresses.slice(1)] },
      'changed address 10.89.0.2/24 on eth0 (web)',
    ],
    [
      { ...full, addresses: [{ link: 1, address: '10.89.0.2', prefix: 24 }, ...full.addresses.slice(1)] },
      'missing address 10.89.0.2/24 on eth0 (web)',
    ],
    [routes((seen) => (seen.destination === '10.89.0.0' ? null : seen)), 'missing route 10.89.0.0/24 on eth0 (web)'],
    [routes((seen) => (seen.destination === 'fd00::' ? null : seen)), 'missing route fd00::/64 on eth0 (web)'],
    [routes((seen) => (isDefault(seen) ? null : seen)), 'missing route default via 10.89.0.1 on eth0 (web)'],
    [
      routes((seen) => (isDefault(seen) ? { ...seen, gateway: '10.89.0.7' } : seen)),
      'changed route default via 10.89.0.1 on eth0 (web)',
    ],
    [
      routes((seen) => (isDefault(seen) ? { ...seen, table: 100 } : seen)),
      'missing route default via 10.89.0.1 on eth0 (web)',
    ],
    [
      routes((seen) => (isDefault(seen) ? { ...seen, type: 'blackhole' } : seen)),
      'changed route default via 10.89.0.1 on eth0 (web)',
    ],
    [routes((seen) => (seen.destination === '::' ? null : seen)), 'missing route default via fd00::1 on eth0 (web)'],
    [
      routes((seen) => (seen.destination === '10.7.0.0' ? { ...seen, metric: 7 } : seen)),
      'missing route 10.7.0.0/16 via 10.89.0.9 on eth0 (web)',
    ],
  ];
  for (const [dump, difference] of cases) assert.equal(words(compareInside([one], dump)), [difference]);
});

expected('outside, everything that is missing or changed is found, and nothing else', () => {
  const one = attachment();
  const bridge = link(7, 'cl-web');
  const port = (more: Partial<LinkSeen> = {}) => link(3, 've0', { alias: one.alias, master: 7, ...more });
  const cases: [LinkSeen[], string][] = [
    [[bridge], 'missing link ve0 (web)'],
    [[bridge, port({ alias: 'theirs', master: 0 })], `changed link alias ${one.alias} on ve0 (web)`],
    [[bridge, port({ master: 0 })], 'changed link master cl-web on ve0 (web)'],
    [[port()], 'changed link master cl-web on ve0 (web)'],
    [[bridge, port({ mtu: 1500 })], 'changed link mtu 1400 on ve0 (web)'],
    [[bridge, port({ up: false })], 'changed link up on ve0 (web)'],
  ];
  for (const [links, difference] of cases) assert.equal(words(compareOutside([one], links)), [difference]);
});

expected('additions by others are no differences', () => {
  const one = attachment();
  const full = dumpOf(one);
  const theirs: Dump = {
    links: [...full.links, link(9, 'tun0')],
    addresses: [...full.addresses, { link: 2, address: '10.89.0.77', prefix: 24 }],
    routes: [...full.routes, route({ gateway: '10.89.0.77', metric: 5 })],
    neighbours: [...full.neighbours, { link: 2, address: '10.89.0.77', mac: '02:00:00:00:00:77', state: 2 }],
  };
  assert.equal(compareInside([one], theirs), []);
});

expected.run();
