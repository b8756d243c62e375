/**
 * Leads the machines of this version through an exported journal, and compares what they make of it with what the file says.
 *
 * Guarantees: events and ends of effects come in the order of the file. Each change of state, of the container's machine and of
 * those that it invokes, and each change of the context is compared, so "the same" means the same way and the same end, also
 * where that is an error. Nothing of the file is executed: the machines decide, and what they call are stand-ins.
 * Limits: the order of what happens beside each other in one turn of the event loop is the machines' own. Lines that a crash of
 * the daemon has lost cannot be compared: what follows begins with a snapshot again.
 */
import { isDeepStrictEqual } from 'node:util';
import { createActor } from 'xstate';
import { ContainerContext } from '../../state/container.ts';
import { FaultError } from '../../state/faults.ts';
import type { ExportHeader, JournalLine, JournalStart } from '../../state/answers/container/history.ts';
import { CONTAINER_VERSION } from '../../state/versions/migrations.ts';
import { passages } from '../records/passages.ts';
import { restorable } from '../records/recovery.ts';
import { defectOf } from '../records/snapshot.ts';
import type { ReadJournal } from './read.ts';
import { replayed, stage, type Stage } from './stand-ins.ts';

/** Is a change that is compared. */
type Step = Extract<JournalLine, { kind: 'passage' | 'change' }>;

export interface Difference {
  /** It is the number of the line in the file, and null at its end. */
  line: number | null;
  expected: Partial<Step> | string;
  got: Partial<Step> | string;
}

export interface Replay {
  header: ExportHeader;
  /** Has the changes of state that this version has gone through, as far as they are the same. */
  path: Extract<JournalLine, { kind: 'passage' }>[];
  /** Says how many changes were compared. */
  transitions: number;
  /** Says how many lines could not be replayed: before the first start, after lines that were lost, of another version. */
  skipped: number;
  restarts: number;
  difference: Difference | null;
  cutOff: boolean;
}

/** Is one machine, from a start to the next. */
interface Running {
  stage: Stage;
  /** Has what the machine has done and the file has not said yet. */
  ahead: Step[];
}

export function replay({ header, lines, cutOff }: ReadJournal): Replay {
  const result: Replay = { header, path: [], transitions: 0, skipped: 0, restarts: 0, difference: null, cutOff };
  let running: Running | null = null;
  try {
    for (const { line, n } of lines) {
      if (line.kind === 'start') {
        if (line.how !== 'continued' || running === null) {
          if (line.how === 'restored') result.restarts++;
          running = begin(header.id, line, n);
          if (running === null) result.skipped++;
        } else {
          result.difference = checkpoint(running, line, n);
        }
      } else if (line.kind === 'gap') {
        running = null;
      } else if (running === null) {
        result.skipped++;
      } else {
        result.difference = take(running, line, n, result);
      }
      if (result.difference !== null) return result;
    }
    const [more] = running?.ahead ?? [];
    if (more !== undefined && !cutOff) result.difference = { line: null, expected: 'nothing more', got: shown(more) };
    return result;
  } catch (error) {
    if (error instanceof FaultError) throw error;
    // The machines take what an honest journal has in it; another one may make XState itself throw.
    const why = error instanceof Error ? error.message : String(error);
    throw new FaultError('NOT_A_JOURNAL', `the machines cannot take what is in it: ${why}`);
  } finally {
    // A defect that was replayed has stopped it already.
    if (running?.stage.actor.getSnapshot().status === 'active') running.stage.actor.stop();
  }
}

function take(running: Running, line: JournalLine, n: number, result: Replay): Difference | null {
  const { stage: now, ahead } = running;
  if (line.kind === 'event') {
    now.actor.send({ ...line.data, type: line.event } as never);
  } else if (line.kind === 'effect') {
    const end = line.fault === undefined ? { output: line.output } : { error: FaultError.of(line.fault) };
    if (!now.end(line.machine, line.name, end)) {
      const got = `${line.machine} does not wait for ${line.name}`;
      return { line: n, expected: `the end of ${line.name}`, got };
    }
  } else if (line.kind === 'passage' || line.kind === 'change') {
    const next = ahead.shift();
    if (next === undefined) return { line: n, expected: shown(line), got: 'nothing' };
    if (!isDeepStrictEqual(comparable(next), comparable(line))) return { line: n, ...apart(line, next) };
    result.transitions++;
    if (line.kind === 'passage') result.path.push(line);
  }
  return null;
}

/** Starts a machine as the file says; null if there was none any more (a defect had stopped it), or one of another version. */
function begin(id: string, line: JournalStart, n: number): Running | null {
  const refused = (why: string) => new FaultError('NOT_A_JOURNAL', `line ${n} is no start of a container: ${why}`);
  if (line.machine !== CONTAINER_VERSION) return null;
  let how: { input: object } | { snapshot: unknown };
  if (line.how === 'created') {
    how = { input: inputOf(line.input, id, refused) };
  } else {
    const found = restorable(replayed, id, { machine: 'container', version: line.machine, snapshot: line.snapshot });
    if (found === null) throw refused('this cleat cannot continue from its snapshot');
    how = { snapshot: found.snapshot };
  }
  const ahead: Step[] = [];
  const record = passages((made) => {
    const step = typeof made === 'function' ? made() : made;
    if (step.kind === 'passage' || step.kind === 'change') ahead.push(step);
  });
  record.starts(how);
  let over = false;
  const on = stage(how, (inspection) => {
    if (!over) record.of(inspection);
  });
  const { actor } = on;
  actor.subscribe({
    complete: () => (over = true),
    error: () => {
      over = true;
      record.stopped(actor, defectOf(actor.getSnapshot(), `container ${id}`));
    },
  });
  // The file says nothing of this start where it goes on after a `continued`, because the machine did not start anew there.
  actor.start();
  if (line.how === 'continued') ahead.length = 0;
  return { stage: on, ahead };
}

/** Returns the input if a machine makes a container of it. */
function inputOf(input: unknown, id: string, refused: (why: string) => FaultError): object {
  if (typeof input !== 'object' || input === null) throw refused('it has no input');
  const probe = createActor(replayed, { input: structuredClone(input) as never }).getSnapshot();
  const { error } = ContainerContext.safeParse(probe.context);
  const [issue] = error?.issues ?? [];
  if (issue !== undefined) throw refused(`${issue.path.join('.')} ${issue.message}`.trim());
  if (probe.context.id !== id) throw refused('it is of another container');
  return input;
}

/** Compares the machine with a snapshot of the file in the middle of its life. */
function checkpoint({ stage: { actor }, ahead }: Running, { snapshot }: JournalStart, n: number): Difference | null {
  const [more] = ahead;
  if (more !== undefined) return { line: n, expected: 'nothing more', got: shown(more) };
  const seen = (of: { value?: unknown; context?: unknown }) => plain({ value: of.value, context: of.context });
  const expected = seen(snapshot as object);
  const got = seen(actor.getPersistedSnapshot() as object);
  if (isDeepStrictEqual(expected, got)) return null;
  return { line: n, expected: JSON.stringify(expected), got: JSON.stringify(got) };
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** Leaves out what differs from run to run. */
function comparable(step: Step): unknown {
  const { t: _t, ...rest } = step;
  if (rest.kind === 'change') return plain(rest);
  const { ms: _ms, ...passage } = rest;
  return plain(passage);
}

function shown(step: Step): Partial<Step> {
  const { t: _t, ...rest } = step;
  return rest;
}

/** Returns what the two do not have in common, and what names the change. */
function apart(expected: Step, got: Step): { expected: Partial<Step>; got: Partial<Step> } {
  const [one, other] = [comparable(expected), comparable(got)] as Record<string, unknown>[];
  const NAMES = ['machine', 'event', 'from', 'to', 'state'];
  const keys = new Set([...Object.keys(one ?? {}), ...Object.keys(other ?? {})]);
  const different = [...keys].filter((key) => NAMES.includes(key) || !isDeepStrictEqual(one?.[key], other?.[key]));
  const pick = (of: Record<string, unknown> | undefined) =>
    Object.fromEntries(different.filter((key) => of?.[key] !== undefined).map((key) => [key, of?.[key]]));
  return { expected: pick(one), got: pick(other) };
}
