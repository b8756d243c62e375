/**
 * The kinds of kernel objects that others may remove, and the policy for each.
 *
 * Guarantees: one list for the schemas, the daemon's options and the docs.
 * Limits: a kind has one policy for the whole daemon.
 */
import { z } from 'zod';
import { FaultError } from './faults.ts';

/**
 * switch: one under /proc/sys; table: the whole table or its structure; rule: chains of one network, or a policy rule inside
 * (ip-rule(8)); port: an element of a published port, or a port of the forwarder; uplink: slirp4netns or pasta of a container.
 */
export const DRIFT_KINDS = [
  'link',
  'address',
  'route',
  'neighbour',
  'switch',
  'table',
  'rule',
  'port',
  'dns',
  'uplink',
] as const;
export type DriftKind = (typeof DRIFT_KINDS)[number];

/** repair: restore missing objects. alert: report them and leave them. ignore: neither. */
export const DriftPolicy = z.enum(['repair', 'alert', 'ignore']);
export type DriftPolicy = z.infer<typeof DriftPolicy>;

export type DriftPolicies = Readonly<Record<DriftKind, DriftPolicy>>;

/** Parses "route=alert", "port=ignore", ...; the last one of a kind counts. Throws BAD_REQUEST. */
export function driftPolicies(words: readonly string[]): DriftPolicies {
  const policies = Object.fromEntries(DRIFT_KINDS.map((kind) => [kind, 'repair'])) as Record<DriftKind, DriftPolicy>;
  for (const word of words) {
    const [kind, policy, ...more] = word.split('=');
    const parsed = z.tuple([z.enum(DRIFT_KINDS), DriftPolicy]).safeParse([kind, policy]);
    if (!parsed.success || more.length > 0) {
      const kinds = DRIFT_KINDS.join('|');
      throw new FaultError('BAD_REQUEST', `drift policy ${word}: it is (${kinds})=(${DriftPolicy.options.join('|')})`);
    }
    policies[parsed.data[0]] = parsed.data[1];
  }
  return policies;
}
