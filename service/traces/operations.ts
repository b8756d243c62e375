/**
 * The operations of containers as spans, and what runs for them: nested machines, retries.
 *
 * Guarantees: an operation is the work of one event on one container, from its request (or from its first effect, if no client
 * requested it) until the container is at rest. The request that a client has made of it becomes the operation, so that the
 * client's span is its parent. An operation that cleat itself began while other work waits for it, such as a network's update, is
 * a part of that work.
 * Limits: an operation of our own without an effect has no span. What the kernel finishes after a teardown is a part of the
 * teardown, later than its end. A retry is a trace of its own with a link to what it follows.
 */
import type { Attributes } from '@opentelemetry/api';
import type { AnyActorRef } from 'xstate';
import { until } from '../../effects/until.ts';
import { rests, stateName } from '../../plan/states.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import { wordOf } from '../containers/process-endings.ts';
import { defectOf, type ContainerActor, type ContainerSnapshot } from '../records/snapshot.ts';
import { underWay, Work, type SpanSource } from './work.ts';

/** Is a request of a client for an event on a container. */
export class Request extends Work {
  readonly container: string;
  readonly event: string;
  /** It is true when the machine of the container has accepted the request, which then ends as the operation does. */
  accepted = false;

  constructor(
    { container, event }: { container: string; event: string },
    ...beginning: ConstructorParameters<typeof Work>
  ) {
    super(...beginning);
    this.container = container;
    this.event = event;
  }

  /** Returns true if this is the request for the operation that has begun in a container. */
  isFor({ id, operation }: Pick<ContainerContext, 'id' | 'operation'>): boolean {
    return !this.accepted && this.container === id && this.event === wordOf(operation);
  }
}

interface Operation {
  n: number;
  work: Work;
  /** It is true when a pause before the next attempt is over. */
  again: boolean;
  /** It is true when its effects run at rest, at the end of a teardown: another one that is accepted meanwhile begins nothing. */
  ends: boolean;
}

export class Operations {
  readonly #spans: SpanSource;
  readonly #last = new WeakMap<ContainerActor, Operation>();
  readonly #nested = new WeakMap<AnyActorRef, Work>();
  /** Has the operations that have not ended. */
  readonly #open = new Set<Work>();

  constructor(spans: SpanSource) {
    this.#spans = spans;
  }

  /** Returns the operation that an effect of this container belongs to. `cause` is the work in which the effect begins. */
  of(root: ContainerActor, cause: Work | null | undefined): Work {
    const last = this.#last.get(root);
    const now = root.getSnapshot();
    const { n } = now.context.operation;
    const ends = rests(now);
    if (last !== undefined && !last.again && (last.n === n || (last.ends && ends))) {
      last.ends = ends;
      return last.work;
    }
    const work = last?.n === n ? this.#retry(root, last.work) : this.#begin(root, underWay(cause));
    this.#last.set(root, { n, work, again: false, ends });
    this.#open.add(work);
    const over = (snapshot: ContainerSnapshot) => rests(snapshot) || snapshot.context.operation.n !== n;
    void until(root, over).then((reached) => {
      this.#open.delete(work);
      const snapshot = reached ?? root.getSnapshot();
      const { operation } = snapshot.context;
      if (operation.n === n) work.end(faultOf(snapshot), { 'cleat.state': stateName(snapshot) });
      else work.end({ code: 'SUPERSEDED', message: `overtaken by ${wordOf(operation)}` });
    });
    return work;
  }

  /** Returns the machine that runs in a container's machine under this name: a part of the operation, until it ends. */
  nested(name: string, root: ContainerActor, cause: Work | null | undefined): Work {
    const operation = this.of(root, cause);
    const actor = (root.getSnapshot().children as Record<string, AnyActorRef | undefined>)[name];
    if (actor === undefined) return operation;
    const known = this.#nested.get(actor);
    if (known !== undefined) return known;
    const { context } = actor.getSnapshot() as { context: Inner };
    const network = context.attachment?.network;
    const attributes: Attributes = {
      ...attributesOf(root),
      ...(network === undefined ? {} : { 'cleat.network': network }),
      ...(context.verb === undefined ? {} : { 'cleat.verb': context.verb }),
    };
    const work = new Work(this.#spans, name, { parent: operation, attributes });
    this.#nested.set(actor, work);
    void until<Ended>(actor, ({ status }) => status !== 'active').then((last) => work.end(last?.output?.fault));
    return work;
  }

  /** Says that a pause before the next attempt is over: what begins now is that attempt. */
  again(root: ContainerActor): void {
    const last = this.#last.get(root);
    if (last !== undefined) last.again = true;
  }

  /** Ends what has not ended when the daemon does: the next one continues it in a trace of its own. */
  interrupt(): void {
    for (const work of this.#open) work.end(null, { 'cleat.interrupted': true });
  }

  #begin(root: ContainerActor, cause: Work | null): Work {
    const { context } = root.getSnapshot();
    const { operation } = context;
    if (cause instanceof Request && cause.isFor(context)) {
      cause.accepted = true;
      cause.waited('accept');
      cause.set(attributesOf(root));
      return cause;
    }
    const network = operation.network === null ? {} : { 'cleat.network': operation.network };
    const attributes = { ...attributesOf(root), ...network };
    return new Work(this.#spans, `cleat.${wordOf(operation)}`, { parent: cause, attributes });
  }

  #retry(root: ContainerActor, follows: Work): Work {
    return new Work(this.#spans, 'cleat.retry', { follows, attributes: attributesOf(root) });
  }
}

/** Has the parts of a nested machine's context and last state that matter here. */
interface Inner {
  attachment?: { network: string };
  verb?: string;
}
interface Ended {
  status: string;
  output?: { fault?: Fault | null };
}

export function attributesOf(root: ContainerActor): Attributes {
  const { id, generation } = root.getSnapshot().context;
  return { 'container.id': id, 'cleat.generation': generation };
}

function faultOf(snapshot: ContainerSnapshot): Fault | null {
  const { id, fault, leftovers } = snapshot.context;
  return defectOf(snapshot, `container ${id}`) ?? fault ?? leftovers[0] ?? null;
}
