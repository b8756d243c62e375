/**
 * Writes the rules of a network into the table of its outside, and removes them.
 *
 * Guarantees: one transaction each. Elements of the network's earlier definitions are removed with it, such as those of subnets that
 * it no longer has, or of hosts that have left an overlay.
 * Limits: writing requires the table (firewall.ts). Without a table there is nothing to remove.
 */
import { isKernelError, type Outside } from '../../native/index.ts';
import type { NetworkRules } from '../ruleset/ruleset-inputs.ts';
import { peerElements, peerSet } from '../ruleset/ruleset-overlay.ts';
import { FAMILIES } from '../ruleset/rule-words.ts';
import { networkRules, removeNetworkRules } from '../ruleset/ruleset.ts';
import { staleElements, SUBNET_SETS } from '../ruleset/ruleset-stale.ts';
import { byLook } from './ruleset-turn.ts';

export function setRules(native: Outside, table: string, rules: NetworkRules): Promise<void> {
  const wanted = networkRules(table, rules);
  return byLook(native, async () => {
    await native.nft([...staleElements(table, rules.bridge, wanted, await subnetElements(native, table)), ...wanted]);
  });
}

/**
 * Gives an overlay's rules the addresses of its other hosts. Writes what differs alone: the chains, and what they have counted or are
 * about to judge, are left as they are.
 */
export function setPeers(native: Outside, table: string, rules: NetworkRules): Promise<void> {
  const wanted = peerElements(table, rules);
  return byLook(native, async () => {
    const sets = FAMILIES.map(peerSet);
    const dumps = await Promise.all(sets.map((set) => native.nftElements('inet', table, set)));
    const seen = new Map(sets.map((set, i) => [set, dumps[i] ?? []]));
    const there = new Set([...seen.values()].flat().map(({ key }) => JSON.stringify(key)));
    const missing = wanted.flatMap(({ elements, ...one }) => {
      const left = elements.filter(({ key }) => !there.has(JSON.stringify(key)));
      return left.length === 0 ? [] : [{ ...one, elements: left }];
    });
    const changes = [...staleElements(table, rules.bridge, wanted, seen), ...missing];
    if (changes.length > 0) await native.nft(changes);
  });
}

export function removeRules(native: Outside, table: string, rules: NetworkRules): Promise<void> {
  return byLook(native, async () => {
    const seen = await subnetElements(native, table).catch((error: unknown) => {
      if (isKernelError(error) && error.code === 'ENOENT') return null;
      throw error;
    });
    if (seen === null) return; // The table is gone, and the network's rules with it.
    // After a failed update the sets may hold more than the definition says. A chain that an element leads to cannot be removed.
    const left = staleElements(table, rules.bridge, networkRules(table, rules), seen);
    await native.nft([...left, ...removeNetworkRules(table, rules)]);
  });
}

/** Reads the sets that hold subnets of networks. Fails with ENOENT when there is no table. */
async function subnetElements(native: Outside, table: string) {
  const dumps = await Promise.all(SUBNET_SETS.map((set) => native.nftElements('inet', table, set)));
  return new Map(SUBNET_SETS.map((set, i) => [set, dumps[i] ?? []]));
}
