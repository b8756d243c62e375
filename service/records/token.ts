/**
 * The token of a container, which names its pin and its uplink's directory. It is random, and recognisable as this instance's.
 *
 * Guarantees: 24 random hex digits and 8 that follow from them and from the instance. A name that no snapshot holds any more can
 * be distinguished from foreign names in the same directory (Podman pins namespaces under the same pattern), and from those of
 * other instances: a foreign name passes for ours once in 2^32 times.
 * Limits: no secret; anyone can make such a name on purpose. Tokens of earlier versions are random in all digits.
 */
import { createHash, randomBytes } from 'node:crypto';

const RANDOM_DIGITS = 24;

export const newToken = (instance: string): string =>
  tokenFrom(instance, randomBytes(RANDOM_DIGITS / 2).toString('hex'));

/** Returns the token with these random digits: 24 hex digits. */
export function tokenFrom(instance: string, random: string): string {
  const mark = createHash('sha256').update(`${instance}:${random}`).digest('hex').slice(0, 8);
  return `${random}${mark}`;
}

/** Returns true if this instance has made the name of a pin (plan/containers/attachment.ts has the pattern). */
export function isPinOf(instance: string, name: string): boolean {
  const [, ...groups] =
    /^netns-([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/.exec(name) ?? [];
  const token = groups.join('');
  return token !== '' && tokenFrom(instance, token.slice(0, RANDOM_DIGITS)) === token;
}
