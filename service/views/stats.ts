/**
 * The traffic of each interface of a container, counted by the kernel since the interface was made.
 *
 * Guarantees: every interface but loopback, sorted by name, whoever made it; all counters of each. All containers that share a
 * namespace have the same counters, and see the network of each interface, whichever container it belongs to. Without a namespace
 * (netns host) the interfaces are null, which is no error. For ports that a forwarder carries, the forwarder's own numbers: how
 * many connections there are and may be.
 * Limits: a counter is a number of 53 bits.
 */
import { isLeaving } from '../../plan/states.ts';
import { listForwards, type ForwarderPlaces, type Forwards } from '../../effects/forwarder/forwarder.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { inPool } from '../../effects/pool.ts';
import type { Link } from '../../native/index.ts';
import type { ContainerContext } from '../../state/container.ts';
import { FaultError } from '../../state/faults.ts';
import type { ContainerStats, ForwarderStats, InterfaceStats } from '../../state/answers/container/stats.ts';
import type { Containers } from '../containers/containers.ts';
import { noSuchContainer } from '../events/events.ts';
import { LOOPBACK_INDEX } from './joined-interfaces.ts';
import { lookInside, type Look } from '../watch/inside-look.ts';

export interface StatsParts {
  containers: Pick<Containers, 'get' | 'all'>;
  kernel: Kernel;
  forwarder: ForwarderPlaces;
}

/** The number of namespaces that are read at once. The thread that reads them also makes networks. */
const AT_ONCE = 8;

export async function statsOf(parts: StatsParts, id: string): Promise<ContainerStats> {
  const context = parts.containers.get(id)?.context;
  if (context === undefined) throw noSuchContainer(id);
  const look = await lookAtLinks(parts, context);
  if (look !== null && !('seen' in look)) {
    const now = parts.containers.get(id);
    if (now === undefined || isLeaving(now)) throw noSuchContainer(id); // it is leaving, or went during the look
    const { path, why, errno, syscall } = look;
    throw new FaultError('KERNEL', `the namespace of ${id} at ${path} cannot be read: ${why}`, {
      object: path,
      ...(errno === undefined ? {} : { errno }),
      ...(syscall === undefined ? {} : { syscall }),
    });
  }
  const forwarder = await forwarderOf(context, (outside) => listForwards(parts.forwarder)(outside, context.owner));
  return answer(context, look, networksByNamespace(parts), forwarder);
}

/** Returns the statistics of all containers; null for interfaces of a namespace that cannot be read, or has gone meanwhile. */
export async function statsOfAll(parts: StatsParts): Promise<ContainerStats[]> {
  const contexts = parts.containers.all().map(({ context }) => context);
  const networks = networksByNamespace(parts);
  const answers: ContainerStats[] = [];
  const asked = new Map<string | null, Promise<Forwards | null>>();
  const list = (outside: string | null): Promise<Forwards | null> => {
    const known = asked.get(outside) ?? listForwards(parts.forwarder)(outside);
    asked.set(outside, known);
    return known;
  };
  await inPool(AT_ONCE, contexts.entries(), async ([i, context]) => {
    const forwarder = await forwarderOf(context, list);
    answers[i] = answer(context, await lookAtLinks(parts, context), networks, forwarder);
  });
  return answers;
}

function lookAtLinks({ kernel }: StatsParts, context: ContainerContext): Promise<Look<Link[]> | null> {
  return lookInside(kernel, context, (native, path) => native.links(path));
}

type ByNamespace = ReadonlyMap<string, ReadonlyMap<string, string>>;

const keyOf = ({ identity }: ContainerContext): string => (identity === null ? '' : `${identity.dev}:${identity.ino}`);

/**
 * Returns the network of each interface that cleat has made, per namespace. A container that shares one has no interfaces of its
 * own.
 */
function networksByNamespace({ containers }: StatsParts): ByNamespace {
  const all = new Map<string, Map<string, string>>();
  for (const { context } of containers.all()) {
    const here = all.get(keyOf(context)) ?? new Map<string, string>();
    for (const { link, network } of context.attachments) here.set(link, network);
    const { uplink } = context;
    if (uplink?.made) here.set(uplink.made.name, uplink.settings.program);
    all.set(keyOf(context), here);
  }
  return all;
}

/** Returns null if the container has no such port, or the forwarder does not answer, as in `interfaces`. */
async function forwarderOf(
  { owner, outside, portHandler, ports }: ContainerContext,
  list: (outside: string | null) => Promise<Forwards | null>,
): Promise<ForwarderStats | null> {
  if (portHandler !== 'forwarder' || ports.length === 0) return null;
  const found = await list(outside).catch(() => null);
  const limits = found?.limits;
  if (!limits) return null;
  const has = found.owners.find((one) => one.owner === owner);
  return {
    connections: has?.connections ?? 0,
    most_connections: limits.connections,
    flows: has?.flows ?? 0,
    most_flows: limits.flows,
    full: found.rules
      .filter((rule) => rule.owner === owner && rule.full)
      .map(({ host_port, protocol }) => `${host_port}/${protocol}`),
  };
}

function answer(
  context: ContainerContext,
  look: Look<Link[]> | null,
  networks: ByNamespace,
  forwarder: ForwarderStats | null,
): ContainerStats {
  const read = new Date().toISOString();
  if (look === null || !('seen' in look)) return { id: context.id, read, interfaces: null, forwarder };
  const here = networks.get(keyOf(context));
  const entries = look.seen
    .filter(({ index }) => index !== LOOPBACK_INDEX)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, statistics }): [string, InterfaceStats] => [
      name,
      {
        network: here?.get(name) ?? null,
        rx_bytes: statistics.rxBytes,
        rx_packets: statistics.rxPackets,
        rx_errors: statistics.rxErrors,
        rx_dropped: statistics.rxDropped,
        tx_bytes: statistics.txBytes,
        tx_packets: statistics.txPackets,
        tx_errors: statistics.txErrors,
        tx_dropped: statistics.txDropped,
      },
    ]);
  return { id: context.id, read, interfaces: Object.fromEntries(entries), forwarder };
}
