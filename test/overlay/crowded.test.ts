// proving: 1800
// slow: 25 s, etcd of three members is asked by many hosts at once
/**
 * Many hosts that claim shares of one pool at the same moment, each with connections of its own to a real etcd of three members: every
 * host gets a share within one attempt of its machine, also the last one of a pool that has as many shares as there are hosts, and no
 * two get the same one. Then all of them are started again at once, and each has what it had.
 *
 * Guarantees: no time is judged; requests and times are printed. `claimers=N`.
 * Limits: hosts have no kernel, and follow nobody; all are in one process.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Refusal } from '../../effects/etcd/answers.ts';
import { Gateway } from '../../effects/etcd/gateway.ts';
import { Store } from '../../effects/etcd/store.ts';
import { Claims } from '../../effects/overlay/claim.ts';
import type { Held } from '../../machines/overlay.ts';
import { claimsOf } from '../../plan/overlay/keys.ts';
import { pauseAfter } from '../../plan/pauses.ts';
import { read, readShared } from '../../service/overlay/entries.ts';
import { FaultError } from '../../state/faults.ts';
import type { OverlayShared } from '../../state/overlay.ts';
import { Etcd } from '../harness/etcd.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';

requirePrivateNamespace();
const crowded = suite('many claims at once');
const CLAIMERS = effort('claimers', 64, 1024);
const TTL = 60;
/** How often a host tries that etcd had no time for. */
const MOST = 4;
const etcd = new Etcd(3);

/** Requests by what they ask, and the bytes of their answers. */
class CountedGateway extends Gateway {
  static readonly asked = new Map<string, number>();
  static bytes = 0;

  override async call<Answer extends object>(
    path: string,
    body: object,
    ms?: number,
  ): Promise<Answer | { refusal: Refusal }> {
    const what = path.split('/').at(-1) ?? '';
    CountedGateway.asked.set(what, (CountedGateway.asked.get(what) ?? 0) + 1);
    const answer = await super.call<Answer>(path, body, ms);
    CountedGateway.bytes += JSON.stringify(answer).length;
    return answer;
  }
}

/** Ids are random; here the same in each run. */
const hostOf = (n: number): string => createHash('sha256').update(`host ${n}`).digest('hex').slice(0, 32);

interface Claimer {
  n: number;
  gateway: Gateway;
  claims: Claims;
}

function claimers(count: number): Claimer[] {
  return Array.from({ length: count }, (_, n) => {
    const at = n % etcd.endpoints.length;
    const endpoints = [...etcd.endpoints.slice(at), ...etcd.endpoints.slice(0, at)];
    const gateway = new CountedGateway({ endpoints, ca: null, cert: null, key: null });
    const address = `198.51.${n >> 8}.${n & 255}`;
    const store = new Store(gateway);
    return { n, gateway, claims: new Claims({ store, read, readShared, ttl: TTL, place: `place ${n}`, address }) };
  });
}

let repeated = 0;

/** As the machine does when etcd is too busy to answer in time. */
async function again<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof FaultError) || error.fault.code !== 'STORE_UNREACHABLE' || attempt > MOST) throw error;
      repeated++;
      await sleep(pauseAfter(attempt) * (1 - Math.random() / 2));
    }
  }
}

/** All claim at the same moment. Resolves with what each holds, and says how long that took and what it cost. */
async function atOnce(what: string, all: Claimer[], shared: OverlayShared, before: Held[] = []): Promise<Held[]> {
  CountedGateway.asked.clear();
  CountedGateway.bytes = 0;
  repeated = 0;
  const began = performance.now();
  const late: number[] = [];
  const results = await Promise.allSettled(
    all.map(async ({ n, claims }) => {
      const subnets = before[n]?.subnets ?? [];
      const claimed = await again(() =>
        claims.claim({ shared, host: hostOf(n), subnets }, new AbortController().signal),
      );
      late.push(performance.now() - began);
      if (!('held' in claimed)) throw new Error('somebody renews the claim of this host');
      return claimed.held;
    }),
  );
  const sorted = late.toSorted((x, y) => x - y);
  const asked = [...CountedGateway.asked].map(([path, count]) => `${count} ${path}`).join(', ');
  console.log(
    `${what}, ${all.length} hosts: half after ${Math.round(sorted[sorted.length >> 1] ?? 0)} ms, the last after ` +
      `${Math.round(sorted.at(-1) ?? 0)} ms; ${asked}; ${Math.round(CountedGateway.bytes / 1e6)} MB of answers; ${repeated} tried again`,
  );
  const failed = results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : []));
  if (failed.length > 0) console.log(`${failed.length} got none: ${failed.slice(0, 3).join('; ')}`);
  assert.equal([failed.length, failed.slice(0, 3)], [0, []]);
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}

const sharedOf = (name: string, pool: string): OverlayShared => ({
  name,
  id: 'c'.repeat(64),
  pools: [pool],
  host_prefix: 24,
  backend: 'vxlan',
  vni: 5000,
  port: 4789,
});

/** What the store has is what the hosts hold, and each share is held once. */
function assertOnce(name: string, held: readonly Held[]): void {
  const mine = held.flatMap(({ subnets }) => subnets);
  assert.is(new Set(mine).size, held.length, 'no share is held twice');
  const stored = [...etcd.all(claimsOf(name)).keys()].map((key) => key.slice(claimsOf(name).length).replace('-', '/'));
  assert.equal(stored.sort(), mine.toSorted());
}

crowded.before(() => etcd.start());
crowded.after(() => etcd.stop());

crowded('from a pool that is larger by far', async () => {
  const all = claimers(CLAIMERS);
  const held = await atOnce('a large pool', all, sharedOf('wide', '10.128.0.0/10'));
  assertOnce('wide', held);
  for (const { gateway } of all) gateway.close();
});

crowded('from a pool that has just as many shares, and again after a restart of all', async () => {
  const prefix = 24 - Math.log2(CLAIMERS);
  assert.ok(Number.isInteger(prefix), 'a power of two of claimers');
  const shared = sharedOf('full', `10.64.0.0/${prefix}`);
  const all = claimers(CLAIMERS);
  const held = await atOnce('a pool of as many shares', all, shared);
  assertOnce('full', held);
  for (const { gateway } of all) gateway.close();
  const again = claimers(CLAIMERS);
  const after = await atOnce('all started again', again, shared, held);
  assert.equal(
    after.map(({ subnets }) => subnets),
    held.map(({ subnets }) => subnets),
  );
  const [late = null] = claimers(1);
  const refused = await late?.claims
    .claim({ shared, host: 'f'.repeat(32), subnets: [] }, new AbortController().signal)
    .then(
      () => 'it has got one',
      (error: Error) => error.message,
    );
  assert.match(refused ?? '', new RegExp(`no share is left .* of ${CLAIMERS}, ${CLAIMERS} are held, and 0 rest`));
  for (const { gateway } of [...again, ...(late === null ? [] : [late])]) gateway.close();
  proved('shares claimed at once, none of them twice', CLAIMERS * 3);
});

crowded.run();
