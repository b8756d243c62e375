/**
 * A changed definition on its way to the machines of its network, one outside after another.
 *
 * Guarantees: all of them have it, or all have the old one again and the fault of the first that refused is returned.
 * What a crash interrupted is brought to one end or the other: whatever the file of the definition says by then.
 * Limits: on the way back who cannot follow is asked again later, by the network's machine itself.
 */
import { createActor, fromCallback, waitFor, type AnyActorRef, type EventObject } from 'xstate';
import { whenStopped } from '../effects/ask.ts';
import type { NetworkAnswer } from '../machines/network.ts';
import type { Fault } from '../state/faults.ts';
import type { NetworkDefinition } from '../state/network.ts';

export interface UpdateParts {
  /** The machines that there are at this moment. */
  machines(): AnyActorRef[];
  /** What is found from now on, and on disk as soon as that can be. */
  revert(definition: NetworkDefinition): void;
}

export async function updateMachines(
  parts: UpdateParts,
  before: NetworkDefinition,
  next: NetworkDefinition,
): Promise<Fault | null> {
  const fault = await tellAll(parts, next, false);
  if (fault !== null) await goBack(parts, before);
  return fault;
}

/** After a start: the machines have gone on by themselves; when one of them went back, so do the others. */
export async function finishUpdate(parts: UpdateParts, now: () => NetworkDefinition): Promise<void> {
  const machines = parts.machines();
  await Promise.all(machines.map((machine) => waitFor(machine, (state: Resting) => state.hasTag('rest'))));
  const wanted = now();
  const apart = machines.some((machine) => (machine.getSnapshot() as Resting).context.definition !== wanted);
  if (apart) await goBack(parts, wanted);
}

interface Resting {
  hasTag(tag: string): boolean;
  context: { definition: NetworkDefinition };
}

async function goBack(parts: UpdateParts, before: NetworkDefinition): Promise<void> {
  parts.revert(before);
  await tellAll(parts, before, true);
}

/** Those too that come while we are at it: a machine of another outside begins with what is recorded by then. */
async function tellAll(parts: UpdateParts, definition: NetworkDefinition, insist: boolean): Promise<Fault | null> {
  for (const machine of parts.machines()) {
    const { context } = machine.getSnapshot() as Resting;
    if (context.definition === definition) continue;
    const answer = await ask(machine, definition, insist);
    if (answer.type === 'refused' && !insist) return answer.fault;
  }
  return null;
}

function ask(machine: AnyActorRef, definition: NetworkDefinition, insist: boolean): Promise<NetworkAnswer> {
  return new Promise((resolve) => {
    const answered = (answer: NetworkAnswer) => {
      end();
      resolve(answer);
    };
    const from = createActor(
      fromCallback<EventObject>(({ receive }) => receive((event) => answered(event as NetworkAnswer))),
    ).start();
    let end = () => {};
    end = whenStopped(machine, (fault) => answered({ type: 'refused', network: definition.name, fault }));
    machine.send({ type: 'update', definition, insist, owner: 'update', from });
  });
}
