/**
 * The other hosts of each overlay, and how wide the way to them is.
 *
 * Guarantees: a list is on disk before it is used, so that the next daemon begins with it. Only a changed list is written.
 * Limits: whoever reads the store says who the others are. A network without a list has no other hosts.
 */
import type { PeerStore } from '../../state/files/peers.ts';
import type { Peer } from '../../state/overlay.ts';
import { NO_WAY_OUT, remembered, type WayOut } from '../../plan/networks/way-out.ts';

const NOBODY: readonly Peer[] = [];

export class OverlayPeers {
  readonly #store: Pick<PeerStore, 'save' | 'remove'> | null;
  readonly #peers: Map<string, readonly Peer[]>;
  readonly #ways = new Map<string, WayOut>();

  /** `store`: null keeps nothing. */
  constructor(
    store: Pick<PeerStore, 'save' | 'remove'> | null,
    known: ReadonlyMap<string, readonly Peer[]> = new Map(),
  ) {
    this.#store = store;
    this.#peers = new Map(known);
  }

  of(network: string): readonly Peer[] {
    return this.#peers.get(network) ?? NOBODY;
  }

  set(network: string, peers: readonly Peer[]): void {
    if (JSON.stringify(peers) === JSON.stringify(this.of(network))) return;
    this.#store?.save(network, peers);
    this.#peers.set(network, peers);
  }

  /** Returns how packets leave an outside for the other hosts of an overlay, as far as it is known. */
  way(outside: string | null, network: string): WayOut {
    return this.#ways.get(keyOf(outside, network)) ?? NO_WAY_OUT;
  }

  /** Returns the way as it is remembered from now on; null if that is as before. */
  measured(outside: string | null, network: string, now: WayOut): WayOut | null {
    const before = this.way(outside, network);
    const way = remembered(before, now);
    if (way[4] === before[4] && way[6] === before[6]) return null;
    this.#ways.set(keyOf(outside, network), way);
    return way;
  }

  forget(network: string): void {
    if (this.#peers.delete(network)) this.#store?.remove(network);
    for (const key of this.#ways.keys()) if (key.startsWith(`${network} `)) this.#ways.delete(key);
  }
}

const keyOf = (outside: string | null, network: string): string => `${network} ${outside ?? ''}`;
