/**
 * Reads the past and the machine of the chosen container when it is chosen, and again when it has changed.
 *
 * Guarantees: an answer that comes after another container was chosen is dropped. Each is asked for at most once in PAUSE_MS.
 * Limits: between two readings, the past goes on with what the stream says.
 */
import { batch, computed, effect, signal } from '@preact/signals';
import { NO_PAST, joined, pastOf, refound } from '../model/past.ts';
import type { Line, MachineSnapshot } from '../model/wire.ts';
import { journalOf, machineOf } from './api.ts';
import { wordsOf } from './refusal.ts';
import { chosen, containers, gone, source, standing, trails } from './store.ts';

const PAUSE_MS = 1500;

/** Holds what was read of one container. */
interface Reading<T> {
  id: string;
  value: T;
}

const journal = signal<Reading<readonly Line[]> | null>(null);
const snapshot = signal<Reading<MachineSnapshot> | null>(null);

/** The index of the line that is looked at; null: now. */
export const moment = signal<number | null>(null);
/** The index of the line that is compared with; null: none. */
export const pinned = signal<number | null>(null);
/** Says why the past cannot be shown; null: it can. */
export const pastFailure = signal<string | null>(null);

const NONE: readonly Line[] = [];
const lines = computed(() => {
  const id = chosen.value;
  if (id === null) return NONE;
  const known = journal.value?.id === id ? journal.value.value : NONE;
  return joined(known, trails.value.get(id) ?? []);
});

export const past = computed(() => {
  try {
    return pastOf(lines.value);
  } catch {
    return NO_PAST; // a journal that leads nowhere, which `pastFailure` tells of
  }
});

export const machine = computed(() => (snapshot.value?.id === chosen.value ? (snapshot.value?.value ?? null) : null));

/** Goes so many moments on (or back), to the first and the last at most. The last one is now. */
export function step(by: number): void {
  const last = past.value.lines.length - 1;
  if (last < 0) return;
  const to = Math.max(0, Math.min(last, (moment.value ?? last) + by));
  moment.value = to === last ? null : to;
}

/** Takes the journal of a file in place of a daemon's. */
export function showFile(id: string, found: readonly Line[]): void {
  journal.value = { id, value: found };
}

/** Asks for both whenever the chosen container is another one or has changed. */
export function followChosen(): void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let last = 0;
  const look = (): void => {
    timer = null;
    last = performance.now();
    const id = chosen.value;
    if (id === null || !containers.value.has(id) || standing.value.is !== 'live') return;
    void Promise.allSettled([journalOf(id), machineOf(id)]).then(([history, state]) => {
      if (chosen.value !== id) return;
      const before = lines.value;
      batch(() => {
        if (history.status === 'fulfilled') {
          journal.value = { id, value: history.value };
          moment.value = refound(moment.value, before, lines.value);
          pinned.value = refound(pinned.value, before, lines.value);
        }
        if (state.status === 'fulfilled') snapshot.value = { id, value: state.value };
        const failed = [history, state].find(({ status }) => status === 'rejected');
        // Of a container that went meanwhile there is nothing to read, and the stream says so.
        pastFailure.value = failed?.status === 'rejected' && !gone.value.has(id) ? wordsOf(failed.reason) : null;
      });
    });
  };
  let before: string | null = null;
  effect(() => {
    const id = chosen.value;
    // A moment is one of a container's own, also while the daemon is away or if the container is gone.
    if (id !== null && id !== before) {
      before = id;
      last = -Infinity;
      batch(() => {
        moment.value = null;
        pinned.value = null;
        pastFailure.value = null;
      });
      if (timer !== null) clearTimeout(timer);
      timer = null;
    }
    if (source.value?.kind !== 'daemon' || standing.value.is !== 'live') return;
    // What it depends on: the container as it is, and what happened to it.
    if (id === null || containers.value.get(id) === undefined) return;
    void trails.value.get(id);
    timer ??= setTimeout(look, Math.max(0, last + PAUSE_MS - performance.now()));
  });
}
