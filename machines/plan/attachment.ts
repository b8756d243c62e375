/**
 * From a lease to everything an attachment will make: names, MAC, routes. And the names of a container's namespace.
 *
 * Guarantees: pure; derived from the container's token, so the same inputs name the same kernel objects for ever, and
 * two generations never share a name. Interface names inside are the lowest free ethN.
 */
import type { Attachment, ContainerContext, Lease } from '../../state/container.ts';
import type { AttachmentOptions } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';

/** netns-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, as the CNI world names pinned namespaces. */
export function netnsName(token: string): string {
  const groups = [token.slice(0, 8), token.slice(8, 12), token.slice(12, 16), token.slice(16, 20), token.slice(20, 32)];
  return `netns-${groups.join('-')}`;
}

/** How links, mounts and rules of an instance are recognised by anyone who reads the kernel: cleat:<instance>:... */
export function linkAlias(instance: string, owner: string, network: string): string {
  return `cleat:${instance}:${owner}:${network}`;
}

export function planAttachments(
  container: ContainerContext,
  leases: readonly Lease[],
  options: Readonly<Record<string, AttachmentOptions>>,
): { attachments: Attachment[] } | { fault: Fault } {
  const attachments = [...container.attachments];
  const asked = leases.map((lease) => options[lease.network]?.interface_name).filter((name) => name !== undefined);
  let ordinal = container.nextOrdinal;
  for (const lease of leases) {
    const wish = options[lease.network] ?? {};
    const used = new Set(attachments.map((attachment) => attachment.link));
    const link = wish.interface_name ?? lowestFree(new Set([...used, ...asked]));
    if (used.has(link)) {
      const message = `interface name ${link} is used twice in container ${container.id}`;
      return { fault: { code: 'INTERFACE_TAKEN', message, owner: container.id } };
    }
    attachments.push({
      ...lease,
      defaultMetric: lease.defaultMetric === null ? null : freeMetric(lease.defaultMetric, attachments),
      ordinal,
      hostLink: `ve${container.token.slice(0, 8)}${ordinal.toString(36)}`,
      link,
      // 02: locally administered, unicast (IEEE 802); 40 bits of the token, shifted per attachment.
      mac: lease.mac ?? macFrom(container.token, ordinal),
      alias: linkAlias(container.instance, container.owner, lease.network),
      aliases: wish.aliases ?? [],
    });
    ordinal++;
  }
  return { attachments };
}

function lowestFree(used: ReadonlySet<string>): string {
  for (let n = 0; ; n++) if (!used.has(`eth${n}`)) return `eth${n}`;
}

/**
 * The metric of a default route: the network's, or the next that no other attachment has. Two routes of one metric would
 * be one in IPv4 and a balanced pair in IPv6; this way the first attachment leads out, and the next when it goes.
 */
function freeMetric(wanted: number, others: readonly Attachment[]): number {
  const used = new Set(others.map(({ defaultMetric }) => defaultMetric));
  let metric = wanted;
  while (used.has(metric)) metric++;
  return metric;
}

function macFrom(token: string, ordinal: number): string {
  const bytes = token.slice(12, 22).match(/../g) ?? [];
  const last = (parseInt(bytes[4] ?? '0', 16) + ordinal) & 0xff;
  return ['02', ...bytes.slice(0, 4), last.toString(16).padStart(2, '0')].join(':');
}

/** The addresses that published ports lead to: of the first attachment that is not internal, one per family. */
export function publishAddresses(attachments: readonly Attachment[]): string[] {
  const primary = attachments.find((attachment) => !attachment.internal);
  if (primary === undefined) return [];
  const of = (v6: boolean) => primary.addresses.find(({ address }) => address.includes(':') === v6)?.address;
  return [of(false), of(true)].filter((address) => address !== undefined);
}
