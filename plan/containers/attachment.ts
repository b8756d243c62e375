/**
 * Turns a lease into everything that an attachment will make: names, links, routes. Also names a container's namespace.
 *
 * Guarantees: pure; derived from the container's token, so the same inputs name the same kernel objects for ever, and two
 * generations never share a name. Interface names inside are the lowest ethN free in the snapshot and the kernel. The
 * attachment whose default route has the lowest metric is the primary: outgoing traffic and published ports use it.
 */
import type { Attachment, ContainerContext, Lease } from '../../state/container.ts';
import type { AttachmentOptions } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import type { PortHandler } from '../../state/uplink.ts';
import { carrierOf, externalOf } from '../external/external.ts';
import { follows } from '../networks/lease.ts';
import { ownNames } from '../names/names.ts';

/** Returns netns-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, the CNI form for pinned namespaces. */
export function netnsName(token: string): string {
  const groups = [token.slice(0, 8), token.slice(8, 12), token.slice(12, 16), token.slice(16, 20), token.slice(20, 32)];
  return `netns-${groups.join('-')}`;
}

/** Returns the alias that marks links, mounts and rules of an instance for anyone who reads the kernel: cleat:<instance>:... */
export function linkAlias(instance: string, owner: string, network: string): string {
  return `cleat:${instance}:${owner}:${network}`;
}

/** `inside`: names of links that the namespace has already. */
export function planAttachments(
  container: ContainerContext,
  leases: readonly Lease[],
  options: Readonly<Record<string, AttachmentOptions>>,
  inside: readonly string[],
): { attachments: Attachment[] } | { fault: Fault } {
  const attachments = [...container.attachments];
  const asked = leases.map((lease) => options[lease.network]?.interface_name).filter((name) => name !== undefined);
  let ordinal = container.nextOrdinal;
  for (const { terms, ...lease } of leases) {
    const wish = options[lease.network] ?? {};
    const used = new Set([...attachments.map((attachment) => attachment.link), ...inside]);
    const link = wish.interface_name ?? lowestFree(new Set([...used, ...asked]));
    if (used.has(link)) {
      const ours = attachments.some((attachment) => attachment.link === link);
      const message = ours
        ? `interface name ${link} is used twice in container ${container.id}`
        : `interface ${link} exists already in the namespace of container ${container.id}`;
      return { fault: { code: 'INTERFACE_TAKEN', message, owner: container.id } };
    }
    const priority = wish.gateway_priority ?? 0;
    const metric = lease.defaultMetric === null ? null : metricFor(lease.defaultMetric, priority, attachments);
    if (typeof metric === 'object' && metric !== null) return metric;
    attachments.push({
      ...lease,
      defaultMetric: metric,
      ordinal,
      hostLink: wish.host_interface_name ?? hostLinkName(container.token, ordinal),
      link,
      alias: linkAlias(container.instance, container.owner, lease.network),
      aliases: aliasesOf(container, wish),
      gatewayPriority: priority,
      ...(terms === undefined ? {} : { external: externalOf(container, terms, wish) }),
    });
    ordinal++;
  }
  return { attachments };
}

/**
 * Returns the container's attachments after a network grants other terms; their names in the kernel stay. `remetric`: the
 * network's metric has changed, so the metric of the default route is chosen again. Otherwise it stays, because no other change
 * may affect which network has the default route. What a program of others has made stays as the program was asked for it.
 */
export function revised(attachments: readonly Attachment[], lease: Lease, remetric: boolean): Attachment[] {
  return attachments.map((attachment) => {
    if (attachment.network !== lease.network || attachment.external !== undefined) return attachment;
    const { mac, defaultMetric, gatewayPriority } = attachment;
    const next = { ...attachment, ...lease, mac };
    if (!remetric || lease.defaultMetric === null) {
      return { ...next, defaultMetric: remetric ? null : defaultMetric };
    }
    const others = attachments.filter((other) => other !== attachment);
    const metric = metricFor(lease.defaultMetric, gatewayPriority, others);
    // If there is no room between higher and lower priorities, the metric stays, and with it their order.
    return { ...next, defaultMetric: typeof metric === 'number' ? metric : defaultMetric };
  });
}

/** Returns true if a container has what a network grants now, or is not on that network. */
export function hasLease(attachments: readonly Attachment[], lease: Lease, remetric: boolean): boolean {
  const of = (all: readonly Attachment[]) => all.find(({ network }) => network === lease.network);
  const [held, wanted] = [of(attachments), of(revised(attachments, lease, remetric))];
  if (held === undefined || wanted === undefined) return true;
  return follows(held, lease) && held.defaultMetric === wanted.defaultMetric;
}

/**
 * Returns the same attachments on new links: only the names of the host ends change, also of those that a caller has chosen. External
 * attachments have none.
 */
export function relinked({ attachments, nextOrdinal, token }: ContainerContext): Attachment[] {
  return attachments.map((attachment, i) =>
    attachment.external === undefined
      ? { ...attachment, ordinal: nextOrdinal + i, hostLink: hostLinkName(token, nextOrdinal + i) }
      : attachment,
  );
}

function hostLinkName(token: string, ordinal: number): string {
  return `ve${token.slice(0, 8)}${ordinal.toString(36)}`;
}

/** Returns Docker's aliases, which include the short id and the hostname. */
function aliasesOf({ id, hostname }: ContainerContext, { aliases = [] }: AttachmentOptions): string[] {
  return [...new Set([...aliases, ...ownNames([id.slice(0, 12)]), ...(hostname === null ? [] : [hostname])])];
}

function lowestFree(used: ReadonlySet<string>): string {
  for (let n = 0; ; n++) if (!used.has(`eth${n}`)) return `eth${n}`;
}

/** The gap between metrics, for priorities that come in between later. */
const METRIC_STEP = 10;

/**
 * Chooses the metric of a default route: below those of lower priority, above those of higher priority. Among equals it takes
 * the network's own metric, or the next free one. Two routes with one metric would be one route in IPv4 and a balanced pair in
 * IPv6.
 */
function metricFor(wanted: number, priority: number, others: readonly Attachment[]): number | { fault: Fault } {
  const metrics = (of: (attachment: Attachment) => boolean) =>
    others.filter(of).flatMap(({ defaultMetric }) => defaultMetric ?? []);
  const above = Math.max(0, ...metrics(({ gatewayPriority }) => gatewayPriority > priority));
  const below = Math.min(...metrics(({ gatewayPriority }) => gatewayPriority < priority));
  const used = new Set(metrics(() => true));
  let metric = wanted;
  if (metric >= below) metric = above === 0 ? below - METRIC_STEP : Math.ceil((above + below) / 2);
  if (metric <= above) metric = below === Infinity ? above + METRIC_STEP : Math.ceil((above + below) / 2);
  while (used.has(metric)) metric++;
  if (metric < below) return metric;
  const message = `no route metric is left for gateway priority ${priority}: the networks beside it have ${above} and ${below}`;
  return { fault: { code: 'BAD_REQUEST', message } };
}

/** Returns the attachments in the order of their default routes: lowest metric first, those without a default route last. */
export function byPrecedence(attachments: readonly Attachment[]): Attachment[] {
  const metric = ({ defaultMetric }: Attachment) => defaultMetric ?? Infinity;
  return attachments.toSorted((a, b) => (metric(a) === metric(b) ? a.ordinal - b.ordinal : metric(a) - metric(b)));
}

/** True if the container's port handler can lead ports to this network: the firewall has no rules for bridges of others. */
export const canPublish = (
  { internal, unmanaged = false, external }: Attachment,
  handler: PortHandler | undefined,
): boolean => !internal && ((external === undefined && !unmanaged) || handler === 'forwarder');

/**
 * Returns the addresses that published ports lead to, one per family: that of the first attachment in precedence that has one
 * and can have ports. None if a program of others carries the ports. `handler`: the port handler, if it is not the firewall.
 */
export function publishAddresses(attachments: readonly Attachment[], handler?: PortHandler): string[] {
  if (carrierOf(attachments) !== undefined) return [];
  const order = byPrecedence(attachments.filter((attachment) => canPublish(attachment, handler)));
  const of = (v6: boolean) =>
    order.flatMap(({ addresses }) => addresses.find(({ address }) => address.includes(':') === v6)?.address ?? [])[0];
  return [of(false), of(true)].filter((address) => address !== undefined);
}
