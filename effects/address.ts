/**
 * Addresses, routes and the MAC of the gateway inside the container.
 *
 * Guarantees: usable when this returns (no duplicate address detection); what is there already is success. Removed with
 * the link.
 * Limits: adds what is planned; takes nothing away that someone added inside.
 */
import type { AttachmentInput } from '../machines/attachment.ts';
import type { Outside, RtnlRequest } from '../native/index.ts';
import type { Attachment } from '../state/container.ts';
import type { Kernel } from './kernel.ts';
import { gatewayNeighbours, type KnownInside } from './neighbour.ts';
import { refuse } from './refusal.ts';

export const ensureAddresses =
  (kernel: Kernel, knownInside: KnownInside) =>
  async ({ attachment, netns, outside }: AttachmentInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    await allowFamilies(native, attachment, attachment.link, netns);
    const replies = await native.rtnl(
      [...addressRequests(attachment), ...gatewayNeighbours(attachment, knownInside)],
      netns,
    );
    refuse(
      replies.filter(({ code }) => code !== 'EEXIST'),
      `${attachment.link} in ${netns}`,
    );
  };

/** IPv6 is off on a link until it has an address of that family. */
export async function allowFamilies(native: Outside, attachment: Attachment, link: string, netns: string) {
  if (!attachment.addresses.some(({ address }) => address.includes(':'))) return;
  await native.sysctlWrite({ [`net/ipv6/conf/${link}/disable_ipv6`]: '0' }, netns);
}

type Added =
  | { op: 'address.add'; link: string; address: string; prefix: number }
  | { op: 'route.add'; link: string; destination: string; prefix: number; gateway: string; metric: number };

/** Everything that an attachment has on its link, in the order in which the kernel can take it. */
export function addressRequests({ link, addresses, routes, defaultMetric }: Attachment): Added[] {
  const requests: Added[] = [];
  const gateways = new Set<string>();
  for (const { address, prefix, gateway } of addresses) {
    requests.push({ op: 'address.add', link, address, prefix });
    if (gateway !== null && defaultMetric !== null) gateways.add(gateway);
  }
  for (const gateway of gateways) {
    const destination = gateway.includes(':') ? '::' : '0.0.0.0';
    requests.push({ op: 'route.add', destination, prefix: 0, gateway, link, metric: defaultMetric ?? 0 });
  }
  for (const { destination, prefix, gateway, metric } of routes) {
    requests.push({ op: 'route.add', destination, prefix, gateway, link, metric: metric ?? 100 });
  }
  return requests;
}

/**
 * From what one attachment has to what another has: additions first, so that nothing is missing in between. What is to be
 * there is asked for again at the end: an IPv4 address takes those added after it in the same subnet away with it, and
 * the last of a link its routes (net/ipv4/devinet.c, __inet_del_ifa without promote_secondaries).
 */
export function addressChanges(from: Attachment, to: Attachment): RtnlRequest[] {
  const [before, after] = [addressRequests(from), addressRequests(to)];
  const less = (a: Added[], b: Added[]) => {
    const known = new Set(b.map((request) => JSON.stringify(request)));
    return a.filter((request) => !known.has(JSON.stringify(request)));
  };
  const removed = less(before, after)
    .reverse()
    .map((request): RtnlRequest =>
      request.op === 'address.add' ? { ...request, op: 'address.del' } : { ...request, op: 'route.del' },
    );
  return [...less(after, before), ...removed, ...(removed.length > 0 ? after : [])];
}
