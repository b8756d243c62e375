/**
 * The parts of the host's routing policy that are obstacles for a network: routes narrower than a default route, in a
 * table that a rule refers to.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  inTheWayOf,
  obstaclesOf,
  obstaclesTo,
  overlapWarning,
  type HostRoute,
  type HostRule,
} from '../../plan/networks/host-routes.ts';
import { definition } from '../harness/fixtures.ts';

const [MAIN, LOCAL, VPN] = [254, 255, 52];

function rule(family: 4 | 6, table: number, more: Partial<HostRule> = {}): HostRule {
  const destination = family === 4 ? '0.0.0.0' : '::';
  return { family, action: 'table', table, destination, prefix: 0, inverted: false, suppressPrefix: null, ...more };
}
/** The rules of a host to which nobody has added one. */
const USUAL = [rule(4, LOCAL), rule(4, MAIN), rule(6, LOCAL), rule(6, MAIN)];
const LINKS = new Map([
  [2, 'eth0'],
  [3, 'tun0'],
  [4, 'cleat0'],
]);

function route(cidr: string, table = MAIN, more: Partial<HostRoute> = {}): HostRoute {
  const [destination = '', prefix = ''] = cidr.split('/');
  return { destination, prefix: Number(prefix), link: 3, table, type: 'unicast', ...more };
}
const obstacles = (routes: HostRoute[], rules: HostRule[] = USUAL) => obstaclesOf(rules, routes, LINKS, new Set([4]));
const subnets = (routes: HostRoute[], rules?: HostRule[]) => obstacles(routes, rules).map(({ subnet }) => subnet);

const plan = suite('routes of the host');

plan('a route as broad as a default route is no obstacle, in however many pieces', () => {
  const ways = ['0.0.0.0/0', '0.0.0.0/1', '128.0.0.0/1', '::/0', '::/1', '8000::/1', '2000::/3', 'fc00::/6'];
  const halves = Array.from({ length: 64 }, (_, i) => `${i * 4}.0.0.0/6`);
  assert.equal(subnets([...ways, ...halves].map((cidr) => route(cidr))), []);
  const blocks = ['10.0.0.0/8', '10.89.3.0/24', '10.89.0.7/32', '172.16.0.0/12', 'fc00::/7', 'fd00::/8'];
  assert.equal(subnets(blocks.map((cidr) => route(cidr))), blocks);
});

plan('tables that a rule refers to count, whatever else the rule matches, and no others', () => {
  const there = [route('10.89.0.0/24', VPN), route('fd00:1::/64', VPN)];
  assert.equal(subnets(there), []);
  assert.equal(subnets(there, [...USUAL, rule(4, VPN)]), ['10.89.0.0/24']);
  assert.equal(subnets(there, [...USUAL, rule(6, VPN)]), ['fd00:1::/64']);
  assert.equal(obstacles(there, [...USUAL, rule(4, VPN, { inverted: true })])[0], {
    subnet: '10.89.0.0/24',
    of: 'the route 10.89.0.0/24 by tun0 (table 52) of the host',
    by: 'tun0',
  });
  // A host without policy routing has these two tables.
  assert.equal(subnets([route('10.1.0.0/16'), route('10.2.0.1/32', LOCAL, { type: 'local' })], []), [
    '10.1.0.0/16',
    '10.2.0.1/32',
  ]);
  assert.equal(subnets([route('10.1.0.0/16')], [rule(4, VPN)]), []);
});

plan('routes over a bridge of others are no obstacle to the network on that bridge alone', () => {
  const there = obstacles([route('10.89.0.0/24'), route('10.0.0.0/8')]);
  const by = there[0]?.by ?? '';
  const network = (mode: 'managed' | 'unmanaged', bridge: string) =>
    definition('lan', '10.89.0.0/24', '10.89.0.1', { network_interface: bridge, options: { mode } });
  assert.is(there.length, 2);
  assert.equal(obstaclesTo(network('unmanaged', by), there), []);
  assert.equal(obstaclesTo(network('unmanaged', 'br0'), there), there);
  assert.equal(obstaclesTo(network('managed', by), there), there);
});

plan('suppress_prefixlength hides routes that short, unless another rule uses the table without it', () => {
  const quick = [rule(4, LOCAL), rule(4, MAIN, { suppressPrefix: 8 })];
  assert.equal(subnets([route('10.0.0.0/8'), route('10.1.0.0/16')], quick), ['10.1.0.0/16']);
  assert.equal(subnets([route('10.0.0.0/8')], [...quick, rule(4, MAIN)]), ['10.0.0.0/8']);
});

plan('a rule for one destination makes an obstacle of the routes of its table to that destination', () => {
  const to = (destination: string, prefix: number, table: number) => rule(4, table, { destination, prefix });
  assert.equal(subnets([route('0.0.0.0/0', VPN)], [...USUAL, to('10.50.0.0', 16, VPN)]), ['10.50.0.0/16']);
  assert.equal(subnets([route('10.50.7.0/24', VPN)], [...USUAL, to('10.50.0.0', 16, VPN)]), ['10.50.7.0/24']);
  assert.equal(subnets([route('10.60.0.0/16', VPN)], [...USUAL, to('10.50.0.0', 16, VPN)]), []);
  // In the main table a network has a route of its own, which is narrower.
  assert.equal(subnets([route('0.0.0.0/0')], [...USUAL, to('10.0.0.0', 8, MAIN)]), []);
  const refused = rule(4, 0, { action: 'prohibit', destination: '10.70.0.0', prefix: 16 });
  assert.equal(obstacles([], [...USUAL, refused]), [
    { subnet: '10.70.0.0/16', of: 'the prohibit rule for 10.70.0.0/16 of the host' },
  ]);
});

plan('route types that lead somewhere or nowhere count; throw, broadcast, anycast and multicast do not', () => {
  const of = (type: string) => subnets([route('10.1.0.0/16', MAIN, { type, link: 0 })]).length;
  for (const type of ['unicast', 'local', 'blackhole', 'unreachable', 'prohibit']) assert.is(of(type), 1, type);
  // throw (9), broadcast (3), anycast (4), multicast (5)
  for (const type of ['9', '3', '4', '5']) assert.is(of(type), 0, type);
  assert.is(
    obstacles([route('10.1.0.0/16', MAIN, { type: 'blackhole', link: 0 })])[0]?.of,
    'the blackhole route 10.1.0.0/16 of the host',
  );
});

plan('an obstacle is described by its kind, its link by name or number, its table, and its sources', () => {
  const called = (there: HostRoute, rules = USUAL) => obstacles([there], rules).map(({ of }) => of);
  assert.equal(called(route('10.1.0.0/16', MAIN, { link: 99 })), ['the route 10.1.0.0/16 by link 99 of the host']);
  assert.equal(called(route('10.1.0.1/32', LOCAL, { type: 'local' })), [
    'the local route 10.1.0.1/32 by tun0 (table local) of the host',
  ]);
  const to = [...USUAL, rule(4, VPN, { destination: '10.50.0.0', prefix: 16 })];
  assert.equal(called(route('0.0.0.0/0', VPN), to), [
    'the route 0.0.0.0/0 by tun0 (table 52), for packets to 10.50.0.0/16, of the host',
  ]);
  for (const cidr of ['10.50.0.0/16', '10.50.7.0/24']) {
    assert.equal(called(route(cidr, VPN), to), [`the route ${cidr} by tun0 (table 52) of the host`]);
  }
  const other = (destination: string, prefix: number, inverted: boolean) =>
    subnets([route('10.60.0.0/16', VPN)], [...USUAL, rule(4, VPN, { destination, prefix, inverted })]);
  assert.equal(other('10.50.0.0', 16, true), ['10.60.0.0/16'], 'all but these');
  assert.equal([other('10.50.0.0', 16, false), other('128.0.0.0', 1, false)], [[], []]);
  // A table that rules use for two destinations is an obstacle for both.
  const two = [...to, rule(4, VPN, { destination: '10.60.0.0', prefix: 16 })];
  assert.equal(subnets([route('0.0.0.0/0', VPN)], two), ['10.50.0.0/16', '10.60.0.0/16']);
});

plan('a rule that refuses is an obstacle where it does not say "all but"', () => {
  for (const action of ['blackhole', 'unreachable', 'prohibit'] as const) {
    const refusing = (inverted: boolean) => rule(4, 0, { action, destination: '10.70.0.0', prefix: 16, inverted });
    assert.equal(obstacles([], [...USUAL, refusing(false)])[0]?.of, `the ${action} rule for 10.70.0.0/16 of the host`);
    assert.equal(obstacles([], [...USUAL, refusing(true)]), []);
    // The rule uses no table.
    assert.equal(subnets([route('10.70.1.0/24', VPN)], [{ ...refusing(false), table: VPN }]), ['10.70.0.0/16']);
  }
});

plan('a warning names the narrowest obstacle, and counts the others of the same family', () => {
  const all = ['10.0.0.0/8', '10.89.3.0/24', '10.89.0.0/16', 'fd00::/8'].map((subnet) => ({
    subnet,
    of: `route ${subnet}`,
  }));
  assert.equal(
    inTheWayOf('10.89.3.0/25', all).map(({ subnet }) => subnet),
    ['10.89.3.0/24', '10.89.0.0/16', '10.0.0.0/8'],
  );
  const either = 'either the containers or what is behind that route may be out of reach';
  assert.is(
    overlapWarning('10.89.3.0/25', all),
    `subnet 10.89.3.0/25 overlaps with route 10.89.3.0/24 and 2 more: ${either}`,
  );
  assert.is(overlapWarning('10.1.0.0/16', all), `subnet 10.1.0.0/16 overlaps with route 10.0.0.0/8: ${either}`);
  assert.is(overlapWarning('192.168.0.0/24', all), null);
  // The first addresses of both families are the same number.
  assert.equal(inTheWayOf('::/96', [{ subnet: '0.0.0.0/8', of: '' }]), []);
});

plan('routes through our own bridges are no obstacles', () => {
  assert.equal(subnets([route('10.1.0.0/16', MAIN, { link: 4 }), route('10.2.0.0/16')]), ['10.2.0.0/16']);
});

plan.run();
