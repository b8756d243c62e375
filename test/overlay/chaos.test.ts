// proving: 7200
// slow: 90 s, faults are given time to do harm, and leases to end
/**
 * Three hosts on a pool of four shares, and faults at random: hosts cut off and stopped, daemons killed, members of etcd killed, frozen and
 * replaced, leases revoked, history compacted. A witness that reads only the store and the kernels sees no share with two owners, and
 * after each calm that all agree.
 *
 * Guarantees: the witness looks all the time. A share has two owners if two hosts have it on a bridge, or one host has it on its bridge while
 * the store says that it is another's, for longer than a lease and five seconds; a host that is stopped or cut off knows of nothing.
 * Limits: how many faults: `faults=N`.
 */
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { OverlayView } from '../../state/answers/overlay.ts';
import type { Claim } from '../../state/overlay.ts';
import type { TestDaemon } from '../harness/daemon.ts';
import { addHost, cut, daemonOn, Etcd, join } from '../harness/etcd.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved, seed } from '../harness/proof.ts';

requirePrivateNamespace();
const chaos = suite('overlay chaos');
const TTL = 5;
const FAULTS = effort('faults', 8, 1500);
const NAMES = ['a', 'b', 'c'] as const;

const etcd = new Etcd(3);
const daemons = new Map<string, TestDaemon>(
  NAMES.map((name, n) => {
    addHost(name, `192.0.2.${n + 1}`);
    return [name, daemonOn(name, `192.0.2.${n + 1}`, etcd.endpoints, TTL)];
  }),
);
function of(name: string): TestDaemon {
  const daemon = daemons.get(name);
  if (daemon === undefined) throw new Error(name);
  return daemon;
}

/** Shares on the bridges of a host, and the shares that its routes lead to, with the address of the other host. */
function kernelOf(name: string): { own: string[]; routes: string[] } {
  const ip = (...words: string[]) =>
    execFileSync('ip', ['-n', name, ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const own = [...ip('-o', '-4', 'addr').matchAll(/ inet (10\.140\.\d+)\.1\/24/g)].map(([, net]) => `${net}.0/24`);
  const routes = [...ip('route', 'show', 'proto', '207').matchAll(/^(10\.140\.\d+\.0\/24) via/gm)].map(
    ([, to]) => to ?? '',
  );
  return { own, routes };
}

function claims(): Map<string, Claim> | null {
  for (const member of [0, 1, 2]) {
    try {
      const lines = etcd.ctl(member, 'get', '--prefix', '/cleat/v1/networks/web/subnets/').split('\n');
      return new Map(
        lines.flatMap((key, i): [string, Claim][] =>
          key.startsWith('/cleat/')
            ? [[(key.split('/').at(-1) ?? '').replace('-', '/'), JSON.parse(lines[i + 1] ?? '') as Claim]]
            : [],
        ),
      );
    } catch {
      // this member does not answer
    }
  }
  return null;
}

/** Hosts that know of nothing at the moment, or have for less than a lease. */
const deaf = new Map<string, number>();
const hears = (name: string): boolean => performance.now() > (deaf.get(name) ?? 0);

class Witness {
  readonly #since = new Map<string, number>();
  readonly objections: string[] = [];
  looks = 0;
  #over = false;
  readonly #done: Promise<void>;

  constructor() {
    this.#done = this.#run();
  }

  async end(): Promise<void> {
    this.#over = true;
    await this.#done;
  }

  async #run(): Promise<void> {
    while (!this.#over) {
      this.#look();
      await sleep(250);
    }
  }

  #look(): void {
    this.looks++;
    const kernels = NAMES.map((name) => ({ name, ...kernelOf(name) }));
    const store = claims();
    const wrong = new Set<string>();
    for (const { name, own } of kernels) {
      for (const share of own) {
        for (const other of kernels)
          if (other.name > name && other.own.includes(share) && hears(name) && hears(other.name))
            wrong.add(`${share} is on the bridges of ${name} and ${other.name}`);
        const owner = store?.get(share)?.address;
        if (owner !== undefined && owner !== of(name).etcd.advertise && hears(name))
          wrong.add(`${share} is on the bridge of ${name}, and ${owner}'s in the store`);
      }
    }
    for (const what of wrong) {
      const since = this.#since.get(what) ?? performance.now();
      this.#since.set(what, since);
      if (performance.now() - since > (TTL + 5) * 1000) this.objections.push(what);
    }
    for (const what of this.#since.keys()) if (!wrong.has(what)) this.#since.delete(what);
  }
}

let random = seed() + 1;
const below = (n: number): number => (random = (random * 48_271) % 0x7fff_ffff) % n;
const MUCH = 1e12;

/** Each does harm for a while, and undoes it. */
const FAULTS_BY_NAME: Record<string, (ms: number) => Promise<void>> = {
  'a host is cut off': (ms) => deafFor(ms, cut, join),
  'a daemon is stopped': (ms) =>
    deafFor(
      ms,
      (name) => void process.kill(of(name).pid, 'SIGSTOP'),
      (name) => void process.kill(of(name).pid, 'SIGCONT'),
    ),
  'a daemon is killed': async (ms) => {
    const daemon = of(NAMES[below(3)] ?? 'a');
    const [name = ''] = [...daemons].find(([, one]) => one === daemon) ?? [];
    deaf.set(name, MUCH);
    await daemon.kill();
    await sleep(ms / 2);
    await daemon.start();
    deaf.set(name, performance.now() + TTL * 1000);
  },
  'a member is frozen': async (ms) => {
    const n = below(3);
    etcd.signal(n, 'SIGSTOP');
    await sleep(ms);
    etcd.signal(n, 'SIGCONT');
  },
  'all members are frozen': async (ms) => {
    for (const n of [0, 1, 2]) etcd.signal(n, 'SIGSTOP');
    await sleep(ms);
    for (const n of [0, 1, 2]) etcd.signal(n, 'SIGCONT');
  },
  'a member is killed': async (ms) => {
    const n = below(3);
    await etcd.kill(n);
    await sleep(ms / 2);
    etcd.startMember(n, 'existing');
  },
  'a lease is revoked': async () => {
    const ids = etcd
      .ctl(0, 'lease', 'list')
      .split('\n')
      .filter((line) => /^[0-9a-f]{6,}$/.test(line));
    const id = ids[below(Math.max(1, ids.length))];
    if (id !== undefined) etcd.ctl(0, 'lease', 'revoke', id);
  },
  'history is compacted': async () => {
    const revision = /"revision":(\d+)/.exec(etcd.ctl(0, 'get', 'x', '-w', 'json'))?.[1];
    if (revision !== undefined) etcd.ctl(0, 'compact', revision);
  },
};

async function deafFor(ms: number, begin: (name: string) => void, end: (name: string) => void): Promise<void> {
  const name = NAMES[below(3)] ?? 'a';
  deaf.set(name, MUCH);
  begin(name);
  await sleep(ms);
  end(name);
  // As long as a lease, it may believe what it knew.
  deaf.set(name, performance.now() + TTL * 1000);
}

const view = async (daemon: TestDaemon): Promise<OverlayView> =>
  (await daemon.get<OverlayView>('/v1/networks/web/overlay')).body;

/** Resolves when all hosts hold a share, the kernels have just these, and each has routes to the others. */
async function calm(ms = 45_000): Promise<void> {
  const end = performance.now() + ms;
  for (;;) {
    const seen = await Promise.all(
      [...daemons].map(async ([name, daemon]) => ({ name, ...(await view(daemon)), ...kernelOf(name) })),
    );
    const store = claims();
    const agrees =
      store !== null &&
      seen.every(
        ({ name, state, shares, own, routes }) =>
          state === 'holding.leased' &&
          own.join() === shares.join() &&
          store?.get(shares[0] ?? '')?.address === of(name).etcd.advertise &&
          routes.sort().join() ===
            [...store.keys()]
              .filter((share) => !shares.includes(share))
              .sort()
              .join(),
      );
    if (agrees && store.size === 3) return;
    if (performance.now() > end)
      assert.unreachable(
        `no calm: ${JSON.stringify([seen.map(({ fault, ...one }) => [one.name, one.state, one.shares, one.own, one.routes, fault?.message]), [...(store ?? [])]])}`,
      );
    await sleep(100);
  }
}

chaos.before(async () => {
  await etcd.start();
  await Promise.all([...daemons.values()].map((daemon) => daemon.start()));
  for (const daemon of daemons.values()) {
    await daemon.network({ name: 'web', driver: 'overlay', subnets: [{ subnet: '10.140.0.0/22' }] });
    await daemon.up('kept', { networks: { web: {} } });
  }
  await calm();
});
chaos.after(async () => {
  await Promise.all([...daemons.values()].map((daemon) => daemon.stop()));
  await etcd.stop();
});

chaos('whatever fails, no share has two owners, and all agree again', async () => {
  const witness = new Witness();
  const kinds = Object.keys(FAULTS_BY_NAME);
  const history: string[] = [];
  for (let n = 0; n < FAULTS; n++) {
    const kind = n < kinds.length ? (kinds[n] ?? '') : (kinds[below(kinds.length)] ?? '');
    // From shorter than a renewal to longer than a share rests.
    const ms = 500 + below(n % 5 === 4 ? TTL * 4000 : TTL * 1400);
    history.push(`${kind} ${ms} ms`);
    await FAULTS_BY_NAME[kind]?.(ms);
    await calm().catch((error: unknown) => {
      throw new Error(`after ${history.slice(-3).join('; ')}`, { cause: error });
    });
    assert.equal(witness.objections, [], history.slice(-3).join('; '));
  }
  await witness.end();
  proved('faults of hosts and of etcd, with no share that had two owners', FAULTS);
  proved('looks of the witness', witness.looks);
});

chaos.run();
