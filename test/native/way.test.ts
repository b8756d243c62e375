/**
 * The routes by which packets leave, as the addon reads them from the real kernel: with its rules, and for forwarded
 * packets.
 */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, type RtnlRequest } from '../../native/index.ts';
import { codes, kernelFailure, scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const outside = openOutside();
const inside = join(scratch(), 'inside');

const veth = (name: string): RtnlRequest => ({
  op: 'link.add',
  kind: 'veth',
  name,
  up: true,
  peer: { name: `${name}peer`, up: true, netns: inside },
});

test.before(async () => {
  await outside.netnsCreate(inside, {});
});
test.after(() => outside.netnsRemove(inside));

test('the route to an address is found for the host, for a source, and for an incoming link', async () => {
  const uplink = (name: string, four: string, six: string): RtnlRequest[] => [
    veth(name),
    { op: 'address.add', link: name, address: `${four}1`, prefix: 24 },
    { op: 'address.add', link: name, address: `${six}1`, prefix: 64 },
  ];
  const default4 = { destination: '0.0.0.0', prefix: 0 };
  const default6 = { destination: '::', prefix: 0 };
  const rule = { table: 2000, priority: 32_000 };
  const made = await outside.rtnl([
    ...uplink('one', '192.0.2.', 'fd00:192::'),
    ...uplink('two', '203.0.113.', 'fd00:203::'),
    { op: 'route.add', ...default4, gateway: '192.0.2.2' },
    { op: 'route.add', ...default6, gateway: 'fd00:192::2' },
    { op: 'route.add', ...default4, gateway: '203.0.113.2', table: 2000 },
    { op: 'route.add', ...default6, gateway: 'fd00:203::2', table: 2000 },
    { op: 'rule.add', source: '203.0.113.1', prefix: 32, ...rule },
    { op: 'rule.add', source: 'fd00:203::1', prefix: 128, ...rule },
    veth('inner'),
    { op: 'address.add', link: 'inner', address: '10.89.0.1', prefix: 24 },
    { op: 'address.add', link: 'inner', address: 'fd00:89::1', prefix: 64 },
  ]);
  assert.equal(
    codes(made),
    made.map(() => 'ok'),
  );
  await outside.sysctlWrite({ 'net/ipv4/ip_forward': '1' });
  const by = async (...asked: Parameters<typeof outside.wayTo>) => {
    const way = await outside.wayTo(...asked);
    return way === null ? null : `${way.link} ${way.gateway}${way.table === 254 ? '' : ` table ${way.table}`}`;
  };
  assert.is(await by('198.51.100.9'), 'one 192.0.2.2');
  assert.is(await by('203.0.113.7'), 'two null');
  assert.is(await by('198.51.100.9', { source: '203.0.113.1' }), 'two 203.0.113.2 table 2000');
  assert.is(await by('198.51.100.9', { source: '10.89.0.2', cameBy: 'inner' }), 'one 192.0.2.2');
  assert.is(await by('198.51.100.9', { source: '10.89.0.2', cameBy: 'absent' }), null);
  assert.is(await by('fd00:99::9', { source: 'fd00:203::1' }), 'two fd00:203::2 table 2000');
  assert.is(await by('fd00:99::9', { source: 'fd00:89::2', cameBy: 'inner' }), 'one fd00:192::2');
  await outside.sysctlWrite({ 'net/ipv4/conf/inner/rp_filter': '1' });
  const forged = { source: '192.0.2.9', cameBy: 'inner' };
  assert.is(await by('198.51.100.9', forged), null, 'rp_filter drops it');
  const refused = await kernelFailure(outside.wayTo('198.51.100.9', { source: 'fd00:203::1' }));
  assert.equal([refused.code, refused.syscall], ['EINVAL', 'RTM_GETROUTE']);
});

test('the routes of some tables can be listed alone', async () => {
  const all = (await outside.routes()).filter(({ table }) => table === 2000);
  assert.is(all.length, 2);
  assert.equal(await outside.routesOf(undefined, [2000, 2001]), all);
  assert.equal(await outside.routesOf(undefined, []), []);
  assert.equal(await outside.routesOf(inside, [2000]), []);
  const refused = await kernelFailure(outside.routesOf('/nowhere', [2000]));
  assert.is(refused.code, 'ENOENT');
});

test.run();
