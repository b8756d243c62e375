/**
 * The share of one owner in the neighbour tables of the machine, with a small limit on the real kernel. A container
 * that looks for too many neighbours is cut to the limit and finds no more for a while, and no other loses one.
 *
 * Limits: the tables belong to the whole machine, so they are not filled here; that failed entries make room for others
 * is the kernel's part.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Check } from '../../state/answers/doctor.ts';
import { neighbourCheck } from '../../service/doctor/doctor-tables.ts';
import type { LimitedNotification } from '../../state/answers/notification.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { addressOf, on, pathOf, TestDaemon } from '../harness/daemon.ts';
import { hearLimited } from '../harness/hearing.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const LIMIT = 60;
const FLOOD = 100;
const SHORT_OF_IT = 40;
const DEFAULT = '3';

const daemon = new TestDaemon();
daemon.limits = [`neighbours-per-container=${LIMIT}`];
const neighbours = suite('limit of neighbours');
let heard: LimitedNotification[] = [];

const listen = (): void => hearLimited(daemon.socket, (notification) => heard.push(notification));

neighbours.before(async () => {
  await daemon.start();
  listen();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.79.0.0/16' }, { subnet: 'fd00:79::/64' }] });
});
neighbours.after(async () => {
  await daemon.stop();
});
neighbours.before.each(() => {
  heard = [];
});
neighbours.after.each(async () => {
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  await daemon.down(...body.map(({ id }) => id));
});

const inside = (netns: string | undefined, ...command: string[]): string =>
  netns === undefined
    ? execFileSync(command[0]!, command.slice(1), { encoding: 'utf8' })
    : execFileSync('nsenter', [`--net=${netns}`, '--', ...command], { encoding: 'utf8' });

/** Sends a datagram to each of so many addresses that nobody has: `prefix` and a number from 1. */
function ask(netns: string | undefined, prefix: string, count: number): void {
  const program = `import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
for i in range(int(sys.argv[2])):
    try:
        s.sendto(b'x', (sys.argv[1] + (format(i + 1, 'x') if ':' in sys.argv[1] else str(i + 1)), 9))
    except OSError:
        pass  # of an earlier datagram: nobody has that address`;
  inside(netns, 'python3', '-c', program, prefix, String(count));
}

/** Returns true if the host answers: its port is closed, and the error says so. */
function reaches(netns: string, address: string): boolean {
  const program = `import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=2)
except ConnectionRefusedError:
    print('there')
except OSError:
    pass`;
  return inside(netns, 'python3', '-c', program, address) === 'there\n';
}

/** The entries of one family that take room from others, by the states that ip-neighbour(8) names. */
function taking(netns: string | undefined, family: 4 | 6, link: string): string[] {
  type Neighbour = { dst: string; state: string[] };
  const text = inside(netns, 'ip', `-${family}`, '-j', 'neigh', 'show', 'nud', 'all', 'dev', link);
  const all = text.trim() === '' ? [] : (JSON.parse(text) as Neighbour[]);
  const free = ['FAILED', 'NOARP', 'PERMANENT'];
  return all.filter(({ state }) => !free.some((one) => state.includes(one))).map(({ dst }) => dst);
}

const questions = (netns: string | undefined, family: 4 | 6, link: string): string =>
  inside(netns, 'sh', '-c', `cat /proc/sys/net/ipv${family}/neigh/${link}/mcast_solicit`).trim();

neighbours('a container with too many neighbours keeps a share and finds no more, and no other loses one', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  const b = await daemon.up('b', { networks: on('web') });
  const c = await daemon.up('c', { networks: on('web') });
  const d = await daemon.up('d', { uplink: { program: 'slirp4netns' } });
  const bridge = (await daemon.get<NetworkDefinition>('/v1/networks/web')).body.network_interface;
  // The count is short of the limit, with one existing neighbour.
  assert.ok(reaches(pathOf(c), addressOf(b, 'web')));
  ask(pathOf(c), '10.79.200.', SHORT_OF_IT);
  const flooded = [
    { owner: 'a', netns: pathOf(a), family: 4, link: 'eth0', prefix: '10.79.201.', next: '10.79.202.' },
    { owner: 'b', netns: pathOf(b), family: 6, link: 'eth0', prefix: 'fd00:79::1:', next: 'fd00:79::2:' },
    { owner: 'web', netns: undefined, family: 4, link: bridge, prefix: '10.79.203.', next: '10.79.204.' },
    { owner: 'd', netns: pathOf(d), family: 4, link: 'tap0', prefix: '10.0.2.', next: '10.0.2.' },
  ] as const;
  // A neighbour that was found is kept before those without an answer.
  assert.ok(reaches(pathOf(a), addressOf(b, 'web')));
  for (const { netns, prefix } of flooded) ask(netns, prefix, FLOOD);
  const said = () => new Map(heard.map((one) => [one.id ?? one.network, one]));
  await until('all are cut, and that is told', () => flooded.every(({ owner }) => said().has(owner)));
  assert.is(said().size, flooded.length, 'nobody else is');
  for (const { owner, netns, family, link, next } of flooded) {
    const { what, limit, entries = 0, forgotten = 0 } = said().get(owner) ?? {};
    assert.equal([what, limit, entries > LIMIT, forgotten > 0], ['neighbours', LIMIT, true, true], owner);
    assert.ok(taking(netns, family, link).length <= LIMIT, owner);
    // A new request fails at once, and the failed entry makes room for any other (neigh_forced_gc).
    ask(netns, next, FLOOD);
    assert.ok(taking(netns, family, link).length <= LIMIT, `${owner}, once more`);
  }
  assert.ok(taking(pathOf(a), 4, 'eth0').includes(addressOf(b, 'web')));
  for (const address of ['10.79.0.1', 'fd00:79::1', addressOf(b, 'web')]) {
    assert.ok(reaches(pathOf(a), address), `a goes on to reach ${address}`);
  }
  assert.ok(reaches(pathOf(c), addressOf(a, 'web')), 'c goes on to find neighbours');
  const { body: history } = await daemon.get<{ event: string }[]>('/v1/containers/a/history');
  assert.ok(
    history.some(({ event }) => event === 'limited'),
    'the history has it',
  );
});

const ends: [string, () => Promise<void>][] = [
  [
    'stops',
    async () => {
      await daemon.stop();
    },
  ],
  [
    'was killed, and has been started again',
    async () => {
      await daemon.kill();
    },
  ],
];
for (const [name, end] of ends) {
  neighbours(`neighbours are found again when the daemon ${name}`, async () => {
    const peer = await daemon.up('peer', { networks: on('web') });
    const [a, b] = [pathOf(await daemon.up('a', { networks: on('web') })), pathOf(peer)];
    ask(a, '10.79.203.', FLOOD);
    await until('a is held', () => questions(a, 4, 'eth0') === '0');
    await end();
    const stopped = name === 'stops';
    assert.is(questions(a, 4, 'eth0'), stopped ? DEFAULT : '0');
    await daemon.start();
    listen();
    await until('a is free', () => [4, 6].every((family) => questions(a, family as 4 | 6, 'eth0') === DEFAULT));
    assert.ok(reaches(a, addressOf(peer, 'web')));
    assert.is(questions(b, 4, 'eth0'), DEFAULT);
  });
}

neighbours('doctor says how many neighbours there are, and what one container may have', async () => {
  const { body } = await daemon.get<{ checks: Check[] }>('/v1/doctor');
  const texts = body.checks.filter(({ name }) => name === 'neighbours').map(({ text }) => text);
  assert.is(texts.length, 2);
  for (const [i, text] of texts.entries()) {
    const family = i === 0 ? 'IPv4' : 'IPv6';
    assert.match(
      text,
      new RegExp(`^this machine has \\d+ ${family} neighbours, .* may have \\d+ others; one container may have 60`),
    );
  }
});

neighbours('doctor says how often there was no room for a neighbour, on all CPUs', () => {
  const table = { family: 6, entries: 44, maximum: 1024, allocated: 99 } as const;
  const statistics = `entries  allocs   destroys hash_grows lookups  table_fulls
0000002c 0000116e 000010f5 00000004   00000a30 00000000
0000002c 00000000 00000000 00000000   00000000 0000000b
`;
  const check = neighbourCheck(table, 256, statistics);
  assert.match(check.text, /44 IPv6 neighbours, permanent ones included, and may have 1024 others.* 11 times$/);
  assert.match(check.hint ?? '', 'net.ipv6.neigh.default.gc_thresh3');
  assert.is(neighbourCheck(table, 256, statistics.replace('0000000b', '00000000')).hint, undefined);
});

neighbours.run();
