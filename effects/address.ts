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
import { connectedRoute } from './connected-route.ts';
import type { Kernel } from './kernel.ts';
import { announce, announcement } from './announce.ts';
import { gatewayNeighbours, type KnownInside } from './neighbour.ts';
import { refuse } from './refusal.ts';
import { ABSENT, ensureSources, subnetOf } from './source-routes.ts';

export const ensureAddresses =
  (kernel: Kernel, knownInside: KnownInside) =>
  async ({ verb, attachment, siblings = [], netns, outside }: AttachmentInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    await allowFamilies(native, attachment, attachment.link, netns);
    const added = addressRequests(attachment, siblings);
    const requests = verb === 'repair' ? withConnected(attachment, added) : added;
    const told = verb === 'attach' ? announcement(attachment) : [];
    // Looked at in the turn before, which costs a message: nearly always the port is ready, and all is done in one go.
    const [port, replies] = await Promise.all([
      native.link(attachment.hostLink),
      native.rtnl([...requests, ...told, ...gatewayNeighbours(attachment, knownInside)], netns),
    ]);
    refuse(
      replies.filter(({ code }) => code !== 'EEXIST'),
      `${attachment.link} in ${netns}`,
    );
    const heard = told.length > 0 && port?.operational === true;
    const isNew = requests.some(({ op }, i) => op === 'address.add' && replies[i]?.errno === 0);
    if (isNew && !heard) await announce(native, attachment, knownInside, netns);
    await ensureSources(native, attachment, siblings, netns);
  };

/** IPv6 is off on a link until it has an address of that family; from then on it announces those. */
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

/** The kernel's own route to each subnet came with the address: that may be there, and the route gone (`ip route flush`). */
function withConnected({ link, addresses }: Attachment, added: readonly Added[]): RtnlRequest[] {
  const isAddress = ({ op }: Added) => op === 'address.add';
  const connected = addresses.map(({ address, prefix }): RtnlRequest => ({
    op: 'route.add',
    ...connectedRoute(link, `${subnetOf(address, prefix)}/${prefix}`),
  }));
  return [...added.filter(isAddress), ...connected, ...added.filter((one) => !isAddress(one))];
}

/**
 * Everything that an attachment has on its link, in the order in which the kernel can take it. Of routes that agree in
 * destination and metric a namespace has one, that of the attachment that came first: it takes the place of the others'.
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
 * Routes of these attachments went, with their links or without: those of the others come that had to stand back. Of a link
 * that is not there, or without its addresses, they come with these.
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
 * From what one attachment has to what another has: additions first, so that nothing is missing in between. What is to be
 * there is asked for again at the end: an IPv4 address takes those added after it in the same subnet away with it, and
 * the last of a link its routes (net/ipv4/devinet.c, __inet_del_ifa without promote_secondaries).
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
