/**
 * The events of the network's machine, and the inputs of its effects and requests.
 *
 * Guarantees: an input has everything that its effect needs, taken from the context alone. If the definition has no MTU,
 * effects get it with the MTU of the route to the outside, or of an unmanaged bridge. Only the definition itself is written
 * to disk.
 * Limits: nothing is decided here. network-setup.ts and plan/ decide.
 */
import type { NetworkDefinition } from '../state/network.ts';
import type { Peer } from '../state/overlay.ts';
import type { Lease } from '../state/container.ts';
import type { AttachmentOptions } from '../state/event.ts';
import type { Fault } from '../state/faults.ts';
import type { Requester } from './contract.ts';
import type { Cursors, Leases } from '../plan/networks/lease.ts';
import { bridgeMac } from '../plan/addresses/neighbours.ts';
import { isExternal } from '../plan/networks/external.ts';
import { isUnmanaged, type BridgeSeen, type Seen } from '../plan/networks/unmanaged.ts';
import { asFound, type WayOut } from '../plan/networks/way-out.ts';

export interface NetworkInput {
  definition: NetworkDefinition;
  /** The definition before an update that a crash interrupted; null if none was under way. */
  previous: NetworkDefinition | null;
  outside: string | null;
  wayOut: WayOut;
  /** The bridge of an unmanaged network as it was last read; null if the bridge is ours or has not been read. */
  bridge: BridgeSeen | null;
  /** The other hosts of an overlay, as far as they are known; none of any other network. */
  peers: readonly Peer[];
  /** Leases found in snapshots: their containers are attached, so the bridge exists. */
  adopted: Leases;
  /** True if a crash may have left the bridge without users: it is then lowered. */
  recovering: boolean;
}

/** A request for another definition. `insist`: it is not rolled back; a container that cannot follow is tried again. */
export interface Update {
  definition: NetworkDefinition;
  insist: boolean;
}

/** The change from one definition to another (`context.definition`), until the bridge and all containers have it. */
interface Revision {
  /** The definition that the bridge and containers may still have. */
  from: NetworkDefinition;
  /** The definition that all return to if one container cannot follow; null if the revision is not rolled back. */
  back: NetworkDefinition | null;
  asker: Requester | null;
  /** True if containers may have a default route with the metric of another definition. */
  remetric: boolean;
  /** The reason why the requested definition is not in place; null if it is, or may yet be. */
  fault: Fault | null;
}

export interface NetworkContext {
  definition: NetworkDefinition;
  previous: NetworkDefinition | null;
  outside: string | null;
  /** The MTU of the route by which traffic leaves the outside. A network without an MTU of its own has it. */
  wayOut: WayOut;
  /** The bridge of an unmanaged network as it was last read: its MTU and addresses are the network's. Otherwise null. */
  bridge: BridgeSeen | null;
  /** True if `wayOut` or `bridge` now gives another MTU, or other name servers, than the bridge and containers have. */
  remeasured: boolean;
  /** The other hosts of an overlay. */
  peers: readonly Peer[];
  /** True if the kernel may have other entries than those for `peers`. */
  repeered: boolean;
  leases: Leases;
  cursors: Cursors;
  /** The requests that have a lease but no answer yet, because the bridge is not up. */
  waiting: readonly (Requester & { options: AttachmentOptions })[];
  /** The update that begins as soon as nothing else is under way. */
  asked: (Requester & Update) | null;
  revision: Revision | null;
  recovering: boolean;
  fault: Fault | null;
  attempts: number;
}

export type NetworkEvent =
  | ({ type: 'join'; options: AttachmentOptions } & Requester)
  | ({ type: 'leave' } & Requester)
  | ({ type: 'update' } & Update & Requester)
  /** Traffic leaves the outside by another route, or the route has another MTU. */
  | { type: 'wayOut'; wayOut: WayOut }
  /** The bridge of an unmanaged network has another MTU or other addresses. */
  | { type: 'bridge'; bridge: BridgeSeen }
  /** Other hosts have joined or left the overlay, or have changed. */
  | { type: 'peers'; peers: readonly Peer[] }
  /** Others have changed the bridge. */
  | { type: 'drifted' };

export type NetworkAnswer =
  /** `definition`: the one that the lease is of. */
  | { type: 'leased'; network: string; lease: Lease; definition: NetworkDefinition }
  | { type: 'refused'; network: string; fault: Fault }
  | { type: 'left'; network: string }
  | { type: 'updated'; network: string };

export interface RaiseInput {
  definition: Seen;
  /** MAC of the bridge. */
  mac: string;
  outside: string | null;
  /** True if the bridge belongs to others: it must not be made, changed or removed. */
  unmanaged?: boolean;
}

export interface ReviseInput {
  from: NetworkDefinition;
  to: Seen;
  mac: string;
  outside: string | null;
  /** True if the bridge belongs to others: it must not be made, changed or removed. */
  unmanaged?: boolean;
}

export interface HoldInput {
  network: string;
  /** Null for an external network: firewalld is not told of what its program makes. */
  bridge: string | null;
  outside: string | null;
}

export interface FanOutInput {
  network: string;
  outside: string | null;
  leases: Leases;
  remetric: boolean;
}

type Args = { context: NetworkContext };

/** Returns a definition, that of the context by default, with what is known of the kernel and of other hosts. */
export const foundIn = (
  { definition, wayOut, bridge, peers }: NetworkContext,
  which: NetworkDefinition = definition,
): Seen => asFound(which, wayOut, bridge, peers);

export const recordInput = ({ context }: Args): RaiseInput => ({
  ...raiseInput({ context }),
  definition: context.definition,
});

export const raiseInput = ({ context }: Args): RaiseInput => ({
  definition: foundIn(context),
  mac: bridgeMac(context.definition.id),
  outside: context.outside,
  unmanaged: isUnmanaged(context.definition),
});

export const holdInput = ({ context }: Args): HoldInput => ({
  network: context.definition.name,
  bridge: isExternal(context.definition) ? null : context.definition.network_interface,
  outside: context.outside,
});

export const reviseInput = ({ context }: Args): ReviseInput => ({
  from: context.revision?.from ?? context.definition,
  to: foundIn(context),
  mac: bridgeMac(context.definition.id),
  outside: context.outside,
  unmanaged: isUnmanaged(context.definition),
});

/** Leaves out containers that wait for this machine: they have no link yet, and come to rest only after its answer. */
export const fanOutInput = ({ context }: Args): FanOutInput => {
  const waiting = new Set(context.waiting.map(({ owner }) => owner));
  const leases = new Map([...context.leases].filter(([owner]) => !waiting.has(owner)));
  const { definition, outside, revision } = context;
  return { network: definition.name, outside, leases, remetric: revision?.remetric ?? false };
};
