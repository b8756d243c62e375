/**
 * The plan for firewalld's zones: only a bridge that is in no zone is added, only ours are removed, and sources that
 * include addresses of a network are found.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planZones, sourcesOver, zoneOf, type ZonesSeen } from '../../plan/networks/firewalld.ts';

const seen = (interfaces: Record<string, string[]>, permanent: string[] = []): ZonesSeen => ({
  zones: Object.fromEntries(
    Object.entries(interfaces).map(([zone, names]) => [zone, { interfaces: names, sources: [] }]),
  ),
  permanent,
});

test('the zone of an interface is the one that has its name, else one that has its beginning', () => {
  const { zones } = seen({ drop: ['br+'], work: ['br0'], home: ['eth0'] });
  assert.is(zoneOf({ zones }, 'br0'), 'work');
  assert.is(zoneOf({ zones }, 'br1'), 'drop');
  assert.is(zoneOf({ zones }, 'xbr1'), null);
  assert.is(zoneOf({ zones }, 'eth'), null);
  assert.is(zoneOf({ zones }, 'b'), null);
  assert.is(zoneOf({ zones }, 'bx'), null);
  const several = seen({ work: ['eth1', 'br0', 'eth2'] }).zones;
  assert.is(zoneOf({ zones: several }, 'br0'), 'work');
});

for (const [what, wanted, bound, zones, plan] of [
  ['none is there: it is added', ['br0'], [], seen({}), { add: ['br0'], remove: [], bound: ['br0'] }],
  ['ours is there: nothing', ['br0'], ['br0'], seen({ trusted: ['br0'] }), { add: [], remove: [], bound: ['br0'] }],
  ['ours is gone: it is added again', ['br0'], ['br0'], seen({}), { add: ['br0'], remove: [], bound: ['br0'] }],
  ["somebody else's is there: nothing", ['br0'], [], seen({ trusted: ['br0'] }), { add: [], remove: [], bound: [] }],
  ['it is elsewhere: nothing', ['br0'], [], seen({ drop: ['br0'] }), { add: [], remove: [], bound: [] }],
  ['ours was moved: it is ours no more', ['br0'], ['br0'], seen({ drop: ['br0'] }), { add: [], remove: [], bound: [] }],
  ['ours is not wanted: away', [], ['br0'], seen({ trusted: ['br0'] }), { add: [], remove: ['br0'], bound: ['br0'] }],
  [
    'it has become permanent: it stays',
    [],
    ['br0'],
    seen({ trusted: ['br0'] }, ['br0']),
    { add: [], remove: [], bound: [] },
  ],
  ['it has gone by itself: nothing', [], ['br0'], seen({}), { add: [], remove: [], bound: [] }],
  ["not wanted, and somebody else's: nothing", [], [], seen({ trusted: ['br0'] }), { add: [], remove: [], bound: [] }],
  ['no firewalld: nothing is anywhere', ['br0'], ['br0'], null, { add: [], remove: [], bound: [] }],
] as const) {
  test(what, () => assert.equal(planZones(wanted, bound, zones), plan));
}

test('sources that include addresses of a network are found, whatever their form', () => {
  const sources = [
    '10.52.0.0/16',
    '10.52.0.7',
    '10.52.0.7/24',
    '10.53.0.0/24',
    'fd00:52::1',
    'fd00:53::/64',
    'AA:BB:CC:DD:EE:FF',
    'ipset:bad',
    '10.52.0.0/255.255.0.0',
  ];
  const found = sourcesOver({ zones: { drop: { interfaces: [], sources } } }, ['10.52.0.0/24', 'fd00:52::/64']);
  const expected = ['10.52.0.0/16', '10.52.0.7', '10.52.0.7/24', 'fd00:52::1'];
  assert.equal(
    found,
    expected.map((source) => ({ zone: 'drop', source })),
  );
  // An address without a prefix means only itself.
  assert.equal(sourcesOver({ zones: { drop: { interfaces: [], sources: ['fd00:52::1'] } } }, ['fd00:52::2/128']), []);
});

test.run();
