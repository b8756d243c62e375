// proving only: 1800
// slow: 40 s, a hundred hosts join a real etcd, and are idle for a while
/**
 * Many hosts on one etcd: each claims, renews, follows and reads as a daemon does, with its own connections; they are in one process,
 * and have no kernel. All get shares at once; an event is known to all of them; idle, they write nothing; the shares of a host that
 * is gone are gone from all in time.
 *
 * Limits: what the peers cost each host is computed for ten of them, because one process does the work of all. `hosts=N`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Gateway } from '../../effects/etcd/gateway.ts';
import { Store } from '../../effects/etcd/store.ts';
import { Claims } from '../../effects/overlay/claim.ts';
import { Keeper } from '../../effects/overlay/keep.ts';
import type { Held } from '../../machines/overlay.ts';
import { parseSubnet, overlaps } from '../../plan/addresses/address.ts';
import { claimKey, claimsOf } from '../../plan/overlay/keys.ts';
import { peersOf } from '../../plan/overlay/peers.ts';
import { read, readShared } from '../../service/overlay/entries.ts';
import { Follower } from '../../service/overlay/follower.ts';
import type { OverlayShared } from '../../state/overlay.ts';
import { Etcd } from '../harness/etcd.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';

requirePrivateNamespace();
const scale = suite('overlay scale');
const HOSTS = effort('hosts', 100, 1000);
/** One process renews the leases of all, and has to come to each in time. */
const TTL = HOSTS <= 100 ? 15 : 60;
const COMPUTING = 10;
const EVENTS = 30;

const SHARED: OverlayShared = {
  name: 'web',
  id: 'c'.repeat(64),
  pools: ['10.128.0.0/10'],
  host_prefix: 24,
  backend: 'vxlan',
  vni: 5000,
  port: 4789,
};
const etcd = new Etcd(3);
const idOf = (n: number): string =>
  ((BigInt(n + 1) * 0x9e3779b97f4a7c15n) % (1n << 64n)).toString(16).padStart(16, '0').repeat(2);

class SimulatedHost {
  readonly host: string;
  readonly store: Store;
  readonly #gateway: Gateway;
  readonly #claims: Claims;
  readonly #keeper: Keeper;
  readonly #over = new AbortController();
  #follower: Follower | null = null;
  held: Held | null = null;
  /** The time at which each share was known, and those that are. */
  readonly known = new Map<string, number>();
  kept: string | null = null;

  readonly n: number;

  constructor(n: number) {
    this.n = n;
    this.host = idOf(n);
    const at = n % etcd.endpoints.length;
    this.#gateway = new Gateway({
      endpoints: [...etcd.endpoints.slice(at), ...etcd.endpoints.slice(0, at)],
      ca: null,
      cert: null,
      key: null,
    });
    this.store = new Store(this.#gateway);
    const address = `198.51.${n >> 8}.${n & 255}`;
    this.#claims = new Claims({ store: this.store, read, readShared, ttl: TTL, place: `place ${n}`, address });
    this.#keeper = new Keeper(this.store, TTL, () => {});
  }

  async join(): Promise<void> {
    const { signal } = this.#over;
    const claim = () => this.#claims.claim({ shared: SHARED, host: this.host, subnets: [] }, signal);
    // As the machine does, if etcd is too busy.
    const claimed = await claim().catch(claim).catch(claim);
    if (!('held' in claimed)) throw new Error('a copy?');
    this.held = claimed.held;
    this.#keeper.keep({ network: 'web', held: claimed.held }, signal).then(
      ({ outcome }) => (this.kept = outcome),
      () => {},
    );
  }

  /** Not before all have joined: one process would hear of each as often as there are hosts. */
  follow(): void {
    this.#follower = new Follower({
      store: this.store,
      name: 'web',
      heard: () => {},
      changed: (entries) => {
        const shares = new Set<string>();
        if (this.n < COMPUTING) {
          const seen = read('web', entries.values());
          const { peers } = peersOf(seen, { pools: SHARED.pools, mine: this.held?.subnets ?? [], host: this.host });
          for (const { subnets } of peers) for (const subnet of subnets) shares.add(claimKey('web', subnet));
        } else {
          for (const key of entries.keys()) if (key.startsWith(claimsOf('web'))) shares.add(key);
        }
        const now = performance.now();
        for (const key of shares) if (!this.known.has(key)) this.known.set(key, now);
        for (const key of this.known.keys()) if (!shares.has(key)) this.known.delete(key);
      },
    });
  }

  leave(): void {
    this.#over.abort();
    this.#follower?.close();
    this.#gateway.close();
  }
}

const hosts = Array.from({ length: HOSTS }, (_, n) => new SimulatedHost(n));
const observer = new Store(new Gateway({ endpoints: etcd.endpoints, ca: null, cert: null, key: null }));
const revision = async (): Promise<number> => (await observer.list('/none/')).revision;
const p99 = (all: number[]): number => all.toSorted((a, b) => a - b)[Math.floor(all.length * 0.99)] ?? 0;

async function until(so: () => boolean, what: string, ms: number): Promise<number> {
  const began = performance.now();
  while (!so()) {
    if (performance.now() - began > ms) assert.unreachable(`${what}: not in ${ms} ms`);
    await sleep(5);
  }
  return performance.now() - began;
}

scale.before(() => etcd.start());
scale.after(async () => {
  for (const host of hosts) host.leave();
  await etcd.stop();
});

scale('all hosts claim at once, and no two shares overlap', async () => {
  const began = performance.now();
  // As many at a time as hosts of a data centre come back together.
  for (let at = 0; at < HOSTS; at += 50) await Promise.all(hosts.slice(at, at + 50).map((host) => host.join()));
  console.log(`${HOSTS} hosts have their shares after ${Math.round(performance.now() - began)} ms`);
  for (let at = 0; at < HOSTS; at += 50) {
    for (const host of hosts.slice(at, at + 50)) host.follow();
    await until(() => hosts.slice(at, at + 50).every(({ known }) => known.size >= HOSTS - 1), 'they follow', 60_000);
  }
  const { entries } = await observer.list(claimsOf('web'));
  assert.is(entries.length, HOSTS);
  const all = read('web', entries)
    .claims.map(({ subnet }) => parseSubnet(subnet))
    .sort((x, y) => (x.first < y.first ? -1 : 1));
  all.slice(1).forEach((share, i) => assert.not(overlaps(share, all[i]!)));
  await until(
    () => hosts.every(({ known, n }) => known.size === HOSTS - (n < COMPUTING ? 1 : 0)),
    'all know all',
    60_000,
  );
});

scale('an event is known to all', async () => {
  const late: number[] = [];
  for (let n = 0; n < EVENTS; n++) {
    const key = claimKey('web', `10.191.${n}.0/24`);
    const claim = {
      host: idOf(5000 + n),
      address: `203.0.113.${n}`,
      mac: `02:00:00:00:01:${n.toString(16).padStart(2, '0')}`,
    };
    const began = performance.now();
    await observer.transaction([], [{ put: key, value: JSON.stringify({ ...claim, generation: 1, place: 'x' }) }]);
    await until(() => hosts.every(({ known }) => known.has(key)), 'known', 20_000);
    late.push(...hosts.map(({ known }) => (known.get(key) ?? Infinity) - began));
  }
  const worst = p99(late);
  console.log(
    `${HOSTS} hosts: p99 ${Math.round(worst)} ms, most ${Math.round(Math.max(...late))} ms until an event is known`,
  );
  proved(`hosts to which an event was known (p99 ${Math.round(worst)} ms)`, HOSTS);
  for (let n = 0; n < EVENTS; n++) await observer.transaction([], [{ delete: claimKey('web', `10.191.${n}.0/24`) }]);
});

scale('idle hosts renew, and write nothing', async () => {
  const before = await revision();
  await sleep(TTL * 1000);
  const writes = (await revision()) - before;
  assert.is(writes, 0, `${writes} writes in ${TTL} s`);
  assert.equal(
    hosts.filter(({ kept }) => kept !== null).map(({ n, kept }) => `${n} ${kept}`),
    [],
    'all hold their shares',
  );
});

scale('a host that is gone is gone from all within its lease and five seconds', async () => {
  const [gone] = hosts.splice(HOSTS >> 1, 1);
  const key = claimKey('web', gone?.held?.subnets[0] ?? '');
  gone?.leave();
  const ms = await until(() => hosts.every(({ known }) => !known.has(key)), 'forgotten', (TTL + 5) * 1000);
  console.log(`forgotten by all after ${Math.round(ms)} ms, with a lease of ${TTL} s`);
});

scale.run();
