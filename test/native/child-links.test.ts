/**
 * The messages that make links on a parent, attribute by attribute: those of `ip link add`, which is another author's. So drivers
 * that this kernel lacks are tested up to the message. What the kernel makes of it is tested with those that it has.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, type RtnlRequest } from '../../native/index.ts';
import { addNetns } from '../harness/inside.ts';
import { codes } from '../harness/native.ts';
import { ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const directory = mkdtempSync(join(tmpdir(), 'sent-'));
const library = join(directory, 'sent.so');
const source = resolve(import.meta.dirname, '../../../test/native/sent.c');
execFileSync('cc', ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror', '-o', library, source, '-ldl']);
const netns = addNetns('inside');
execFileSync('ip', ['link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'far']);

/** linux/rtnetlink.h, linux/if_link.h */
const [RTM_NEWLINK, RTM_SETLINK] = [16, 19];
/** linux/socket.h */
const AF_BRIDGE = 7;
const [LINKINFO, INFO_DATA, NET_NS_FD] = [18, 2, 28];
/** The attributes of the outermost level, and those of links of these kinds. */
type Attributes = Map<number, string | Attributes>;

/** Runs a command, which may fail, and returns the attributes of the link that it asked for. */
function sent(command: string, words: readonly string[]): Attributes {
  // A request to look a link up by its name is of another type.
  const made = messagesOf(command, words).filter((message) => message.readUInt16LE(4) === RTM_NEWLINK);
  const message = made.find((one) => attributesOf(one.subarray(32)).has(LINKINFO));
  if (message === undefined) throw new Error(`${command} sent no such message`);
  return attributesOf(message.subarray(32, message.readUInt32LE(0)));
}

/** Returns the message to the family of bridges that a command has sent, from its ifinfomsg on. */
function tagSent(command: string, words: readonly string[]): string {
  const all = messagesOf(command, words).flatMap(split);
  const message = all.find((one) => one.readUInt16LE(4) === RTM_SETLINK && one[16] === AF_BRIDGE);
  if (message === undefined) throw new Error(`${command} sent no such message`);
  // Without NLA_F_NESTED, which not everybody sets: the bit is in the type of the first attribute.
  message.writeUInt16LE(message.readUInt16LE(34) & 0x3fff, 34);
  return message.subarray(16).toString('hex');
}

/** Returns the messages of one buffer. */
function split(buffer: Buffer): Buffer[] {
  const length = buffer.length < 16 ? 0 : buffer.readUInt32LE(0);
  return length < 16 ? [] : [buffer.subarray(0, length), ...split(buffer.subarray((length + 3) & ~3))];
}

function messagesOf(command: string, words: readonly string[]): Buffer[] {
  const file = join(directory, 'messages');
  rmSync(file, { force: true });
  const ran = spawnSync(command, words, { env: { ...process.env, LD_PRELOAD: library, CLEAT_SENT: file } });
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  if (lines[0] === '') throw new Error(`${command} sent nothing: ${ran.stderr.toString()}`);
  return lines.map((line) => Buffer.from(line, 'hex'));
}

function attributesOf(bytes: Buffer, nested: readonly number[] = [LINKINFO]): Attributes {
  const found: Attributes = new Map();
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = bytes.readUInt16LE(at);
    if (length < 4) break;
    const type = bytes.readUInt16LE(at + 2) & 0x3fff; // without NLA_F_NESTED
    const payload = bytes.subarray(at + 4, at + length);
    const inner = type === LINKINFO ? [INFO_DATA] : [];
    found.set(type, nested.includes(type) ? attributesOf(payload, inner) : payload.toString('hex'));
    at += (length + 3) & ~3;
  }
  // The number of a descriptor is the program's own.
  if (found.has(NET_NS_FD)) found.set(NET_NS_FD, 'a descriptor');
  return found;
}

const native = new URL('../../native/index.js', import.meta.url).href;
const PROGRAM = `import { openOutside } from '${native}'; await openOutside().rtnl(JSON.parse(process.argv[1]));`;
const programOf = (request: RtnlRequest) => ['--input-type=module', '-e', PROGRAM, JSON.stringify([request])];
const ours = (request: RtnlRequest): Attributes => sent(process.execPath, programOf(request));
const theirs = (...words: string[]): Attributes => sent('ip', ['link', 'add', 'link', 'up0', ...words]);
/** A name ends with a NUL for some authors, and without for others; the kernel takes both (nla_strscpy). */
const withoutNul = (hex: string): string => hex.replace(/^((?:[2-7][0-9a-f]){3,})00$/, '$1');
const plain = (attributes: Attributes): unknown =>
  [...attributes]
    .map(([type, value]) => [type, typeof value === 'string' ? withoutNul(value) : plain(value)] as const)
    .sort(([a], [b]) => a - b);

const request = (more: object): RtnlRequest =>
  ({ op: 'link.add', name: 'new0', parent: 'up0', netns, ...more }) as RtnlRequest;

for (const [words, more] of [
  ...['private', 'vepa', 'bridge', 'passthru'].map(
    (mode) => [`macvlan mode ${mode}`, { kind: 'macvlan', mode }] as const,
  ),
  ...['l2', 'l3', 'l3s'].map((mode) => [`ipvlan mode ${mode}`, { kind: 'ipvlan', mode }] as const),
  ...[1, 7, 4094].map((vlan) => [`vlan id ${vlan}`, { kind: 'vlan', vlan }] as const),
] as const) {
  test(`${words}: the message is that of ip link add`, () => {
    const [mine, other] = [ours(request(more)), theirs('name', 'new0', 'netns', 'inside', 'type', ...words.split(' '))];
    assert.ok(mine.has(NET_NS_FD));
    assert.equal(plain(mine), plain(other));
    for (const where of [[], ['-n', 'inside']]) spawnSync('ip', [...where, 'link', 'del', 'new0']);
  });
}

test('address, MTU and group are those of ip link add; the limit of broadcasts is a signed number', () => {
  const more = { kind: 'macvlan', mode: 'bridge', mac: '02:00:00:00:00:77', mtu: 1400, group: 77 };
  const words = 'address 02:00:00:00:00:77 mtu 1400 group 77 name new0 netns inside type macvlan mode bridge';
  assert.equal(plain(ours(request(more))), plain(theirs(...words.split(' '))));
  spawnSync('ip', ['-n', 'inside', 'link', 'del', 'new0']);
  const info = ours(request({ kind: 'macvlan', bclim: -1 })).get(LINKINFO);
  const data = info instanceof Map ? info.get(INFO_DATA) : undefined;
  // IFLA_MACVLAN_MODE with MACVLAN_MODE_BRIDGE, and IFLA_MACVLAN_BC_CUTOFF, a s32 (linux/if_link.h).
  assert.equal(data instanceof Map && [...data], [
    [1, '04000000'],
    [9, 'ffffffff'],
  ]);
  spawnSync('ip', ['-n', 'inside', 'link', 'del', 'new0']);
});

test('a bridge with tags, and the tag of a port, are those of ip and bridge', () => {
  const filtering = { op: 'link.add', kind: 'bridge', name: 'new0', vlanFiltering: true } as const;
  assert.equal(plain(ours(filtering)), plain(sent('ip', 'link add name new0 type bridge vlan_filtering 1'.split(' '))));
  spawnSync('ip', ['link', 'del', 'new0']);
  execFileSync('ip', ['link', 'add', 'br0', 'type', 'bridge']);
  execFileSync('ip', ['link', 'set', 'up0', 'master', 'br0']);
  const tag = (dev: string, ...more: string[]) =>
    tagSent('bridge', `vlan add dev ${dev} vid 7 pvid untagged ${more.join(' ')}`.trim().split(' '));
  const mine = (request: RtnlRequest) => tagSent(process.execPath, programOf(request));
  assert.equal(mine({ op: 'link.set', name: 'up0', portVlan: 7 }), tag('up0'));
  assert.equal(mine({ op: 'link.set', name: 'br0', selfVlan: 7 }), tag('br0', 'self'));
  execFileSync('ip', ['link', 'del', 'br0']);
});

test('a link is made in the other namespace at once, whatever its name means here', async () => {
  const outside = openOutside();
  const made = await outside.rtnl([
    request({ kind: 'macvlan', mode: 'vepa', name: 'new1' }),
    request({ kind: 'macvlan', name: 'x', parent: 'nothing' }),
    request({ kind: 'macvlan', name: 'y', netns: '/run/netns/nothing' }),
  ]);
  assert.equal(codes(made), ['ok', 'ENODEV', 'ENOENT']);
  const [link] = ipJson<{ linkinfo: { info_kind: string; info_data: { mode: string } } }[]>(
    netns,
    '-d',
    'link',
    'show',
    'new1',
  );
  assert.equal([link?.linkinfo.info_kind, link?.linkinfo.info_data.mode], ['macvlan', 'vepa']);
  assert.is(
    (await outside.links()).some(({ name }) => name === 'new1'),
    false,
  );
});

test.run();
