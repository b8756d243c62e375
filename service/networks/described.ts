/**
 * Plans networks that engines describe, and makes the refusals that any network may meet before anything is made.
 *
 * Guarantees: pure; a refusal names the network and what stands in its way.
 */
import { planNetwork } from '../../plan/networks/network.ts';
import { FaultError } from '../../state/faults.ts';
import type { Engine, NetworkDefinition, NetworkRequest } from '../../state/network.ts';

/** Holds a network as the engine that keeps it describes it: with its id, and complete. */
export interface DescribedNetwork {
  engine: Engine;
  id: string;
  /** RFC 3339. */
  created: string;
  request: NetworkRequest;
}

export type PlannedNetwork = ReturnType<typeof planned>;

/** Throws the reason if there can be no such network. */
export function planned(request: NetworkRequest, around: Parameters<typeof planNetwork>[1]) {
  const plan = planNetwork(request, around);
  if ('fault' in plan) throw FaultError.of(plan.fault);
  return plan;
}

export const inUse = (name: string, owner: string): FaultError =>
  new FaultError('NETWORK_IN_USE', `network ${name} is being used by ${owner}`, { owner });

export const ofEngine = (
  { engine }: DescribedNetwork,
  { definition }: PlannedNetwork,
  created: string,
): NetworkDefinition => ({ ...definition, created, engine });

export function belongsToOthers({ name, engine }: NetworkDefinition): FaultError {
  const whose = engine === undefined ? 'a network of its own' : `a network of ${engine}'s`;
  return new FaultError(
    'NETWORK_EXISTS',
    `cleat has ${whose} that is called ${name}: one of the two needs another name`,
  );
}
