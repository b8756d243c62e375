/** The kernel's announcements, through the addon, against the real kernel. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, type Outside, type RtnlNotification, type RtnlRequest } from '../../native/index.ts';
import { kernelFailure, scratch, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const outside = openOutside();
const inside = join(scratch(), 'inside');
const GROUP = 4711;
const stops: (() => void)[] = [];

/** A monitor that ends with its test: one left over would keep the process from ending. */
async function monitor(...args: Parameters<Outside['monitor']>): Promise<() => void> {
  const stop = await outside.monitor(...args);
  stops.push(stop);
  return stop;
}

const veth = (name: string, rest: object = {}): RtnlRequest => {
  return { op: 'link.add', kind: 'veth', name, group: GROUP, ...rest };
};

test.before.each(async () => {
  await outside.netnsCreate(inside, { 'net/ipv6/conf/all/accept_ra': '0' });
});

test.after.each(async () => {
  for (const stop of stops.splice(0)) stop();
  await outside.netnsRemove(inside);
  await outside.rtnl([
    { op: 'link.delGroup', group: GROUP },
    { op: 'link.del', name: 'br0' },
  ]);
});

test('changes are announced, in order, until the monitor stops', async () => {
  const events: RtnlNotification[] = [];
  const elsewhere: RtnlNotification[] = [];
  const stop = await monitor((event) => events.push(event));
  const stopInside = await monitor((event) => elsewhere.push(event), inside);
  await outside.rtnl([
    veth('seen', { up: true, peer: { name: 'eth0', up: true, netns: inside } }),
    { op: 'link.set', name: 'seen', alias: 'cleat:seen' },
    { op: 'address.add', link: 'seen', address: '10.0.0.1', prefix: 24 },
    { op: 'route.add', destination: '203.0.113.0', prefix: 24, gateway: '10.0.0.2', table: 1000 },
    { op: 'address.del', link: 'seen', address: '10.0.0.1', prefix: 24 },
    { op: 'link.del', name: 'seen' },
  ]);
  await until('link.del', () => events.some(({ type }) => type === 'link.del'));
  const first = (type: string, holds: (event: RtnlNotification) => boolean = () => true): number => {
    const at = events.findIndex((event) => event.type === type && holds(event));
    assert.ok(at >= 0, type);
    return at;
  };
  const order = [
    first('link.new', (event) => event.type === 'link.new' && event.name === 'seen' && event.up),
    first('link.new', (event) => event.type === 'link.new' && event.alias === 'cleat:seen'),
    first(
      'address.new',
      (event) => event.type === 'address.new' && event.address === '10.0.0.1' && event.prefix === 24,
    ),
    first('route.new', (event) => event.type === 'route.new' && event.table === 1000 && event.prefix === 24),
    first('address.del'),
    first('link.del'),
  ];
  assert.equal(
    order,
    [...order].sort((a, b) => a - b),
  );
  assert.ok(elsewhere.some((event) => event.type === 'link.new' && event.name === 'eth0'));

  stop();
  stop();
  stopInside();
  const seen = events.length;
  await outside.rtnl([veth('unseen')]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.is(events.length, seen);
});

// Links are up here and below: a change to one that is down is not announced (netdev_state_change).
test('a port that leaves its bridge is not announced as a deleted link', async () => {
  await outside.rtnl([
    { op: 'link.add', kind: 'bridge', name: 'br0', group: GROUP },
    veth('port', { master: 'br0', up: true }),
  ]);
  const events: RtnlNotification[] = [];
  const stop = await monitor((event) => events.push(event));
  await outside.rtnl([
    { op: 'link.set', name: 'port', master: null },
    { op: 'link.set', name: 'port', alias: 'after' },
  ]);
  await until('alias', () => events.some((event) => event.type === 'link.new' && event.alias === 'after'));
  stop();
  assert.equal(
    events.filter(({ type }) => type === 'link.del'),
    [],
  );
});

test('lost notifications are reported as lost', async () => {
  const types: string[] = [];
  await monitor(({ type }) => types.push(type));
  await outside.rtnl([veth('storm', { up: true })]);
  // Synchronous on purpose: nothing is read until the storm is over.
  const storm = Array.from({ length: 20_000 }, (_, i) => `link set dev storm alias ${'x'.repeat(200)}${i}\n`);
  execFileSync('ip', ['-batch', '-'], { input: storm.join('') });
  await until('overrun', () => types.includes('overrun'));
  // The position of the gap: an inspection after it sees everything that the gap hides.
  assert.is(types.indexOf('overrun'), types.length - 1);
  assert.ok(types.length > 1);
  await outside.rtnl([{ op: 'link.del', name: 'storm' }]);
  await until('what comes after', () => types.includes('link.del'));
});

test('changes in other namespaces are announced with the number of the namespace', async () => {
  const strangers = join(scratch(), 'strangers');
  await outside.netnsCreate(strangers, {});
  const nsid = await outside.netnsId(inside);
  await outside.rtnl([veth('outer', { up: true, peer: { name: 'eth0', up: true, netns: inside } })]);
  await outside.rtnl(
    [
      { op: 'address.add', link: 'eth0', address: '10.0.0.2', prefix: 24 },
      { op: 'address.add', link: 'eth0', address: 'fd00::2', prefix: 64 },
      { op: 'route.add', destination: '0.0.0.0', prefix: 0, gateway: '10.0.0.1', metric: 7 },
      { op: 'route.add', destination: '::', prefix: 0, gateway: 'fd00::1', link: 'eth0', metric: 8 },
      { op: 'link.add', kind: 'ifb', name: 'extra' },
    ],
    inside,
  );
  const index = async (name: string, netns?: string): Promise<number> => (await outside.link(name, netns))?.index ?? 0;
  const [outer, eth0, extra] = [await index('outer'), await index('eth0', inside), await index('extra', inside)];

  const events: RtnlNotification[] = [];
  const here: RtnlNotification[] = [];
  await monitor((event) => events.push(event), undefined, ['link.del', 'address.del', 'route.del'], true);
  await monitor((event) => here.push(event), undefined, ['link.del', 'address.del', 'route.del']);
  const stranger: RtnlRequest[] = [
    { op: 'link.add', kind: 'ifb', name: 'stranger' },
    { op: 'link.del', name: 'stranger' },
  ];
  await outside.rtnl(stranger, strangers);
  await outside.rtnl(
    [
      { op: 'route.del', destination: '0.0.0.0', prefix: 0, metric: 7 },
      { op: 'route.del', destination: '::', prefix: 0, metric: 8 },
      { op: 'address.del', link: 'eth0', address: '10.0.0.2', prefix: 24 },
      { op: 'address.del', link: 'eth0', address: 'fd00::2', prefix: 64 },
      { op: 'link.del', name: 'extra' },
    ],
    inside,
  );
  await outside.rtnl([{ op: 'link.del', name: 'outer' }]);
  const gone = (name: string) => events.some((event) => event.type === 'link.del' && event.name === name);
  await until('the end of both ends', () => gone('outer') && gone('eth0'));

  const route = { type: 'route.del', nsid, prefix: 0, link: eth0, table: 254 } as const;
  const address = { type: 'address.del', nsid, link: eth0 } as const;
  const link = { type: 'link.del', up: false, alias: '' } as const;
  // Among others: of local routes, of link-local addresses.
  const wanted: RtnlNotification[] = [
    { ...route, destination: '0.0.0.0', metric: 7 },
    { ...route, destination: '::', metric: 8 },
    { ...address, address: '10.0.0.2', prefix: 24 },
    { ...address, address: 'fd00::2', prefix: 64 },
    { ...link, nsid, name: 'extra', index: extra },
    { ...link, nsid, name: 'eth0', index: eth0 },
    { ...link, nsid: null, name: 'outer', index: outer },
  ];
  const text = (event: RtnlNotification) => JSON.stringify(event, Object.keys(event).sort());
  const seen = events.map(text);
  for (const event of wanted) assert.ok(seen.includes(text(event)), `${text(event)} of\n${seen.join('\n')}`);
  assert.ok(events.every(({ type }) => type.endsWith('.del')));
  assert.ok(here.length > 0 && here.every((event) => event.type !== 'overrun' && event.nsid === null));

  assert.is(gone('stranger'), false, 'no number, no announcement');
  const number = await outside.netnsId(strangers);
  await outside.rtnl(stranger, strangers);
  await until('stranger', () => gone('stranger'));
  assert.ok(events.some((event) => event.type === 'link.del' && event.nsid === number));
  await outside.netnsRemove(strangers);
});

test('a storm in another namespace is an overrun here', async () => {
  await outside.netnsId(inside);
  await outside.rtnl([veth('calm', { up: true, peer: { name: 'storm', up: true, netns: inside } })]);
  const types: string[] = [];
  await monitor(({ type }) => types.push(type), undefined, ['link.new'], true);
  const storm = Array.from({ length: 20_000 }, (_, i) => `link set dev storm alias ${'x'.repeat(200)}${i}\n`);
  execFileSync('nsenter', [`--net=${inside}`, 'ip', '-batch', '-'], { input: storm.join('') });
  await until('overrun', () => types.includes('overrun'));
});

test('a listener may stop its own monitor', async () => {
  let calls = 0;
  const stop = await monitor(() => {
    calls++;
    stop();
  });
  await outside.rtnl([veth('x1'), veth('x2'), veth('x3')]);
  await until('one call', () => calls === 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.is(calls, 1);
});

test('on request, only links that are down, and ports that leave their bridge, are announced', async () => {
  const events: RtnlNotification[] = [];
  await monitor((event) => events.push(event), undefined, ['link.down', 'port.del']);
  await outside.rtnl([
    { op: 'link.add', kind: 'bridge', name: 'br0', up: true },
    veth('port', { master: 'br0', up: true, peer: { name: 'eth0', up: true, netns: inside } }),
    { op: 'link.set', name: 'port', alias: 'cleat:port' },
    { op: 'link.set', name: 'port', master: null },
  ]);
  await until('port.del', () => events.length > 0);
  await outside.rtnl([
    { op: 'link.set', name: 'port', up: false },
    { op: 'link.del', name: 'port' },
  ]);
  await until('link.down', () => events.length > 1);
  assert.equal(
    events.map((event) => ('name' in event ? [event.type, event.name, 'up' in event && event.up] : event)),
    [
      ['port.del', 'port', false],
      ['link.new', 'port', false],
    ],
  );
});

test('a removed rule and a forwarding switch are announced, and a link with all its switches is not', async () => {
  const heard: RtnlNotification[] = [];
  await monitor((event) => heard.push(event), undefined, ['rule.del', 'switch']);
  await outside.rtnl([veth('quiet', { peer: { name: 'eth0', netns: inside } })]);
  const rule = { source: '10.0.0.1', prefix: 32, table: 1000, priority: 500 };
  await outside.rtnl([{ op: 'rule.add', ...rule }]);
  assert.equal(heard, []);
  await outside.rtnl([{ op: 'rule.del', ...rule }]);
  await until('rule.del', () => heard.length > 0);
  assert.equal(heard.splice(0), [{ type: 'rule.del', nsid: null }]);
  const was = readFileSync('/proc/sys/net/ipv4/conf/quiet/forwarding', 'utf8').trim();
  await outside.sysctlWrite({ 'net/ipv4/conf/quiet/forwarding': was === '0' ? '1' : '0' });
  await until('switch', () => heard.length > 0);
  assert.equal(heard, [{ type: 'switch', nsid: null }]);
});

test('the switches of links have the values of /proc/sys', async () => {
  await outside.rtnl([veth('a.b', { peer: { name: 'eth0', netns: inside } })]);
  const of4 = ['accept_redirects', 'accept_source_route', 'arp_filter', 'arp_notify', 'forwarding', 'route_localnet'];
  const of6 = ['accept_dad', 'accept_ra', 'accept_redirects', 'disable_ipv6', 'forwarding', 'ndisc_notify'];
  const keys = [...of4.map((name) => `net/ipv4/conf/a.b/${name}`), ...of6.map((name) => `net/ipv6/conf/a.b/${name}`)];
  // /proc/sys takes a slash for the dot of a name, too: sysctl(8).
  const read = () => keys.map((key) => readFileSync(`/proc/sys/${key}`, 'utf8').trim());
  assert.equal(await outside.linkSwitches(keys), read());
  for (const [i, key] of keys.entries()) {
    await outside.sysctlWrite({ [key]: read()[i] === '0' ? '1' : '0' });
    assert.equal(await outside.linkSwitches(keys), read(), key);
  }
  const elsewhere = ['net/ipv6/conf/eth0/disable_ipv6', 'net/ipv6/conf/nobody/disable_ipv6'];
  assert.equal(await outside.linkSwitches(elsewhere, inside), ['0', null]);
  for (const key of ['net/ipv4/conf/a.b/nothing', 'net/ipv4/ip_forward', 'net/ipv4/conf//arp_filter', '../x', '']) {
    assert.is((await kernelFailure(outside.linkSwitches([key]))).code, 'EINVAL', key);
  }
});

test.run();
