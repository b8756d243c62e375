/**
 * Assigns the entries of connection tracking to owners.
 *
 * Guarantees: pure. All processes of a namespace share its table; a container's share is recognised by its addresses.
 * Connections from addresses of a network that no container has count for the network, because an IPv6 subnet has too many
 * addresses to count them one by one. Link-local addresses and the unspecified one do not identify a network, so they have one
 * share together.
 * Limits: addresses that containers gave themselves share one share per network.
 */
import type { Attachment } from '../../state/container.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { withGateways } from '../networks/network.ts';

/** An owner with a share of the table. Both are null for sources that do not identify a network. */
export interface ConnectionOwner {
  id: string | null;
  network: string | null;
  /** Addresses in CIDR notation. */
  addresses: string[];
}

/** The sources outside the network's subnets that ruleset-sources.ts lets pass. */
const OF_NO_NETWORK = ['fe80::/10', '::/128', '0.0.0.0/32'];

/** Returns the owners; `exempt` has the addresses of this host in its networks. */
export function connectionOwners(
  containers: readonly { id: string; attachments: readonly Pick<Attachment, 'addresses'>[] }[],
  networks: readonly Pick<NetworkDefinition, 'name' | 'subnets'>[],
): { owners: ConnectionOwner[]; exempt: string[] } {
  const owners = [
    ...containers.map(({ id, attachments }) => ({
      id,
      network: null,
      addresses: attachments.flatMap(({ addresses }) => addresses.map(({ address }) => alone(address))),
    })),
    ...networks.map(({ name, subnets }) => ({
      id: null,
      network: name,
      addresses: subnets.map(({ subnet }) => subnet),
    })),
    { id: null, network: null, addresses: OF_NO_NETWORK },
  ];
  return { owners, exempt: networks.flatMap(withGateways).map(({ gateway }) => alone(gateway)) };
}

const alone = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`;
