/** The Outside's namespaces, sysctls and port probes, against the real kernel. */
import { closeSync, existsSync, fstatSync, openSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, pinNetns, type Outside, type PortProbe } from '../../native/index.ts';
import { kernelFailure, mountsAt, openDescriptors, scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const outside = openOutside();
const directory = scratch();
await outside.rtnl([{ op: 'link.set', name: 'lo', up: true }]);

const path = (name: string): string => join(directory, name);
const probe = (protocol: PortProbe['protocol'], port: number, rest: Partial<PortProbe> = {}): PortProbe => {
  return { protocol, family: 4, address: '', port, ...rest };
};

test('a namespace is made, found again and removed', async () => {
  const made = await outside.netnsCreate(path('one'), {});
  assert.equal(await outside.netnsIdentify(path('one')), made);
  assert.equal(openOutside(path('one')).identity(), made);
  assert.not.equal(made.ino, outside.identity().ino);
  const [lo, ...others] = await outside.links(path('one'));
  assert.is(lo?.name, 'lo');
  assert.ok(lo?.up);
  assert.equal(others, []);

  await outside.netnsRemove(path('one'));
  assert.is(existsSync(path('one')), false);
  assert.is(mountsAt(path('one')), 0);
  await outside.netnsRemove(path('one'));
  assert.is((await kernelFailure(outside.netnsIdentify(path('one')))).code, 'ENOENT');
});

test('a prepared namespace is like one that was made at a path, and is pinned once', async () => {
  const descriptors = openDescriptors();
  const number = await outside.netnsPrepare({ 'net/ipv4/ip_forward': '1' });
  const pinned = pinNetns(number, path('prepared'));
  assert.equal([pinned.dev, pinned.ino], [statSync(path('prepared')).dev, fstatSync(number).ino]);
  assert.equal(await outside.netnsIdentify(path('prepared')), pinned);
  assert.equal(await outside.sysctlRead(['net/ipv4/ip_forward'], path('prepared')), ['1']);
  assert.ok((await outside.links(path('prepared')))[0]?.up);
  const again = await kernelFailure(() => pinNetns(number, path('prepared')));
  assert.equal([again.code, again.object], ['EEXIST', path('prepared')]);
  assert.is(mountsAt(path('prepared')), 1);
  closeSync(number);
  assert.is((await kernelFailure(() => pinNetns(number, path('closed')))).code, 'EBADF');
  assert.is(existsSync(path('closed')), false);
  await outside.netnsRemove(path('prepared'));
  // One is the procfs of the thread that makes them, which stays open.
  assert.ok(openDescriptors() <= descriptors + 1);
  const broken = await kernelFailure(outside.netnsPrepare({ 'net/ipv4/absent': '1' }));
  assert.equal([broken.code, broken.object], ['ENOENT', 'net/ipv4/absent']);
});

test('sysctls are written inside and nowhere else', async () => {
  const before = await outside.sysctlRead(['net/ipv4/ip_forward', 'net/ipv6/conf/default/accept_ra']);
  await outside.netnsCreate(path('sysctl'), {
    'net/ipv4/ip_forward': '1',
    'net/ipv6/conf/default/accept_ra': '0',
    'net/ipv4/ip_local_port_range': '20000 30000',
  });
  const keys = ['net/ipv4/ip_forward', 'net/ipv6/conf/default/accept_ra', 'net/ipv4/ip_local_port_range', 'net/absent'];
  assert.equal(await outside.sysctlRead(keys, path('sysctl')), ['1', '0', '20000\t30000', null]);
  assert.equal(await outside.sysctlRead(keys.slice(0, 2)), before);

  await outside.sysctlWrite({ 'net/ipv4/ip_forward': '0' }, path('sysctl'));
  assert.equal(await outside.sysctlRead(['net/ipv4/ip_forward'], path('sysctl')), ['0']);
  await outside.netnsRemove(path('sysctl'));
});

test('a failure on the way leaves nothing behind and the worker at home', async () => {
  const descriptors = openDescriptors();
  const broken = await kernelFailure(outside.netnsCreate(path('broken'), { 'net/ipv4/absent': '1' }));
  assert.equal([broken.code, broken.syscall, broken.object], ['ENOENT', 'open', 'net/ipv4/absent']);
  const refused = await kernelFailure(outside.netnsCreate(path('broken'), { 'net/ipv4/ip_forward': 'yes' }));
  assert.equal([refused.code, refused.syscall], ['EINVAL', 'write']);
  const nowhere = await kernelFailure(outside.netnsCreate(path('absent/x'), {}));
  assert.equal([nowhere.code, nowhere.object], ['ENOENT', path('absent/x')]);
  assert.equal(readdirSync(directory), []);
  assert.ok(openDescriptors() <= descriptors);

  await outside.netnsCreate(path('here'), {});
  const inside = openOutside(path('here'));
  await outside.netnsRemove(path('here'));
  assert.equal((await outside.links()).length, 1);
  assert.equal((await inside.links()).length, 1);
});

test('a path can be pinned once', async () => {
  writeFileSync(path('taken'), 'precious');
  assert.is((await kernelFailure(outside.netnsCreate(path('taken'), {}))).code, 'EEXIST');
  assert.is((await kernelFailure(outside.netnsIdentify(path('taken')))).code, 'EINVAL');
  assert.is((await kernelFailure(outside.netnsRemove(path('taken')))).code, 'EINVAL', 'not a placeholder');
  assert.ok(existsSync(path('taken')));
  writeFileSync(path('taken'), '');
  await outside.netnsRemove(path('taken'));
  assert.is(existsSync(path('taken')), false, 'a placeholder that was never mounted');

  const racers = await Promise.allSettled([1, 2, 3, 4].map(() => outside.netnsCreate(path('race'), {})));
  assert.is(racers.filter(({ status }) => status === 'fulfilled').length, 1);
  await outside.netnsRemove(path('race'));
});

test('a namespace has one number in the outside, and keeps it', async () => {
  await outside.netnsCreate(path('numbered'), {});
  await outside.netnsCreate(path('other'), {});
  const [first, again, other] = await Promise.all(
    ['numbered', 'numbered', 'other'].map((name) => outside.netnsId(path(name))),
  );
  assert.ok(Number.isSafeInteger(first) && Number(first) >= 0, String(first));
  assert.is(first, again);
  assert.is.not(first, other);

  // The numbers in there are its own.
  const inside = openOutside(path('numbered'));
  assert.is(await inside.netnsId(path('other')), 0);
  await outside.rtnl([
    { op: 'link.add', kind: 'veth', name: 'x1', peer: { name: 'x0', netns: path('numbered') } },
    { op: 'link.add', kind: 'veth', name: 'y1' },
  ]);
  assert.is((await outside.link('x1'))?.netnsId, first);
  assert.is((await inside.link('x0'))?.netnsId, await inside.netnsId('/proc/self/ns/net'));
  assert.is((await outside.link('lo'))?.netnsId, null);
  assert.is((await outside.link('y1'))?.netnsId, null, 'both ends here');
  await outside.rtnl([
    { op: 'link.del', name: 'x1' },
    { op: 'link.del', name: 'y1' },
  ]);

  const itself = await kernelFailure(outside.netnsId('/proc/self/ns/net'));
  assert.equal([itself.code, itself.object], ['EINVAL', '/proc/self/ns/net']);
  const nowhere = await kernelFailure(outside.netnsId(path('absent')));
  assert.equal([nowhere.code, nowhere.object], ['ENOENT', path('absent')]);
  await outside.netnsRemove(path('numbered'));
  await outside.netnsRemove(path('other'));
});

test('an open namespace can be pinned', async () => {
  const made = await outside.netnsCreate(path('first'), {});
  const fd = openSync(path('first'), 'r');
  await outside.netnsRemove(path('first'));
  const pinning = outside.netnsPin(fd, path('second'));
  closeSync(fd);
  assert.equal(await pinning, made);
  assert.equal(await outside.netnsIdentify(path('second')), made);

  const file = openSync('/proc/self/ns/mnt', 'r');
  const wrong = await kernelFailure(outside.netnsPin(file, path('third')));
  closeSync(file);
  assert.equal([wrong.code, wrong.object], ['EINVAL', path('third')]);
  assert.is((await kernelFailure(outside.netnsPin(file + 1000, path('third')))).code, 'EBADF');
  await outside.netnsRemove(path('second'));
  assert.equal(readdirSync(directory), []);
});

test('a file that is no network namespace is refused as inside', async () => {
  for (const wrong of ['/etc/passwd', '/proc/self/ns/mnt', '/dev/null', '/proc/self']) {
    const failure = await kernelFailure(outside.links(wrong));
    assert.equal([failure.code, failure.object], ['EINVAL', wrong]);
    assert.is((await kernelFailure(() => openOutside(wrong))).code, 'EINVAL');
  }
  assert.is((await kernelFailure(outside.rtnl([], path('absent')))).code, 'ENOENT');
});

test('arguments of the wrong type are TypeErrors, not crashes', async () => {
  const anyhow = outside as unknown as Record<keyof Outside, (...args: unknown[]) => Promise<unknown>>;
  const wrong: [keyof Outside, ...unknown[]][] = [
    ['netnsCreate'],
    ['netnsCreate', 'a\0b', {}],
    ['netnsCreate', path('x'), { key: 1 }],
    ['netnsCreate', path('x'), null],
    ['netnsPin', -1, path('x')],
    ['netnsPin', 1.5, path('x')],
    ['netnsRemove', Symbol('path')],
    ['netnsIdentify', {}],
    ['sysctlRead', 'net/ipv4/ip_forward'],
    ['sysctlRead', [1]],
    ['sysctlWrite', [], 5],
    ['portProbe', [null]],
    ['portProbe', [probe('tcp', 70000)]],
    ['portProbe', [{ ...probe('tcp', 1), family: 5 }]],
    ['links', 7],
    ['monitor'],
    ['monitor', () => {}, undefined, undefined, 1],
    ['netnsId', 7],
    ['udpSocket', 5],
    ['udpSocket', '4'],
    ['udpSocket', 4, 4],
    ['nftMonitor', 'table'],
    ['nftMonitor', () => {}, 'table'],
  ];
  for (const [method, ...args] of wrong) {
    const failure = await anyhow[method](...args).then(
      () => null,
      (error: unknown) => error,
    );
    assert.instance(failure, TypeError, `${method}(${args.map(String).join(', ')})`);
  }
  assert.throws(() => openOutside(5 as unknown as string), TypeError);
  const constructor = outside.constructor as new () => unknown;
  assert.throws(() => new constructor(), TypeError);
  assert.throws(() => outside.links.call({} as Outside));
  for (const key of ['/etc/passwd', '../kernel/hostname', 'net/../kernel/hostname', '']) {
    assert.is((await kernelFailure(outside.sysctlRead([key]))).code, 'EINVAL', key);
  }
});

test('ports are found free, held here, or held in another namespace', async () => {
  const server = createServer().listen(7001, '127.0.0.1');
  const everywhere = createServer().listen(7002, '::');
  const datagrams = createSocket('udp4').bind(7003);
  await Promise.all([once(server, 'listening'), once(everywhere, 'listening'), once(datagrams, 'listening')]);
  const taken = await outside.portProbe([
    probe('tcp', 7000),
    probe('tcp', 7001),
    probe('tcp', 7001, { family: 6 }),
    probe('tcp', 7001, { address: '127.0.0.2' }),
    probe('tcp', 7002),
    probe('tcp', 7002, { family: 6, address: '::1' }),
    probe('udp', 7003, { address: '127.0.0.1' }),
    probe('udp', 7001),
    probe('tcp', 7000, { address: '192.0.2.1' }),
    probe('sctp', 7001),
  ]);
  // Before the checks: a failed one must not keep this process alive.
  server.close();
  everywhere.close();
  datagrams.close();
  await Promise.all([once(server, 'close'), once(everywhere, 'close')]);
  const us = { pid: process.pid, command: 'node' };
  assert.equal(taken, [
    { index: 1, code: 'EADDRINUSE', ...us },
    { index: 4, code: 'EADDRINUSE', ...us },
    { index: 5, code: 'EADDRINUSE', ...us },
    { index: 6, code: 'EADDRINUSE', ...us },
    { index: 8, code: 'EADDRNOTAVAIL', pid: null, command: null },
  ]);
  assert.equal(await outside.portProbe([probe('tcp', 7001), probe('tcp', 7002), probe('udp', 7003)]), []);
  assert.is((await kernelFailure(outside.portProbe([probe('tcp', 1, { address: '::1' })]))).object, '::1');
});

test('many namespaces leave no descriptor, mount or memory behind', async () => {
  const cycle = async (): Promise<void> => {
    await outside.netnsCreate(path('cycle'), { 'net/ipv4/ip_forward': '1' });
    await outside.netnsRemove(path('cycle'));
    await kernelFailure(outside.netnsCreate(path('cycle'), { 'net/absent': '1' }));
  };
  for (let i = 0; i < 100; i++) await cycle();
  const descriptors = openDescriptors();
  const resident = process.memoryUsage().rss;
  for (let i = 0; i < 400; i++) await cycle();
  assert.ok(openDescriptors() <= descriptors);
  assert.is(mountsAt(path('cycle')), 0);
  const grown = (process.memoryUsage().rss - resident) / 400;
  assert.ok(grown < 20_000, `${grown} bytes a cycle`);
});

test.run();
