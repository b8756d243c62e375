/**
 * What the effects and questions of the network's machine are given.
 *
 * Guarantees: everything an effect needs is in its input, taken from the context alone. Effects get the definition with the
 * MTU that the network has by its way out, or by a bridge of others; what is written down is the definition alone.
 * Limits: what is decided is in network-setup.ts and plan/.
 */
import type { NetworkDefinition } from '../state/network.ts';
import type { NetworkContext } from './network-setup.ts';
import type { Leases } from './plan/lease.ts';
import { bridgeMac } from './plan/neighbours.ts';
import { isUnmanaged } from './plan/unmanaged.ts';
import { asFound } from './plan/way-out.ts';

export interface RaiseInput {
  definition: NetworkDefinition;
  /** MAC of the bridge. */
  mac: string;
  outside: string | null;
  /** The bridge is others': it is not to be made, changed or taken away. */
  unmanaged?: boolean;
}

export interface ReviseInput {
  from: NetworkDefinition;
  to: NetworkDefinition;
  mac: string;
  outside: string | null;
  /** The bridge is others': it is not to be made, changed or taken away. */
  unmanaged?: boolean;
}

export interface HoldInput {
  network: string;
  bridge: string;
  outside: string | null;
}

export interface FanOutInput {
  network: string;
  outside: string | null;
  leases: Leases;
  remetric: boolean;
}

type Args = { context: NetworkContext };

export const recordInput = ({ context }: Args): RaiseInput => ({
  ...raiseInput({ context }),
  definition: context.definition,
});

export const raiseInput = ({ context }: Args): RaiseInput => ({
  definition: asFound(context.definition, context.wayOut, context.bridge),
  mac: bridgeMac(context.definition.id),
  outside: context.outside,
  unmanaged: isUnmanaged(context.definition),
});

export const holdInput = ({ context }: Args): HoldInput => ({
  network: context.definition.name,
  bridge: context.definition.network_interface,
  outside: context.outside,
});

export const reviseInput = ({ context }: Args): ReviseInput => ({
  from: context.revision?.from ?? context.definition,
  to: asFound(context.definition, context.wayOut, context.bridge),
  mac: bridgeMac(context.definition.id),
  outside: context.outside,
  unmanaged: isUnmanaged(context.definition),
});

/** Those who wait have nothing yet that could be changed, and wait for us: not to be waited for. */
export const fanOutInput = ({ context }: Args): FanOutInput => {
  const waiting = new Set(context.waiting.map(({ owner }) => owner));
  const leases = Object.fromEntries(Object.entries(context.leases).filter(([owner]) => !waiting.has(owner)));
  const { definition, outside, revision } = context;
  return { network: definition.name, outside, leases, remetric: revision?.remetric ?? false };
};
