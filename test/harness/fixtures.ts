/**
 * The containers, networks and leases of machine tests.
 *
 * Guarantees: the same input gives the same names and addresses, so a path that was found once is found again.
 * Limits: syntax is right, meaning is not checked: tests change these on purpose.
 */
import type { ContainerInput } from '../../machines/container/container-inputs.ts';
import { netnsName } from '../../plan/containers/attachment.ts';
import { tokenFrom } from '../../service/records/token.ts';
import type { Lease, ResolvedPort } from '../../state/container.ts';
import type { PortMapping } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { SlirpSettings } from '../../state/uplink.ts';

export const TOKEN = '0123456789abcdef0123456789abcdef';
/** Pins of the instance `main`, one for each digit: the auditor knows them by their names. */
export const pinOf = (digit: string): string => `/run/cleat/${netnsName(tokenFrom('main', digit.repeat(24)))}`;
export const FAULT: Fault = { code: 'KERNEL', message: 'the kernel said no', errno: 'EIO' };

export function definition(
  name: string,
  subnet: string,
  gateway: string,
  more: Partial<NetworkDefinition> = {},
): NetworkDefinition {
  return {
    name,
    id: Buffer.from(name).toString('hex').padEnd(64, '0').slice(0, 64),
    driver: 'bridge',
    network_interface: `cl-${name}`.slice(0, 15),
    created: '2025-01-01T00:00:00.000Z',
    subnets: [{ subnet, gateway }],
    routes: [],
    ipv6_enabled: subnet.includes(':'),
    internal: false,
    dns_enabled: false,
    labels: {},
    options: {},
    network_dns_servers: [],
    ipam_options: { driver: 'host-local' },
    ...more,
  };
}

/** Holds what plugins answer for an external network. */
export const ANSWER = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:99', sandbox: '/run/netns/x' }],
  ips: [{ address: '10.99.0.2/24', gateway: '10.99.0.1', interface: 0 }],
};

/** The lease of a network of CNI plugins, one of which can publish ports. */
export const externalLease = (network: string): Lease => ({
  ...leaseOf(network),
  bridge: '',
  addresses: [],
  mac: '',
  unmanaged: true,
  defaultMetric: null,
  terms: {
    driver: 'cni',
    file: `/etc/cni/net.d/${network}.conflist`,
    list: { cniVersion: '1.0.0', name: network, plugins: [{ type: 'portmap', capabilities: { portMappings: true } }] },
    path: ['/opt/cni/bin'],
  },
});

export function containerInput(more: Partial<ContainerInput> = {}): ContainerInput {
  return {
    id: 'c1',
    name: 'c1',
    hostname: null,
    pod: null,
    owner: 'c1:7',
    generation: 7,
    token: TOKEN,
    bootId: 'boot',
    createdAt: 1_700_000_000_000,
    instance: 'main',
    outside: null,
    netns: { path: pinOf('1'), owned: true, from: null, of: null },
    boundTo: null,
    publisher: null,
    files: false,
    request: { netns: { mode: 'new' }, networks: {}, ports: [] },
    ...more,
  };
}

const ADDRESSES: Record<string, string> = { web: '10.89.0.2', back: '10.89.1.2', inner: '10.89.2.2' };

/** `inner` is an internal network. */
export function leaseOf(network: string): Lease {
  const address = ADDRESSES[network] ?? '10.89.9.2';
  const internal = network === 'inner';
  return {
    network,
    networkId: 'f'.repeat(64),
    bridge: `cl-${network}`,
    addresses: [{ address, prefix: 24, gateway: internal ? null : address.replace(/\d+$/, '1') }],
    mac: '02:00:00:00:00:0a',
    mtu: null,
    routes: [],
    defaultMetric: internal ? null : 100,
    internal,
    dns: null,
  };
}

/** The arguments of slirp4netns without any options. */
export const SLIRP: SlirpSettings = {
  program: 'slirp4netns',
  file: '/usr/bin/slirp4netns',
  cidr: '10.0.2.0/24',
  mtu: 65_520,
  ipv6: false,
  hostLoopback: false,
  outboundAddr: null,
  outboundAddr6: null,
};

export const resolve = (mapping: PortMapping): ResolvedPort => ({
  protocol: mapping.protocol ?? 'tcp',
  hostIp: mapping.host_ip ?? '',
  hostPort: mapping.host_port ?? 49_152,
  containerPort: mapping.container_port,
  range: mapping.range ?? 1,
  outerIp: null,
});
