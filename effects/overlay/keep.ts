/**
 * Renews the lease of a share, and says when it cannot be trusted any more.
 *
 * Guarantees: the share counts as ours only until TTL minus a margin after the last renewal that was answered had been sent, on a
 * clock that goes on whatever happens to this process (clock.ts). A daemon that was stopped for longer says `late` before it
 * renews anything. Both leases are renewed together, so that the one that keeps the share at rest ends last.
 * Limits: renewals are spread by chance, so that hosts that began together do not stay together.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Held, KeepInput, KeepOutput, RegainOutput } from '../../machines/overlay.ts';
import { timesOf } from '../../plan/overlay/fence.ts';
import type { Store } from '../etcd/store.ts';
import { seconds } from './clock.ts';

/** Seconds between two attempts after one that was not answered, as a part of the lease, and at most. */
const AGAIN = 15;
const AGAIN_MOST = 2;
/** A renewal waits this long at least, even shortly before the end. */
const LEAST_MS = 200;

export class Keeper {
  readonly #store: Store;
  readonly #ttl: number;
  /** When the share of each network was last proven to be ours. */
  readonly #proven = new Map<string, number>();

  readonly #heard: (network: string, error: unknown) => void;

  /** `heard`: how each renewal has ended; null if the store has answered. */
  constructor(store: Store, ttl: number, heard: (network: string, error: unknown) => void) {
    this.#store = store;
    this.#ttl = ttl;
    this.#heard = heard;
  }

  /** Seconds until the lease of a share may end, as far as this host knows; null if it has none. */
  left(network: string): number | null {
    const provenAt = this.#proven.get(network);
    return provenAt === undefined ? null : timesOf({ ttl: this.#ttl, provenAt }).expiresAt - seconds();
  }

  /** True while the share of a network is proven to be ours: asked at each attachment, since a timer may be late. */
  trusts(network: string): boolean {
    const provenAt = this.#proven.get(network);
    return provenAt !== undefined && seconds() < timesOf({ ttl: this.#ttl, provenAt }).fenceAt;
  }

  forget(network: string): void {
    this.#proven.delete(network);
  }

  /** Renews until a renewal is late, or the lease is gone. */
  async keep({ network, held }: KeepInput, signal: AbortSignal): Promise<KeepOutput> {
    let { provenAt } = held;
    const ttl = this.#ttl;
    for (;;) {
      this.#proven.set(network, provenAt);
      const { renewAt, fenceAt } = timesOf({ ttl, provenAt });
      await until(renewAt - (ttl / AGAIN) * Math.random(), signal);
      for (;;) {
        if (seconds() >= fenceAt) return { outcome: 'late', provenAt };
        const renewed = await this.#renew(network, held, fenceAt);
        signal.throwIfAborted();
        if (renewed === 'lost') return { outcome: 'lost', provenAt };
        if (renewed !== null) {
          provenAt = renewed;
          break;
        }
        await until(Math.min(fenceAt, seconds() + Math.min(AGAIN_MOST, ttl / AGAIN)), signal);
      }
    }
  }

  /** Tries to renew until it is renewed, or may have ended: then only a new claim makes it ours. */
  async regain({ network, held }: KeepInput, signal: AbortSignal): Promise<RegainOutput> {
    const { provenAt } = held;
    const ttl = this.#ttl;
    const { expiresAt } = timesOf({ ttl, provenAt });
    while (seconds() < expiresAt) {
      const renewed = await this.#renew(network, held, expiresAt);
      signal.throwIfAborted();
      if (renewed === 'lost') break;
      if (renewed !== null && seconds() < expiresAt) {
        this.#proven.set(network, renewed);
        return { outcome: 'renewed', provenAt: renewed };
      }
      await until(Math.min(expiresAt, seconds() + Math.min(AGAIN_MOST, ttl / AGAIN)), signal);
    }
    this.#proven.delete(network);
    return { outcome: 'expired', provenAt };
  }

  /** Resolves with when the renewal was sent; null if it was not answered. */
  async #renew(network: string, { lease, restLease }: Held, end: number): Promise<number | 'lost' | null> {
    const sentAt = seconds();
    const whole = (this.#ttl / 3) * 1000;
    const ms = Math.max(LEAST_MS, Math.min(whole, (end - sentAt) * 1000));
    try {
      const lives = await Promise.all([this.#store.keepAlive(lease, ms), this.#store.keepAlive(restLease, ms)]);
      this.#heard(network, null);
      return lives.every((left) => left > 0) ? sentAt : 'lost';
    } catch (error) {
      // Shortly before the end there is no time to ask all members: what they have answered before says more.
      if (ms === whole) this.#heard(network, error);
      return null; // the fence acts in time
    }
  }
}

async function until(at: number, signal: AbortSignal): Promise<void> {
  await delay(Math.max(0, (at - seconds()) * 1000), undefined, { signal });
}
