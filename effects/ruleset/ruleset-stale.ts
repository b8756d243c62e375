/**
 * Finds the elements that an earlier definition of a network has left in the table, for subnets that it has no longer.
 *
 * Guarantees: pure. An element belongs to a network if it leads to a chain of its bridge, or its comment is the bridge.
 * Limits: elements of others with such data are taken for ours.
 */
import type { NftElement, NftOperation } from '../../native/nftables/nft-types.ts';
import { CHAINS } from './ruleset.ts';
import { SOURCE_SETS } from './ruleset-sources.ts';
import { UPLINK_SETS } from './ruleset-uplinks.ts';

/** The sets whose elements are made from the subnets of networks. */
export const SUBNET_SETS = [...SOURCE_SETS.filter(({ name }) => name !== 'arrivals'), ...UPLINK_SETS].map(
  ({ name }) => name,
);

/**
 * Returns operations that remove the elements of a bridge from the sets, except those that `kept` adds. `seen`: the contents of
 * the sets. `kept`: the operations that write the rules of the definition.
 */
export function staleElements(
  table: string,
  bridge: string,
  kept: readonly NftOperation[],
  seen: ReadonlyMap<string, readonly NftElement[]>,
): NftOperation[] {
  const wanted = new Map<string, Set<string>>();
  for (const operation of kept) {
    if (operation.op !== 'element.add') continue;
    const keys = wanted.get(operation.set) ?? new Set();
    // Two intervals are equal only if both ends are: one may begin where another ends or begins. And one that leads elsewhere is another
    // one: a share that was this host's may be just what is between two shares now.
    operation.elements.forEach(({ key, intervalEnd, data }, i, all) => {
      const next = all[i + 1];
      if (intervalEnd !== true) keys.add(textOf(key, next?.intervalEnd === true ? [next] : [], data));
    });
    wanted.set(operation.set, keys);
  }
  const isOurs = ({ data, comment }: NftElement) =>
    comment === bridge ||
    (data !== undefined &&
      !Array.isArray(data) &&
      'chain' in data &&
      CHAINS.some((name) => data.chain === `${name}-${bridge}`));
  return [...seen].flatMap(([set, elements]) => {
    const gone = elements.flatMap((one, i) => {
      if (one.intervalEnd === true || !isOurs(one)) return [];
      const end = endOf(elements, i);
      return wanted.get(set)?.has(textOf(one.key, end, one.data)) === true ? [] : [{ key: one.key }, ...end];
    });
    return gone.length === 0 ? [] : [{ op: 'element.del', table, set, elements: gone } as const];
  });
}

const textOf = (key: NftElement['key'], end: readonly NftElement[], data: NftElement['data']): string =>
  JSON.stringify([key, ...end.map((one) => one.key), chainOf(data)]);

const chainOf = (data: NftElement['data']): string | null =>
  data !== undefined && !Array.isArray(data) && 'chain' in data ? (data.chain ?? null) : null;

/** Returns the end of the interval that begins there. It is the neighbour in the dump, which is in descending order. */
function endOf(elements: readonly NftElement[], at: number): NftElement[] {
  const before = elements[at - 1];
  return before?.intervalEnd === true ? [{ key: before.key, intervalEnd: true }] : [];
}
