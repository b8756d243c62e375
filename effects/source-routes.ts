/**
 * Source-based routing in a container on several networks: what has the address of one leaves by that one.
 *
 * By destination alone all would leave by the network that leads out, and a bridge passes on no address of another network
 * (ruleset-sources.ts); answers to the address of a gateway would go to the bridge that has it, past the one that the
 * request came in by. So each network has a routing table of its own, which the rules for its addresses ask before `main`.
 * Guarantees: none of this in a container with one network: its packets cost no more. Whoever comes makes the tables of all
 * that are there, whoever leaves takes its own away, and that of the last one that stays. Run twice, the outcome is the same.
 * Limits: rules that the container makes with a lower number are asked first. Rules that others delete are put back by a
 * full reload, and by the next repair of the container, of which they are no reason by themselves.
 */
import ipaddr from 'ipaddr.js';
import { isKernelError, type Outside, type RtnlRequest } from '../native/index.ts';
import type { Attachment } from '../state/container.ts';
import { refuse } from './refusal.ts';

/** Just before `main` (32766). */
const PRIORITY = 32_000;
/** Above all tables that have a name or are counted up from 1; the rest follows from the network, so that links can change. */
const tableOf = ({ networkId }: Attachment): number => 0x4000_0000 + Number.parseInt(networkId.slice(0, 7), 16);

type Route = Extract<RtnlRequest, { destination: string }> & { op: 'route.replace' };
type Rule = Extract<RtnlRequest, { source: string }> & { op: 'rule.add' };

/** The network address of the subnet that an address is in. */
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

/** Needed where a container is on several networks. */
export const rulesOf = (attachment: Attachment): Rule[] =>
  attachment.addresses.map(({ address }) => ({
    op: 'rule.add',
    source: address,
    prefix: address.includes(':') ? 128 : 32,
    table: tableOf(attachment),
    priority: PRIORITY,
  }));

/** Errors that mean: the link or addresses of that network are not there yet, or are being made again. Its own turn comes. */
export const ABSENT: ReadonlySet<string> = new Set([
  'ENODEV',
  'ENETDOWN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EINVAL',
  'EACCES',
]);

/** The link of the attachment is up, with its addresses. `siblings`: the others of the container. */
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

/** Takes away what the one attachment had, and the other of the same network has not. */
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

/** The key by which the kernel tells routes apart: it replaces one with the same destination and metric, whatever the gateway. */
const keyOf = (one: Route | Rule): string =>
  one.op === 'rule.add' ? one.source : `${one.destination}/${one.prefix} ${one.metric}`;

/** These are leaving; routes go with their links. */
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
    // Gone already, and links that are gone have no routes.
    refuse(
      replies.filter(({ code }) => !['ENOENT', 'ESRCH', 'ENODEV', 'EAFNOSUPPORT'].includes(code)),
      `source routes in ${netns}`,
    );
  } catch (error) {
    // The namespace itself.
    if (!isKernelError(error) || !['ENOENT', 'EINVAL'].includes(error.code)) throw error;
  }
}
