/**
 * Sends a changed definition to the machines of its network, one outside after another.
 *
 * Guarantees: either all machines have the new definition, or all have the old one again and the fault of the first that refused
 * is returned. An update that a crash interrupted ends one way or the other: the file of the definition decides which.
 * Limits: a machine that cannot go back at once is retried later, by the network's machine itself.
 */
import { waitFor, type AnyActorRef } from 'xstate';
import { request } from '../../effects/ask.ts';
import { faultOf } from '../../machines/contract.ts';
import { FaultError, type Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';

export interface UpdateParts {
  /** Returns the machines that exist at this moment. */
  machines(): AnyActorRef[];
  /** Makes this the definition that is found from now on, and writes it to disk as soon as possible. */
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

/**
 * Gives all machines the definition, whatever they say: what cannot follow is tried again by the machine itself. Throws if one of them
 * has not taken it, as one does whose bridge could not be repaired just then: the caller insists again.
 */
export async function insistOn(parts: UpdateParts, next: NetworkDefinition): Promise<void> {
  const fault = await tellAll(parts, next, true);
  const apart = parts.machines().some((machine) => (machine.getSnapshot() as Resting).context.definition !== next);
  if (apart)
    throw FaultError.of(fault ?? { code: 'NETWORK_UPDATE_FAILED', message: `network ${next.name} has not followed` });
}

/** Called after a start. The machines have continued by themselves; if one of them went back, the others go back too. */
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

/** Includes machines that appear meanwhile: the machine of another outside begins with the definition recorded by then. */
async function tellAll(parts: UpdateParts, definition: NetworkDefinition, insist: boolean): Promise<Fault | null> {
  let refused: Fault | null = null;
  for (const machine of parts.machines()) {
    const { context } = machine.getSnapshot() as Resting;
    if (context.definition === definition) continue;
    const fault = await request(machine, { type: 'update', definition, insist, owner: 'update' }).then(
      () => null,
      faultOf,
    );
    if (fault !== null && !insist) return fault;
    refused ??= fault;
  }
  return refused;
}
