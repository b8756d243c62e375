/** What the kernel announces, through the addon, against the real kernel. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, type RtnlNotification, type RtnlRequest } from '../../native/index.ts';
import { scratch, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const outside = openOutside();
const inside = join(scratch(), 'inside');
const GROUP = 4711;
const stops: (() => void)[] = [];

/** A monitor that ends with its test: one left over would keep the process from ending. */
async function monitor(listener: (event: RtnlNotification) => void, netns?: string): Promise<() => void> {
  const stop = await outside.monitor(listener, netns);
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

test('what happens is announced, in order, until stopped', async () => {
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
test('a port leaving its bridge is not a link deleted', async () => {
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

test('notifications that were lost are said to be lost', async () => {
  let overruns = 0;
  await monitor(({ type }) => (overruns += type === 'overrun' ? 1 : 0));
  await outside.rtnl([veth('storm', { up: true })]);
  // Synchronous on purpose: nothing is read until the storm is over.
  const storm = Array.from({ length: 20_000 }, (_, i) => `link set dev storm alias ${'x'.repeat(200)}${i}\n`);
  execFileSync('ip', ['-batch', '-'], { input: storm.join('') });
  await until('overrun', () => overruns > 0);
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

test.run();
