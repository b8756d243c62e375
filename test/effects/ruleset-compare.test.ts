/**
 * The table is compared with its plan, on a real kernel: an unchanged table has no differences, each change by others
 * is found, by its kind, and one transaction of the repair reverts all of them.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetworkRules } from '../../effects/ruleset/ruleset-inputs.ts';
import { removeTable } from '../../effects/ruleset/ruleset.ts';
import {
  compareRuleset,
  ourSets,
  repairOf,
  wholeRuleset,
  type Standing,
} from '../../effects/ruleset/ruleset-compare.ts';
import { openOutside } from '../../native/index.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const TABLE = 'cleat-test';
const outside = openOutside();
const rules = (bridge: string, subnet: string, gateway: string, more: Partial<NetworkRules> = {}): NetworkRules => ({
  bridge,
  subnets: [{ cidr: subnet, gateway }],
  dns: true,
  internal: false,
  isolate: 'strict',
  masquerade: true,
  outbound: [],
  ...more,
});
const STANDING: Standing = {
  networks: [
    { network: 'web', rules: rules('cl-web', '10.89.0.0/24', '10.89.0.1', { isolate: 'open' }) },
    // Directly after it: one interval ends where the other begins.
    { network: 'next', rules: rules('cl-next', '10.89.1.0/24', '10.89.1.1') },
    { network: 'back', rules: rules('cl-back', 'fd00:90::/64', 'fd00:90::1', { isolate: 'isolated' }) },
    {
      network: 'over',
      rules: rules('cl-over', '10.128.3.0/24', '10.128.3.1', {
        overlay: {
          link: 'vx-over',
          pools: ['10.128.0.0/10'],
          vxlan: { local: '192.0.2.6', vni: 7, port: 4789, peers: ['192.0.2.7', '2001:db8::7'] },
        },
      }),
    },
    { network: 'inner', rules: rules('cl-inner', '10.91.0.0/24', '10.91.0.1', { internal: true, masquerade: false }) },
  ],
  ports: [
    { protocol: 'tcp', hostIp: '', hostPort: 8080, address: '10.89.0.2', containerPort: 80, owner: 'a:1' },
    { protocol: 'udp', hostIp: '127.0.0.1', hostPort: 53, address: '10.89.0.3', containerPort: 53, owner: 'b:2' },
    { protocol: 'tcp', hostIp: '::1', hostPort: 81, address: 'fd00:90::2', containerPort: 80, owner: 'c:3' },
  ],
  guard: { users: { plain: 96_400, loopback: 96_401 }, nameservers: ['127.0.0.53'] },
  closed: new Map([[4, ['wan0']]]),
  replies: {
    routes: [
      { address: '203.0.113.1', link: 'wan0' },
      { address: 'fd00:203::1', link: null },
    ],
    near: ['192.0.2.0/24'],
    strict: ['wan1'],
  },
};

async function look() {
  const table = await outside.nftTable('inet', TABLE);
  const sets = ourSets(TABLE, table?.sets.map(({ name }) => name) ?? []);
  const dumps = await Promise.all(sets.map((set) => outside.nftElements('inet', TABLE, set)));
  return { table, elements: new Map(sets.map((set, i) => [set, dumps[i] ?? []])) };
}
const differences = async (standing = STANDING) => compareRuleset(TABLE, standing, await look());
const said = async () =>
  (await differences()).map(({ kind, object, network, owner }) => `${kind} ${object} ${network ?? owner ?? '-'}`);
const listing = () =>
  execFileSync('nft', ['list', 'table', 'inet', TABLE], { encoding: 'utf8' }).split('\n').sort().join('\n');

const compare = suite('ruleset compared');
compare.before.each(async () => outside.nft([...removeTable(TABLE), ...wholeRuleset(TABLE, STANDING)]));
compare.after(async () => outside.nft(removeTable(TABLE)));

compare('a table that was made compares equal, also when it is made twice', async () => {
  assert.equal(await differences(), []);
  await outside.nft(wholeRuleset(TABLE, STANDING));
  assert.equal(await differences(), []);
});

compare('what should not exist any more is not reported missing', async () => {
  assert.equal(await differences({ ...STANDING, networks: STANDING.networks.slice(1), ports: [] }), []);
});

const BROKEN: Record<string, [command: string, expected: string[]]> = {
  'a table that is gone': [`delete table inet ${TABLE}`, [`table inet ${TABLE} -`]],
  'a base chain': [`flush chain inet ${TABLE} publish`, ['table chain publish -']],
  'a chain of a network': [`flush chain inet ${TABLE} to-cl-web`, ['rule chain to-cl-web web']],
  'a rule more': [`insert rule inet ${TABLE} from-cl-back accept`, ['rule chain from-cl-back back']],
  'a way to a chain': [`delete element inet ${TABLE} nat_to { "cl-web" }`, ['rule cl-web in nat_to web']],
  'a way to another chain': [
    `delete element inet ${TABLE} forward_to { "cl-web" }\nadd element inet ${TABLE} forward_to { "cl-web" : accept }`,
    ['rule cl-web in forward_to web'],
  ],
  'a subnet that is not guarded': [
    `delete element inet ${TABLE} daddr4 { 10.89.0.0/24 }`,
    ['rule 10.89.0.0 in daddr4 web', 'rule 10.89.1.0 in daddr4 web'],
  ],
  'a subnet that may be claimed by others': [
    `delete element inet ${TABLE} saddr6 { fd00:90::/64 }\nadd element inet ${TABLE} saddr6 { fd00:90::/64 : accept }`,
    ['rule fd00:90:: in saddr6 back'],
  ],
  'packets that this host sends to itself': [
    `delete element inet ${TABLE} arrivals { "lo" }`,
    ['table lo in arrivals -'],
  ],
  'loopback addresses that may come by a wire': [
    `delete element inet ${TABLE} saddr4 { 127.0.0.0/8 }`,
    ['table 127.0.0.0 in saddr4 -', 'table 128.0.0.0 in saddr4 -'],
  ],
  'a map that is none of intervals': [
    `flush chain inet ${TABLE} raw\nflush chain inet ${TABLE} doors\ndelete map inet ${TABLE} saddr6\n` +
      `add map inet ${TABLE} saddr6 { type ipv6_addr : verdict; }`,
    [
      'table set saddr6 -',
      'table chain raw -',
      'table chain doors -',
      ...['::1', '::2', '::ffff:0.0.0.0', '::1:0:0:0'].map((address) => `table ${address} in saddr6 -`),
      ...['fd00:90::', 'fd00:90:0:1::'].map((address) => `rule ${address} in saddr6 back`),
    ],
  ],
  'a host of an overlay': [
    `delete element inet ${TABLE} peers4-cl-over { 192.0.2.7 }`,
    ['rule 192.0.2.7 in peers4-cl-over over'],
  ],
  'all hosts of an overlay, with what speaks of them': [
    `flush chain inet ${TABLE} received-cl-over\ndelete set inet ${TABLE} peers6-cl-over`,
    ['rule set peers6-cl-over over', 'rule chain received-cl-over over', 'rule 2001:db8::7 in peers6-cl-over over'],
  ],
  'a pool that may be claimed by others': [
    `delete element inet ${TABLE} saddr4 { 10.128.4.0-10.191.255.255 }`,
    ['rule 10.128.4.0 in saddr4 over', 'rule 10.192.0.0 in saddr4 over'],
  ],
  'a host that forwards for others': [`flush chain inet ${TABLE} others4`, ['table chain others4 -']],
  'a network that is less open': [`delete element inet ${TABLE} open { "cl-web" }`, ['rule cl-web in open web']],
  'a network that is more open': [`add element inet ${TABLE} open { "cl-inner" }`, ['rule cl-inner in open inner']],
  'a port': [`delete element inet ${TABLE} ports4 { tcp . 8080 }`, ['port tcp *:8080 -> 10.89.0.2:80 a:1']],
  'a port on one address': [
    `delete element inet ${TABLE} hostports4 { 127.0.0.1 . udp . 53 }`,
    ['port udp 127.0.0.1:53 -> 10.89.0.3:53 b:2'],
  ],
  'a port that is led elsewhere': [
    `delete element inet ${TABLE} ports4 { tcp . 8080 }\nadd element inet ${TABLE} ports4 { tcp . 8080 : 10.89.0.9 . 80 }`,
    ['port tcp *:8080 -> 10.89.0.2:80 a:1'],
  ],
  'all ports': [
    `flush map inet ${TABLE} ports4\nflush map inet ${TABLE} hostports4\nflush map inet ${TABLE} hostports6`,
    [
      'port tcp *:8080 -> 10.89.0.2:80 a:1',
      'port udp 127.0.0.1:53 -> 10.89.0.3:53 b:2',
      'port tcp ::1:81 -> fd00:90::2:80 c:3',
    ],
  ],
  'a set with what speaks of it': [
    `flush chain inet ${TABLE} publish\ndelete map inet ${TABLE} ports4`,
    ['table set ports4 -', 'table chain publish -', 'port tcp *:8080 -> 10.89.0.2:80 a:1'],
  ],
  'a set of another kind': [
    `flush chain inet ${TABLE} publish\ndelete map inet ${TABLE} ports4\nadd set inet ${TABLE} ports4 { type inet_service; }`,
    ['table set ports4 -', 'table chain publish -', 'port tcp *:8080 -> 10.89.0.2:80 a:1'],
  ],
  'a hook that is none any more': [
    `flush chain inet ${TABLE} forward\ndelete chain inet ${TABLE} forward\nadd chain inet ${TABLE} forward`,
    ['table chain forward -'],
  ],
};
for (const [what, [command, expected]] of Object.entries(BROKEN)) {
  compare(`${what}: the comparison finds it, and one transaction restores it`, async () => {
    const before = listing();
    execFileSync('nft', ['-f', '-'], { input: command });
    assert.equal((await said()).sort(), [...expected].sort());
    await outside.nft(repairOf(TABLE, await differences(), STANDING));
    assert.equal(await differences(), []);
    assert.is(listing(), before);
  });
}

compare('objects that do not differ are not touched', async () => {
  const handles = async () =>
    (await outside.nftTable('inet', TABLE))?.chains
      .filter(({ name }) => name !== 'to-cl-web')
      .flatMap(({ rules: all }) => all.map(({ handle }) => handle));
  const before = await handles();
  execFileSync('nft', ['flush', 'chain', 'inet', TABLE, 'to-cl-web']);
  await outside.nft(repairOf(TABLE, await differences(), STANDING));
  assert.equal(await handles(), before);
});

compare.run();
