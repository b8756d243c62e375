/**
 * Addresses and routes inside the container.
 *
 * Guarantees: usable when this returns (no duplicate address detection); what is there already is success. Removed with
 * the link.
 * Limits: adds what is planned; takes nothing away that someone added inside.
 */
import type { AttachmentInput } from '../machines/attachment.ts';
import type { RtnlRequest } from '../native/index.ts';
import type { Kernel } from './kernel.ts';
import { refuse } from './link.ts';

export const ensureAddresses =
  (kernel: Kernel) =>
  async ({ attachment, netns, outside }: AttachmentInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    const { link, addresses, routes, defaultMetric } = attachment;
    if (addresses.some(({ address }) => address.includes(':'))) {
      await native.sysctlWrite({ [`net/ipv6/conf/${link}/disable_ipv6`]: '0' }, netns);
    }
    const requests: RtnlRequest[] = [];
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
    const replies = await native.rtnl(requests, netns);
    refuse(
      replies.filter(({ code }) => code !== 'EEXIST'),
      `${link} in ${netns}`,
    );
  };
