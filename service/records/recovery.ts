/**
 * Recovery: turns the snapshots that a start finds into machines.
 *
 * Guarantees: a snapshot is started only if the machine can continue from it: its record has the present version or one that can
 * be migrated to it, its context fits the schema, each state in it exists and each state that waits for a child has that child.
 * Any other snapshot is set aside (*.unreadable), reported, and stops nothing else. A snapshot of another boot is dropped:
 * nothing it names can exist here. Ports that it had published on another machine are passed on.
 * Limits: state/versions/migrations.ts fills in what an older version could not know.
 */
import { createActor, type AnyActorRef, type AnyMachineSnapshot } from 'xstate';
import { z } from 'zod';
import type { containerMachine } from '../../machines/container/container.ts';
import { ContainerContext, type ResolvedPort } from '../../state/container.ts';
import type { Journal } from '../../state/files/journal.ts';
import { CONTAINER_MIGRATIONS, CONTAINER_VERSION, migrate } from '../../state/versions/migrations.ts';
import type { SnapshotStore } from '../../state/files/store.ts';

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

/** A container whose machine can continue from its record. */
export interface Restorable {
  id: string;
  context: ContainerContext;
  snapshot: { value: unknown };
}

export interface Recovered {
  containers: Restorable[];
  unreadable: string[];
  /** Ports that containers of another boot had published further out, where they outlive the boot (podman#28047). */
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

/** Returns the container of this id from its record; null if the machine cannot continue from it. */
export function restorable(machine: typeof containerMachine, id: string, found: unknown): Restorable | null {
  const record = migrate(found, CONTAINER_MIGRATIONS, CONTAINER_VERSION);
  const context = Record_.safeParse(record).data?.snapshot.context;
  if (context === undefined || context.id !== id) return null;
  if (!restsAlone(machine, record as PersistedRecord) && !canGoOn(machine, record as PersistedRecord)) return null;
  return { id, context, snapshot: (record as { snapshot: { value: unknown } }).snapshot };
}

/**
 * Returns true for what nearly all records are of: a state that exists, has no states in it, and waits for no child. Nothing that
 * `canGoOn` looks for can be wrong with it, and a start with a thousand containers would spend a tenth of its time on looking.
 */
function restsAlone(
  { root, states }: typeof containerMachine,
  { snapshot: { value, children } }: PersistedRecord,
): boolean {
  const node = typeof value === 'string' && Object.hasOwn(states, value) ? states[value] : null;
  const invoked = [...root.invoke, ...(node?.invoke ?? [])];
  return node?.type === 'atomic' && invoked.length === 0 && Object.keys(children).length === 0;
}

/**
 * Tries the snapshot in an actor that is never started. XState drops a child whose source it does not know, and does not invoke
 * again for a state restored without its child. Both leave a machine that waits for ever, and both show here.
 */
function canGoOn(machine: typeof containerMachine, record: PersistedRecord): boolean {
  const { snapshot } = structuredClone(record);
  try {
    const probe = createActor(machine, { snapshot: snapshot as never, input: undefined }).getSnapshot();
    if (probe.status !== 'active') return false;
    return isWhole(probe, snapshot);
  } catch {
    return false;
  }
}

/** Returns true if all persisted children, and all invoked ones, exist, and so do their children, at every depth. */
function isWhole(probe: AnyMachineSnapshot, persisted: PersistedMachine): boolean {
  const invoked = probe._nodes.flatMap((node) => node.invoke.map(({ id }) => id));
  return [...Object.keys(persisted.children), ...invoked].every((id) => {
    const child = (probe.children as Record<string, AnyActorRef | undefined>)[id];
    if (child === undefined) return false;
    const kept = persisted.children[id]?.snapshot;
    if (kept?.status !== 'active' || kept.children === undefined) return true; // the child has ended, or is no machine
    const now = child.getSnapshot() as AnyMachineSnapshot;
    return now.status === 'active' && isWhole(now, { children: kept.children });
  });
}

interface PersistedRecord {
  snapshot: PersistedMachine & { value: unknown };
}

interface PersistedMachine {
  children: Record<string, { snapshot?: { status?: string; children?: PersistedMachine['children'] } }>;
}
