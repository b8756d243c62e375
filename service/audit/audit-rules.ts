/**
 * Audits the rules of networks: chains and elements in our table that are about a bridge which nothing names.
 *
 * Guarantees: those of audit.ts. A chain belongs to a bridge by its name; an element by the chain that it leads to, by its key in
 * the sets of bridges, or by its comment. One transaction removes them, so that nothing leads into a chain that is gone.
 * Limits: objects that others put into the table, under names that are not ours, stay and are not reported.
 */
import { CHAINS } from '../../effects/ruleset/ruleset.ts';
import { bridgeOfSet } from '../../effects/ruleset/ruleset-overlay.ts';
import { staleElements, SUBNET_SETS } from '../../effects/ruleset/ruleset-stale.ts';
import type { NftElement, NftOperation, NftTable, Outside } from '../../native/index.ts';
import { leaked, type Found, type InUse } from './audit-finding.ts';

/** The sets that contain bridges, and the maps from their names to chains. */
const BRIDGE_SETS = ['bridges', 'open', 'isolated', 'forward_from', 'forward_to', 'nat_to', 'nat_from', 'arrivals'];

const OF_BRIDGE = new RegExp(`^(?:${CHAINS.join('|')})-(.+)$`);
const bridgeOfChain = (name: string): string | undefined => OF_BRIDGE.exec(name)?.[1];

/** Returns the leaked rules. `named` returns whether a snapshot or a definition names the bridge of this name. */
export async function auditRules(
  native: Outside,
  { name: table, seen, dump }: { name: string; seen: NftTable; dump: (set: string) => Promise<NftElement[]> },
  named: (bridge: string, inUse: InUse | null) => boolean,
): Promise<Found[]> {
  const present = new Set(seen.sets.map(({ name }) => name));
  const wanted = [...new Set([...BRIDGE_SETS, ...SUBNET_SETS])].filter((set) => present.has(set));
  const sets = new Map(await Promise.all(wanted.map(async (set) => [set, await dump(set)] as const)));
  const bridges = new Set([
    ...seen.chains.flatMap(({ name }) => bridgeOfChain(name) ?? []),
    ...seen.sets.flatMap(({ name }) => bridgeOfSet(name) ?? []),
  ]);
  for (const [set, elements] of sets)
    for (const one of elements) for (const name of bridgesOf(set, one)) bridges.add(name);
  return [...bridges]
    .filter((bridge) => !named(bridge, null))
    .map((bridge) =>
      leaked(
        { kind: 'rule', object: `rules of ${bridge} in inet ${table}` },
        (inUse) => named(bridge, inUse),
        () => native.nft(removal(table, bridge, seen, sets)),
      ),
    );
}

function bridgesOf(set: string, { key, data, comment }: NftElement): string[] {
  const leads = data !== undefined && !Array.isArray(data) && 'chain' in data ? (bridgeOfChain(data.chain) ?? []) : [];
  const [first] = key;
  const is = data === undefined && BRIDGE_SETS.includes(set) && first !== undefined && 'ifname' in first;
  return [leads, is ? first.ifname : [], SUBNET_SETS.includes(set) ? (comment ?? []) : []].flat();
}

function removal(
  table: string,
  bridge: string,
  seen: NftTable,
  sets: ReadonlyMap<string, readonly NftElement[]>,
): NftOperation[] {
  const subnets = new Map([...sets].filter(([set]) => SUBNET_SETS.includes(set)));
  const chains = seen.chains.filter(({ name }) => bridgeOfChain(name) === bridge).map(({ name }) => name);
  return [
    ...staleElements(table, bridge, [], subnets),
    ...[...sets].flatMap(([set, elements]): NftOperation[] => {
      const mine = SUBNET_SETS.includes(set) ? [] : elements.filter((one) => bridgesOf(set, one).includes(bridge));
      return mine.length === 0 ? [] : [{ op: 'element.del', table, set, elements: mine.map(({ key }) => ({ key })) }];
    }),
    ...chains.map((chain): NftOperation => ({ op: 'chain.flush', table, chain })),
    ...chains.map((chain): NftOperation => ({ op: 'chain.del', table, chain })),
    ...seen.sets
      .filter(({ name }) => bridgeOfSet(name) === bridge)
      .map(({ name }): NftOperation => ({ op: 'set.del', table, set: name })),
  ];
}
