/**
 * What all hosts agree on about an overlay: made of the request of the first one, and compared with the requests of the others.
 *
 * Guarantees: pure. A request that says nothing of a thing agrees with whatever was agreed; one that says something else is refused
 * with both values.
 */
import type { Fault } from '../../state/faults.ts';
import type { NetworkRequest } from '../../state/network.ts';
import type { OverlayShared } from '../../state/overlay.ts';
import { parseSubnet } from '../addresses/address.ts';
import { uniqueLocals } from '../addresses/subnet-pools.ts';
import { refuse } from '../refusal.ts';

/** Half of 10.128.0.0/9, of which Podman's and cleat's own pools come last: 16,384 shares of 254 addresses. */
const POOL = '10.128.0.0/10';
const HOST_PREFIX = 24;
const HOST_PREFIX6 = 64;
/** A block of 65,536 shares for IPv6, which begins with a unique local prefix (RFC 4193). */
const POOL6 = 48;
/** IANA's port of VXLAN. */
const VXLAN_PORT = 4789;
/** The port that WireGuard's own documents use. */
const WIREGUARD_PORT = 51_820;
/** VNIs below are easily chosen by people. */
const FIRST_VNI = 4096;
const VNIS = 0xff_ffff - FIRST_VNI;

type Asked = { [Name in keyof OverlayShared]?: OverlayShared[Name] | undefined };

/** Returns what a request says about the overlay; refuses what no overlay can be. */
export function askedOf(request: NetworkRequest): { asked: Asked } | { fault: Fault } {
  const { overlay = {}, subnets = [] } = request;
  const bad = (message: string) => refuse('BAD_REQUEST', message);
  const named = subnets.find(({ gateway, lease_range: range }) => gateway !== undefined || range !== undefined);
  // An answer that is sent again has the host's shares as its subnets, and the pools beside them.
  if (named !== undefined && overlay.pools === undefined)
    return bad(`subnet ${named.subnet} is a pool of shares: it has neither a gateway nor a range of its own`);
  const { backend, mac: _mac, address: _address, public_key: _key, id: _id, name: _name, ...rest } = overlay;
  const pools = overlay.pools ?? (subnets.length > 0 ? subnets.map(({ subnet }) => subnet) : undefined);
  if (pools !== undefined && new Set(pools.map((pool) => pool.includes(':'))).size < pools.length)
    return bad('an overlay has one pool of IPv4, one of IPv6, or one of both');
  return {
    asked: { ...rest, ...(backend === undefined ? {} : { backend }), ...(pools === undefined ? {} : { pools }) },
  };
}

/**
 * Returns a new overlay as it is asked for. `id`: 64 random hex digits, its id. `taken`: the ports of other WireGuard overlays of this
 * host, each of which needs one of its own.
 */
export function newShared(
  name: string,
  asked: Asked,
  { id, ipv4 = true, ipv6 = false, taken = [] }: New,
): { shared: OverlayShared } | { fault: Fault } {
  const has6 = asked.pools?.some((pool) => pool.includes(':')) ?? false;
  const has4 = asked.pools?.some((pool) => !pool.includes(':')) ?? false;
  const pools = [
    ...(asked.pools ?? []),
    ...(!has4 && !has6 && ipv4 ? [POOL] : []),
    ...(ipv6 && !has6 ? [`${pool6(id)}/${POOL6}`] : []),
  ];
  if (pools.length === 0) return refuse('BAD_REQUEST', 'a network has IPv4 or IPv6');
  const { host_prefix = HOST_PREFIX, host_prefix6 = HOST_PREFIX6, backend = 'vxlan' } = asked;
  const shared = {
    name,
    id,
    pools,
    host_prefix,
    ...(pools.some((pool) => pool.includes(':')) ? { host_prefix6 } : {}),
    backend,
    vni: asked.vni ?? FIRST_VNI + (Number.parseInt(id.slice(0, 8), 16) % VNIS),
    port: asked.port ?? (backend === 'wireguard' ? freePort(taken) : VXLAN_PORT),
  };
  const fault = impossible(shared);
  return fault === null ? { shared } : fault;
}

interface New {
  id: string;
  ipv4?: boolean | undefined;
  ipv6?: boolean | undefined;
  taken?: readonly number[];
}

function freePort(taken: readonly number[]): number {
  let port = WIREGUARD_PORT;
  while (taken.includes(port)) port++;
  return port;
}

/** Returns a fault if another overlay of this host, among `others`, has the UDP port too: only VXLANs share one. */
export function portConflict(
  { name, backend, port }: OverlayShared,
  others: readonly OverlayShared[],
): { fault: Fault } | null {
  const isThere = (one: OverlayShared) => one.name !== name && one.port === port && one.backend !== 'host-gw';
  const alone = (one: OverlayShared) => backend === 'wireguard' || one.backend === 'wireguard';
  const other = backend === 'host-gw' ? undefined : others.find((one) => isThere(one) && alone(one));
  if (other === undefined) return null;
  return refuse('PORT_TAKEN', `UDP port ${port} of overlay ${name} is that of overlay ${other.name} on this host`);
}

const pool6 = (id: string): string => uniqueLocals(id)[0]?.replace('/64', '') ?? 'fd00::';

function impossible({ pools, host_prefix, host_prefix6 = 64 }: OverlayShared): { fault: Fault } | null {
  for (const pool of pools) {
    const { prefix, family } = parseSubnet(pool);
    const size = family === 4 ? host_prefix : host_prefix6;
    if (size <= prefix)
      return refuse('BAD_REQUEST', `pool ${pool} has no shares of /${size}: a host prefix is longer than the pool's`);
  }
  return null;
}

/** Returns a fault if a request asks for something else than what was agreed on. */
export function disagreement(shared: OverlayShared, asked: Asked, ipv6: boolean | undefined): { fault: Fault } | null {
  const differs = (what: string, theirs: unknown, mine: unknown) =>
    refuse('OVERLAY_DIFFERS', `overlay ${shared.name} exists with ${what} ${String(theirs)}, not ${String(mine)}`);
  for (const name of ['host_prefix', 'host_prefix6', 'backend', 'vni', 'port'] as const) {
    const mine = asked[name];
    if (mine !== undefined && mine !== shared[name]) return differs(WORDS[name], shared[name] ?? 'none', mine);
  }
  const [mine, theirs] = [asked.pools, shared.pools].map((pools) => pools?.toSorted().join(', '));
  // A pool that was chosen here would be another one at every host.
  const named = asked.pools?.every((pool) => shared.pools.includes(pool)) ?? true;
  if (!named) return differs('pools', theirs, mine);
  if (ipv6 === true && !shared.pools.some((pool) => pool.includes(':'))) return differs('pools', theirs, 'one of IPv6');
  return null;
}

const WORDS = {
  host_prefix: 'host prefix',
  host_prefix6: 'host prefix for IPv6',
  backend: 'backend',
  vni: 'VNI',
  port: 'UDP port',
} as const;
