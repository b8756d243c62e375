/**
 * The link that an uplink has made in the container's namespace: verifies, completes and returns it.
 *
 * Guarantees: success means that the program runs, and that its link exists, is up, and has the planned address and a default
 * route. For pasta it also means that the program itself holds every port that it must publish (pasta does not report a taken
 * port, unless all are taken). The link of slirp4netns is moved here from the namespace in which the program may make one, and
 * gets its addresses here. IPv6 addresses are usable at once (no duplicate address detection, podman#11062) and the same every
 * time, so router advertisements are not needed.
 * Limits: the holder of a port is unknown across pid namespaces; the port then counts as ours.
 */
import { portText } from '../../plan/ports/port-text.ts';
import type { UplinkVerify } from '../../plan/uplinks/uplink.ts';
import {
  isKernelError,
  type Address,
  type Link,
  type Outside,
  type PortProbe,
  type Route,
  type RtnlRequest,
} from '../../native/index.ts';
import type { ResolvedPort } from '../../state/container.ts';
import type { UplinkLink, UplinkStatus } from '../../state/uplink.ts';
import { FaultError } from '../../state/faults.ts';
import { isNoNamespace, type Kernel } from '../kernel.ts';
import { refuse } from '../refusal.ts';
import { findUplink } from './uplink-keeper.ts';

/** rtnetlink(7): RT_SCOPE_UNIVERSE. */
const GLOBAL = 0;

const isV6 = (address: string): boolean => address.includes(':');

export const verifyUplink =
  (kernel: Pick<Kernel, 'outside' | 'listening'>) =>
  async (input: UplinkVerify): Promise<UplinkLink> => {
    const { program, directory, netns, address, brings, ports } = input;
    const { kernel: native } = kernel.outside(input.outside);
    const status = findUplink(directory);
    if (status?.state !== 'ready') throw fault(`${program} does not run`, directory);
    if (brings !== null) await bringIn(native, input, brings, status);
    const link = await linkOf(native, input);
    const [addresses, routes] = await Promise.all([native.addresses(netns), native.routes(netns)]);
    const found = whatIsThere(link, addresses, routes);
    if (found.addresses.length === 0) throw fault(`${link.name} of ${program} has no address`, link.name);
    const planned = found.addresses.filter((one) => address === null || one.address === address.address);
    if (planned.length === 0) {
      throw fault(`${link.name} of ${program} does not have ${address?.address}/${address?.prefix}`, link.name);
    }
    if (planned.every(({ gateway }) => gateway === null)) {
      throw fault(`${link.name} of ${program} has no default route`, link.name);
    }
    await holdsPorts(kernel.listening(input.outside), program, status.child?.pid ?? 0, ports);
    return found;
  };

async function linkOf(native: Outside, { program, netns, link: name }: UplinkVerify): Promise<Link> {
  const taps = (await native.links(netns)).filter(({ kind }) => kind === 'tun');
  const link = name === null ? taps[0] : taps.find((tap) => tap.name === name);
  if (link === undefined) throw fault(`${program} is ready, but ${name ?? 'its link'} is not there`, name ?? netns);
  if (!link.up) throw fault(`${link.name} of ${program} is down`, link.name);
  return link;
}

/** Moves the link from the namespace in which slirp4netns has made it, unless it is here already; then adds what it lacks. */
async function bringIn(
  native: Outside,
  { netns, link }: UplinkVerify,
  { netnsFd, addresses }: NonNullable<UplinkVerify['brings']>,
  { child }: UplinkStatus,
): Promise<void> {
  if (link === null || child === null) return;
  const there = await native.link(link, netns).catch(failedIn(netns));
  if (there === null) {
    const own = `/proc/${child.pid}/fd/${netnsFd}`;
    const replies = await native.rtnl([{ op: 'link.set', name: link, netns }], own);
    // The link is nowhere; linkOf reports that.
    refuse(
      replies.filter(({ code }) => code !== 'ENODEV'),
      `${link} of pid ${child.pid}`,
    );
    if (replies.some(({ code }) => code === 'ENODEV')) return;
  }
  if (addresses.some(({ address }) => isV6(address))) {
    const path = `net/ipv6/conf/${link}`;
    await native.sysctlWrite(
      { [`${path}/accept_dad`]: '0', [`${path}/accept_ra`]: '0', [`${path}/disable_ipv6`]: '0' },
      netns,
    );
  }
  const replies = await native.rtnl(
    [
      { op: 'link.set', name: link, up: true },
      ...addresses.flatMap(({ address, prefix, gateway }): RtnlRequest[] => [
        { op: 'address.add', link, address, prefix },
        { op: 'route.add', destination: isV6(address) ? '::' : '0.0.0.0', prefix: 0, gateway, link },
      ]),
    ],
    netns,
  );
  refuse(
    replies.filter(({ code }) => code !== 'EEXIST'),
    `${link} in ${netns}`,
  );
}

function whatIsThere(link: Link, addresses: readonly Address[], routes: readonly Route[]): UplinkLink {
  const out = routes.filter(
    ({ link: index, prefix, gateway }) => index === link.index && prefix === 0 && gateway !== null,
  );
  const gatewayOf = (v6: boolean) => out.find(({ destination }) => destination.includes(':') === v6)?.gateway ?? null;
  return {
    name: link.name,
    mac: link.mac,
    mtu: link.mtu,
    addresses: addresses
      .filter(({ link: index, scope }) => index === link.index && scope === GLOBAL)
      .map(({ address, prefix }) => ({ address, prefix, gateway: gatewayOf(address.includes(':')) })),
  };
}

/**
 * Throws unless the program holds each port at its host address. A port for every address must be held in at least one family,
 * and by nobody else in any.
 */
async function holdsPorts(
  native: Outside,
  program: string,
  pid: number,
  ports: readonly ResolvedPort[],
): Promise<void> {
  const probes = ports.flatMap(probesOf);
  if (probes.length === 0) return;
  const held = new Set<string>();
  for (const { index, pid: holder, command } of await native.portProbe(probes)) {
    const name = nameOf(probes[index]);
    if (holder !== null && holder !== pid) {
      const owner = `pid ${holder} (${command})`;
      throw new FaultError('PORT_TAKEN', `port ${name} is in use by ${owner}`, { object: name, owner });
    }
    held.add(name);
  }
  const silent = probes.map(nameOf).find((name) => !held.has(name));
  if (silent !== undefined) throw fault(`${program} does not listen on ${silent}`, silent);
}

function probesOf({ protocol, hostIp, hostPort, range }: ResolvedPort): PortProbe[] {
  const families = ([4, 6] as const).filter((family) => hostIp === '' || hostIp.includes(':') === (family === 6));
  return families.flatMap((family) =>
    Array.from({ length: range }, (_, i): PortProbe => ({ protocol, family, address: hostIp, port: hostPort + i })),
  );
}

function nameOf(probe: PortProbe | undefined): string {
  const { address, port, protocol } = probe ?? { address: '', port: 0, protocol: 'tcp' };
  return portText(protocol, address, port);
}

/**
 * Handles the error of a call in the container's namespace: says so if the namespace is missing, else throws the error as it
 * is.
 */
export const failedIn =
  (netns: string) =>
  (error: unknown): never => {
    throw isKernelError(error) && isNoNamespace(error.code) ? fault(`there is no namespace at ${netns}`, netns) : error;
  };

const fault = (message: string, object: string) => new FaultError('UPLINK_FAILED', message, { object });
