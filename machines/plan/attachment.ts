/**
 * From a lease to everything an attachment will make: names, links, routes. And the names of a container's namespace.
 *
 * Guarantees: pure; derived from the container's token, so the same inputs name the same kernel objects for ever, and
 * two generations never share a name. Interface names inside are the lowest ethN free in the snapshot and the kernel.
 * The attachment whose default route has the lowest metric is the primary: it leads out and has the published ports.
 */
import type { Attachment, ContainerContext, Lease } from '../../state/container.ts';
import type { AttachmentOptions } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import type { PortHandler } from '../../state/uplink.ts';
import { follows } from './lease.ts';
import { ownNames } from './names.ts';

/** netns-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, as the CNI world names pinned namespaces. */
export function netnsName(token: string): string {
  const groups = [token.slice(0, 8), token.slice(8, 12), token.slice(12, 16), token.slice(16, 20), token.slice(20, 32)];
  return `netns-${groups.join('-')}`;
}

/** How links, mounts and rules of an instance are recognised by anyone who reads the kernel: cleat:<instance>:... */
export function linkAlias(instance: string, owner: string, network: string): string {
  return `cleat:${instance}:${owner}:${network}`;
}

/** `inside`: names of links that are in the namespace already. */
export function planAttachments(
  container: ContainerContext,
  leases: readonly Lease[],
  options: Readonly<Record<string, AttachmentOptions>>,
  inside: readonly string[],
): { attachments: Attachment[] } | { fault: Fault } {
  const attachments = [...container.attachments];
  const asked = leases.map((lease) => options[lease.network]?.interface_name).filter((name) => name !== undefined);
  let ordinal = container.nextOrdinal;
  for (const lease of leases) {
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
      hostLink: hostLinkName(container.token, ordinal),
      link,
      alias: linkAlias(container.instance, container.owner, lease.network),
      aliases: aliasesOf(container, wish),
      gatewayPriority: priority,
    });
    ordinal++;
  }
  return { attachments };
}

/**
 * The container's attachments as they become when a network grants other terms: what names them in the kernel stays.
 * `remetric`: the network's metric is another, so that of the default route is chosen again; else it stays, for which of
 * several networks leads out is not to change with anything else.
 */
export function revised(attachments: readonly Attachment[], lease: Lease, remetric: boolean): Attachment[] {
  return attachments.map((attachment) => {
    if (attachment.network !== lease.network) return attachment;
    const { mac, defaultMetric, gatewayPriority } = attachment;
    const next = { ...attachment, ...lease, mac };
    if (!remetric || lease.defaultMetric === null) {
      return { ...next, defaultMetric: remetric ? null : defaultMetric };
    }
    const others = attachments.filter((other) => other !== attachment);
    const metric = metricFor(lease.defaultMetric, gatewayPriority, others);
    // No room between higher and lower priorities: it stays where it is, in their order.
    return { ...next, defaultMetric: typeof metric === 'number' ? metric : defaultMetric };
  });
}

/** Whether a container has what a network grants it now; also when it is not on that network. */
export function hasLease(attachments: readonly Attachment[], lease: Lease, remetric: boolean): boolean {
  const of = (all: readonly Attachment[]) => all.find(({ network }) => network === lease.network);
  const [held, wanted] = [of(attachments), of(revised(attachments, lease, remetric))];
  if (held === undefined || wanted === undefined) return true;
  return follows(held, lease) && held.defaultMetric === wanted.defaultMetric;
}

/** The same attachments on new links: everything stays but the names of the host ends. */
export function relinked({ attachments, nextOrdinal, token }: ContainerContext): Attachment[] {
  return attachments.map((attachment, i) => ({
    ...attachment,
    ordinal: nextOrdinal + i,
    hostLink: hostLinkName(token, nextOrdinal + i),
  }));
}

function hostLinkName(token: string, ordinal: number): string {
  return `ve${token.slice(0, 8)}${ordinal.toString(36)}`;
}

/** Docker's: the short id is one of them, the hostname too. */
function aliasesOf({ id, hostname }: ContainerContext, { aliases = [] }: AttachmentOptions): string[] {
  return [...new Set([...aliases, ...ownNames([id.slice(0, 12)]), ...(hostname === null ? [] : [hostname])])];
}

function lowestFree(used: ReadonlySet<string>): string {
  for (let n = 0; ; n++) if (!used.has(`eth${n}`)) return `eth${n}`;
}

/** Room left between metrics for priorities that come in between later. */
const METRIC_STEP = 10;

/**
 * The metric of a default route: below those of lower priority, above those of higher; among equals the network's own, or
 * the next that nobody has. Two routes of one metric would be one in IPv4 and a balanced pair in IPv6.
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

/** Attachments in the order in which they would lead out: lowest metric first, those without a default route last. */
export function byPrecedence(attachments: readonly Attachment[]): Attachment[] {
  const metric = ({ defaultMetric }: Attachment) => defaultMetric ?? Infinity;
  return attachments.toSorted((a, b) => (metric(a) === metric(b) ? a.ordinal - b.ordinal : metric(a) - metric(b)));
}

/** Whether what carries a container's ports can lead them to this network: the firewall has no rules for others' bridges. */
export const canPublish = ({ internal, unmanaged = false }: Attachment, handler: PortHandler | undefined): boolean =>
  !internal && (!unmanaged || handler === 'forwarder');

/**
 * The addresses that published ports lead to, one per family: of the first in precedence that has one and can have ports.
 * `handler`: what carries them, when it is not the firewall.
 */
export function publishAddresses(attachments: readonly Attachment[], handler?: PortHandler): string[] {
  if (attachments.length === 0) return [];
  const order = byPrecedence(attachments.filter((attachment) => canPublish(attachment, handler)));
  const of = (v6: boolean) =>
    order.flatMap(({ addresses }) => addresses.find(({ address }) => address.includes(':') === v6)?.address ?? [])[0];
  return [of(false), of(true)].filter((address) => address !== undefined);
}
