/** rtnetlink through the addon: batches and dumps, against the real kernel. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, type RtnlRequest } from '../../native/index.ts';
import { codes, kernelFailure, openDescriptors, scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const outside = openOutside();
const inside = join(scratch(), 'inside');
const GROUP = 4711;

const veth = (name: string, rest: object = {}): RtnlRequest => {
  return { op: 'link.add', kind: 'veth', name, group: GROUP, ...rest };
};

test.before.each(async () => {
  await outside.netnsCreate(inside, { 'net/ipv6/conf/all/accept_ra': '0' });
});

test.after.each(async () => {
  await outside.netnsRemove(inside);
  await outside.rtnl([
    { op: 'link.delGroup', group: GROUP },
    { op: 'link.del', name: 'br0' },
  ]);
});

test('a container is set up in two batches', async () => {
  const peer = { name: 'eth0', mac: '02:00:00:00:00:02', mtu: 1400, up: true, netns: inside };
  assert.equal(
    codes(
      await outside.rtnl([
        { op: 'link.add', kind: 'bridge', name: 'br0', mac: '02:00:00:00:00:ff', group: GROUP, up: true },
        { op: 'address.add', link: 'br0', address: '10.89.0.1', prefix: 24, broadcast: '10.89.0.255' },
        veth('veth0', { mac: '02:00:00:00:00:01', mtu: 1400, master: 'br0', up: true, peer }),
        { op: 'link.set', name: 'veth0', alias: 'cleat:c1:web' },
      ]),
    ),
    ['ok', 'ok', 'ok', 'ok'],
  );
  assert.equal(
    codes(
      await outside.rtnl(
        [
          { op: 'address.add', link: 'eth0', address: '10.89.0.2', prefix: 24 },
          { op: 'address.add', link: 'eth0', address: 'fd00:89::2', prefix: 64 },
          { op: 'route.add', destination: '0.0.0.0', prefix: 0, gateway: '10.89.0.1', metric: 100 },
          { op: 'route.add', destination: '::', prefix: 0, gateway: 'fd00:89::1', link: 'eth0', metric: 100 },
          { op: 'route.add', destination: '192.0.2.0', prefix: 24, type: 'blackhole' },
          { op: 'route.add', destination: '198.51.100.0', prefix: 24, link: 'eth0', table: 1000 },
          { op: 'neighbour.replace', link: 'eth0', address: '10.89.0.9', mac: '02:00:00:00:00:08' },
          { op: 'neighbour.replace', link: 'eth0', address: '10.89.0.9', mac: '02:00:00:00:00:09' },
        ],
        inside,
      ),
    ),
    ['ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  );

  const bridge = await outside.link('br0');
  const outer = await outside.link('veth0');
  const inner = await outside.link('eth0', inside);
  assert.ok(bridge !== null && outer !== null && inner !== null);
  assert.is(bridge.kind, 'bridge');
  const { statistics, ...rest } = outer;
  assert.equal(rest, {
    index: outer.index,
    name: 'veth0',
    kind: 'veth',
    mac: '02:00:00:00:00:01',
    mtu: 1400,
    up: true,
    lowerUp: true,
    operational: true,
    master: bridge.index,
    link: inner.index,
    netnsId: await outside.netnsId(inside),
    group: GROUP,
    alias: 'cleat:c1:web',
    vxlan: null,
  });
  assert.ok(Object.values(statistics).every((count) => Number.isSafeInteger(count) && count >= 0));
  assert.equal([inner.mac, inner.mtu, inner.up, inner.link], ['02:00:00:00:00:02', 1400, true, outer.index]);

  const addresses = (await outside.addresses(inside)).filter(({ link, scope }) => link === inner.index && scope === 0);
  assert.equal(addresses, [
    { link: inner.index, address: '10.89.0.2', prefix: 24, scope: 0, tentative: false },
    { link: inner.index, address: 'fd00:89::2', prefix: 64, scope: 0, tentative: false },
  ]);
  const routes = (await outside.routes(inside)).filter(({ protocol }) => protocol === 4);
  const route = { gateway: null, link: inner.index, metric: 0, table: 254, type: 'unicast', protocol: 4 };
  assert.equal(routes, [
    { ...route, destination: '198.51.100.0', prefix: 24, table: 1000 },
    { ...route, destination: '0.0.0.0', prefix: 0, gateway: '10.89.0.1', metric: 100 },
    { ...route, destination: '192.0.2.0', prefix: 24, link: 0, type: 'blackhole' },
    { ...route, destination: '::', prefix: 0, gateway: 'fd00:89::1', metric: 100 },
  ]);
  const neighbours = (await outside.neighbours(inside)).filter(({ address }) => address === '10.89.0.9');
  const known = { address: '10.89.0.9', mac: '02:00:00:00:00:09', state: 0x80, protocol: 0 };
  assert.equal(neighbours, [{ link: inner.index, ...known }]);
});

test('each request has its own answer, and one failure stops nothing', async () => {
  assert.equal(
    codes(
      await outside.rtnl([
        veth('a'),
        veth('a'),
        veth('b', { master: 'absent' }),
        veth('a-name-of-sixteen'),
        veth('pattern%d'),
        veth('c', { peer: { name: 'x', netns: '/absent' } }),
        { op: 'link.set', name: 'absent', up: true },
        { op: 'link.set', name: 'a', alias: 'x'.repeat(256) },
        { op: 'link.del', name: 'absent' },
        { op: 'address.del', link: 'a', address: '10.0.0.1', prefix: 8 },
        { op: 'route.add', destination: '10.0.0.1', prefix: 8, link: 'a' },
        { op: 'neighbour.replace', link: 'a', address: '10.0.0.1' } as RtnlRequest,
        { op: 'link.delGroup', group: 99 },
        { op: 'link.set', name: 'a', alias: 'last' },
      ]),
    ),
    [
      'ok',
      'EEXIST',
      'ENODEV',
      'ENAMETOOLONG',
      'EINVAL',
      'ENOENT',
      'ENODEV',
      'EINVAL',
      'ENODEV',
      'EADDRNOTAVAIL',
      'EINVAL',
      'EINVAL',
      'ENODEV',
      'ok',
    ],
  );
  assert.is((await outside.link('a'))?.alias, 'last');
  assert.is(await outside.link('b'), null);
  assert.is(await outside.link(''), null);
  assert.is(await outside.link('a-name-of-sixteen'), null);
  assert.equal(await outside.rtnl([]), []);
});

test('names are resolved after the earlier requests of the batch', async () => {
  assert.equal(
    codes(
      await outside.rtnl([
        veth('one'),
        { op: 'link.add', kind: 'bridge', name: 'br0', group: GROUP },
        { op: 'link.set', name: 'one', master: 'br0' },
        { op: 'link.set', name: 'one', rename: 'two' },
        { op: 'address.add', link: 'one', address: '10.0.0.1', prefix: 24 },
        { op: 'address.add', link: 'two', address: '10.0.0.1', prefix: 24 },
        { op: 'link.set', name: 'two', master: null, netns: inside },
        { op: 'address.add', link: 'two', address: '10.0.0.2', prefix: 24 },
        { op: 'link.del', name: 'br0' },
        { op: 'address.add', link: 'br0', address: '10.0.0.2', prefix: 24 },
      ]),
    ),
    ['ok', 'ok', 'ok', 'ok', 'ENODEV', 'ok', 'ok', 'ENODEV', 'ok', 'ENODEV'],
  );
  const moved = await outside.link('two', inside);
  assert.is(moved?.master, 0);
  await outside.rtnl([{ op: 'link.del', name: 'two' }], inside);
});

test('a link can come up without a link-local address', async () => {
  const peer = { name: 'eth0', up: true, netns: inside };
  await outside.rtnl([veth('quiet', { peer }), veth('chatty', { peer: { ...peer, name: 'eth1' } })]);
  assert.equal(
    codes(
      await outside.rtnl([
        { op: 'link.set', name: 'quiet', noLinkLocal: true, up: true },
        { op: 'link.set', name: 'chatty', up: true },
        { op: 'link.set', name: 'absent', noLinkLocal: true, up: true },
      ]),
    ),
    ['ok', 'ok', 'ENODEV'],
  );
  const index = async (name: string): Promise<number | undefined> => (await outside.link(name))?.index;
  const linkLocal = (await outside.addresses()).filter(({ address }) => address.startsWith('fe80'));
  const links = linkLocal.map(({ link }) => link);
  assert.is(links.includes((await index('quiet')) ?? 0), false);
  assert.ok(links.includes((await index('chatty')) ?? 0));
});

test('a link announces its addresses when it gets the MAC that it has', async () => {
  assert.equal(codes(await outside.rtnl([veth('teller', { up: true })])), ['ok']);
  const { mac = '' } = (await outside.link('teller')) ?? {};
  const replies = await outside.rtnl([
    { op: 'link.set', name: 'teller', arpNotify: true, mac },
    { op: 'link.set', name: 'absent', arpNotify: true },
  ]);
  assert.equal(codes(replies), ['ok', 'ENODEV']);
  assert.equal(await outside.sysctlRead(['net/ipv4/conf/teller/arp_notify']), ['1']);
  assert.equal(codes(await outside.rtnl([{ op: 'link.set', name: 'teller', arpNotify: false }])), ['ok']);
  assert.equal(await outside.sysctlRead(['net/ipv4/conf/teller/arp_notify']), ['0']);
});

test('a rule for one source address selects a table before the main one', async () => {
  const rule = { table: 0x4000_0007, priority: 32_000 };
  const four = { source: '10.89.0.2', prefix: 32, ...rule };
  const six = { source: 'fd00:89::2', prefix: 128, ...rule };
  const add = [four, six, four].map((one) => ({ op: 'rule.add' as const, ...one }));
  assert.equal(codes(await outside.rtnl(add, inside)), ['ok', 'ok', 'EEXIST']);
  const found = (await outside.rules(inside)).filter(({ priority }) => priority === 32_000);
  assert.equal(
    found.map(({ family, action, table, source, sourcePrefix }) => [family, action, table, source, sourcePrefix]),
    [
      [4, 'table', 0x4000_0007, '10.89.0.2', 32],
      [6, 'table', 0x4000_0007, 'fd00:89::2', 128],
    ],
  );
  const del = [four, six, four].map((one) => ({ op: 'rule.del' as const, ...one }));
  assert.equal(codes(await outside.rtnl(del, inside)), ['ok', 'ok', 'ENOENT']);
});

test('the other kinds of link work, as far as this kernel has them', async () => {
  assert.equal(
    codes(
      await outside.rtnl([
        veth('lower', { up: true }),
        { op: 'link.add', kind: 'macvlan', name: 'mac0', parent: 'lower', group: GROUP },
        { op: 'link.add', kind: 'ifb', name: 'ifb9', group: GROUP },
        { op: 'link.add', kind: 'vxlan', name: 'vx0', group: GROUP },
        { op: 'route.add', destination: '203.0.113.0', prefix: 24, type: 'unreachable', metric: 7 },
        { op: 'route.replace', destination: '203.0.113.0', prefix: 24, type: 'prohibit', metric: 7 },
      ]),
    ),
    ['ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  );
  const kinds = (await outside.links()).map(({ kind }) => kind);
  for (const kind of ['macvlan', 'ifb', 'vxlan', 'veth']) assert.ok(kinds.includes(kind), kind);
  assert.is((await outside.link('mac0'))?.link, (await outside.link('lower'))?.index);
  const [route, ...more] = (await outside.routes()).filter(({ destination }) => destination === '203.0.113.0');
  assert.equal([route?.type, more.length], ['prohibit', 0]);
  assert.equal(codes(await outside.rtnl([{ op: 'route.del', destination: '203.0.113.0', prefix: 24 }])), ['ok']);
});

test('a VXLAN link has what it was asked for, and says where each MAC is', async () => {
  const mac = '02:00:00:00:00:02';
  for (const [local, there] of [
    ['192.0.2.1', '192.0.2.2'],
    ['2001:db8::1', '2001:db8::2'],
  ] as const) {
    const vxlan = { vni: 0xab_cd_ef, local, port: 4790 };
    const to = { link: 'vx0', address: '10.128.2.0', mac, protocol: 207 };
    const share = { destination: '10.128.2.0', prefix: 24, gateway: '10.128.2.0', link: 'vx0', onlink: true };
    const replies = await outside.rtnl([
      { op: 'link.add', kind: 'vxlan', name: 'vx0', vxlan, group: GROUP, up: true },
      { op: 'neighbour.replace', ...to },
      { op: 'fdb.replace', link: 'vx0', mac, destination: there },
      { op: 'route.add', ...share, protocol: 207 },
      { op: 'route.del', destination: '10.128.2.0', prefix: 24, protocol: 4 },
    ]);
    assert.equal(codes(replies), ['ok', 'ok', 'ok', 'ok', 'ESRCH'], local);
    const link = await outside.link('vx0');
    assert.equal(link?.vxlan, { ...vxlan, learning: false });
    assert.equal(await outside.fdb(undefined, link?.index ?? 0), [{ mac, destination: there }]);
    const neighbour = (await outside.neighbours()).find((one) => one.link === link?.index);
    assert.equal([neighbour?.address, neighbour?.mac, neighbour?.protocol], ['10.128.2.0', mac, 207]);
    const shown = (...words: string[]) => execFileSync(words[0] ?? '', words.slice(1), { encoding: 'utf8' });
    assert.match(
      shown('ip', '-d', 'link', 'show', 'vx0'),
      new RegExp(`vxlan id 11259375 local ${local} .*dstport 4790 nolearning`),
    );
    assert.match(shown('bridge', 'fdb', 'show', 'dev', 'vx0'), new RegExp(`^${mac} dst ${there} self permanent`));
    assert.match(shown('ip', 'route'), /^10\.128\.2\.0\/24 via 10\.128\.2\.0 dev vx0 proto 207 onlink/m);
    assert.match(shown('ip', 'neigh'), /^10\.128\.2\.0 dev vx0 lladdr 02:00:00:00:00:02 PERMANENT proto 207/m);
    const gone = await outside.rtnl([
      { op: 'fdb.del', link: 'vx0', mac, destination: there },
      { op: 'route.del', destination: '10.128.2.0', prefix: 24, protocol: 207 },
      { op: 'link.del', name: 'vx0' },
    ]);
    assert.equal(codes(gone), ['ok', 'ok', 'ok']);
  }
});

test('a batch larger than any socket buffer loses no answer', async () => {
  const count = 1500;
  assert.equal(codes(await outside.rtnl([veth('many', { up: true })])), ['ok']);
  const requests: RtnlRequest[] = [];
  for (let i = 0; i < count; i++) {
    const address = `10.${100 + (i >> 8)}.${i & 255}.1`;
    requests.push({ op: 'address.add', link: 'many', address, prefix: 32 }, { op: 'link.del', name: 'absent' });
    requests.push({ op: 'link.set', name: 'many', alias: `${'x'.repeat(200)}${i}` });
  }
  const replies = codes(await outside.rtnl(requests));
  assert.is(replies.filter((code, i) => code === (i % 3 === 1 ? 'ENODEV' : 'ok')).length, 3 * count);
  const many = await outside.link('many');
  assert.is(
    (await outside.addresses()).filter(({ link, prefix }) => link === many?.index && prefix === 32).length,
    count,
  );
  assert.is(many?.alias, `${'x'.repeat(200)}${count - 1}`);
});

test('dumps are whole while the tables change', async () => {
  await outside.rtnl(Array.from({ length: 100 }, (_, i) => veth(`stay${i}`)));
  const other = openOutside();
  let busy = true;
  const churn = (async (): Promise<void> => {
    while (busy) {
      await other.rtnl([veth('come'), { op: 'address.add', link: 'come', address: '10.0.0.1', prefix: 24 }]);
      await other.rtnl([{ op: 'link.del', name: 'come' }]);
    }
  })();
  try {
    for (let i = 0; i < 100; i++) {
      const names = (await outside.links()).map(({ name }) => name).filter((name) => name.startsWith('stay'));
      assert.is(new Set(names).size, 100);
      assert.is(names.length, 100);
    }
  } finally {
    busy = false;
    await churn;
  }
});

test('bad requests are refused before anything is sent', async () => {
  const address = { op: 'address.add', link: 'lo', address: '10.0.0.1', prefix: 24 } as const;
  const route = { op: 'route.add', destination: '::', prefix: 0, gateway: '10.0.0.1' } as const;
  const senseless: [RtnlRequest, string][] = [
    [{ ...address, address: '10.0.0' }, '10.0.0'],
    [{ ...address, address: 'localhost' }, 'localhost'],
    [{ ...address, broadcast: '::1' }, '::1'],
    [route, '10.0.0.1'],
    [veth('v', { mac: '02:00:00:00:00' }), '02:00:00:00:00'],
    [veth('v', { mac: '02:00:00:00:00:0g' }), '02:00:00:00:00:0g'],
  ];
  for (const [request, object] of senseless) {
    const failure = await kernelFailure(outside.rtnl([veth('never'), request]));
    assert.equal([failure.code, failure.object], ['EINVAL', object]);
  }
  const wrong: unknown[] = [
    { op: 'link.sett', name: 'lo' },
    { op: 'link.set' },
    { op: 'link.set', name: 'lo', mtu: -1 },
    { op: 'link.set', name: 'lo', mtu: Number.NaN },
    { op: 'link.set', name: 'lo', mtu: 2 ** 32 },
    { op: 'link.set', name: 'lo', up: 1 },
    { op: 'link.set', name: 'lo', master: '' },
    { op: 'link.add', kind: 'dummy', name: 'x' },
    { op: 'link.add', kind: 'vxlan', name: 'x', vxlan: { vni: 2 ** 24, local: '192.0.2.1', port: 4789 } },
    { op: 'link.add', kind: 'vxlan', name: 'x', vxlan: { vni: 1, local: '192.0.2.1', port: 0 } },
    { op: 'fdb.replace', link: 'x', destination: '192.0.2.1' },
    { op: 'neighbour.replace', link: 'x', address: '10.0.0.1', mac: '02:00:00:00:00:01', protocol: 256 },
    { op: 'link.add', kind: 'bridge', name: 'x', peer: { name: 'y', netns: inside } },
    { ...address, prefix: 33 },
    { ...address, prefix: '24' },
    { op: 'route.add', destination: '10.0.0.0', prefix: 8, type: 'broadcast' },
    null,
    7,
    [],
  ];
  for (const request of wrong) {
    const error = await outside.rtnl([veth('never'), request as RtnlRequest]).then(
      () => null,
      (reason: unknown) => reason,
    );
    assert.instance(error, TypeError, JSON.stringify(request));
  }
  const thrower = Object.defineProperty({ op: 'link.set' }, 'name', {
    get: () => {
      throw new RangeError('getter');
    },
  });
  const error = await outside.rtnl([thrower as RtnlRequest]).catch((reason: unknown) => reason);
  assert.instance(error, RangeError);
  assert.is(await outside.link('never'), null);
});

test('ten thousand batches leave no descriptor and no memory behind', async () => {
  const batch: RtnlRequest[] = [
    { op: 'link.set', name: 'lo', up: true },
    { op: 'address.add', link: 'lo', address: '10.0.0.1', prefix: 32 },
    { op: 'address.del', link: 'lo', address: '10.0.0.1', prefix: 32 },
  ];
  const cycle = async (): Promise<void> => {
    await outside.rtnl(batch, inside);
    await outside.addresses(inside);
    await kernelFailure(outside.rtnl([], '/etc/passwd'));
  };
  for (let i = 0; i < 2000; i++) await cycle();
  const descriptors = openDescriptors();
  const resident = process.memoryUsage().rss;
  for (let i = 0; i < 8000; i++) await cycle();
  assert.ok(openDescriptors() <= descriptors);
  const grown = (process.memoryUsage().rss - resident) / 8000;
  assert.ok(grown < 1500, `${grown} bytes a cycle`);
});

test('an outside that nobody holds ends its thread, but not its work', async () => {
  const collect = (globalThis as { gc?: () => void }).gc;
  const work = Array.from({ length: 50 }, () => openOutside().links());
  collect?.();
  for (const links of await Promise.all(work)) assert.ok(links.length >= 1);
});

test.run();
