/**
 * Where switches under /proc/sys, and rules of the routing policy, differ from what was set.
 *
 * Guarantees: pure. A switch is named as sysctl(8) takes it, with slashes, because a link's name may have dots.
 * Limits: a switch that is not there (no IPv6, a link that has gone) is no difference: what it belongs to is.
 */
import type { Difference } from '../../state/container.ts';

/** `seen`: their values, in the order of the keys of `wanted`; null: there is no such switch. */
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

/** What is compared of a rule, as it was asked for and as it is seen (Rule in native/index.ts). */
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
