/**
 * A container's network in the format of `docker inspect` and `podman inspect`: NetworkSettings.
 *
 * Guarantees: pure, and made of whatever exists: it never fails, and requested networks that have no address yet are listed with
 * their id. Every field is there, in the type that Docker's and Podman's clients decode; a missing gateway is "", never "<nil>".
 * Families are independent. Networks and ports are in order.
 * Limits: nothing is exposed without being published. Fields without a meaning here (EndpointID, SandboxID, Bridge, the
 * link-local fields) are empty, as in Podman.
 */
import { familyOf } from '../../plan/addresses/address.ts';
import type { BasicConfig, NetworkEntry, NetworkSettings } from '../../state/answers/container/network-settings.ts';
import type { ContainerContext } from '../../state/container.ts';
import { DEFAULT_NETWORK } from '../../state/network.ts';
import type { Interface } from './joined-interfaces.ts';

export type Settled = Pick<
  ContainerContext,
  'attachments' | 'uplink' | 'request' | 'ports' | 'configured' | 'netns' | 'identity'
>;

/**
 * Returns the settings of a container. `networkId` is called for networks that are not attached. `seen`: the interfaces found in
 * a joined namespace, null if none were read; then the container's own fields are those of the default network, if that is its
 * only one.
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

/** The first address of each family is the main one. Interfaces keep their order. */
function basicConfig(interfaces: readonly Interface[]): BasicConfig {
  const addresses = interfaces.flatMap((one) => one.addresses);
  const [v4, ...more4] = addresses.filter(({ address }) => familyOf(address) === 4);
  const [v6, ...more6] = addresses.filter(({ address }) => familyOf(address) === 6);
  // A tun has no MAC.
  const [mac, ...moreMacs] = interfaces.map((one) => one.mac).filter((one) => one !== '');
  const further = (all: typeof addresses): BasicConfig['SecondaryIPAddresses'] =>
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

/** Lists each published port by itself. Before configure, lists the requested ports ("0": a port still to be chosen). */
function portsOf({ configured, ports, request }: Settled): NetworkSettings['Ports'] {
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
      // Clients connect to the address they read here, and "" leads nowhere (podman#17780). Docker and Podman write 0.0.0.0.
      HostIp: port.hostIp === '' ? '0.0.0.0' : port.hostIp,
      HostPort: String(port.hostPort === 0 ? 0 : port.hostPort + i),
    })),
  );
  singles.sort((a, b) => a.containerPort - b.containerPort || (a.protocol < b.protocol ? -1 : 1));
  const byPort: NetworkSettings['Ports'] = {};
  for (const { containerPort, protocol, HostIp, HostPort } of singles) {
    (byPort[`${containerPort}/${protocol}`] ??= []).push({ HostIp, HostPort });
  }
  return byPort;
}
