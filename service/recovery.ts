/**
 * From files to machines: what a start makes of the snapshots it finds.
 *
 * Guarantees: a snapshot is started only if the machine can go on from it: its record has the present version or one
 * that can be brought to it, its context fits the schema, each state in it exists and each state that waits for a child
 * has that child. Anything else is set aside (*.unreadable), reported, and stops nothing else. A snapshot of another
 * boot is dropped: nothing it names can exist here; what it had published on another machine is handed on.
 * Limits: what an older version could not know is for state/migrations.ts to fill in.
 */
import { createActor, type AnyActorRef, type AnyMachineSnapshot } from 'xstate';
import { z } from 'zod';
import type { containerMachine } from '../machines/container.ts';
import { ContainerContext, type ResolvedPort } from '../state/container.ts';
import type { Journal } from '../state/journal.ts';
import { CONTAINER_MIGRATIONS, CONTAINER_VERSION, migrate } from '../state/migrations.ts';
import type { SnapshotStore } from '../state/store.ts';

const Record_ = z.object({
  machine: z.literal('container'),
  version: z.literal(CONTAINER_VERSION),
  snapshot: z.looseObject({
    status: z.literal('active'),
    value: z.unknown(),
    context: ContainerContext,
    children: z.record(z.string(), z.unknown()),
  }),
});

/** A container that can go on from what was found of it. */
export interface Restorable {
  id: string;
  context: ContainerContext;
  snapshot: unknown;
}

export interface Recovered {
  containers: Restorable[];
  unreadable: string[];
  /** What containers of another boot had published further out, where it is not gone with the boot (podman#28047). */
  stale: { publisher: string; ports: ResolvedPort[] }[];
}

export function recover(parts: {
  store: SnapshotStore;
  journal: Journal;
  machine: typeof containerMachine;
  bootId: string;
}): Recovered {
  const { store, journal, machine, bootId } = parts;
  const { records, unreadable } = store.load();
  const containers: Recovered['containers'] = [];
  const stale: Recovered['stale'] = [];
  for (const { id, record } of records) {
    const found = restorable(machine, id, record);
    if (found === null) {
      unreadable.push(store.setAside(id));
    } else if (found.context.bootId !== bootId) {
      const { publisher, ports, change } = found.context;
      if (publisher !== null) stale.push({ publisher, ports: [...ports, ...(change?.ports ?? [])] });
      store.remove(id);
    } else {
      containers.push(found);
    }
  }
  journal.sweep((id) => store.keeps(id));
  return { containers, unreadable, stale };
}

/** The container of this id as its record has it; null when the machine cannot go on from that. */
export function restorable(machine: typeof containerMachine, id: string, found: unknown): Restorable | null {
  const record = migrate(found, CONTAINER_MIGRATIONS, CONTAINER_VERSION);
  const context = Record_.safeParse(record).data?.snapshot.context;
  if (context === undefined || context.id !== id || !canGoOn(machine, record)) return null;
  return { id, context, snapshot: record?.snapshot };
}

/**
 * Try the snapshot in an actor that is never started. XState drops a child whose source it does not know, and does not
 * invoke again for a state restored without its child: both leave a machine that waits for ever, and both show here.
 */
function canGoOn(machine: typeof containerMachine, record: unknown): boolean {
  const { snapshot } = structuredClone(record) as { snapshot: PersistedMachine };
  try {
    const probe = createActor(machine, { snapshot: snapshot as never, input: undefined as never }).getSnapshot();
    if (probe.status !== 'active') return false;
    return isWhole(probe, snapshot);
  } catch {
    return false;
  }
}

/** All children that were kept, and all that are waited for, are there; and theirs, and so on. */
function isWhole(probe: AnyMachineSnapshot, persisted: PersistedMachine): boolean {
  const invoked = probe._nodes.flatMap((node) => node.invoke.map(({ id }) => id));
  return [...Object.keys(persisted.children), ...invoked].every((id) => {
    const child = (probe.children as Record<string, AnyActorRef | undefined>)[id];
    if (child === undefined) return false;
    const kept = persisted.children[id]?.snapshot;
    if (kept?.status !== 'active' || kept.children === undefined) return true; // it has ended, or is no machine
    const now = child.getSnapshot() as AnyMachineSnapshot;
    return now.status === 'active' && isWhole(now, { children: kept.children });
  });
}

interface PersistedMachine {
  children: Record<string, { snapshot?: { status?: string; children?: PersistedMachine['children'] } }>;
}
