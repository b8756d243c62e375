/**
 * The link of a container on a parent: made once and found again, also when an earlier run was killed between two of its steps; made
 * anew when it is on another parent; and links of others, which are neither taken over nor removed.
 *
 * Limits: one effect on the kernel; test/crash/kill-parent.test.ts covers the points at which the daemon can be killed.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isChild, makeChild, removeChildren, type ChildAttachment } from '../../effects/links/child-link.ts';
import { linkAlias } from '../../plan/containers/attachment.ts';
import { FaultError } from '../../state/faults.ts';
import { leaseOf } from '../harness/fixtures.ts';
import { addNetns } from '../harness/inside.ts';
import { GROUP, testKernel } from '../harness/kernel.ts';
import { endWithReport } from '../harness/native.ts';
import { ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const kernel = testKernel();
const native = kernel.outside(null).kernel;
const child = suite('a link on a parent');
const ip = (...words: string[]) => execFileSync('ip', words, { encoding: 'utf8' });
const where = { netns: addNetns('inside'), owned: true, outside: null };
for (const name of ['up0', 'up1']) ip('link', 'add', name, 'type', 'ifb');

const attachment: ChildAttachment = {
  ...leaseOf('web'),
  bridge: 'up0',
  mac: '02:00:00:00:00:77',
  mtu: null,
  unmanaged: true,
  child: { kind: 'macvlan', mode: 'bridge', bclim: null },
  hostLink: 've0',
  link: 'eth0',
  alias: linkAlias('main', 'a:1', 'web'),
  aliases: [],
  ordinal: 0,
  gatewayPriority: 0,
};
const make = (more: Partial<ChildAttachment> = {}, how = {}) =>
  makeChild(kernel, { ...attachment, ...more }, { ...where, ...how });
const remove = (more: Partial<ChildAttachment> = {}) =>
  removeChildren(kernel, native, [{ ...attachment, ...more }], where.netns);
interface Shown {
  ifname: string;
  ifalias?: string;
  group: string;
  address: string;
  link_index: number;
  flags: string[];
  ifindex: number;
}
const links = () => ipJson<Shown[]>(where.netns, 'link').filter(({ ifname }) => ifname !== 'lo');
const code = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'made',
    (error: unknown) => (error instanceof FaultError ? error.fault.code : String(error)),
  );

child.before.each(() => {
  for (const { ifname } of links()) ip('-n', 'inside', 'link', 'del', ifname);
});

child('it has its name, its alias, its group and its MAC, and nothing is outside', async () => {
  const before = ip('-d', 'link');
  assert.is(await make(), true);
  const [link, ...more] = links();
  assert.equal(
    [link?.ifname, link?.ifalias, link?.address, link?.flags.includes('UP'), more.length],
    ['eth0', attachment.alias, attachment.mac, true, 0],
  );
  assert.is((await native.links(where.netns)).find(({ name }) => name === 'eth0')?.group, GROUP);
  assert.is(ip('-d', 'link').replaceAll(/promiscuity \d/g, ''), before.replaceAll(/promiscuity \d/g, ''));
  assert.ok(isChild(attachment));
  assert.is(await remove(), true);
  assert.equal([links(), await remove()], [[], false]);
});

child('made again it stays, and what others changed is restored', async () => {
  await make();
  const [was] = links();
  ip('-n', 'inside', 'link', 'set', 'eth0', 'mtu', '1300', 'down');
  assert.is(await make(), false);
  const [now] = links();
  assert.equal([now?.ifindex, now?.flags.includes('UP')], [was?.ifindex, true]);
  assert.match(ip('-n', 'inside', 'link', 'show', 'eth0'), /mtu 1500/);
});

child('in a namespace of others it is down until its switches are set', async () => {
  assert.is(await make({}, { owned: false }), true);
  assert.is(links()[0]?.flags.includes('UP'), false);
});

child('what an earlier run left, with or without its alias, gives way', async () => {
  for (const alias of ['', attachment.alias]) {
    const made = 'link add ve0 link up0 netns inside type macvlan'.split(' ');
    ip(...made.slice(0, 2), 've0', 'group', String(GROUP), ...made.slice(3));
    if (alias !== '') ip('-n', 'inside', 'link', 'set', 've0', 'alias', alias);
    assert.is(await make(), true);
    assert.equal(
      links().map(({ ifname }) => ifname),
      ['eth0'],
    );
    await remove();
  }
});

child('on another parent, or with another MAC, it is made anew', async () => {
  await make();
  const [was] = links();
  assert.is(await make({ bridge: 'up1' }), true);
  const [now] = links();
  assert.not.equal(now?.link_index, was?.link_index);
  assert.is(await make({ bridge: 'up1', mac: '02:00:00:00:00:78' }), true);
  assert.equal(
    links().map(({ address }) => address),
    ['02:00:00:00:00:78'],
  );
});

child("somebody's link of the same name is neither taken over nor removed", async () => {
  for (const [group, alias] of [
    [0, attachment.alias],
    [GROUP, 'cleat:main:b:1:web'],
  ] as const) {
    ip('link', 'add', 'eth0', 'link', 'up0', 'netns', 'inside', 'group', String(group), 'type', 'macvlan');
    ip('-n', 'inside', 'link', 'set', 'eth0', 'alias', alias);
    assert.is(await code(make()), 'INTERFACE_TAKEN');
    assert.is(await remove(), false);
    assert.equal(
      links().map(({ ifname }) => ifname),
      ['eth0'],
    );
    ip('-n', 'inside', 'link', 'del', 'eth0');
  }
});

child('what the kernel refuses is said, and leaves nothing', async () => {
  assert.is(await code(make({ bridge: 'up9' })), 'PARENT_MISSING');
  const said = (more: Partial<ChildAttachment>) => make(more).then(String, String);
  assert.match(await said({ mtu: 9000 }), /macvlan \(mode bridge\) eth0 on up0: EINVAL \(.*MTU is smaller/);
  assert.match(await said({ bridge: 'lo' }), /EINVAL \(it is no Ethernet link/);
  assert.equal(links(), []);
});

endWithReport();
child.run();
