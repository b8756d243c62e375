/**
 * Makes answers from published ports leave an outside by the route of the address that the client called: with the rules of
 * ruleset-replies.ts, and for IPv4 with two switches of each bridge and one of each uplink whose rp_filter is strict.
 *
 * An answer then comes in by a bridge with an address of the host as its source. IPv4 drops that as forged (fib_validate_source
 * in net/ipv4/fib_frontend.c) unless accept_local is 1, and rp_filter is not 1 (the larger of a link's and that of `all`
 * counts). A container cannot exploit this: its packets with a source outside its network are dropped before
 * (ruleset-sources.ts).
 *
 * Guarantees: the switches are set only while there is such a route, and are restored after the last one. The functions can be
 * called again at any time.
 * Limits: a switch that somebody else has set to the same value is restored all the same.
 */
import type { Outside } from '../../native/index.ts';
import { isKernelError } from '../../native/index.ts';
import { replyRules, type Replies } from '../ruleset/ruleset-replies.ts';
import { byLook } from './ruleset-turn.ts';
import { writeIfThere } from '../namespaces/switches.ts';

/**
 * Replaces the rules. `expect` is called in the turn of the write: a comparison of the table in between would take the difference for
 * a change of others. Returns false if there is no table: raiseFirewall will make it with these rules.
 */
export async function leadReplies(
  native: Outside,
  table: string,
  replies: Replies,
  expect: () => void,
): Promise<boolean> {
  try {
    await byLook(native, () => {
      expect();
      return native.nft(replyRules(table, replies));
    });
    return true;
  } catch (error) {
    if (isKernelError(error) && error.code === 'ENOENT') return false;
    throw error;
  }
}

/** Returns the key of a link's rp_filter. */
export const filterOf = (link: string): string => `net/ipv4/conf/${link}/rp_filter`;

/** Returns the present rp_filter of these links, by key; leaves out missing links. */
export async function filtersOf(native: Outside, links: readonly string[]): Promise<Record<string, string>> {
  const keys = links.map(filterOf);
  const values = await native.sysctlRead(keys);
  return Object.fromEntries(keys.flatMap((key, i) => (typeof values[i] === 'string' ? [[key, values[i]]] : [])));
}

/** Sets rp_filter to 2 (loose). The chain `rpfilter` checks instead, and must exist by now (ruleset-replies.ts). */
export async function loosenFilters(native: Outside, links: readonly string[]): Promise<void> {
  for (const [key, value] of Object.entries(await filtersOf(native, links))) {
    if (value !== '2') await writeIfThere(native, { [key]: '2' });
  }
}

/** Makes IPv4 accept answers that have a source of the host, or no longer. Ignores missing bridges. */
export async function acceptReplies(native: Outside, bridges: readonly string[], wanted: boolean): Promise<void> {
  if (bridges.length === 0) return;
  const localOf = (bridge: string) => `net/ipv4/conf/${bridge}/accept_local`;
  const now = await native.linkSwitches(bridges.flatMap((bridge) => [localOf(bridge), filterOf(bridge)]));
  const [usual] = wanted ? ['2'] : await native.sysctlRead(['net/ipv4/conf/default/rp_filter']);
  for (const [i, bridge] of bridges.entries()) {
    const [local, filter] = [now[2 * i], now[2 * i + 1]];
    const isSet = local === '1' && filter === '2';
    if (typeof local !== 'string' || (wanted ? isSet : local === '0')) continue;
    // accept_local is set first and reset last: it marks that both switches must be restored.
    const switches = { [filterOf(bridge)]: usual ?? '0' };
    const mark = { [localOf(bridge)]: wanted ? '1' : '0' };
    await writeIfThere(native, wanted ? { ...mark, ...switches } : { ...switches, ...mark }, undefined, true);
  }
}
