/**
 * Source-based routing in a container on several networks: packets with an address of one network leave by that network.
 *
 * Routed by destination alone, all packets would leave by the network with the default route, whose bridge drops addresses of
 * other networks (ruleset-sources.ts). Answers to a gateway's address would go to the bridge that has it, not to the one that
 * the request came in by. So each network has a routing table of its own, and policy rules look its addresses up there before
 * `main`.
 * Guarantees: a container with one network has no such tables, so its packets cost no more. A new attachment makes the tables
 * of all attachments. One that leaves removes its own, and that of the last one that stays. Running twice gives the same
 * result.
 * Limits: policy rules of the container with a lower number come first. Rules that others delete are restored by a full reload,
 * and by the next repair of the container; they do not start a repair by themselves.
 */
import ipaddr from 'ipaddr.js';
import { isKernelError, type Outside, type RtnlRequest } from '../../native/index.ts';
import type { Attachment } from '../../state/container.ts';
import { refuse } from '../refusal.ts';

/** Just before `main` (32766). */
const PRIORITY = 32_000;
/**
 * Above all tables that have a name or are counted up from 1. The rest of the number comes from the network, because links can
 * change.
 */
const tableOf = ({ networkId }: Attachment): number => 0x4000_0000 + Number.parseInt(networkId.slice(0, 7), 16);

type Route = Extract<RtnlRequest, { destination: string }> & { op: 'route.replace' };
type Rule = Extract<RtnlRequest, { source: string }> & { op: 'rule.add' };

/** Returns the network address of the subnet that an address is in. */
export function subnetOf(address: string, prefix: number): string {
  const family = address.includes(':') ? ipaddr.IPv6 : ipaddr.IPv4;
  return family.networkAddressFromCIDR(`${address}/${prefix}`).toString();
}

function routesOf(attachment: Attachment): Route[] {
  const { link, addresses, routes } = attachment;
  const common = { op: 'route.replace' as const, link, table: tableOf(attachment) };
  const subnets = addresses.map(({ address, prefix }): Route => {
    const destination = subnetOf(address, prefix);
    return { ...common, destination, prefix, metric: 1, scope: 'link' };
  });
  const gateways = [...new Set(addresses.flatMap(({ gateway }) => gateway ?? []))].map((gateway): Route => {
    const destination = gateway.includes(':') ? '::' : '0.0.0.0';
    return { ...common, destination, prefix: 0, gateway, metric: 1 };
  });
  const more = routes.map(({ destination, prefix, gateway, metric }): Route => ({
    ...common,
    destination,
    prefix,
    gateway,
    metric: metric ?? 100,
  }));
  return [...subnets, ...gateways, ...more];
}

/** Returns the policy rules that a container on several networks needs. */
export const rulesOf = (attachment: Attachment): Rule[] =>
  attachment.addresses.map(({ address }) => ({
    op: 'rule.add',
    source: address,
    prefix: address.includes(':') ? 128 : 32,
    table: tableOf(attachment),
    priority: PRIORITY,
  }));

/**
 * Errors which mean that the link or addresses of that network are missing so far, or are being made again. It makes its own
 * routes then.
 */
export const ABSENT: ReadonlySet<string> = new Set([
  'ENODEV',
  'ENETDOWN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EINVAL',
  'EACCES',
]);

/**
 * Makes the routes and rules of a container. The attachment's link is up, with its addresses. `siblings`: the container's other
 * attachments.
 */
export async function ensureSources(
  native: Outside,
  attachment: Attachment,
  siblings: readonly Attachment[],
  netns: string,
): Promise<void> {
  if (siblings.length === 0) return;
  const own: RtnlRequest[] = [...routesOf(attachment), ...rulesOf(attachment)];
  const others = siblings.flatMap((sibling): RtnlRequest[] => [...routesOf(sibling), ...rulesOf(sibling)]);
  const replies = await native.rtnl([...own, ...others], netns);
  refuse(
    replies.filter(({ code }, i) => code !== 'EEXIST' && (i < own.length || !ABSENT.has(code))),
    `source routes of ${attachment.link} in ${netns}`,
  );
}

/** Removes the routes and rules that `from` has and `to`, of the same network, has not. */
export async function reviseSources(
  native: Outside,
  from: Attachment,
  to: Attachment,
  siblings: readonly Attachment[],
  netns: string,
): Promise<void> {
  const kept = new Set([...routesOf(to), ...rulesOf(to)].map(keyOf));
  const gone = [...routesOf(from), ...rulesOf(from)].filter((one) => !kept.has(keyOf(one)));
  if (siblings.length > 0) await remove(native, gone, netns);
  await ensureSources(native, to, siblings, netns);
}

/**
 * Returns the key by which the kernel identifies a route: it replaces one with the same destination and metric, whatever the
 * gateway.
 */
const keyOf = (one: Route | Rule): string =>
  one.op === 'rule.add' ? one.source : `${one.destination}/${one.prefix} ${one.metric}`;

/** Removes the rules of the leaving attachments. Their routes are removed with their links. */
export async function removeSources(
  native: Outside,
  leaving: readonly Attachment[],
  siblings: readonly Attachment[],
  netns: string,
): Promise<void> {
  if (siblings.length === 0) return;
  const alone = siblings.length === 1 ? siblings.flatMap((sibling) => [...routesOf(sibling), ...rulesOf(sibling)]) : [];
  await remove(native, [...leaving.flatMap(rulesOf), ...alone], netns);
}

async function remove(native: Outside, all: readonly (Route | Rule)[], netns: string): Promise<void> {
  if (all.length === 0) return;
  const requests = all.map((one): RtnlRequest =>
    one.op === 'rule.add' ? { ...one, op: 'rule.del' } : { ...one, op: 'route.del' },
  );
  try {
    const replies = await native.rtnl(requests, netns);
    // Gone already, or the link is gone and its routes with it.
    refuse(
      replies.filter(({ code }) => !['ENOENT', 'ESRCH', 'ENODEV', 'EAFNOSUPPORT'].includes(code)),
      `source routes in ${netns}`,
    );
  } catch (error) {
    // The namespace itself is gone.
    if (!isKernelError(error) || !['ENOENT', 'EINVAL'].includes(error.code)) throw error;
  }
}
