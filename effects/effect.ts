/**
 * How every effect runs: named, durable first, one at a time per machine, with a deadline.
 *
 * Guarantees:
 * - Before the body begins, the snapshot that names what it will make is on disk (`commit`). At that moment the root's
 *   snapshot already shows the effect as in flight, at any depth, so a crash from here on runs it again. An effect that
 *   only adds does not wait again when an earlier effect of the same operation made all its names durable already, and
 *   nothing has failed since: a crash then runs both again.
 * - Effects of one root never overlap: leaving a state aborts the signal but does not stop a system call, so the next
 *   effect waits for the last one's end. An effect abandoned while it waited is never begun, nor is one whose root a
 *   defect has stopped: XState leaves the children of such a root running.
 * - A rejection carries a Fault with the step's name; what the kernel said is in errno, syscall and object.
 * - Each effect is two failpoints, `<name>:before` and `<name>:after`, and `<name>:durable` between commit and body.
 * Limits: at least once. Every body is an ensure or a remove that may run again from the start.
 */
import { fromPromise, type AnyActorRef } from 'xstate';
import { isKernelError } from '../native/index.ts';
import type { Fault, FaultCode } from '../state/faults.ts';
import { whyDenied } from './capabilities.ts';

export interface EffectRunner {
  /** Resolves when the root's present state is on disk, or for one that adds, the names of all it may make. */
  commit(root: AnyActorRef, verb: Verb): Promise<void>;
  failpoint(name: string): void;
}

/** Whether an effect makes what the snapshot names, or takes it away. */
export type Verb = 'add' | 'remove';

/** Every root actor is started with this systemId. */
export const ROOT = 'root';

/** Longer than any healthy kernel operation here (the slowest measured is 50 ms), shorter than a caller's patience. */
const DEADLINE_MS = 10_000;

/** Names of all effects made so far: crash tests walk them. */
export const effectNames = new Set<string>();

export class EffectError extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super(fault.message);
    this.name = 'EffectError';
    this.fault = fault;
  }
}

const tails = new WeakMap<AnyActorRef, Promise<unknown>>();

/** The effects of a root that goes on where another was stopped wait for what that one has begun. */
export function succeed(root: AnyActorRef, stopped: AnyActorRef): void {
  const tail = tails.get(stopped);
  if (tail !== undefined) tails.set(root, tail);
}

export function defineEffect<Input, Output>(
  runner: EffectRunner,
  verb: Verb,
  name: string,
  body: (input: Input) => Promise<Output>,
  deadlineMs = DEADLINE_MS,
) {
  effectNames.add(name);
  return fromPromise<Output, Input>(({ input, signal, system }) => {
    // A machine that has been stopped leaves its system, and nothing may be done for it then.
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
      runner.failpoint(`${name}:before`);
      await runner.commit(root, verb);
      wanted();
      runner.failpoint(`${name}:durable`);
      const output = await body(input);
      runner.failpoint(`${name}:after`);
      return output;
    };
    const previous = tails.get(root);
    const mine = previous === undefined ? run() : previous.then(run, run);
    // The next effect waits for the body itself, not for our patience with it.
    tails.set(
      root,
      mine.catch(() => {}),
    );
    return withDeadline(mine, name, deadlineMs).catch((error: unknown) => {
      late = true;
      throw new EffectError(toFault(error, name));
    });
  });
}

async function withDeadline<T>(work: Promise<T>, step: string, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new EffectError({ code: 'DEADLINE', message: `${step} has not ended after ${ms} ms`, step }));
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Any error as a fault of the step. Kernel errors keep what the kernel said; the code may be made more exact. */
export function toFault(error: unknown, step: string, code: FaultCode = 'KERNEL'): Fault {
  if (error instanceof Error && 'fault' in error) return { step, ...(error.fault as Fault) };
  if (isKernelError(error)) {
    const { message, code: errno, syscall, object } = error;
    // native/nsfile.h: the path leads to another namespace than the one that is meant.
    if (errno === 'ESTALE') {
      const another = `another network namespace is mounted at ${object}`;
      return { code: 'NOT_A_NAMESPACE', message: another, step, errno, syscall, object };
    }
    return whyDenied({ code, message, step, errno, syscall, object });
  }
  return { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error), step };
}

/** What Node says when a file of ours cannot be written. Anything else is passed on as it is. */
export function unwritable(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return error;
  return new EffectError({ code: 'STATE_UNWRITABLE', message: `cannot write: ${error.message}`, errno: error.code });
}
