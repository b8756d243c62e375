/**
 * A container's network in the words of `docker inspect` and `podman inspect`: NetworkSettings.
 *
 * Guarantees: pure, and made of whatever there is: it never fails, and networks asked for that have no address yet are
 * listed with their id. Every field is there, each in the type that Docker's and Podman's clients decode; no gateway is
 * "", never "<nil>". Families are independent. Networks and ports are in order.
 * Limits: nothing is exposed without being published. What has no meaning here (EndpointID, SandboxID, Bridge, the
 * link-local fields) is empty, as Podman has it.
 */
import { familyOf } from '../machines/plan/address.ts';
import type { ContainerContext } from '../state/container.ts';
import { DEFAULT_NETWORK } from '../state/network.ts';
import type { Interface } from './joined-interfaces.ts';

interface Address {
  Addr: string;
  PrefixLength: number;
}

/** Podman's InspectBasicNetworkConfig: its fields are the container's, and those of each of its networks. */
interface BasicConfig {
  EndpointID: string;
  Gateway: string;
  IPAddress: string;
  IPPrefixLen: number;
  SecondaryIPAddresses: Address[];
  IPv6Gateway: string;
  GlobalIPv6Address: string;
  GlobalIPv6PrefixLen: number;
  SecondaryIPv6Addresses: Address[];
  MacAddress: string;
  /** Spelled so in Podman's JSON. */
  AdditionalMACAddresses: string[];
}

interface NetworkEntry extends BasicConfig {
  NetworkID: string;
  DriverOpts: null;
  /** What was asked for, one address per family, as Docker has it. */
  IPAMConfig: { IPv4Address?: string; IPv6Address?: string } | null;
  Links: null;
  Aliases: string[];
}

interface HostPort {
  HostIp: string;
  HostPort: string;
}

export interface NetworkSettings extends BasicConfig {
  Bridge: string;
  SandboxID: string;
  HairpinMode: boolean;
  LinkLocalIPv6Address: string;
  LinkLocalIPv6PrefixLen: number;
  Ports: Record<string, HostPort[]>;
  SandboxKey: string;
  Networks: Record<string, NetworkEntry>;
}

export type Settled = Pick<
  ContainerContext,
  'attachments' | 'uplink' | 'request' | 'ports' | 'configured' | 'netns' | 'identity'
>;

/**
 * `networkId` is asked about networks that are not attached. `seen`: what a joined namespace was found to have, null
 * where nobody looked; then the container's own fields are those of the default network, if that is its only one.
 */
export function networkSettings(
  container: Settled,
  networkId: (network: string) => string,
  seen: readonly Interface[] | null,
): NetworkSettings {
  const Networks = networksOf(container, networkId);
  const [only] = container.attachments;
  const alone = Object.keys(Networks).length === 1 && only?.network === DEFAULT_NETWORK;
  const { netns, identity, uplink } = container;
  const made = uplink?.made ?? null;
  const own = alone ? [planned(only)] : made === null ? [] : [made];
  return {
    ...basicConfig(seen ?? own),
    Bridge: '',
    SandboxID: '',
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    Ports: portsOf(container),
    SandboxKey: netns === null || identity === null ? '' : netns.path,
    Networks,
  };
}

function networksOf({ attachments, request }: Settled, networkId: (network: string) => string) {
  const attached = new Map(attachments.map((attachment) => [attachment.network, attachment]));
  const names = [...new Set([...attached.keys(), ...Object.keys(request.networks)])].sort();
  const entries = names.map((name): [string, NetworkEntry] => {
    const attachment = attached.get(name);
    const asked = request.networks[name];
    const entry = {
      ...basicConfig(attachment === undefined ? [] : [planned(attachment)]),
      NetworkID: attachment?.networkId ?? networkId(name),
      DriverOpts: null,
      IPAMConfig: staticAddresses(asked?.static_ips ?? []),
      Links: null,
      Aliases: attachment?.aliases ?? asked?.aliases ?? [],
    };
    return [name, entry];
  });
  return Object.fromEntries(entries);
}

const planned = ({ link, mac, addresses }: ContainerContext['attachments'][number]): Interface => ({
  name: link,
  mac,
  addresses,
});

/** The first address of each family is the address; interfaces come in their order. */
function basicConfig(interfaces: readonly Interface[]): BasicConfig {
  const addresses = interfaces.flatMap((one) => one.addresses);
  const [v4, ...more4] = addresses.filter(({ address }) => familyOf(address) === 4);
  const [v6, ...more6] = addresses.filter(({ address }) => familyOf(address) === 6);
  // A tun has none.
  const [mac, ...moreMacs] = interfaces.map((one) => one.mac).filter((one) => one !== '');
  const further = (all: typeof addresses): Address[] =>
    all.map(({ address, prefix }) => ({ Addr: address, PrefixLength: prefix }));
  return {
    EndpointID: '',
    Gateway: v4?.gateway ?? '',
    IPAddress: v4?.address ?? '',
    IPPrefixLen: v4?.prefix ?? 0,
    SecondaryIPAddresses: further(more4),
    IPv6Gateway: v6?.gateway ?? '',
    GlobalIPv6Address: v6?.address ?? '',
    GlobalIPv6PrefixLen: v6?.prefix ?? 0,
    SecondaryIPv6Addresses: further(more6),
    MacAddress: mac ?? '',
    AdditionalMACAddresses: moreMacs,
  };
}

function staticAddresses(addresses: readonly string[]): NetworkEntry['IPAMConfig'] {
  const v4 = addresses.find((address) => familyOf(address) === 4);
  const v6 = addresses.find((address) => familyOf(address) === 6);
  if (v4 === undefined && v6 === undefined) return null;
  return { ...(v4 === undefined ? {} : { IPv4Address: v4 }), ...(v6 === undefined ? {} : { IPv6Address: v6 }) };
}

/** Every port by itself, what is published; before configure what will be ("0": a port still to be chosen). */
function portsOf({ configured, ports, request }: Settled): Record<string, HostPort[]> {
  const listed = configured
    ? ports.map((port) => ({ ...port, hostIp: port.outerIp ?? port.hostIp }))
    : request.ports.map((port) => ({
        protocol: port.protocol ?? 'tcp',
        hostIp: port.host_ip ?? '',
        hostPort: port.host_port ?? 0,
        containerPort: port.container_port,
        range: port.range ?? 1,
      }));
  const singles = listed.flatMap(({ range, ...port }) =>
    Array.from({ length: range }, (_, i) => ({
      protocol: port.protocol,
      containerPort: port.containerPort + i,
      // Clients dial what they read here, and "" leads nowhere (podman#17780); Docker and Podman say 0.0.0.0.
      HostIp: port.hostIp === '' ? '0.0.0.0' : port.hostIp,
      HostPort: String(port.hostPort === 0 ? 0 : port.hostPort + i),
    })),
  );
  singles.sort((a, b) => a.containerPort - b.containerPort || (a.protocol < b.protocol ? -1 : 1));
  const byPort: Record<string, HostPort[]> = {};
  for (const { containerPort, protocol, HostIp, HostPort } of singles) {
    (byPort[`${containerPort}/${protocol}`] ??= []).push({ HostIp, HostPort });
  }
  return byPort;
}
