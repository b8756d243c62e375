/**
 * The objects of a network in the kernel of its outside: one difference for each that is missing or changed, none for
 * additions by others.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compareBridge } from '../../plan/kernel/expected-bridge.ts';
import type { Dump } from '../../plan/kernel/expected.ts';
import { bridgeMac, PERMANENT } from '../../plan/addresses/neighbours.ts';
import { definition } from '../harness/fixtures.ts';

const WEB = definition('web', '10.89.0.0/24', '10.89.0.1', {
  subnets: [
    { subnet: '10.89.0.0/24', gateway: '10.89.0.1' },
    { subnet: 'fd00:89::/64', gateway: 'fd00:89::1' },
  ],
});
const ALIAS = 'cleat:main:network:web';
const behind = (address: string, mac: string) => ({ addresses: [{ address, prefix: 24, gateway: null }], mac });
const MEMBERS = [
  { hostLink: 've1', alias: 'cleat:main:a:1:web', ...behind('10.89.0.2', '02:00:00:00:00:0a') },
  { hostLink: 've2', alias: 'cleat:main:b:1:web', ...behind('10.89.0.3', '02:00:00:00:00:0b') },
];
const link = (index: number, name: string, alias: string, master = 0) => {
  return { index, name, alias, master, mac: bridgeMac(WEB.id), mtu: 1500, up: true };
};
const route = (destination: string, prefix: number, table = 254) => {
  return { destination, prefix, table, gateway: null, link: 7, metric: 0, type: 'unicast' };
};
const WHOLE: Dump = {
  links: [
    link(7, 'cl-web', ALIAS),
    link(8, 've1', 'cleat:main:a:1:web', 7),
    link(9, 've2', 'cleat:main:b:1:web', 7),
    link(2, 'eth0', ''),
  ],
  addresses: [
    { link: 7, address: '10.89.0.1', prefix: 24 },
    { link: 7, address: 'fd00:89::1', prefix: 64 },
    { link: 7, address: '192.0.2.1', prefix: 24 },
  ],
  routes: [route('10.89.0.0', 24), route('fd00:89::', 64), route('::1', 128, 255)],
  neighbours: [
    { link: 7, address: '10.89.0.2', mac: '02:00:00:00:00:0a', state: PERMANENT },
    { link: 7, address: '10.89.0.3', mac: '02:00:00:00:00:0b', state: PERMANENT },
    { link: 7, address: '10.89.0.99', mac: '02:00:00:00:00:99', state: PERMANENT },
  ],
};
const said = (dump: Dump) =>
  compareBridge(WEB, ALIAS, MEMBERS, dump).map(({ kind, object, problem }) => `${kind} ${object} ${problem}`);
const withLink = (name: string, more: object): Dump => ({
  ...WHOLE,
  links: WHOLE.links.map((one) => (one.name === name ? { ...one, ...more } : one)),
});

const plan = suite('plan of a bridge');

plan('a bridge as it should be has no differences, also with additions by others', () => assert.equal(said(WHOLE), []));
plan('a bridge that is gone is one difference', () => {
  assert.equal(said({ links: [], addresses: [], routes: [], neighbours: [] }), ['link cl-web missing']);
});
plan('a bridge of another program is not compared', () => {
  assert.equal(said(withLink('cl-web', { alias: 'theirs', mtu: 9000 })), [`link alias ${ALIAS} on cl-web changed`]);
});
plan('MTU, up, addresses, routes and ports are compared one by one', () => {
  assert.equal(said(withLink('cl-web', { mtu: 1400 })), ['link mtu 1500 on cl-web changed']);
  assert.equal(said(withLink('cl-web', { up: false })), ['link up on cl-web changed']);
  assert.equal(said(withLink('cl-web', { mac: '02:00:00:00:00:01' })), [
    `link mac ${bridgeMac(WEB.id)} on cl-web changed`,
  ]);
  assert.equal(said({ ...WHOLE, addresses: WHOLE.addresses.slice(1) }), ['address 10.89.0.1/24 on cl-web missing']);
  assert.equal(said({ ...WHOLE, routes: WHOLE.routes.slice(1) }), ['route 10.89.0.0/24 on cl-web missing']);
  assert.equal(said({ ...WHOLE, routes: WHOLE.routes.slice(0, 2) }), ['route ::1 on cl-web missing']);
  assert.equal(said(withLink('ve2', { master: 0 })), ['link master cl-web on ve2 changed']);
  assert.equal(said(withLink('ve1', { up: false })), ['link up on ve1 changed']);
});
plan('a neighbour that is missing, not permanent or has another MAC is a difference', () => {
  const [a, b, other] = WHOLE.neighbours;
  if (a === undefined || b === undefined || other === undefined) throw new Error('three are known');
  const object = 'neighbour 10.89.0.2 at 02:00:00:00:00:0a on cl-web';
  const withA = (...as: typeof WHOLE.neighbours) => said({ ...WHOLE, neighbours: [...as, b, other] });
  assert.equal(withA(), [`${object} missing`]);
  assert.equal(withA({ ...a, link: 8 }), [`${object} missing`]);
  assert.equal(withA({ ...a, state: 2 }), [`${object} missing`]);
  assert.equal(withA({ ...a, mac: '02:00:00:00:00:ff' }), [`${object} changed`]);
});
plan('an address, a route or a neighbour counts on this bridge and in its own length and table alone', () => {
  const other = (more: object) => ({ ...WHOLE, addresses: WHOLE.addresses.map((one) => ({ ...one, ...more })) });
  const gone = ['address 10.89.0.1/24 on cl-web missing', 'address fd00:89::1/64 on cl-web missing'];
  assert.equal(said(other({ link: 2 })).slice(0, 2), gone);
  assert.equal(said(other({ prefix: 25 })), gone);
  const [first, ...routes] = WHOLE.routes;
  for (const more of [{ link: 2 }, { prefix: 25 }, { table: 255 }, { destination: '10.89.1.0' }]) {
    const bent = { ...WHOLE, routes: [{ ...first!, ...more }, ...routes] };
    assert.equal(said(bent), ['route 10.89.0.0/24 on cl-web missing'], JSON.stringify(more));
  }
});
plan('a bridge that is down explains missing routes and neighbours, one without IPv4 those of IPv4', () => {
  const down = withLink('cl-web', { up: false });
  assert.equal(said({ ...down, routes: [], neighbours: [] }), ['link up on cl-web changed']);
  const addresses = WHOLE.addresses.slice(1, 2);
  const lost = ['address 10.89.0.1/24 on cl-web missing'];
  assert.equal(said({ ...WHOLE, addresses, neighbours: [] }), lost);
  assert.equal(
    said({ ...WHOLE, addresses: [...addresses, { link: 2, address: '10.89.0.1', prefix: 24 }], neighbours: [] }),
    lost,
  );
  const six = { hostLink: 've1', alias: 'cleat:main:a:1:web', ...behind('fd00:89::2', '02:00:00:00:00:0a') };
  const known = compareBridge(WEB, ALIAS, [six], { ...WHOLE, addresses, neighbours: [] });
  assert.equal(
    known.map(({ object }) => object),
    ['10.89.0.1/24 on cl-web', 'fd00:89::2 at 02:00:00:00:00:0a on cl-web'],
  );
});
plan("the MTU is the definition's, a network without IPv6 needs no ::1, and differences name the network", () => {
  const smaller = { ...WEB, options: { mtu: '1400' } };
  const differences = (dump: Dump) => compareBridge(smaller, ALIAS, MEMBERS, dump);
  assert.equal(differences(withLink('cl-web', { mtu: 1400 })), []);
  assert.equal(differences(WHOLE), [
    { kind: 'link', object: 'mtu 1400 on cl-web', network: 'web', problem: 'changed' },
  ]);
  const four = { ...WEB, subnets: WEB.subnets.slice(0, 1) };
  assert.equal(compareBridge(four, ALIAS, MEMBERS, { ...WHOLE, routes: WHOLE.routes.slice(0, 1) }), []);
});
plan('a missing member, or another link with its name, is not the bridge’s difference', () => {
  assert.equal(said({ ...WHOLE, links: WHOLE.links.slice(0, 2) }), []);
  assert.equal(said(withLink('ve1', { alias: 'theirs', master: 0 })), []);
});

plan.run();
