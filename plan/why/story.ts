/**
 * Tells what led a container to its state, from its journal.
 *
 * Guarantees: pure; oldest first. Names the drift that is still there or led to the state, the event that it left its last good
 * state with, and the failure that came of it.
 * Limits: goes back as far as the journal does.
 */
import { isLeaving } from '../states.ts';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import type { Drift, ExitDescriptor, ProcessIdentity } from '../../state/container.ts';
import type { Why } from '../../state/answers/container/why.ts';
import type { Facts } from './facts.ts';
import { stepOf } from './states.ts';
import { faultText, listOf, objectText, sentence, spanText } from './words.ts';

type Line = Why['led'][number];

/** Has the states that a container leaves by an event and not by a step of its own. */
const GOOD: ReadonlySet<string> = new Set(['up', 'created']);

const TEARDOWN: ReadonlySet<string> = new Set(['teardown', 'process.exited', 'lastUserGone']);

const isMove = ({ machine, from, to }: JournalEntry): boolean => machine === 'container' && from !== to;
/** XState names its own events so. The start of a machine is one of them. */
const isOwn = ({ event }: JournalEntry): boolean => event.startsWith('xstate.') && event !== 'xstate.init';

/** Returns the entry by which the container came into its present state; null if the journal does not go back to it. */
export const arrival = ({ history, state }: Pick<Facts, 'history' | 'state'>): JournalEntry | null =>
  history.findLast((entry) => isMove(entry) && entry.to === state) ?? null;

/** Returns the entry by which it left its last good state; for a state that is good itself, the one that led there. */
function origin({ history, state }: Facts): JournalEntry | null {
  const moves = history.filter(isMove);
  const left = moves.findLast((entry) => GOOD.has(entry.from) && !isOwn(entry));
  const last = moves.findLast((entry) => !isOwn(entry));
  // A teardown can come in any state.
  const torn = isLeaving({ value: state }) ? moves.findLast(({ event }) => TEARDOWN.has(event)) : undefined;
  return torn ?? left ?? last ?? null;
}

const REQUESTED: ReadonlySet<string> = new Set([
  'configure',
  'connect',
  'disconnect',
  'reload',
  'publish',
  'unpublish',
  'teardown',
]);

function eventText(entry: JournalEntry, { context, process, history }: Facts): string {
  const { event } = entry;
  if (REQUESTED.has(event)) return `${event} was requested`;
  const { boundTo, exit } = context;
  switch (event) {
    case 'xstate.init':
      return history.find(isMove) === entry ? 'it was created' : 'the daemon was started, and found it so';
    case 'process.exited':
      return endText(boundTo, exit);
    case 'lastUserGone':
      return 'the last container that used its namespace has gone';
    case 'resume':
      return 'it was created again';
    case 'adjust':
      return 'a network of it was changed';
    case 'yield':
      return 'another container began to take ports over';
    case 'lost': {
      const said = process?.last ?? null;
      return `its uplink ended${said === null ? '' : `: ${said}`}`;
    }
    case 'drifted':
      return 'a part of it was found missing or changed';
    case 'error':
      return 'a defect in cleat stopped its machine';
    default:
      return `${event} came`;
  }
}

function endText(boundTo: ProcessIdentity | null, exit: ExitDescriptor | undefined): string {
  const process = `the process that it is bound to${boundTo === null ? '' : ` (pid ${boundTo.pid})`} ended`;
  if (exit === undefined) return process;
  const closed = `the other end of descriptor ${exit.fd} of process ${exit.holder.pid} was closed`;
  return boundTo === null ? closed : `${process}, or ${closed}`;
}

const changedText = (objects: readonly string[], by: string | null | undefined): string =>
  sentence(`${listOf(objects)} ${objects.length === 1 ? 'was' : 'were'} removed or changed by ${by ?? 'others'}`);

/** Returns the drift that is still there, or that came just before the event. The same drift is told once, as it came last. */
function driftLines({ history, differences }: Facts, began: JournalEntry | null): Line[] {
  const still = new Set(differences.map(objectText));
  const isCause = ({ t }: JournalEntry): boolean =>
    began !== null && ['drifted', 'lost'].includes(began.event) && Math.abs(t - began.t) < CAUSE_MS;
  const told = new Set<string>();
  const lines: Line[] = [];
  for (const entry of history.filter(({ event }) => event === 'drift').reverse()) {
    const objects = (entry.drift ?? [])
      .filter(({ kind }) => kind !== 'uplink' || began?.event !== 'lost') // the event says so itself
      .map(objectText)
      .filter((text) => still.has(text) || isCause(entry));
    const fresh = objects.filter((text) => !told.has(text));
    fresh.forEach((text) => told.add(text));
    if (fresh.length === 0) continue;
    lines.unshift({ t: entry.t, text: changedText(fresh, entry.by) });
  }
  return lines;
}

/** Drift is written to the journal in the same turn in which the machine is told of it. */
const CAUSE_MS = 100;

/** Returns the last failure since the origin, with the step that failed. */
function failureLine({ history }: Facts, began: JournalEntry | null): Line[] {
  const since = began === null ? 0 : history.indexOf(began);
  const failed = history.slice(since).filter((entry) => isMove(entry) && entry.fault !== undefined && isOwn(entry));
  const last = failed.findLast(({ event }) => event.startsWith('xstate.error') || event.startsWith('xstate.done'));
  // The fault stays in the context while it is undone: the first entry that has it shows the step.
  const code = JSON.stringify(last?.fault);
  const first = failed.find((entry) => JSON.stringify(entry.fault) === code);
  if (first?.fault === undefined) return [];
  const after = first.ms >= 1000 ? `, after ${spanText(first.ms)}` : '';
  return [{ t: first.t, text: sentence(`${stepOf(first.from)} failed${after}: ${faultText(first.fault)}`) }];
}

/** Returns why a start could not put the pin of its namespace back, unless it has been put back since. */
function pinLine({ state, history, differences, context: { netns } }: Facts): Line[] {
  const isPin = ({ object }: Drift): boolean => object === netns?.path;
  const last = history.findLast(
    ({ event, drift = [] }) => event === 'unpinned' || (event === 'repaired' && drift.some(isPin)),
  );
  if (last?.event !== 'unpinned' || last.fault === undefined) return [];
  if (state === 'up' && !differences.some(isPin)) return [];
  return [{ t: last.t, text: sentence(`its namespace could not be pinned again: ${faultText(last.fault)}`) }];
}

export function storyOf(facts: Facts): Line[] {
  const began = origin(facts);
  const event = began === null ? [] : [{ t: began.t, text: sentence(eventText(began, facts)) }];
  const shared = facts.left.map(({ t, by, ...one }) => ({
    t,
    text: changedText([objectText(one)], by),
  }));
  const up = facts.state === 'up' ? arrival(facts) : null;
  const found = up?.event === 'xstate.init' ? 'The daemon was started, and found it up.' : 'It came up.';
  const came = up === null ? [] : [{ t: up.t, text: found }];
  const failure = [...failureLine(facts, began), ...pinLine(facts)];
  const lines = [...driftLines(facts, began), ...shared, ...event, ...failure, ...came];
  return lines.sort((a, b) => a.t - b.t);
}
