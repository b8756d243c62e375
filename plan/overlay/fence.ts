/**
 * The times of a share: when its lease is renewed, when the host stops to trust it, and when others may have it.
 *
 * Guarantees: pure. Times count from the moment at which the last renewal that was answered was *sent*, so that the store, which
 * counts from when it was received, never forgets the lease before this host does. All is in seconds on a clock that goes on
 * while the machine sleeps and that nobody sets (effects/overlay/clock.ts).
 */

/** The part of a lease's life after which it is renewed, and the part before its end from which it is not trusted. */
const RENEWED = 3;
const MARGIN = 6;
/** A share that nobody holds rests for twice the life of its lease. */
const RESTS = 2;

export interface Times {
  renewAt: number;
  /** From here on no container is attached. */
  fenceAt: number;
  /** From here on the share may be somebody else's as soon as it has rested. */
  expiresAt: number;
}

export const timesOf = ({ ttl, provenAt }: { ttl: number; provenAt: number }): Times => ({
  renewAt: provenAt + ttl / RENEWED,
  fenceAt: provenAt + ttl - Math.max(1, ttl / MARGIN),
  expiresAt: provenAt + ttl,
});

/**
 * Returns the life of the lease that keeps a share at rest. It is renewed with the share's own, so that it ends `2 * ttl` after it,
 * by the clock of the store alone.
 */
export const restTtl = (ttl: number): number => ttl * (1 + RESTS);

/** Returns how long a share rests that its host has given back. */
export const givenBackTtl = (ttl: number): number => ttl * RESTS;
