/**
 * The moments of a container, from the lines of its journal: its state, its context and what it had in the kernel after each of
 * them, and the difference between two.
 *
 * Guarantees: pure; imports nothing of Node, so that a page in a browser can use it. One moment for each line. Moments share what
 * has not changed between them. After the last line it is what the container's machine shows.
 * Limits: until the first `start` nothing but states is known, and after lines that were lost (`gap`) nothing but states is
 * certain until the next one. Lines of a stranger's file have to be checked first (state/answers/container/history.ts).
 */
import type { JournalLine, JournalStart, KernelObject, PatchOperation } from '../../state/answers/container/history.ts';
import type { Fault } from '../../state/faults.ts';
import { stateName } from '../states.ts';
import { after, single } from './objects.ts';
import { difference, patched } from './patch.ts';

export interface Moment {
  t: number;
  /** It is "configuring.attaching", for example, and '' before its machine has started. */
  state: string;
  /** Has the machines that it has invoked, with their states: { attachment: 'linking' }. */
  children: Readonly<Record<string, string>>;
  /** It is that of its machine (state/container.ts), and null if it is not known. */
  context: Readonly<Record<string, unknown>> | null;
  objects: readonly KernelObject[];
  fault: Fault | null;
}

interface Machine {
  status: string;
  value: unknown;
  context?: Record<string, unknown> & { fault?: Fault | null };
  children?: Record<string, { snapshot?: Machine }>;
}

const NOTHING: Moment = { t: 0, state: '', children: {}, context: null, objects: [], fault: null };

/** Returns the moment after each line. */
export function moments(lines: readonly JournalLine[]): Moment[] {
  let now = NOTHING;
  return lines.map((line) => (now = next(now, line)));
}

function next(now: Moment, line: JournalLine): Moment {
  const { t } = line;
  switch (line.kind) {
    case 'start':
      return started(now, line);
    case 'effect':
    case 'event':
      return { ...now, t, objects: objectsAfter(now.objects, line) };
    case 'change':
      return { ...now, t, ...own(now, line) };
    case 'passage':
      if (line.machine === 'container') return { ...now, t, state: line.to, ...own(now, line) };
      // The machine above has heard of an end before, and may have invoked the next one by this name.
      return line.ended === true
        ? { ...now, t }
        : { ...now, t, children: { ...now.children, [line.machine]: line.to } };
    case 'note':
    case 'gap':
      return { ...now, t };
  }
}

/** Returns the members that a line about the container's own machine changes. */
function own(
  now: Moment,
  line: {
    patch?: PatchOperation[] | undefined;
    children?: Record<string, string> | undefined;
    fault?: Fault | undefined;
  },
): Pick<Moment, 'context' | 'children' | 'fault'> {
  const { patch = [], children = {}, fault } = line;
  const context = now.context === null ? null : (patched(now.context, patch) as Moment['context']);
  return { context, children, fault: fault ?? (context?.['fault'] as Fault | null | undefined) ?? null };
}

function started(now: Moment, { t, how, input, snapshot, objects }: JournalStart): Moment {
  if (how === 'created') return { ...NOTHING, t, context: input as Moment['context'] };
  const machine = snapshot as Machine;
  const context = machine.context ?? null;
  const children = Object.entries(machine.children ?? {}).flatMap(([id, child]) =>
    child.snapshot?.status === 'active' && 'value' in child.snapshot ? [[id, stateName(child.snapshot)] as const] : [],
  );
  return {
    t,
    state: stateName(machine),
    children: Object.fromEntries(children),
    context,
    objects: objects?.flatMap(single) ?? now.objects,
    fault: context?.fault ?? null,
  };
}

/** Returns what exists after a line. */
export function objectsAfter(objects: readonly KernelObject[], line: JournalLine): readonly KernelObject[] {
  if (line.kind === 'effect' && line.fault === undefined) return after(objects, line);
  // Its program has ended, and what that had made has ended with it.
  if (line.kind === 'event' && line.event === 'lost')
    return after(objects, { gone: objects.filter(({ kind }) => kind === 'uplink') });
  return objects;
}

export interface MomentDifference {
  /** Has the one before and the one after; it is null if they are the same. */
  state: [string, string] | null;
  children: PatchOperation[];
  context: PatchOperation[];
  objects: { made: KernelObject[]; gone: KernelObject[] };
}

/** Returns what is different in `b`. */
export function differences(a: Moment, b: Moment): MomentDifference {
  const textOf = (object: KernelObject) => JSON.stringify([object.kind, object.name, object.detail]);
  const missingIn = (some: readonly KernelObject[], others: readonly KernelObject[]) => {
    const known = new Set(others.map(textOf));
    return some.filter((object) => !known.has(textOf(object)));
  };
  return {
    state: a.state === b.state ? null : [a.state, b.state],
    children: difference(a.children, b.children),
    context: difference(a.context, b.context),
    objects: { made: missingIn(b.objects, a.objects), gone: missingIn(a.objects, b.objects) },
  };
}
