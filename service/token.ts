/**
 * The token of a container, from which its pin and its uplink's directory are named: random, and known for this instance's.
 *
 * Guarantees: 24 random hex digits and 8 that follow from them and from the instance. A name that nobody remembers any more
 * is told from names of others in the same directory (Podman pins namespaces under the same pattern), and from those of
 * other instances: a name of somebody else passes for ours once in 2^32 times.
 * Limits: no secret; whoever wants to can make such a name. Tokens of earlier versions are random to the end.
 */
import { createHash, randomBytes } from 'node:crypto';

const RANDOM_DIGITS = 24;

export const newToken = (instance: string): string =>
  tokenFrom(instance, randomBytes(RANDOM_DIGITS / 2).toString('hex'));

/** `random`: 24 hex digits. */
export function tokenFrom(instance: string, random: string): string {
  const mark = createHash('sha256').update(`${instance}:${random}`).digest('hex').slice(0, 8);
  return `${random}${mark}`;
}

/** Whether this instance has made the name of a pin (machines/plan/attachment.ts has the pattern). */
export function isPinOf(instance: string, name: string): boolean {
  const [, ...groups] =
    /^netns-([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/.exec(name) ?? [];
  const token = groups.join('');
  return token !== '' && tokenFrom(instance, token.slice(0, RANDOM_DIGITS)) === token;
}
