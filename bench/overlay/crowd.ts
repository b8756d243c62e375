/**
 * Simulated hosts of an overlay: to etcd and to the other hosts they are like real ones. Each has a claim with a lease of its own, which it
 * renews, and watches what all others do.
 *
 * Guarantees: claims and leases are as daemons write them (plan/overlay/keys.ts); each watch is a connection of its own.
 * Limits: all of them are in this process, so what they take of a processor, they take from the real hosts. They program no kernel.
 */
import { randomBytes } from 'node:crypto';
import { Gateway } from '../../effects/etcd/gateway.ts';
import { newLease, Store, type Operation } from '../../effects/etcd/store.ts';
import { claimKey, restKey, rootOf } from '../../plan/overlay/keys.ts';
import type { Hosts } from './hosts.ts';

/** Real hosts have shares elsewhere in the pool, by chance. */
const shareOf = (n: number): string => `10.${191 - (n >> 8)}.${n & 255}.0/24`;
/** etcd takes 128 operations in a transaction. */
const AT_ONCE = 60;
const TTL_S = 60;
/** A thousand hosts are renewed within 20 s. */
const RENEWAL_MS = 20;

interface Member {
  n: number;
  lease: string;
  /** Ends its watch; null: it has none yet. */
  leave: (() => void) | null;
}

export class Crowd {
  readonly #hosts: Hosts;
  readonly #network: string;
  readonly #store: Store;
  readonly #members: Member[] = [];
  readonly #renewals: NodeJS.Timeout;
  #ended = false;

  constructor(hosts: Hosts, network: string) {
    this.#hosts = hosts;
    this.#network = network;
    this.#store = hosts.store();
    let at = 0;
    // One after the other, evenly over the time, as hosts that know nothing of each other do.
    this.#renewals = setInterval(() => {
      const member = this.#members[at++ % Math.max(1, this.#members.length)];
      if (member !== undefined) this.#store.keepAlive(member.lease).catch(() => {});
    }, RENEWAL_MS);
  }

  get size(): number {
    return this.#members.length;
  }

  /** Has `count` hosts in all: those that are new claim their shares in few transactions, and then begin to watch. */
  async growTo(count: number): Promise<void> {
    while (this.size < count) {
      const first = this.size;
      const numbers = Array.from({ length: Math.min(AT_ONCE, count - first) }, (_, i) => first + i);
      const members = numbers.map((n): Member => ({ n, lease: newLease(), leave: null }));
      await Promise.all(members.map(({ lease }) => this.#store.grant(lease, TTL_S)));
      await this.#store.transaction(
        [],
        members.flatMap((one) => this.#claim(one)),
      );
      this.#members.push(...members);
    }
  }

  /** Has each host watch that does not yet. */
  async watch(): Promise<void> {
    const { revision } = await this.#store.list(rootOf(this.#network));
    await Promise.all(
      this.#members
        .filter(({ leave }) => leave === null)
        .map(
          (member) =>
            new Promise<void>((began, failed) => {
              // Agents share connections, and a host has its own.
              const store = new Store(
                new Gateway({ endpoints: this.#endpoints(member.n), ca: null, cert: null, key: null }),
              );
              member.leave = store.watch(rootOf(this.#network), revision + 1, {
                began,
                changed: () => {},
                ended: (why) => {
                  if (!this.#ended) failed(new Error(`a watch has ended: ${why}`));
                },
              });
            }),
        ),
    );
  }

  /** Writes one more claim, as a host that joins does. Returns its share. */
  async joinOne(): Promise<string> {
    const member: Member = { n: this.size, lease: newLease(), leave: null };
    await this.#store.grant(member.lease, TTL_S);
    await this.#store.transaction([], this.#claim(member));
    this.#members.push(member);
    return shareOf(member.n);
  }

  /** Has the host that joined last leave. Returns the share that it had. */
  async leaveOne(): Promise<string> {
    const { n, lease, leave } = this.#members.pop()!;
    leave?.();
    await this.#store.revoke(lease);
    return shareOf(n);
  }

  end(): void {
    clearInterval(this.#renewals);
    this.#ended = true;
    for (const { leave } of this.#members) leave?.();
  }

  /** The members of etcd are shared out. */
  #endpoints(n: number): string[] {
    const { endpoints } = this.#hosts;
    return endpoints.map((_, i) => endpoints[(n + i) % endpoints.length] ?? '');
  }

  #claim({ n, lease }: Member): Operation[] {
    const host = randomBytes(16).toString('hex');
    const tail = [n >> 8, n & 255].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
    const claim = {
      host,
      address: `198.18.${n >> 8}.${n & 255}`,
      mac: `02:be:0c:00:${tail}`,
      generation: 1,
      place: 'bench',
    };
    return [
      { put: claimKey(this.#network, shareOf(n)), value: JSON.stringify(claim), lease },
      { put: restKey(this.#network, shareOf(n)), value: host, lease },
    ];
  }
}
