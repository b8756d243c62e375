/**
 * Finds where the milliseconds of an operation went: one bar for each state that the machines were in, and for each effect.
 *
 * Guarantees: pure. An operation begins when the container leaves a state of rest and ends when it is at rest again. The bars of
 * one machine follow each other without gaps, because the end of one state is the begin of the next; an effect begins with the
 * state that runs it.
 */
import { eventName } from '../charts/event-name.ts';
import type { Fault, Line } from './wire.ts';

export interface Bar {
  /** Milliseconds since the begin of the operation. */
  start: number;
  ms: number;
  machine: string;
  /** The state, or the effect. */
  name: string;
  kind: 'state' | 'effect';
  /** Of an effect: the part before it began (the snapshot on disk, earlier effects). */
  waited: number;
  fault: Fault | null;
}

export interface Operation {
  /** The event that began it. */
  event: string;
  /** Milliseconds since the epoch. */
  begun: number;
  ms: number;
  from: string;
  /** Null while it goes on. */
  to: string | null;
  bars: readonly Bar[];
  fault: Fault | null;
  /** The indexes of its first line and of the one after its last. */
  first: number;
  end: number;
}

/** Returns the operations that are in these lines, the newest first. */
export function operationsOf(lines: readonly Line[], isRest: (state: string) => boolean): Operation[] {
  const operations: Operation[] = [];
  let first = -1;
  for (const [index, line] of lines.entries()) {
    if (line.kind !== 'passage' || line.machine !== 'container' || line.from === line.to) continue;
    if (first === -1 || line.from === '' || isRest(line.from)) first = index;
    if (!isRest(line.to) && line.to !== 'gone' && line.to !== 'error') continue;
    // From rest to rest at once, nothing was done.
    if (first !== index) operations.push(operationOf(lines, first, index + 1, true));
    first = -1;
  }
  if (first !== -1) operations.push(operationOf(lines, first, lines.length, false));
  return operations.reverse();
}

function operationOf(lines: readonly Line[], first: number, end: number, over: boolean): Operation {
  const bars: Bar[] = [];
  /** Holds when each machine came into its present state. */
  const since = new Map<string, number>([['container', 0]]);
  const begin = lines[first];
  let last = '';
  /** Holds the children that have begun since the container has moved: the journal has them before the state that invokes them. */
  const begun = new Set<string>();
  for (const line of lines.slice(first + 1, end)) {
    const container = since.get('container') ?? 0;
    if (line.kind === 'effect') {
      const { machine, name, ms, waited = 0, fault = null } = line;
      bars.push({ start: since.get(machine) ?? container, ms, machine, name, kind: 'effect', waited, fault });
    } else if (line.kind === 'passage' && line.from !== line.to) {
      const { machine, event, from, to, ms, fault } = line;
      const start = since.get(machine) ?? container;
      // A fault stays known after it came: it belongs to the state that it ended.
      const mine = fault !== undefined && event.startsWith('xstate.error.') ? fault : null;
      if (from !== '') bars.push({ start, ms, machine, name: from, kind: 'state', waited: 0, fault: mine });
      since.set(machine, from === '' ? start : start + ms);
      if (from === '') begun.add(machine);
      else begun.delete(machine);
      if (machine !== 'container') continue;
      for (const child of begun) since.set(child, start + ms);
      begun.clear();
      last = to;
    }
  }
  const opening = begin?.kind === 'passage' ? begin : { event: '', t: 0, from: '' };
  return {
    event: eventName(opening.event),
    begun: opening.t,
    ms: Math.max(since.get('container') ?? 0, ...bars.map(({ start, ms }) => start + ms)),
    from: opening.from,
    to: over ? last : null,
    bars: bars.sort((a, b) => a.start - b.start || rank(a) - rank(b)),
    fault: bars.find(({ fault }) => fault !== null)?.fault ?? null,
    first,
    end,
  };
}

/** The container's own state stands above what it invokes, and that above the effects. */
const rank = ({ machine, kind }: Bar): number => (kind === 'effect' ? 2 : machine === 'container' ? 0 : 1);
