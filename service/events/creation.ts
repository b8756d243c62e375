/**
 * Turns a create event into the input of a container machine: everything about a new container that is chosen or observed once,
 * so that its machine has nothing to look up.
 *
 * Guarantees: refuses what is impossible (a namespace of its own and a shared one at once, a process that has ended, joining
 * itself), with nothing changed. A shared namespace belongs to its first owner, however many containers share it in a chain.
 * Limits: the machines that grant addresses and ports decide whether these are free.
 */
import { identifyExit } from '../../effects/processes/exit-descriptor.ts';
import { isGone } from '../../effects/processes/process.ts';
import type { ContainerInput } from '../../machines/container/container-inputs.ts';
import { netnsName } from '../../plan/containers/attachment.ts';
import { processStartTime } from '../../native/index.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { AttachmentOptions, CreateEvent, NetnsSource } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import { DEFAULT_NETWORK } from '../../state/network.ts';
import { noSuchContainer, refuseAliases, wanted } from './events.ts';
import { wayOut, type UplinkPrograms } from './uplink-request.ts';

export interface Surroundings {
  bootId: string;
  instance: string;
  netnsDir: string;
  /** The outer publisher, which publishes ports one machine further out; null if there is none. */
  publisher: string | null;
  uplinks: UplinkPrograms;
  /** True for a daemon of an ordinary user. */
  rootless: boolean;
  /** A number above that of every earlier container. */
  generation: number;
  /** What every kernel name of the container is derived from; no other container has had it. */
  token: string;
  /** The uid of the caller; null for root and the daemon's own user. */
  uid: number | null;
  container(id: string): ContainerContext | undefined;
  /** Returns a network's name from its name, its id or the beginning of a unique id. Throws NO_SUCH_NETWORK. */
  networkName(text: string): string;
  /** Returns the path by which the outside at this path is known, null for the daemon's own. */
  outsideName(path: string): string | null;
}

export function planContainer(event: CreateEvent, around: Surroundings): ContainerInput {
  const { id } = event;
  const { generation } = around;
  const netns: NetnsSource = event.netns ?? { mode: 'new' };
  const pid = netns.mode === 'pid' ? netns.pid : event.bound_to;
  if (pid !== event.bound_to && event.bound_to !== undefined) {
    throw new FaultError('BAD_REQUEST', `container ${id} has the namespace of ${pid}: it is bound to that process`);
  }
  const request = { netns, ...requested(event, netns, around) };
  const { token } = around;
  const path = `${around.netnsDir}/${netnsName(token)}`;
  return {
    id,
    name: event.name ?? id,
    hostname: event.hostname ?? null,
    pod: event.pod ?? null,
    generation,
    owner: `${id}:${generation}`,
    token,
    bootId: around.bootId,
    createdAt: Date.now(),
    ...(around.uid === null ? {} : { uid: around.uid }),
    instance: around.instance,
    outside: outsideOf(event, around),
    netns: netns.mode === 'host' ? null : { path, owned: netns.mode === 'new', ...sourceOf(netns, id, around) },
    boundTo: boundTo(pid),
    ...(event.exit_fd === undefined ? {} : { exit: identifyExit(event.exit_fd) }),
    publisher: publisherOf(event, around),
    files: event.files ?? (event.dns_servers ?? event.extra_hosts) !== undefined,
    ...(event.dns_servers === undefined ? {} : { dnsServers: event.dns_servers }),
    ...(event.extra_hosts === undefined ? {} : { extraHosts: event.extra_hosts }),
    ...wayOut(event, around.uplinks, around.rootless && outsideOf(event, around) === null),
    ...(event.ports_reserved === true ? { portsReserved: true as const } : {}),
    request,
  };
}

/** Returns the process whose end is the container's end. */
export function boundTo(pid: number | undefined): ContainerContext['boundTo'] {
  if (pid === undefined) return null;
  try {
    return { pid, startTime: processStartTime(pid) };
  } catch (error) {
    if (!isGone(error)) throw error;
    throw new FaultError('NO_SUCH_PROCESS', `no process ${pid}`, { object: String(pid) });
  }
}

/** Returns the networks and ports as they will be attached. */
export function requested(
  event: CreateEvent,
  netns: NetnsSource,
  around: Pick<Surroundings, 'networkName' | 'outsideName' | 'publisher'>,
) {
  const usual: Record<string, AttachmentOptions> =
    event.uplink === undefined && ['new', 'pid'].includes(netns.mode) ? { [DEFAULT_NETWORK]: {} } : {};
  const asked = event.networks ?? usual;
  const networks: typeof asked = {};
  for (const [text, options] of Object.entries(asked)) {
    const name = around.networkName(text);
    if (Object.hasOwn(networks, name)) throw new FaultError('BAD_REQUEST', `network ${name} is named twice`);
    refuseAliases(options);
    networks[name] = options;
  }
  const ports = wanted(event.port_mappings ?? [], publisherOf(event, around));
  const shares = netns.mode === 'host' || netns.mode === 'container';
  if (shares && (Object.keys(networks).length > 0 || ports.length > 0)) {
    const whose = netns.mode === 'host' ? 'the host' : netns.id;
    throw new FaultError(
      'BAD_REQUEST',
      `container ${event.id} uses the namespace of ${whose}: it has no networks or ports of its own`,
    );
  }
  return { networks, ...(event.uplink === undefined ? {} : { uplink: event.uplink }), ports };
}

/**
 * Returns the outer publisher of a container; null in an outside of its own, where a container is published inside that outside
 * alone: a publisher leads to this machine's own addresses.
 */
function publisherOf(event: CreateEvent, around: Pick<Surroundings, 'outsideName' | 'publisher'>): string | null {
  return outsideOf(event, around) === null ? around.publisher : null;
}

const outsideOf = ({ outside }: CreateEvent, around: Pick<Surroundings, 'outsideName'>): string | null =>
  outside === undefined ? null : around.outsideName(outside);

/** Returns the path that a namespace is joined from, and its owner if it is shared. */
function sourceOf(netns: NetnsSource, id: string, around: Surroundings): { from: string | null; of: string | null } {
  if (netns.mode === 'path') return { from: netns.path, of: null };
  if (netns.mode !== 'container') return { from: null, of: null };
  if (netns.id === id) throw new FaultError('BAD_REQUEST', `container ${id} cannot join its own namespace`);
  const target = around.container(netns.id);
  if (target === undefined) throw noSuchContainer(netns.id);
  if (target.netns === null) {
    throw new FaultError('BAD_REQUEST', `container ${netns.id} is in the host's namespace: use netns host`);
  }
  return { from: target.netns.path, of: target.netns.of ?? target.owner };
}
