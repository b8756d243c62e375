/**
 * MAC addresses of a network: their holders, and an automatic one for a container that requested none.
 *
 * Guarantees: pure; the same owner gets the same MAC on the same network as long as nobody else has it. The gateway is the
 * bridge, so its MAC is the network's.
 * Limits: links that others have put on the bridge are unknown here; effects/lease.ts checks those.
 */
import { bridgeMac } from './neighbours.ts';
import { containerIdOf } from '../owner.ts';
import type { Lease } from '../../state/container.ts';
import type { NetworkDefinition } from '../../state/network.ts';

/** Finds who has a MAC. */
export interface MacHolders {
  /** Returns the id of a container, "network NAME" for the bridge, or "link NAME" for a parent that was read. */
  get(mac: string): string | undefined;
  has(mac: string): boolean;
}

export function macHolders(
  {
    id,
    name,
    network_interface: link,
    parentMac,
  }: Pick<NetworkDefinition, 'id' | 'name' | 'network_interface'> & { parentMac?: string },
  leases: ReadonlyMap<string, Pick<Lease, 'mac'>>,
): MacHolders {
  const bridge = bridgeMac(id);
  // Looks at each lease: a map by MAC would be made for one question.
  const get = (mac: string): string | undefined => {
    if (mac === parentMac) return `link ${link}`;
    if (mac === bridge) return `network ${name}`;
    for (const [owner, lease] of leases) if (lease.mac === mac) return containerIdOf(owner);
    return undefined;
  };
  return { get, has: (mac) => get(mac) !== undefined };
}

const BITS = (1n << 40n) - 1n;

/**
 * Returns 02 (locally administered, unicast; IEEE 802) and 40 bits of a hash of `seed`. If that is taken, counts up to the next
 * free one.
 */
export function automaticMac(seed: string, taken: { has(mac: string): boolean }): string {
  for (let bits = fnv1a(seed) & BITS; ; bits = (bits + 1n) & BITS) {
    const mac = ['02', ...(bits.toString(16).padStart(10, '0').match(/../g) ?? [])].join(':');
    if (!taken.has(mac)) return mac;
  }
}

/** FNV-1a of 64 bits (draft-eastlake-fnv), its upper half folded into the lower. */
function fnv1a(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const character of text) {
    hash = ((hash ^ BigInt(character.codePointAt(0) ?? 0)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return hash ^ (hash >> 32n);
}

/** Returns the MAC of a host's VTEP in an overlay: the same as long as both have their ids. */
export const vtepMac = (networkId: string, host: string): string =>
  automaticMac(`${networkId} ${host}`, { has: () => false });
