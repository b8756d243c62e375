/**
 * Published ports: from what was asked for to one exact list, and who else has them.
 *
 * Guarantees: pure; two owners never hold the same protocol, host port and overlapping host address ("" overlaps all);
 * an owner may claim what it has already, but not lead the same host port elsewhere; random ports come in turn from the dynamic range (RFC 6335: 49152-65535), a
 * range as consecutive ports.
 * Limits: listeners of the host are not known here; the claim is tried against the kernel afterwards.
 */
import type { PortMapping } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import type { ResolvedPort } from '../../state/container.ts';

/** The container of an owner (id:generation). */
export const idOf = (owner: string): string => owner.replace(/:\d+$/, '');

export type Claims = Readonly<Record<string, readonly ResolvedPort[]>>;

const DYNAMIC_FIRST = 49_152;
const DYNAMIC_LAST = 65_535;

export type Claim = { ports: ResolvedPort[]; cursor: number } | { fault: Fault };

/**
 * Claim ports for an owner. `cursor` is the last random port given (or DYNAMIC_LAST); `avoid` holds host ports that the
 * kernel refused before.
 */
export function claimPorts(
  claims: Claims,
  cursor: number,
  owner: string,
  mappings: readonly PortMapping[],
  avoid: readonly number[] = [],
): Claim {
  const ports: ResolvedPort[] = [];
  let next = cursor;
  for (const mapping of mappings) {
    const wish: ResolvedPort = {
      protocol: mapping.protocol ?? 'tcp',
      hostIp: mapping.host_ip ?? '',
      hostPort: mapping.host_port ?? 0,
      containerPort: mapping.container_port,
      range: mapping.range ?? 1,
    };
    if (wish.hostPort === 0) {
      const free = nextFree(claims, ports, next, wish, avoid);
      if (free === null) {
        return { fault: { code: 'NO_FREE_PORT', message: `no free host port for container port ${describe(wish)}` } };
      }
      wish.hostPort = free;
      next = free + wish.range - 1;
    } else {
      const same = ports.find((port) => collide(port, wish));
      if (same !== undefined && !equal(same, wish)) {
        return { fault: { code: 'PORT_TAKEN', message: `port ${describe(wish)} is asked for twice`, owner } };
      }
      if (same !== undefined) continue;
      const own = (claims[owner] ?? []).find((port) => collide(port, wish));
      if (own !== undefined && !equal(own, wish)) {
        return {
          fault: {
            code: 'PORT_TAKEN',
            message: `port ${describe(wish)} is already published by ${idOf(owner)}`,
            owner,
          },
        };
      }
      if (own !== undefined) continue; // nothing new: not to be taken away either, if the rest fails
      const holder = holderOf(claims, wish, owner);
      if (holder !== null) {
        const message = `port ${describe(wish)} is already published by ${idOf(holder)}`;
        return { fault: { code: 'PORT_TAKEN', message, owner: idOf(holder) } };
      }
    }
    ports.push(wish);
  }
  return { ports, cursor: next };
}

/** One entry per single port and address of the container it leads to. */
export interface PortTarget {
  protocol: ResolvedPort['protocol'];
  hostIp: string;
  hostPort: number;
  address: string;
  containerPort: number;
}

/** The ports of `ports` on `addresses` (one per family at most), family by family where host IP says nothing. */
export function portTargets(ports: readonly ResolvedPort[], addresses: readonly string[]): PortTarget[] {
  const targets: PortTarget[] = [];
  for (const port of ports) {
    for (const address of addresses) {
      if (port.hostIp !== '' && port.hostIp.includes(':') !== address.includes(':')) continue;
      for (let i = 0; i < port.range; i++) {
        const { protocol, hostIp } = port;
        targets.push({ protocol, hostIp, hostPort: port.hostPort + i, address, containerPort: port.containerPort + i });
      }
    }
  }
  return targets;
}

export function describe(port: ResolvedPort): string {
  const host = port.hostIp.includes(':') ? `[${port.hostIp}]:` : port.hostIp === '' ? '' : `${port.hostIp}:`;
  const number = port.hostPort === 0 ? port.containerPort : port.hostPort;
  return `${host}${number}${port.range > 1 ? `-${number + port.range - 1}` : ''}/${port.protocol}`;
}

function collide(a: ResolvedPort, b: ResolvedPort): boolean {
  return (
    a.hostPort < b.hostPort + b.range &&
    b.hostPort < a.hostPort + a.range &&
    a.protocol === b.protocol &&
    (covers(a.hostIp, b.hostIp) || covers(b.hostIp, a.hostIp))
  );
}

/** "" is every address, 0.0.0.0 and :: every one of their family. */
function covers(wide: string, narrow: string): boolean {
  if (wide === '' || wide === narrow) return true;
  if (wide === '0.0.0.0') return narrow === '' || !narrow.includes(':');
  return wide === '::' && (narrow === '' || narrow.includes(':'));
}

function equal(a: ResolvedPort, b: ResolvedPort): boolean {
  return (
    a.hostIp === b.hostIp && a.hostPort === b.hostPort && a.containerPort === b.containerPort && a.range === b.range
  );
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
