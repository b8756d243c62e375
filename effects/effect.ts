/**
 * Runs every effect: with a name, after its snapshot is durable, one at a time per root machine, with a deadline.
 *
 * Guarantees:
 * - Before the body begins, the snapshot that names the objects it will make is on disk (`commit`). At that moment the root's
 *   snapshot already shows the effect as in flight, at any depth, so a crash from here on runs it again. An effect that only adds
 *   does not wait again when an earlier effect of the same operation made all its names durable already, and nothing has failed
 *   since: a crash then runs both again.
 * - Effects of one root never overlap: leaving a state aborts the signal but does not stop a system call, so the next effect waits
 *   for the last one's end. An effect that is abandoned while it waits never begins, nor does one whose root was stopped by a
 *   defect: XState leaves the children of such a root running.
 * - A rejection carries a Fault with the step's name; errno, syscall and object are the kernel's.
 * - Each effect has three failpoints: `<name>:before`, `<name>:durable` between commit and body, and `<name>:after`.
 * Limits: at least once. Every body is an ensure or a remove that may run again from the start.
 */
import { fromPromise, type AnyActorRef } from 'xstate';
import { isKernelError } from '../native/index.ts';
import { FaultError, type Fault, type FaultCode } from '../state/faults.ts';
import { whyDenied } from './capabilities.ts';
import { inTurn } from './turns.ts';

export interface EffectRunner {
  /**
   * Resolves when the root's present state is on disk; for an effect that adds, when the names of all objects that it may
   * make are.
   */
  commit(root: AnyActorRef, verb: Verb): Promise<void>;
  failpoint(name: string): void;
  /** Called when an effect has come so far, if anybody wants to know. */
  reached?: ((effect: AnyActorRef, moment: Moment) => void) | undefined;
}

/** `turn`: the effects before this one have ended. `disk`: the snapshot is on disk, and the body begins. */
export type Moment = 'turn' | 'disk';

/** `add` if an effect makes the objects that the snapshot names, `remove` if it removes them. */
export type Verb = 'add' | 'remove';

/** Every root actor is started with this systemId. */
export const ROOT = 'root';

/** Longer than any healthy kernel operation here (the slowest measured is 50 ms), shorter than callers' timeouts. */
const DEADLINE_MS = 10_000;

/** The names of all effects made so far; crash tests walk them. */
export const effectNames = new Set<string>();

const turns = new WeakMap<AnyActorRef, Promise<unknown>>();

/** Makes the effects of `root`, which continues for a stopped root, wait for effects that the stopped one has begun. */
export function succeed(root: AnyActorRef, stopped: AnyActorRef): void {
  const last = turns.get(stopped);
  if (last !== undefined) turns.set(root, last);
}

export function defineEffect<Input, Output>(
  runner: EffectRunner,
  verb: Verb,
  name: string,
  body: (input: Input) => Promise<Output>,
  deadlineMs = DEADLINE_MS,
) {
  effectNames.add(name);
  return fromPromise<Output, Input>(({ input, signal, system, self }) => {
    // A machine that was stopped has left its system; an effect must do nothing for it.
    const root = system.get(ROOT) as AnyActorRef | undefined;
    if (root === undefined) throw new Error(`${name}: its machine has been stopped`);
    let late = false;
    const wanted = () => {
      signal.throwIfAborted();
      if ((root.getSnapshot() as { status: string }).status === 'error')
        throw new Error(`${name}: its machine has been stopped`);
      if (late) throw new Error(`${name} ran out of time before it began`);
    };
    const run = async (): Promise<Output> => {
      wanted();
      runner.reached?.(self, 'turn');
      runner.failpoint(`${name}:before`);
      await runner.commit(root, verb);
      wanted();
      runner.reached?.(self, 'disk');
      runner.failpoint(`${name}:durable`);
      const output = await body(input);
      runner.failpoint(`${name}:after`);
      return output;
    };
    // The next effect waits for the body itself, not for our patience with it.
    return withDeadline(inTurn(turns, root, run), name, deadlineMs).catch((error: unknown) => {
      late = true;
      throw FaultError.of(toFault(error, name));
    });
  });
}

async function withDeadline<T>(work: Promise<T>, step: string, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new FaultError('DEADLINE', `${step} has not ended after ${ms} ms`, { step }));
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Converts any error to a fault of the step. Kernel errors keep their errno; the code may be made more exact. */
export function toFault(error: unknown, step: string, code: FaultCode = 'KERNEL'): Fault {
  if (error instanceof FaultError) return { step, ...error.fault };
  if (isKernelError(error)) {
    const { message, code: errno, syscall, object } = error;
    // native/namespaces/nsfile.h: the path leads to another namespace than the expected one.
    if (errno === 'ESTALE') {
      const another = `another network namespace is mounted at ${object}`;
      return { code: 'NOT_A_NAMESPACE', message: another, step, errno, syscall, object };
    }
    return whyDenied({ code, message, step, errno, syscall, object });
  }
  return { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error), step };
}
