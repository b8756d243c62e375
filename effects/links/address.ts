/**
 * Addresses, routes and the MAC of the gateway inside the container.
 *
 * Guarantees: addresses are usable when this returns (no duplicate address detection). An address or route that exists already
 * is success. All are removed with the link.
 * Limits: it adds what is planned, and removes nothing that others added inside.
 */
import type { AttachmentInput } from '../../machines/container/attachment.ts';
import type { Outside, RtnlRequest } from '../../native/index.ts';
import type { Attachment } from '../../state/container.ts';
import { connectedRoute } from './connected-route.ts';
import type { Kernel } from '../kernel.ts';
import { announce, announcement } from './announce.ts';
import { gatewayNeighbours, type KnownInside } from './neighbour.ts';
import { refuse } from '../refusal.ts';
import { ABSENT, ensureSources, subnetOf } from './source-routes.ts';

export const ensureAddresses =
  (kernel: Kernel, knownInside: KnownInside) =>
  async ({ verb, attachment, siblings = [], netns, outside }: AttachmentInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    await allowFamilies(native, attachment, attachment.link, netns);
    const added = addressRequests(attachment, siblings);
    const requests = verb === 'repair' ? withConnected(attachment, added) : added;
    const told = verb === 'attach' ? announcement(attachment) : [];
    // Reads the port in the same turn, at the cost of one message: the port is nearly always ready, and no second turn is
    // needed.
    const [port, replies] = await Promise.all([
      attachment.child === undefined ? native.link(attachment.hostLink) : null,
      native.rtnl([...requests, ...told, ...gatewayNeighbours(attachment, knownInside)], netns),
    ]);
    refuse(
      replies.filter(({ code }) => code !== 'EEXIST'),
      `${attachment.link} in ${netns}`,
    );
    // A link on a parent has no port, and nothing to wait for.
    const heard = told.length > 0 && (port?.operational === true || attachment.child !== undefined);
    const isNew = requests.some(({ op }, i) => op === 'address.add' && replies[i]?.errno === 0);
    if (isNew && !heard) await announce(native, attachment, knownInside, netns);
    await ensureSources(native, attachment, siblings, netns);
  };

/**
 * Enables IPv6 on the link if the attachment has an IPv6 address (it is off until then), and the announcement of such
 * addresses.
 */
export async function allowFamilies(native: Outside, attachment: Attachment, link: string, netns: string) {
  if (!attachment.addresses.some(({ address }) => address.includes(':'))) return;
  const of = `net/ipv6/conf/${link}`;
  await native.sysctlWrite({ [`${of}/disable_ipv6`]: '0', [`${of}/ndisc_notify`]: '1' }, netns);
}

type Address = { op: 'address.add'; link: string; address: string; prefix: number };
type Route = {
  op: 'route.add' | 'route.replace';
  link: string;
  destination: string;
  prefix: number;
  gateway: string;
  metric: number;
};
type Added = Address | Route;

/**
 * Adds the kernel's own route to each subnet. It came with the address, but can be gone while the address remains (`ip route
 * flush`).
 */
function withConnected({ link, addresses }: Attachment, added: readonly Added[]): RtnlRequest[] {
  const isAddress = ({ op }: Added) => op === 'address.add';
  const connected = addresses.map(({ address, prefix }): RtnlRequest => ({
    op: 'route.add',
    ...connectedRoute(link, `${subnetOf(address, prefix)}/${prefix}`),
  }));
  return [...added.filter(isAddress), ...connected, ...added.filter((one) => !isAddress(one))];
}

/**
 * Returns everything that an attachment has on its link, in an order that the kernel accepts. A namespace keeps one of the
 * routes that agree in destination and metric: the route of the attachment that came first, which replaces the others'.
 */
export function addressRequests(attachment: Attachment, siblings: readonly Attachment[]): Added[] {
  const requests = allRequests(attachment);
  if (siblings.length === 0) return requests;
  const rivals = siblings.flatMap((sibling) =>
    allRequests(sibling).flatMap((request) => ({ ordinal: sibling.ordinal, route: keyOf(request) })),
  );
  return requests.flatMap((request) => {
    const same = rivals.filter(({ route }) => route !== null && route === keyOf(request));
    if (request.op === 'address.add' || same.length === 0) return [request];
    return same.some(({ ordinal }) => ordinal < attachment.ordinal) ? [] : [{ ...request, op: 'route.replace' }];
  });
}

const keyOf = (request: Added): string | null =>
  request.op === 'address.add' ? null : `${request.destination}/${request.prefix} ${request.metric}`;

/**
 * Adds the routes of `others` that had to yield to routes of `went`, now that those are gone, with or without their links.
 * Skips a link that is missing or has no addresses; its routes are added together with its addresses.
 */
export async function succeedRoutes(
  native: Outside,
  went: readonly Attachment[],
  others: readonly Attachment[],
  netns: string,
): Promise<void> {
  const keys = new Set(went.flatMap(allRequests).map(keyOf));
  const requests = others.flatMap((other) =>
    addressRequests(
      other,
      others.filter((one) => one !== other),
    ).filter((request) => request.op !== 'address.add' && keys.has(keyOf(request))),
  );
  if (requests.length === 0) return;
  const replies = await native.rtnl(requests, netns);
  refuse(
    replies.filter(({ code }) => code !== 'EEXIST' && !ABSENT.has(code)),
    `routes in ${netns}`,
  );
}

function allRequests({ link, addresses, routes, defaultMetric }: Attachment): Added[] {
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
 * Returns the requests that turn the addresses and routes of `from` into those of `to`. Additions come first, so that nothing
 * is missing in between. All of `to` is added again at the end: removing an IPv4 address also removes those added after it in
 * the same subnet, and the last address of a link takes its routes along (net/ipv4/devinet.c, __inet_del_ifa without
 * promote_secondaries).
 */
export function addressChanges(from: Attachment, to: Attachment, siblings: readonly Attachment[]): RtnlRequest[] {
  const [before, after] = [addressRequests(from, siblings), addressRequests(to, siblings)];
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
