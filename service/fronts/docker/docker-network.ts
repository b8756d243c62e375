/**
 * Shows a network as Docker's clients read it.
 *
 * Guarantees: pure. What is shown can be asked for again (docker-create.ts): a subnet's range is the block that it was made of, and
 * options have Docker's names where it has one.
 * Limits: routes, name servers, and whether there is DNS have no place in Docker's answer. A range that is no block of addresses has
 * none either.
 */
import { hasBridge } from '../../../plan/networks/driver.ts';
import { familyOf, hostRange, parseSubnet, toNumber, toText } from '../../../plan/addresses/address.ts';
import type { DockerEndpointResource, DockerNetwork } from '../../../state/answers/docker.ts';
import type { ContainerContext, LeasedAddress } from '../../../state/container.ts';
import type { NetworkDefinition, Subnet } from '../../../state/network.ts';

/** The part of a container that matters here. */
type OnNetworks = Pick<ContainerContext, 'id' | 'name' | 'attachments'>;

/** `containers`: all of them, or none for a list, in which Docker shows none. */
export function dockerNetwork(definition: NetworkDefinition, containers: readonly OnNetworks[]): DockerNetwork {
  const { name, id, created, driver, subnets, ipv6_enabled, internal, labels, ipam_options: ipam } = definition;
  return {
    Name: name,
    Id: id,
    Created: created,
    Scope: 'local',
    Driver: driver,
    EnableIPv4: subnets.some(({ subnet }) => familyOf(subnet) === 4),
    EnableIPv6: ipv6_enabled,
    IPAM: { Driver: ipam.driver === 'none' ? 'null' : 'default', Options: {}, Config: v4First(subnets).map(configOf) },
    Internal: internal,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: Object.fromEntries(containers.flatMap((container) => endpointsOf(container, id))),
    Options: optionsOf(definition),
    Labels: labels,
  };
}

/** Scripts take the first one for that of IPv4, as it is in Docker. */
const v4First = (subnets: readonly Subnet[]): Subnet[] =>
  [...subnets].sort((a, b) => familyOf(a.subnet) - familyOf(b.subnet));

function endpointsOf({ id, name, attachments }: OnNetworks, networkId: string): [string, DockerEndpointResource][] {
  const attachment = attachments.find((one) => one.networkId === networkId);
  if (attachment === undefined) return [];
  const first = (family: 4 | 6) => attachment.addresses.find(({ address }) => familyOf(address) === family);
  return [
    [
      id,
      {
        Name: name,
        EndpointID: '',
        MacAddress: attachment.mac,
        IPv4Address: withPrefix(first(4)),
        IPv6Address: withPrefix(first(6)),
      },
    ],
  ];
}

const withPrefix = (one: LeasedAddress | undefined): string =>
  one === undefined ? '' : `${one.address}/${one.prefix}`;

function configOf({ subnet, gateway, lease_range: range }: Subnet): DockerNetwork['IPAM']['Config'][number] {
  const block = range === undefined ? null : blockOf(subnet, range);
  return {
    Subnet: subnet,
    ...(block === null ? {} : { IPRange: block }),
    ...(gateway === undefined ? {} : { Gateway: gateway }),
  };
}

/** Returns the block whose addresses for hosts are this range; null if there is none. */
function blockOf(subnet: string, { start_ip, end_ip }: NonNullable<Subnet['lease_range']>): string | null {
  const { family, first, prefix } = parseSubnet(subnet);
  const hosts = hostRange(parseSubnet(subnet));
  const start = start_ip === undefined ? hosts.first : toNumber(start_ip);
  const end = end_ip === undefined ? hosts.last : toNumber(end_ip);
  for (let length = family === 4 ? 32 : 128; length >= prefix; length--) {
    const size = 1n << BigInt((family === 4 ? 32 : 128) - length);
    const base = start - (start % size);
    if (base < first || base + size - 1n < end) continue;
    const clipped = {
      start: base < hosts.first ? hosts.first : base,
      end: base + size - 1n > hosts.last ? hosts.last : base + size - 1n,
    };
    return clipped.start === start && clipped.end === end ? `${toText(base, family)}/${length}` : null;
  }
  return null;
}

function optionsOf({ driver, network_interface: link, options }: NetworkDefinition): Record<string, string> {
  const { mtu, mode, outbound_addr4: out4, outbound_addr6: out6, ...others } = options;
  const isBridge = hasBridge({ driver }) || driver === 'netavark';
  const named: Record<string, string | undefined> = {
    ...others,
    [isBridge ? 'com.docker.network.bridge.name' : 'parent']: link === '' ? undefined : link,
    'com.docker.network.driver.mtu': mtu,
    'com.docker.network.host_ipv4': out4,
    'com.docker.network.host_ipv6': out6,
    [driver === 'macvlan' || driver === 'ipvlan' ? `${driver}_mode` : 'mode']: mode,
  };
  return Object.fromEntries(
    Object.entries(named).flatMap(([name, text]) => (text === undefined ? [] : [[name, text]])),
  );
}
