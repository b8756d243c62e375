/**
 * Compares switches under /proc/sys, and policy rules, with the values that were set.
 *
 * Guarantees: pure. A switch is named with slashes, as sysctl(8) accepts it, because a link's name may have dots.
 * Limits: a missing switch (no IPv6, a link that is gone) is no difference: its link or family is reported instead.
 */
import type { Difference } from '../../state/container.ts';

/** `seen`: the values, in the order of the keys of `wanted`; null if there is no such switch. */
export function compareSwitches(
  wanted: Readonly<Record<string, string>>,
  seen: readonly (string | null)[],
  network: string | null,
): Difference[] {
  return Object.entries(wanted).flatMap(([key, value], i): Difference[] =>
    seen[i] === null || seen[i] === undefined || seen[i] === value
      ? []
      : [{ kind: 'switch', object: `${key}=${value}`, network, problem: 'changed' }],
  );
}

/** The compared fields of a policy rule, as requested and as seen (Rule in native/index.ts). */
export interface RuleWanted {
  source: string;
  prefix: number;
  table: number;
  priority: number;
}
export interface RuleSeen {
  source: string;
  sourcePrefix: number;
  table: number;
  priority: number;
}

export function compareRules(
  wanted: readonly RuleWanted[],
  seen: readonly RuleSeen[],
  network: string | null,
): Difference[] {
  const keyOf = (source: string, prefix: number, { table, priority }: { table: number; priority: number }) =>
    `${priority}: from ${source}/${prefix} lookup ${table}`;
  const there = new Set(seen.map((rule) => keyOf(rule.source, rule.sourcePrefix, rule)));
  return wanted
    .map((rule) => keyOf(rule.source, rule.prefix, rule))
    .filter((key) => !there.has(key))
    .map((key) => ({ kind: 'rule', object: `ip rule ${key}`, network, problem: 'missing' }));
}
