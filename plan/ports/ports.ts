/**
 * Published ports: turns requests into one exact list, and finds their other owners.
 *
 * Guarantees: pure; two owners never hold the same protocol, host port and overlapping host address ("" overlaps all); an
 * owner may claim ports that it has already, as the same mapping or as part of another, and gets only the new ones; it may
 * not lead the same host port to another target. Ports requested by number come before the others, which are taken in turn
 * from the dynamic range (RFC 6335: 49152-65535), a range as consecutive ports.
 * Limits: listeners of the host are unknown here; the claim is checked against the kernel afterwards.
 */
import type { PortTarget, ResolvedPort, PortRequest } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { PortHandler } from '../../state/uplink.ts';
import { containerIdOf } from '../owner.ts';
import { meet, unpublished } from './port-list.ts';
import { portKey, portText } from './port-text.ts';

export type Claims = Readonly<Record<string, readonly ResolvedPort[]>>;

const DYNAMIC_FIRST = 49_152;
const DYNAMIC_LAST = 65_535;

export type Claim = { ports: ResolvedPort[]; cursor: number } | { fault: Fault };

/**
 * Claims ports for an owner, in the order of the mappings. `cursor` is the last random port given (or DYNAMIC_LAST); `avoid`
 * holds host ports that the kernel refused before.
 */
export function claimPorts(
  claims: Claims,
  cursor: number,
  owner: string,
  mappings: readonly PortRequest[],
  avoid: readonly number[] = [],
): Claim {
  const own = claims[owner] ?? [];
  const granted: ResolvedPort[] = [];
  const parts = mappings.map((): ResolvedPort[] => []);
  // Mappings on more addresses come first: the others are then parts of them, if they have the same target.
  for (const [i, mapping] of [...mappings.entries()].sort(([, a], [, b]) => breadth(b) - breadth(a))) {
    const wish = resolved(mapping);
    if (wish.hostPort === 0) continue;
    const near = [...own, ...granted].filter((port) => collide(port, wish));
    // A port that the owner holds already is not new. So it is not removed either, if the rest fails.
    const fresh = unpublished([wish], near);
    for (const part of fresh) {
      if (granted.some((port) => inTheWay(port, part))) {
        return taken(`port ${describe(part)} is asked for twice`, owner);
      }
      const holder = near.some((port) => inTheWay(port, part)) ? owner : holderOf(claims, part, owner);
      if (holder !== null)
        return taken(`port ${describe(part)} is already published by ${containerIdOf(holder)}`, holder);
    }
    parts[i] = fresh;
    granted.push(...fresh);
  }
  let next = cursor;
  for (const [i, mapping] of mappings.entries()) {
    const wish = resolved(mapping);
    if (wish.hostPort !== 0) continue;
    const free = nextFree(claims, granted, next, wish, avoid);
    if (free === null) {
      return { fault: { code: 'NO_FREE_PORT', message: `no free host port for container port ${describe(wish)}` } };
    }
    next = free + wish.range - 1;
    const given = { ...wish, hostPort: free };
    parts[i] = [given];
    granted.push(given);
  }
  return { ports: parts.flat(), cursor: next };
}

/** Returns the number of families that a mapping is published in on all addresses. */
const breadth = ({ outer_ip: outer, host_ip: inner = '' }: PortRequest): number =>
  ['0.0.0.0', '::'].includes(outer ?? inner) ? 1 : (outer ?? inner) === '' ? 2 : 0;

const resolved = (mapping: PortRequest): ResolvedPort => ({
  protocol: mapping.protocol ?? 'tcp',
  hostIp: mapping.host_ip ?? '',
  hostPort: mapping.host_port ?? 0,
  containerPort: mapping.container_port,
  range: mapping.range ?? 1,
  outerIp: mapping.outer_ip ?? null,
});

const taken = (message: string, owner: string): Claim => ({
  fault: { code: 'PORT_TAKEN', message, owner: containerIdOf(owner) },
});

/**
 * Returns the targets of `ports` on `addresses` (at most one per family), in each family if there is no host IP. Leaves out
 * the targets that `kept` needs too (behind an outer publisher several ports can have one target).
 */
export function portTargets(
  ports: readonly ResolvedPort[],
  addresses: readonly string[],
  kept: readonly ResolvedPort[] = [],
): PortTarget[] {
  const targets: PortTarget[] = [];
  const seen = new Set<string>();
  const keyOf = (port: ResolvedPort, i: number) => portKey(port.protocol, port.hostIp, port.hostPort + i);
  for (const port of kept) for (let i = 0; i < port.range; i++) seen.add(keyOf(port, i));
  for (const port of ports) {
    for (let i = 0; i < port.range; i++) {
      const key = keyOf(port, i);
      if (seen.has(key)) continue;
      seen.add(key);
      for (const address of addresses) {
        if (port.hostIp !== '' && port.hostIp.includes(':') !== address.includes(':')) continue;
        const { protocol, hostIp } = port;
        targets.push({ protocol, hostIp, hostPort: port.hostPort + i, address, containerPort: port.containerPort + i });
      }
    }
  }
  return targets;
}

/**
 * Returns the targets in the form of the port handler; undefined is the firewall. pasta gets its ports once, when it starts.
 */
export function targetsFor(
  handler: PortHandler | undefined,
  ports: readonly ResolvedPort[],
  addresses: readonly string[],
): PortTarget[] {
  if (handler === 'pasta') return [];
  if (handler === 'forwarder') return forwardTargets(ports, addresses);
  if (handler === 'slirp4netns') return slirpTargets(ports, addresses);
  return portTargets(ports, addresses);
}

/** slirp4netns forwards IPv4, and lists all addresses of the host as 0.0.0.0, so requests use that form too. */
function slirpTargets(ports: readonly ResolvedPort[], addresses: readonly string[]): PortTarget[] {
  const four = addresses.filter((one) => !one.includes(':'));
  return portTargets(ports, four).map((target) => ({
    ...target,
    hostIp: target.hostIp === '' ? '0.0.0.0' : target.hostIp,
  }));
}

/**
 * Returns targets for the forwarder, which can translate between the families: every host address is a literal. If the
 * container has no address of that family, the first address is the target.
 */
function forwardTargets(ports: readonly ResolvedPort[], addresses: readonly string[]): PortTarget[] {
  const targets = new Map<string, PortTarget>();
  for (const { protocol, hostIp: asked, hostPort, containerPort, range } of ports) {
    for (const hostIp of asked === '' ? ['0.0.0.0', '::'] : [asked]) {
      const address = addresses.find((one) => one.includes(':') === hostIp.includes(':')) ?? addresses[0];
      if (address === undefined) continue;
      for (let i = 0; i < range; i++) {
        const target = { protocol, hostIp, hostPort: hostPort + i, address, containerPort: containerPort + i };
        const key = portKey(protocol, hostIp, target.hostPort);
        if (!targets.has(key)) targets.set(key, target);
      }
    }
  }
  return [...targets.values()];
}

export function describe(port: ResolvedPort): string {
  const { protocol, hostIp, hostPort, containerPort, range } = port;
  return portText(protocol, hostIp, hostPort === 0 ? containerPort : hostPort, range);
}

function collide(a: ResolvedPort, b: ResolvedPort): boolean {
  return (
    a.hostPort < b.hostPort + b.range &&
    b.hostPort < a.hostPort + a.range &&
    a.protocol === b.protocol &&
    meet(a.hostIp, b.hostIp)
  );
}

/**
 * True if two ports of one owner conflict. Behind an outer publisher, ports of several outer addresses arrive at one inner
 * port, which is no conflict if they have the same target.
 */
function inTheWay(a: ResolvedPort, b: ResolvedPort): boolean {
  const together =
    a.outerIp !== null &&
    b.outerIp !== null &&
    a.hostIp === b.hostIp &&
    a.hostPort - a.containerPort === b.hostPort - b.containerPort;
  return !together && collide(a, b);
}

function holderOf(claims: Claims, wish: ResolvedPort, except: string): string | null {
  for (const owner in claims) {
    if (owner === except) continue;
    for (const port of claims[owner] ?? []) if (collide(port, wish)) return owner;
  }
  return null;
}

function nextFree(
  claims: Claims,
  mine: readonly ResolvedPort[],
  cursor: number,
  wish: ResolvedPort,
  avoid: readonly number[],
): number | null {
  if (wish.range > DYNAMIC_LAST - DYNAMIC_FIRST + 1) return null;
  let candidate = cursor;
  for (let tried = DYNAMIC_FIRST; tried <= DYNAMIC_LAST; tried++) {
    candidate = candidate + wish.range > DYNAMIC_LAST ? DYNAMIC_FIRST : candidate + 1;
    const trial = { ...wish, hostPort: candidate };
    if (avoid.some((port) => port >= candidate && port < candidate + wish.range)) continue;
    if (mine.some((port) => collide(port, trial))) continue;
    if (holderOf(claims, trial, '') === null) return candidate;
  }
  return null;
}
