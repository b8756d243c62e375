/**
 * The past and the machine of the chosen container: read when it is chosen, and again when it has changed.
 *
 * Guarantees: an answer that comes after another container was chosen is dropped. Each is asked for at most once in PAUSE_MS.
 * Limits: between two readings, the past goes on with what the stream says.
 */
import { batch, computed, effect, signal, untracked } from '@preact/signals';
import { NO_PAST, joined, moved, pastOf } from '../model/past.ts';
import type { Line, MachineSnapshot } from '../model/wire.ts';
import { journalOf, machineOf } from './api.ts';
import { wordsOf } from './refusal.ts';
import { chosen, containers, gone, source, standing, trails } from './store.ts';

const PAUSE_MS = 1500;

interface Of<T> {
  id: string;
  value: T;
}

const journal = signal<Of<readonly Line[]> | null>(null);
const snapshot = signal<Of<MachineSnapshot> | null>(null);

/** The index of the line that is looked at; null: now. */
export const moment = signal<number | null>(null);
/** The index of the line that is compared with; null: none. */
export const pinned = signal<number | null>(null);
/** Why the past cannot be shown; null: it can. */
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

/** The journal of a file, in place of a daemon's. */
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
    void journalOf(id).then(
      (value) => {
        if (chosen.value !== id) return;
        const before = lines.value;
        batch(() => {
          journal.value = { id, value };
          moment.value = moved(moment.value, before, lines.value);
          pinned.value = moved(pinned.value, before, lines.value);
          pastFailure.value = null;
        });
      },
      (error: unknown) => {
        if (chosen.value === id && !gone.value.has(id)) pastFailure.value = wordsOf(error);
      },
    );
    void machineOf(id).then(
      (value) => chosen.value === id && (snapshot.value = { id, value }),
      () => {}, // gone meanwhile; the stream says so
    );
  };
  let before: string | null = null;
  effect(() => {
    const id = chosen.value;
    if (source.value?.kind !== 'daemon' || standing.value.is !== 'live') return;
    // What it depends on: the container as it is, and what happened to it.
    if (id === null || containers.value.get(id) === undefined) return;
    void trails.value.get(id);
    untracked(() => {
      const pause = id === before ? Math.max(0, last + PAUSE_MS - performance.now()) : 0;
      if (id !== before) {
        before = id;
        moment.value = null;
        pinned.value = null;
        pastFailure.value = null;
        if (timer !== null) clearTimeout(timer);
        timer = null;
      }
      timer ??= setTimeout(look, pause);
    });
  });
}
