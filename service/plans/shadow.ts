/**
 * Walks a machine with XState's pure transition function: a shadow takes events and answers them as the machine itself would, from
 * its present state on, and nothing happens.
 *
 * Guarantees: no effect runs and no actor starts. What a state invokes is answered by `answer`; what is under way in the present
 * state, too. An answer of the machine goes only to those who asked the shadow: in its context are others, who asked the machine
 * itself. An answer for a state that was left meanwhile is dropped, as XState does.
 * Limits: a pause between two attempts (`backOff`) ends only if somebody waits for an answer: it has no length. Emitted events
 * are nobody's.
 */
import { initialTransition, transition, type AnyActorRef, type AnyMachineSnapshot, type AnyStateMachine } from 'xstate';
import { stateName } from '../../plan/states.ts';
import type { PlanStep } from '../../state/answers/container/plan.ts';

/** Describes what a state has invoked. */
export interface Invoked {
  src: string;
  input: unknown;
  /** Holds the machine that it is; null for an effect or a request. */
  machine: AnyStateMachine | null;
  /** Holds the state that this machine is in already; null if it has just begun. */
  underWay: AnyMachineSnapshot | null;
  /** Aborts when the state is left. */
  signal: AbortSignal;
}

export interface Walk {
  /** Names the machine in the steps. */
  name: string;
  /** Gets each step as it is taken. */
  step: (step: PlanStep) => void;
  /** Resolves or rejects as what a state has invoked. */
  answer: (invoked: Invoked) => unknown;
}

interface Message {
  type: string;
  output?: unknown;
  error?: unknown;
  actorId?: string;
}
interface Observer {
  error?: (defect: unknown) => void;
}
type Move = readonly [AnyMachineSnapshot, readonly { type: string; params: unknown }[]];

/** Names the wait between two attempts: an operation that gets there has come to rest. */
const PAUSE = 'backOff';
/** Exceeds what the longest path of any machine takes, with as many networks as a request may name. */
const MOST_STEPS = 100_000;

export class Shadow {
  readonly #machine: AnyStateMachine;
  readonly #walk: Walk;
  /** Holds those who wait for an answer. */
  readonly #askers = new Set<unknown>();
  readonly #observers = new Set<Observer>();
  /** Holds what is under way. */
  readonly #answering = new Map<AnyActorRef, AbortController>();
  #snapshot: AnyMachineSnapshot;
  #taken = 0;
  #settled: (() => void)[] = [];

  private constructor(machine: AnyStateMachine, snapshot: AnyMachineSnapshot, walk: Walk) {
    this.#machine = machine;
    this.#snapshot = snapshot;
    this.#walk = walk;
  }

  /** Returns the shadow of a machine in this state. */
  static of(machine: AnyStateMachine, snapshot: AnyMachineSnapshot, walk: Walk): Shadow {
    const shadow = new Shadow(machine, snapshot, walk);
    shadow.#answerThose(new Map(), true);
    return shadow;
  }

  /** Returns the shadow of a machine that has just begun. */
  static begin(machine: AnyStateMachine, input: unknown, walk: Walk): Shadow {
    const [snapshot] = initialTransition(machine, input) as Move;
    const shadow = new Shadow(machine, snapshot, walk);
    shadow.#note('', new Map());
    shadow.#answerThose(new Map(), false);
    return shadow;
  }

  /** A shadow is asked as the machine is. */
  asActor(): AnyActorRef {
    return this as unknown as AnyActorRef;
  }

  getSnapshot(): AnyMachineSnapshot {
    return this.#snapshot;
  }

  /** A request learns of a defect in this way, as from the machine. */
  subscribe(observer: Observer): { unsubscribe(): void } {
    this.#observers.add(observer);
    return { unsubscribe: () => this.#observers.delete(observer) };
  }

  send(message: Message): void {
    if ('from' in message && isActor(message.from)) this.#askers.add(message.from);
    this.#take(message);
  }

  /** Resolves with the state in which nothing is under way any more, or in which a defect has stopped it. */
  async settled(): Promise<AnyMachineSnapshot> {
    while (!this.isSettled) await new Promise<void>((resolve) => this.#settled.push(resolve));
    return this.#snapshot;
  }

  get isSettled(): boolean {
    return this.#answering.size === 0;
  }

  /** Ends the walk: the machine that has invoked this one has left the state. */
  stop(): void {
    this.#snapshot = { ...this.#snapshot, status: 'stopped' } as AnyMachineSnapshot;
    this.#leave(new Map());
  }

  #take(message: Message): void {
    if (this.#snapshot.status !== 'active') return;
    const before = this.#snapshot;
    const [next, actions] = this.#next(message);
    this.#snapshot = next;
    if (next.status === 'error') return this.#fail();
    const running = childrenOf(before);
    this.#note(stateName(before), running);
    this.#leave(next.status === 'active' ? childrenOf(next) : new Map());
    for (const { type, params } of actions) if (type === 'xstate.sendTo') this.#reply(params);
    this.#answerThose(running, false);
    this.#goOn();
  }

  /** XState throws some defects, and has others in the snapshot. */
  #next(message: Message): Move {
    try {
      if (++this.#taken > MOST_STEPS) throw new Error(`the path of ${this.#walk.name} has no end`);
      return transition(this.#machine, this.#snapshot, message) as Move;
    } catch (error) {
      return [{ ...this.#snapshot, status: 'error', error } as AnyMachineSnapshot, []];
    }
  }

  #fail(): void {
    for (const { error } of this.#observers) error?.(this.#snapshot.error);
    this.#leave(new Map());
  }

  #note(before: string, running: ReadonlyMap<string, AnyActorRef>): void {
    const { name, step } = this.#walk;
    const state = stateName(this.#snapshot);
    const begun = begunIn(running, this.#snapshot).map(([, child]) => invokedBy(child));
    const effects = begun.filter(({ machine }) => machine === null);
    if (effects.length === 0 && state !== before) step({ machine: name, state });
    for (const { src, input } of effects) {
      step({ machine: name, state, effect: src, ...(input === undefined ? {} : { input: plain(input) }) });
    }
  }

  #reply(params: unknown): void {
    const { to, event } = params as { to: AnyActorRef; event: Message };
    if (this.#askers.delete(to)) to.send(event);
  }

  /** `underWay`: they run already. */
  #answerThose(running: ReadonlyMap<string, AnyActorRef>, underWay: boolean): void {
    for (const [id, child] of begunIn(running, this.#snapshot)) {
      const invoked = invokedBy(child);
      if (invoked.src === PAUSE) continue;
      const machine = underWay && invoked.machine !== null ? (child.getSnapshot() as AnyMachineSnapshot) : null;
      this.#begin(id, child, { ...invoked, underWay: machine });
    }
  }

  #begin(id: string, child: AnyActorRef, invoked: Omit<Invoked, 'signal'>): void {
    const left = new AbortController();
    this.#answering.set(child, left);
    void this.#answer(id, child, { ...invoked, signal: left.signal });
  }

  /** Ends a pause for whom nothing else would answer. */
  #goOn(): void {
    if (this.#askers.size === 0 || this.#answering.size > 0 || this.#snapshot.status !== 'active') return;
    for (const [id, child] of childrenOf(this.#snapshot))
      this.#begin(id, child, { ...invokedBy(child), underWay: null });
  }

  /** Aborts what is under way and does not run any more. */
  #leave(running: ReadonlyMap<string, AnyActorRef>): void {
    const still = new Set(running.values());
    for (const [child, left] of this.#answering) {
      if (still.has(child)) continue;
      this.#answering.delete(child);
      left.abort();
    }
    this.#tell();
  }

  async #answer(id: string, child: AnyActorRef, invoked: Invoked): Promise<void> {
    const event = await this.#outcome(id, invoked);
    if (!this.#answering.delete(child)) return; // the state was left
    this.#take(event);
    this.#tell();
  }

  #tell(): void {
    if (!this.isSettled) return;
    const waiting = this.#settled;
    this.#settled = [];
    for (const resolve of waiting) resolve();
  }

  async #outcome(id: string, invoked: Invoked): Promise<Message> {
    try {
      const output: unknown = await this.#walk.answer(invoked);
      return { type: `xstate.done.actor.${id}`, actorId: id, output };
    } catch (error) {
      return { type: `xstate.error.actor.${id}`, actorId: id, error };
    }
  }
}

/** Walks a machine that a state has invoked, and resolves with its output. */
export async function outputOf({ machine, input, underWay, signal }: Invoked, walk: Walk): Promise<unknown> {
  if (machine === null) throw new Error(`${walk.name} is no machine`);
  const shadow = underWay === null ? Shadow.begin(machine, input, walk) : Shadow.of(machine, underWay, walk);
  signal.addEventListener('abort', () => shadow.stop(), { once: true });
  const end = await shadow.settled();
  if (end.status === 'error') throw end.error;
  return end.output as unknown;
}

const isActor = (from: unknown): boolean => typeof (from as { send?: unknown } | null)?.send === 'function';

const childrenOf = ({ children }: AnyMachineSnapshot): Map<string, AnyActorRef> =>
  new Map(
    Object.entries(children as Record<string, AnyActorRef | undefined>).flatMap(([id, c]) => (c ? [[id, c]] : [])),
  );

/** Returns what runs now and did not run before. */
const begunIn = (running: ReadonlyMap<string, AnyActorRef>, snapshot: AnyMachineSnapshot): [string, AnyActorRef][] =>
  snapshot.status === 'active' ? [...childrenOf(snapshot)].filter(([id, child]) => running.get(id) !== child) : [];

/** XState has both in the actor: its logic, and the options that it was made with. */
function invokedBy(child: AnyActorRef): Omit<Invoked, 'underWay' | 'signal'> {
  const { src, logic, options } = child as unknown as { src: string; logic: object; options?: { input?: unknown } };
  return { src, input: options?.input, machine: 'root' in logic ? (logic as AnyStateMachine) : null };
}

const plain = (input: unknown): Record<string, unknown> => JSON.parse(JSON.stringify(input)) as Record<string, unknown>;
