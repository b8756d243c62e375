/**
 * Foresees one event: walks the container's machine and those that it asks, from their present states to the end.
 *
 * Guarantees: the machines are those that run, and the requests between them are the code that makes them (effects/lease.ts,
 * effects/ask.ts), made to shadows. So an address or a port is granted or refused as it would be, and is held by nobody. The
 * kernel is only read: listeners on the host, MACs on a bridge, links in a namespace, the help of a program.
 * Limits: effects succeed (successes.ts). What others do meanwhile is unknown.
 */
import { createActor, toPromise, type AnyActorLogic, type AnyMachineSnapshot, type AnyStateMachine } from 'xstate';
import * as ask from '../../effects/ask.ts';
import { toFault } from '../../effects/effect.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { lease, type TermsOf } from '../../effects/lease.ts';
import type { containerMachine } from '../../machines/container/container.ts';
import type { ContainerEvent } from '../../machines/container/container-inputs.ts';
import type { Granted } from '../../plan/containers/change.ts';
import { containerIdOf } from '../../plan/owner.ts';
import { FaultError } from '../../state/faults.ts';
import type { PlanStep } from '../../state/answers/container/plan.ts';
import type { ResolvedPort } from '../../state/container.ts';
import type { Admitted } from '../containers/admission.ts';
import { givenBy, type Neighbours } from '../containers/neighbours.ts';
import type { Shared } from '../outsides/shared.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { outputOf, Shadow, type Invoked, type Walk } from './shadow.ts';
import { successOf } from './successes.ts';

export interface ForesightParts {
  machine: typeof containerMachine;
  shared: Pick<Shared, 'present' | 'refusal'>;
  neighbours: Neighbours;
  kernel: Kernel;
  termsOf: TermsOf;
}

export interface Foreseen {
  end: ContainerSnapshot;
  steps: PlanStep[];
  /** Holds what the networks and the outside would grant; null if nothing is asked of them. */
  granted: Granted | null;
}

interface Present {
  machine: AnyStateMachine;
  snapshot: AnyMachineSnapshot;
}

/** Walks the machine of one container, and holds the machines that it asks as shadows. */
class Foresight {
  readonly steps: PlanStep[] = [];
  granted: Granted | null = null;
  readonly #parts: ForesightParts;
  readonly #shadows = new Map<string, Shadow>();
  readonly #requests: Readonly<Record<string, AnyActorLogic>>;
  readonly #verdict: Promise<'taken' | 'kept'>;
  #judge: (verdict: 'taken' | 'kept') => void = () => {};

  constructor(parts: ForesightParts) {
    this.#parts = parts;
    this.#verdict = new Promise((resolve) => (this.#judge = resolve));
    const present = (outside: string | null) => parts.shared.present(outside);
    const directory: ask.Directory = {
      firewall: (outside) => this.#shadow('firewall', present(outside).firewall).asActor(),
      firewalld: (outside) => this.#shadow('firewalld', present(outside).firewalld).asActor(),
      ports: (outside) => this.#shadow('ports', present(outside).ports).asActor(),
      resolver: (outside) => this.#shadow('resolver', present(outside).resolver).asActor(),
      rootless: (outside) => {
        const now = present(outside).rootless();
        return now === null ? null : this.#shadow('rootless', () => now).asActor();
      },
      network: (outside, name) => {
        const now = present(outside).network(name);
        return now === null ? null : this.#shadow(`network ${name}`, () => now).asActor();
      },
      refusal: (name) => parts.shared.refusal(name),
    };
    this.#requests = {
      lease: lease(directory, this.#neighbours(), parts.kernel, { termsOf: parts.termsOf, granted: () => {} }),
      release: ask.release(directory, async () => {}),
      name: ask.name(directory),
      unname: ask.unname(directory),
      verifyFirewall: ask.verifyFirewall(directory),
      holdFirewall: ask.holdFirewall(directory),
      releaseFirewall: ask.releaseFirewall(directory),
    };
  }

  async run(admitted: Admitted): Promise<ContainerSnapshot> {
    const { machine } = this.#parts;
    const walk = this.#walk('container');
    const shadow =
      admitted.before === null
        ? Shadow.begin(machine, admitted.input, walk)
        : Shadow.of(machine, admitted.before, walk);
    if (admitted.before !== null) shadow.send(admitted.event);
    const end = (await shadow.settled()) as ContainerSnapshot;
    this.#judge(end.context.fault === null ? 'taken' : 'kept');
    // What the container has left goes on for itself: a bridge without users is lowered.
    for (let open = this.#open(); open.length > 0; open = this.#open())
      await Promise.all(open.map((other) => other.settled()));
    return end;
  }

  #open(): Shadow[] {
    return [...this.#shadows.values()].filter((shadow) => !shadow.isSettled);
  }

  #shadow(name: string, present: () => Present): Shadow {
    const known = this.#shadows.get(name);
    if (known !== undefined) return known;
    const { machine, snapshot } = present();
    const shadow = Shadow.of(machine, snapshot, this.#walk(name));
    this.#shadows.set(name, shadow);
    return shadow;
  }

  #walk(name: string): Walk {
    return { name, step: (step) => this.steps.push(step), answer: (invoked) => this.#answer(invoked) };
  }

  async #answer(invoked: Invoked): Promise<unknown> {
    const { src, input, signal } = invoked;
    if (invoked.machine !== null) return outputOf(invoked, this.#walk(src));
    if (src === 'awaitVerdict') return this.#verdict;
    const request = this.#requests[src];
    if (request === undefined) return succeed(src, input);
    const actor = createActor(request, { input }).start();
    signal.addEventListener('abort', () => actor.stop(), { once: true });
    const output: unknown = await toPromise(actor);
    if (src === 'lease') this.granted = output as Granted;
    return output;
  }

  #neighbours(): ask.NeighbourDirectory {
    const { neighbours, machine } = this.#parts;
    return {
      container: (owner) => neighbours.container(owner),
      holds: (owner, ports) => neighbours.holds(owner, ports),
      departures: (concerns) => {
        const gone = neighbours.departures(concerns);
        // What they had is free then: the machines are looked at again.
        return gone?.then(() => this.#shadows.clear()) ?? null;
      },
      yields: (giver: string, taker: string, ports: readonly ResolvedPort[]) => {
        const actor = neighbours.container(giver);
        if (actor === null) return null;
        const name = `container ${containerIdOf(giver)}`;
        const shadow = this.#shadow(name, () => ({ machine, snapshot: actor.getSnapshot() }));
        const asked: ContainerEvent = { type: 'yield', ports: [...ports], taker };
        shadow.send(asked);
        return givenBy(shadow.getSnapshot() as ContainerSnapshot, taker, ports);
      },
    };
  }
}

/** A program whose help cannot be read fails the effect, as it would. */
async function succeed(effect: string, input: unknown): Promise<unknown> {
  try {
    return await successOf(effect, input);
  } catch (error) {
    throw FaultError.of(toFault(error, effect));
  }
}

export async function foresee(parts: ForesightParts, admitted: Admitted): Promise<Foreseen> {
  const foresight = new Foresight(parts);
  const end = await foresight.run(admitted);
  const { steps, granted } = foresight;
  return { end, steps, granted };
}
