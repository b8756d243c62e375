/**
 * Sorts states into the few kinds that people are shown, each with a sign besides its colour.
 *
 * Guarantees: pure; every state name has exactly one kind.
 */
import type { ContainerView, SharedView } from './wire.ts';

export const KINDS = ['up', 'working', 'degraded', 'failed', 'created', 'leaving'] as const;
export type Kind = (typeof KINDS)[number];

/** The sign says what the colour says, for who does not see colours. */
export const SIGNS: Record<Kind, string> = {
  up: '●',
  working: '◐',
  degraded: '▲',
  failed: '✕',
  created: '○',
  leaving: '◌',
};

const BY_TOP_STATE: Record<string, Kind> = {
  up: 'up',
  degraded: 'degraded',
  failed: 'failed',
  teardownFailed: 'failed',
  error: 'failed',
  created: 'created',
  tearingDown: 'leaving',
  draining: 'leaving',
  releasing: 'leaving',
  abandoning: 'leaving',
  gone: 'leaving',
};

/** Returns the kind of a container's state, "configuring.leasing". */
export function kindOf(state: string): Kind {
  const [top = state] = state.split('.', 1);
  return BY_TOP_STATE[top] ?? 'working';
}

/** Shared machines in these states have what they should have; nobody uses those in the second set. */
const SHARED_UP: ReadonlySet<string> = new Set(['up', 'serving', 'ready', 'full', 'granting', 'carrying']);
const SHARED_IDLE: ReadonlySet<string> = new Set(['down', 'idle', 'stopped', 'none']);

export function kindOfShared({ state, fault }: Pick<SharedView, 'state' | 'fault'>): Kind {
  const [top = state] = state.split('.', 1);
  if (/failed$|^error$|^stuck$|^refused$|^outOfSync$/i.test(top)) return 'failed';
  if (fault !== null) return 'degraded';
  if (SHARED_UP.has(top)) return 'up';
  return SHARED_IDLE.has(top) ? 'created' : 'working';
}

export type Counts = Record<Kind, number>;

export function countKinds(containers: Iterable<ContainerView>): Counts {
  const counts: Counts = { up: 0, working: 0, degraded: 0, failed: 0, created: 0, leaving: 0 };
  for (const { state } of containers) counts[kindOf(state)]++;
  return counts;
}
