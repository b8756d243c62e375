/**
 * The limits of one container's use of the forwarder that carries its ports. An operator can set them.
 *
 * Guarantees: one list for the daemon's option, the request to the forwarder and its command line.
 * Limits: a limit holds for every container alike. The defaults are the forwarder's own (native/forwarder/budget.h).
 */
import { z } from 'zod';
import { FaultError } from './faults.ts';

const MOST = 1_000_000;
const MOST_SECONDS = 7 * 86_400;

export const ForwarderLimits = z.strictObject({
  /** The maximum of TCP connections of a container. */
  connections: z.int().min(1).max(MOST),
  /** The maximum of UDP clients of a container. */
  flows: z.int().min(1).max(MOST),
  /** Seconds without a datagram after which a UDP client is forgotten. */
  flow_idle: z.int().min(1).max(MOST_SECONDS),
  /** Seconds without a byte after which a half-closed TCP connection is reset. */
  half_closed: z.int().min(1).max(MOST_SECONDS),
});
export type ForwarderLimits = z.infer<typeof ForwarderLimits>;

const Words = ForwarderLimits.partial();

/** Parses "flows=100", ...; the last one of a name counts. Throws BAD_REQUEST. */
export function forwarderLimits(words: readonly string[]): Partial<ForwarderLimits> {
  const limits: Partial<ForwarderLimits> = {};
  for (const word of words) {
    const [name = '', number = '', ...more] = word.split('=');
    const limit = { [name]: /^\d+$/.test(number) ? Number(number) : null };
    if (more.length > 0 || !Words.safeParse(limit).success) {
      const names = Object.keys(ForwarderLimits.shape).join('|');
      throw new FaultError('BAD_REQUEST', `forwarder limit ${word}: it is (${names})=NUMBER, a whole one above 0`);
    }
    Object.assign(limits, limit);
  }
  return limits; // each limit was checked above
}
