/**
 * Operations as traces: each request, operation, nested machine and effect is a span (docs/traces.md, docs/decisions/0053).
 *
 * Guarantees: the spans are those of the actors that run: an effect begins when XState starts its actor, and ends when that
 * resolves, rejects or is left. The work of a shared machine is a part of the first work that waits for it; whatever else waits
 * for it until its end has a link to it. What a shared machine does while nobody waits, such as its regular look at the kernel, is
 * no span. No machine, snapshot or answer depends on a trace.
 * Limits: who asks a shared machine is known by the asynchronous context of the request (AsyncLocalStorage), and counts while it
 * waits for the answer. The pauses between two attempts (`backOff`) have no span.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Attributes } from '@opentelemetry/api';
import type { AnyActorLogic, AnyActorRef, InspectionEvent, PromiseActorLogic } from 'xstate';
import { NOBODY } from '../../effects/ask.ts';
import { ROOT, toFault, type Moment } from '../../effects/effect.ts';
import { faultOf } from '../../machines/contract.ts';
import { stateName } from '../../plan/states.ts';
import type { Check } from '../../state/answers/doctor.ts';
import type { ContainerActor } from '../records/snapshot.ts';
import type { Caller, Connection } from './otlp.ts';
import { attributesOf, Operations, Request } from './operations.ts';
import { underWay, Work } from './work.ts';

/** Names the machines of containers, and those that run inside them. All others are shared. */
const OWN = new Set(['container', 'attachment', 'uplink']);

type PromiseLogic = PromiseActorLogic<unknown>;

/** Describes a request to a shared machine that is waiting for its answer. */
interface Waiting {
  work: Work;
  from: AnyActorRef;
}

export class Traces {
  readonly #connection: Connection;
  readonly #operations: Operations;
  /** Knows the work in which code runs, also after it has waited; it is null in an effect that is no span. */
  readonly #current = new AsyncLocalStorage<Work | null>();
  readonly #effects = new WeakMap<AnyActorRef, Work>();
  readonly #waiting = new WeakMap<AnyActorRef, Waiting[]>();

  constructor(connection: Connection) {
    this.#connection = connection;
    this.#operations = new Operations(connection);
  }

  /** Runs what a client has requested: an event for a container, or something else, which is given its name. */
  async request<T>(
    what: string | { container: string; event: string },
    attributes: Attributes,
    caller: Caller,
    work: () => Promise<T>,
  ): Promise<T> {
    const beginning = { caller: this.#connection.caller(caller), attributes };
    const name = `cleat.${typeof what === 'string' ? what : what.event}`;
    const mine =
      typeof what === 'string'
        ? new Work(this.#connection, name, beginning)
        : new Request(what, this.#connection, name, beginning);
    const accepted = () => mine instanceof Request && mine.accepted;
    try {
      const result = await this.#current.run(mine, work);
      if (!accepted()) mine.end();
      return result;
    } catch (error) {
      if (!accepted()) mine.end(toFault(error, name));
      throw error;
    }
  }

  /** Returns the same actors, each of which is a span while it runs. `machine` is the name of the one that invokes them. */
  actors<Actors extends Record<string, AnyActorLogic>>(machine: string, actors: Actors): Actors {
    const observed = Object.entries(actors).map(([name, logic]) => {
      if (!isPromise(logic)) return [name, logic];
      return [name, name === 'backOff' ? this.#pause(machine, logic) : this.#effect(machine, name, logic)];
    });
    return Object.fromEntries(observed) as Actors;
  }

  /** Notes that an effect has come so far. */
  reached(effect: AnyActorRef, moment: Moment): void {
    this.#effects.get(effect)?.waited(moment);
  }

  /** Notes who asks a shared machine from now on. */
  watch(machine: AnyActorRef): void {
    machine.system.inspect((inspection: InspectionEvent) => {
      if (inspection.type !== '@xstate.event' || inspection.actorRef !== machine) return;
      const { from } = inspection.event as { from?: AnyActorRef };
      const work = underWay(this.#current.getStore());
      if (from === undefined || from === NOBODY || work === null) return;
      this.#waiting.set(machine, [...this.#waitingFor(machine), { work, from }]);
    });
  }

  checks(): Check[] {
    return [this.#connection.check()];
  }

  /** Sends what has not been sent yet, as far as it goes within `ms`. */
  async close(ms: number): Promise<void> {
    this.#operations.interrupt();
    await this.#connection.close(ms);
  }

  #effect(machine: string, name: string, logic: PromiseLogic): PromiseLogic {
    const ended = (actor: AnyActorRef, next: { status: string; error: unknown }) => {
      const work = this.#effects.get(actor);
      if (work === undefined) return;
      work.end(next.status === 'error' ? faultOf(next.error) : null, abandoned(next.status));
      const root = actor.system.get(ROOT) as AnyActorRef | undefined;
      if (root === undefined || OWN.has(machine)) return;
      for (const other of this.#waitingFor(root)) if (other.work !== work.parent) other.work.waitedFor(work);
    };
    return {
      ...logic,
      start: (state, scope) => {
        const work = state.status === 'active' ? this.#begin(machine, name, scope.self) : null;
        if (work !== null) this.#effects.set(scope.self, work);
        try {
          this.#current.run(work, () => logic.start?.(state, scope));
        } catch (error) {
          work?.end(toFault(error, name));
          throw error;
        }
      },
      transition: (state, event, scope) => {
        const next = logic.transition(state, event, scope);
        if (state.status === 'active' && next.status !== 'active') ended(scope.self, next);
        return next;
      },
    };
  }

  /** Returns the pause such that what a container does after it is another attempt. */
  #pause(machine: string, logic: PromiseLogic): PromiseLogic {
    if (!OWN.has(machine)) return logic;
    return {
      ...logic,
      transition: (state, event, scope) => {
        const next = logic.transition(state, event, scope);
        if (next.status === 'done') this.#operations.again(scope.system.get(ROOT) as ContainerActor);
        return next;
      },
    };
  }

  /** Returns null if the machine has been stopped, and for what a shared machine does while nobody waits for it. */
  #begin(machine: string, name: string, actor: AnyActorRef): Work | null {
    const root = actor.system.get(ROOT) as AnyActorRef | undefined;
    if (root === undefined) return null;
    const cause = this.#current.getStore();
    if (!OWN.has(machine)) {
      const parent = this.#waitingFor(root)[0]?.work;
      if (parent === undefined) return null;
      const network = machine === 'network' ? { 'cleat.network': root.id } : {};
      const attributes = { 'cleat.machine': machine, 'cleat.state': stateName(stateOf(root)), ...network };
      return new Work(this.#connection, name, { parent, attributes });
    }
    const container = root as ContainerActor;
    const children = container.getSnapshot().children as Record<string, AnyActorRef | undefined>;
    const parent =
      machine === 'container'
        ? this.#operations.of(container, cause)
        : this.#operations.nested(machine, container, cause);
    const state = stateName(stateOf((machine === 'container' ? container : children[machine]) ?? container));
    const attributes = { ...attributesOf(container), 'cleat.machine': machine, 'cleat.state': state };
    return new Work(this.#connection, name, { parent, attributes });
  }

  /** Returns the requests to a shared machine that wait for their answer. */
  #waitingFor(machine: AnyActorRef): Waiting[] {
    const all = this.#waiting.get(machine) ?? [];
    return all.filter(({ work, from }) => !work.over && stateOf(from).status === 'active');
  }
}

const isPromise = (logic: AnyActorLogic): logic is PromiseLogic =>
  'config' in logic && typeof logic.config === 'function';

/** Tells an effect whose state is left: its actor is stopped, its body goes on, and the next effect waits for the end of that. */
const abandoned = (status: string): Attributes => (status === 'stopped' ? { 'cleat.abandoned': true } : {});

const stateOf = (actor: AnyActorRef) => actor.getSnapshot() as { status: string; value: unknown; children: unknown };
