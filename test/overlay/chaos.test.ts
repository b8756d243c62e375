// proving: 7200
// slow: 90 s, faults are given time to do harm, and leases to end
/**
 * Three hosts on a pool of four shares, and faults at random: hosts cut off, stopped, asleep, with another time; daemons killed, back from
 * the dead, copied; members of etcd killed, frozen, cut off and without their disk; leases revoked, history compacted. A witness that reads
 * only the store and the kernels sees no share with two owners, and after each calm all agree.
 *
 * Guarantees: faults of hosts and of the store also come together. The witness is shown a share with two owners, and sees it. What was
 * done and found is printed, with the seed: `seed=N` does the same faults in the same order.
 * Limits: `faults=N` of them, and no more than fit into `minutes=N`. The wall clock of a daemon is set, and the monotonic one of another
 * stands still as while a machine sleeps, by libfaketime; CLOCK_BOOTTIME cannot be set while a daemon runs, on no machine, and is another
 * one for the next daemon by a time namespace. Members of etcd ask the kernel for the time without a library, so theirs is not set.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { OverlayView } from '../../state/answers/overlay.ts';
import type { TestDaemon } from '../harness/daemon.ts';
import { addHost, cut, daemonOn, Etcd, join } from '../harness/etcd.ts';
import { claimsIn, kernelOf, Witness } from '../harness/overlay-witness.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved, seed } from '../harness/proof.ts';

requirePrivateNamespace();
const chaos = suite('overlay chaos');
const TTL = 5;
const FAULTS = effort('faults', 9, 1500);
const MINUTES = effort('minutes', 60, 100);
const NAMES = ['a', 'b', 'c'] as const;
const COPY = 'd';
const ADDRESSES = new Map([...NAMES, COPY].map((name, n) => [name, `192.0.2.${n + 1}`]));
/** A share may be on a bridge for so long after somebody else has got it. */
const GRACE_MS = (TTL + 5) * 1000;

const etcd = new Etcd(3);
const clockOf = (name: string): string => `/run/clock-${name}`;
const library = readdirSync('/usr/lib')
  .map((triplet) => `/usr/lib/${triplet}/faketime`)
  .flatMap((folder) => {
    try {
      return readdirSync(folder).includes('libfaketimeMT.so.1') ? [`${folder}/libfaketimeMT.so.1`] : [];
    } catch {
      return [];
    }
  })[0];
if (library === undefined) throw new Error('libfaketime is missing: npm run setup');

const daemons = new Map<string, TestDaemon>(
  [...ADDRESSES].map(([name, address]) => {
    addHost(name, address);
    writeFileSync(clockOf(name), '+0');
    const daemon = daemonOn(name, address, etcd.endpoints, TTL);
    daemon.environment = {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: clockOf(name),
      FAKETIME_CACHE_DURATION: '1',
      // Of b both clocks stand still when one is told to: as while a machine sleeps.
      ...(name === 'b' ? {} : { FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' }),
    };
    return [name, daemon];
  }),
);
function of(name: string): TestDaemon {
  const daemon = daemons.get(name);
  if (daemon === undefined) throw new Error(name);
  return daemon;
}

/** Hosts that know of nothing at the moment, or have for less than a lease. */
const deaf = new Map<string, number>();
const hears = (name: string): boolean => performance.now() > (deaf.get(name) ?? 0);
const MUCH = 1e12;
const witness = (grace: number): Witness => new Witness({ etcd, network: 'web', hosts: ADDRESSES, hears, grace });

let random = seed() + 1;
const below = (n: number): number => (random = (random * 48_271) % 0x7fff_ffff) % n;

/** A host knows of nothing from `begin` to `end`. */
async function deafFor(name: string, ms: number, begin: () => unknown, end: () => unknown): Promise<void> {
  deaf.set(name, MUCH);
  await begin();
  await sleep(ms);
  await end();
  // As long as a lease, it may believe what it knew.
  deaf.set(name, performance.now() + TTL * 1000);
}

async function without(n: readonly number[], ms: number): Promise<void> {
  for (const member of n) etcd.signal(member, 'SIGSTOP');
  await sleep(ms);
  for (const member of n) etcd.signal(member, 'SIGCONT');
}

/** Has etcd do something, by a member that can, as soon as one can. A lease may have ended in between, and an order is given again whose answer was late. */
async function order(...words: string[]): Promise<string> {
  for (let turn = 0; ; turn++) {
    try {
      return await etcd.ask(turn % 3, ...words);
    } catch (error) {
      if (/lease not found|has been compacted/.test(String(error))) return '';
      if (turn > 20) throw error;
      await sleep(200);
    }
  }
}

const leases = async (): Promise<string[]> =>
  (await order('lease', 'list')).split('\n').filter((line) => /^[0-9a-f]{6,}$/.test(line));

/** Seconds that the clock of a host is away from the time. */
const offsets = new Map<string, number>();
function setClock(name: string, seconds: number): void {
  offsets.set(name, seconds);
  writeFileSync(clockOf(name), `${seconds < 0 ? '' : '+'}${seconds}`);
}

const view = async (daemon: TestDaemon): Promise<OverlayView> =>
  (await daemon.get<OverlayView>('/v1/networks/web/overlay')).body;

async function until(so: () => Promise<boolean> | boolean, what: string, ms = 45_000): Promise<void> {
  for (const end = performance.now() + ms; !(await so());) {
    if (performance.now() > end) throw new Error(`not in ${ms} ms: ${what}`);
    await sleep(100);
  }
}

type Faults = Record<string, (ms: number, name: string) => Promise<void>>;

/** Each does harm for a while, and undoes it. */
const OF_HOSTS: Faults = {
  'a host is cut off': (ms, name) =>
    deafFor(
      name,
      ms,
      () => cut(name),
      () => join(name),
    ),
  'a daemon is stopped': (ms, name) =>
    deafFor(
      name,
      ms,
      () => process.kill(of(name).pid, 'SIGSTOP'),
      () => process.kill(of(name).pid, 'SIGCONT'),
    ),
  'a daemon is killed': (ms, name) =>
    deafFor(
      name,
      ms / 2,
      () => of(name).kill(),
      () => of(name).start(),
    ),
  'a host does not reach the member that it asks': async (ms, name) => {
    const members = [201, 202, 203].map((n) => `192.0.2.${n}`).filter((_, n) => n !== below(3));
    const route = (word: string) => {
      for (const member of members) execFileSync('ip', ['-n', name, 'route', word, 'blackhole', member]);
    };
    route('add');
    await sleep(ms);
    route('del');
  },
  'the time of a host is set': async (ms, name) => {
    if (name === 'b') return OF_HOSTS['a host sleeps']?.(ms, name);
    // Up to ten years, to the future or back; and it stays so for a while after the fault.
    setClock(name, (below(2) === 0 ? 1 : -1) * (below(5) + 1) ** 8 * 800);
    await sleep(ms);
    setClock(name, below(2) === 0 ? 0 : below(7200) - 3600);
  },
  'a host sleeps': (ms) =>
    // Its timers are late by so much, and it does not know: its clock of leases went on.
    deafFor(
      'b',
      ms,
      () => setClock('b', (offsets.get('b') ?? 0) - Math.round(ms / 1000)),
      () => {},
    ),
  'a host is started with another uptime': (ms, name) =>
    deafFor(
      name,
      ms / 4,
      () => of(name).kill(),
      async () => {
        of(name).launcher = ['nsenter', `--net=/run/netns/${name}`, `--time=${anotherTime()}`, '--'];
        await of(name).start();
      },
    ),
};
const OF_THE_STORE: Faults = {
  'a member is frozen': (ms) => without([below(3)], ms),
  'all members are frozen': (ms) => without([0, 1, 2], ms),
  'two members are frozen': (ms) => without([0, 1, 2].toSpliced(below(3), 1), ms),
  'a member is killed': async (ms) => {
    const n = below(3);
    await etcd.kill(n);
    await sleep(ms / 2);
    etcd.startMember(n, 'existing');
  },
  'a member is cut off': async (ms) => {
    const name = `etcd${below(3)}`;
    cut(name);
    await sleep(ms);
    join(name);
  },
  'a lease is revoked': async () => {
    const ids = await leases();
    const id = ids[below(Math.max(1, ids.length))];
    if (id !== undefined) await order('lease', 'revoke', id);
  },
  'all leases are revoked': async () => {
    for (const id of await leases()) await order('lease', 'revoke', id);
  },
  'history is compacted': async () => {
    // A revision is compacted once: each time there is a new one.
    await order('put', 'test/compacted', 'yes');
    const revision = /"revision":(\d+)/.exec(await order('get', 'x', '-w', 'json'))?.[1];
    await order('compact', revision ?? '');
  },
};
const ALONE: Faults = {
  'a member has lost its disk': () => etcd.replace(below(3)),
  'a daemon is back from the dead, and its share is another host’s': async (_, name) => {
    const [share = ''] = (await view(of(name))).shares;
    const key = share.replace('/', '-');
    const thief = { host: '0'.repeat(32), address: '192.0.2.9', mac: '02:00:00:00:00:09', generation: 1, place: 'x' };
    await deafFor(
      name,
      0,
      async () => {
        await of(name).kill();
        await until(async () => (await claimsIn(etcd, 'web'))?.has(share) === false, 'its lease ends');
        // Nobody may have it so early: it rests.
        await order('del', `/cleat/v1/networks/web/rests/${key}`);
        await order('put', `/cleat/v1/networks/web/subnets/${key}`, JSON.stringify(thief));
      },
      () => of(name).start(),
    );
    await until(async () => {
      const { state, shares } = await view(of(name));
      return state === 'holding.leased' && shares[0] !== share;
    }, `${name} has another share than ${share}`);
    await until(async () => !(await kernelOf(name)).own.includes(share), `${name} has given ${share} up`);
    await order('del', `/cleat/v1/networks/web/subnets/${key}`);
  },
  'two daemons have one host id': async (_, name) => {
    const copy = of(COPY);
    const original = await view(of(name));
    rmSync(copy.directory, { recursive: true });
    mkdirSync(copy.directory, { mode: 0o755 });
    cpSync(of(name).stateDir, copy.stateDir, { recursive: true });
    await copy.start();
    const create = await copy.event({ type: 'create', id: 'copied', networks: { web: {} } });
    assert.is(create.status, 200, create.text);
    // It asks at once, and again and again, and must not get what is the other's.
    await until(
      async () => (await copy.event({ type: 'configure', id: 'copied' })).status === 200,
      'the copy attaches a container',
    );
    const { host, shares } = await view(copy);
    assert.is.not(host, original.host);
    assert.is.not(shares[0], original.shares[0]);
    assert.is((await view(of(name))).host, original.host, 'the original keeps its id');
    await copy.down('copied');
    assert.is((await copy.request('DELETE', '/v1/networks/web')).status, 204);
    await copy.stop();
  },
};

let times = 0;
/** Returns a new time namespace: in it the machine has been up for longer, or not for as long. */
function anotherTime(): string {
  const file = `/run/time-${times++}`;
  writeFileSync(file, '');
  const uptime = String(below(200_000_000)); // six years; the test begins with three
  execFileSync('unshare', [`--time=${file}`, `--boottime=${uptime}`, `--monotonic=${uptime}`, 'true']);
  return file;
}

/** Resolves when all hosts hold a share, the kernels have just these, and each has routes to the others. */
async function calm(ms = 45_000): Promise<void> {
  const end = performance.now() + ms;
  for (;;) {
    const seen = await Promise.all(
      NAMES.map(async (name) => ({ name, ...(await view(of(name))), ...(await kernelOf(name)) })),
    );
    const store = await claimsIn(etcd, 'web');
    const agrees =
      store !== null &&
      seen.every(
        ({ name, state, shares, own, routes }) =>
          state === 'holding.leased' &&
          own.join() === shares.join() &&
          store?.get(shares[0] ?? '')?.address === ADDRESSES.get(name) &&
          routes.sort().join() ===
            [...store.keys()]
              .filter((share) => !shares.includes(share))
              .sort()
              .join(),
      );
    if (agrees && store.size === NAMES.length) return;
    if (performance.now() > end)
      assert.unreachable(
        `no calm: ${JSON.stringify([seen.map(({ fault, ...one }) => [one.name, one.state, one.shares, one.own, one.routes, fault?.message]), [...(store ?? [])]])}`,
      );
    await sleep(100);
  }
}

chaos.before(async () => {
  // A bind mount of a time namespace has to be below a mount that is private.
  execFileSync('mount', ['--make-private', '/run']);
  await etcd.start();
  await Promise.all(NAMES.map((name) => of(name).start()));
  for (const name of NAMES) {
    await of(name).network({ name: 'web', driver: 'overlay', subnets: [{ subnet: '10.140.0.0/22' }] });
    await of(name).up('kept', { networks: { web: {} } });
  }
  await calm();
});
chaos.after(async () => {
  await Promise.all([...daemons.values()].map((daemon) => daemon.stop()));
  await etcd.stop();
});

chaos('the witness sees a share that is on the bridges of two hosts', async () => {
  const { own } = await kernelOf('a');
  const sees = witness(1000);
  execFileSync('ip', ['-n', 'b', 'link', 'add', 'planted', 'type', 'bridge']);
  execFileSync('ip', ['-n', 'b', 'addr', 'add', (own[0] ?? '').replace('.0/24', '.1/24'), 'dev', 'planted']);
  await until(() => sees.objections.length === 2, 'it objects', 10_000);
  execFileSync('ip', ['-n', 'b', 'link', 'del', 'planted']);
  await sees.end();
  assert.equal(sees.objections, [
    `${own[0]} is on the bridges of a and b`,
    `${own[0]} is on the bridge of b, and 192.0.2.1's in the store`,
  ]);
});

chaos('whatever fails, no share has two owners, and all agree again', async () => {
  const began = performance.now();
  const sees = witness(GRACE_MS);
  const done = new Map<string, number>();
  const all: Faults = { ...OF_THE_STORE, ...OF_HOSTS, ...ALONE };
  const history: string[] = [];
  const harm = (kind: string, ms: number) => {
    const name = NAMES[below(NAMES.length)] ?? 'a';
    history.push(`${kind} (${name}, ${ms} ms)`);
    done.set(kind, (done.get(kind) ?? 0) + 1);
    return all[kind]?.(ms, name);
  };
  console.log(`seed ${random - 1}`);
  const kinds = inTurn();
  try {
    for (let n = 0; n < FAULTS && performance.now() - began < MINUTES * 60_000; n++) {
      const kind = kinds[n] ?? Object.keys(all)[below(Object.keys(all).length)] ?? '';
      // From shorter than a renewal to longer than a share rests.
      const ms = 500 + below(n % 5 === 4 ? TTL * 4000 : TTL * 1400);
      // After each kind was alone, a fault of a host comes with one of the store as often as not.
      const other = n >= kinds.length && kind in OF_HOSTS && below(2) === 0;
      const second = other ? (Object.keys(OF_THE_STORE)[below(Object.keys(OF_THE_STORE).length)] ?? '') : null;
      try {
        await Promise.all([harm(kind, ms), second === null ? null : harm(second, ms)]);
        await calm();
      } catch (error) {
        throw new Error(`after ${history.slice(-4).join('; ')}: ${(error as Error).message}`, { cause: error });
      }
      assert.equal(sees.objections, [], history.slice(-4).join('; '));
    }
  } finally {
    await sees.end();
  }
  for (const [kind, count] of done) console.log(`${count} ${kind}`);
  const minutes = ((performance.now() - began) / 60_000).toFixed(1);
  const total = [...done.values()].reduce((sum, count) => sum + count, 0);
  console.log(
    `${minutes} minutes, ${total} faults, ${sees.claims.size} claims, ${sees.looks} looks at the kernels, ` +
      `${sees.readings} at the store, ${sees.objections.length} shares with two owners`,
  );
  assert.ok(sees.readings > 0 && sees.claims.size >= NAMES.length);
  proved('faults of hosts and of etcd, with no share that had two owners', total);
  proved('looks of the witness', sees.looks);
});

/** Each kind once, those of hosts and of the store by turns. */
function inTurn(): string[] {
  const [store, hosts] = [Object.keys(OF_THE_STORE), Object.keys(OF_HOSTS)];
  const turns = Array.from({ length: Math.max(store.length, hosts.length) }, (_, n) => [hosts[n], store[n]]);
  return [...turns.flat(), ...Object.keys(ALONE)].filter((kind) => kind !== undefined);
}

chaos.run();
