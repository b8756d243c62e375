/**
 * Whose the entries of connection tracking are.
 *
 * Guarantees: pure. The table of a namespace is shared by everybody in it; a container's share is told by its addresses.
 * Connections from addresses of a network that no container has count for the network: an IPv6 subnet has more addresses
 * than can be counted one by one. Link-local addresses and the unspecified one do not say which network they are of, so
 * these have one share together.
 * Limits: on a network, addresses that containers gave themselves share one share, whoever uses them.
 */
import type { Attachment } from '../../state/container.ts';
import type { NetworkDefinition } from '../../state/network.ts';

/** An owner with a share of the table. Both are null for sources that do not tell their network. */
export interface ConnectionOwner {
  id: string | null;
  network: string | null;
  /** In CIDR notation. */
  addresses: string[];
}

/** The sources that ruleset-sources.ts lets pass besides those of the network. */
const OF_NO_NETWORK = ['fe80::/10', '::/128', '0.0.0.0/32'];

/** `exempt`: this host, which has an address in every network. */
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
  return { owners, exempt: networks.flatMap(({ subnets }) => subnets.map(({ gateway }) => alone(gateway))) };
}

const alone = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`;
