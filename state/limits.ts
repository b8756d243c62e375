/**
 * The limits that keep one client or container from using up a resource, with their defaults.
 *
 * Guarantees: one list for the daemon's options, the checks and the docs; a request above a limit is LIMIT_REACHED. No request
 * is refused for tracked connections: the surplus is deleted (service/watch/conntrack-watch.ts).
 * Limits: root and the daemon's own user are bounded by `connections` and `ports-per-container` alone. service/requests/connections.ts
 * has the limits without an option.
 */
import { z } from 'zod';
import { FaultError } from './faults.ts';

export const LIMITS = {
  /** Connections to the socket, each a descriptor of the daemon. One in eight is reserved for root. */
  connections: 1024,
  /** Connections of one user other than root. */
  'connections-per-uid': 256,
  /** Containers made by one user other than root, by the caller's uid from the kernel. A bridge holds 1,023 (BR_MAX_PORTS). */
  'containers-per-uid': 1000,
  /** Published ports, each port of a range counted: each is an element of the firewall's maps per address. */
  'ports-per-container': 16_384,
  /** Entries of connection tracking. Null: a quarter of the kernel's maximum (plan/kernel/share.ts). */
  'tracked-per-container': null,
  /** Neighbours of each family. Null: a quarter of the machine's maximum (plan/kernel/share.ts). */
  'neighbours-per-container': null,
} as const;

type Named = typeof LIMITS;
export type Limits = { readonly [Name in keyof Named]: Named[Name] extends null ? number | null : number };

const NAMES = Object.keys(LIMITS) as [keyof Limits, ...(keyof Limits)[]];
const LimitWord = z.tuple([z.enum(NAMES), z.string().regex(/^[1-9]\d{0,8}$/)]);

/** Parses "connections=64", "ports-per-container=100", ...; the last one of a name counts. Throws BAD_REQUEST. */
export function limitsOf(words: readonly string[]): Limits {
  const limits: { -readonly [Name in keyof Limits]: Limits[Name] } = { ...LIMITS };
  for (const word of words) {
    const parsed = LimitWord.safeParse(word.split('='));
    if (!parsed.success) {
      throw new FaultError('BAD_REQUEST', `limit ${word}: it is (${NAMES.join('|')})=NUMBER`);
    }
    limits[parsed.data[0]] = Number(parsed.data[1]);
  }
  return limits;
}
