/**
 * Puts the past of a container together: the lines of its journal with those that have been seen since, and every moment of it.
 *
 * Guarantees: pure. A line that is in both is there once; the order is that of the daemon.
 * Limits: a moment whose line has come from the stream has the state alone, until the journal is read again.
 */
import { differences, moments, type Moment, type MomentDifference } from '../../../plan/journal/moments.ts';
import { eventName } from '../charts/event-name.ts';
import type { Trail } from './model.ts';
import type { Line } from './wire.ts';

export { differences, type Moment, type MomentDifference };

export interface Past {
  lines: readonly Line[];
  moments: readonly Moment[];
}

export const NO_PAST: Past = { lines: [], moments: [] };

function keyOf(line: Line): string {
  const { kind, t } = line;
  if (kind === 'effect') return `${t} ${line.machine} ${line.name} ${line.ms}`;
  if (kind !== 'passage' && kind !== 'note') return `${t} ${kind}`;
  return `${t} ${line.machine} ${line.event} ${line.from} ${line.to}`;
}

/** Returns where a line of one list is in another: the journal, when it is read again, has lines that the stream leaves out. */
export function refound(index: number | null, from: readonly Line[], to: readonly Line[]): number | null {
  const line = index === null ? undefined : from[index];
  if (line === undefined) return null;
  const key = keyOf(line);
  const found = to.findLastIndex((other) => keyOf(other) === key);
  return found === -1 ? null : found;
}

/** The journal and the stream take the time one after the other, so the same line may differ by this much. */
const SKEW_MS = 50;

export function joined(journal: readonly Line[], trail: Trail): readonly Line[] {
  const last = journal.at(-1)?.t ?? 0;
  const known = new Set(journal.slice(-2 * trail.length - 1).map(keyOf));
  const news = trail.filter((line) => line.t >= last - SKEW_MS && !known.has(keyOf(line)));
  return news.length === 0 ? journal : [...journal, ...news];
}

export const pastOf = (lines: readonly Line[]): Past => ({ lines, moments: moments(lines) });

/** Describes one row of the timeline. */
export interface Row {
  /** Of the line. */
  index: number;
  t: number;
  kind: 'state' | 'child' | 'event' | 'note' | 'gap' | 'start';
  machine: string;
  title: string;
  /** Names the event that led there. */
  cause: string;
  /** How long the state before lasted; null if that says nothing. */
  ms: number | null;
  fault: string | null;
}

/** Returns what the timeline shows; effects are in the waterfall. */
export function rowsOf(lines: readonly Line[]): Row[] {
  return lines.flatMap((line, index) => rowOf(line, index) ?? []);
}

function rowOf(line: Line, index: number): Row | null {
  const { t } = line;
  const row = { index, t, machine: 'container', cause: '', ms: null, fault: null };
  switch (line.kind) {
    case 'passage': {
      const { machine, event, from, to, ms, fault } = line;
      const failed = fault !== undefined && event.startsWith('xstate.error.');
      return {
        ...row,
        kind: machine === 'container' ? 'state' : 'child',
        machine,
        title: to,
        cause: eventName(event),
        ms: from === '' || from === to ? null : ms,
        fault: failed ? `${fault.code}: ${fault.message}` : null,
      };
    }
    case 'note':
      return { ...row, kind: 'note', title: line.event, fault: line.fault?.message ?? null };
    case 'event':
      return { ...row, kind: 'event', title: line.event, cause: 'received' };
    case 'gap':
      return { ...row, kind: 'gap', title: 'lines are missing: they could not be written' };
    case 'start':
      return { ...row, kind: 'start', title: line.how, cause: 'machine' };
    case 'effect':
    case 'change':
      return null;
  }
}
