/**
 * Makes a link resolve no new neighbours for a while: packets to unknown addresses are dropped at once.
 *
 * Reason: a container that resolves more neighbours than the limit keeps all others from resolving theirs. An entry that failed
 * can be evicted for another one (neigh_forced_gc in net/core/neighbour.c); an entry that is being resolved cannot, for 3 s.
 *
 * Guarantees: known neighbours stay as they are, and are still confirmed. The kernel alone shows which links are held:
 * mcast_solicit is never 0 by default.
 * Limits: unsolicited announcements of others are still learned. A switch that somebody else set to 0 is also reset to the
 * default of new links.
 */
import type { Outside } from '../../native/index.ts';
import { writeIfThere } from '../namespaces/switches.ts';

const FAMILIES = [4, 6] as const;

/** The switch with the number of multicast solicitations for an address before resolution fails (ip-sysctl.rst). */
const questionsOf = (family: 4 | 6, link: string): string => `net/ipv${family}/neigh/${link}/mcast_solicit`;

export async function holdNeighbours(native: Outside, links: readonly string[], netns?: string): Promise<void> {
  for (const link of links) {
    for (const family of FAMILIES) await writeIfThere(native, { [questionsOf(family, link)]: '0' }, netns, true);
  }
}

/** Ignores links that are not held or missing. */
export async function releaseNeighbours(native: Outside, links: readonly string[], netns?: string): Promise<void> {
  for (const family of FAMILIES) {
    // `default` has the value of new links, but only in the initial namespace; elsewhere lo still has it.
    const keys = ['default', 'lo', ...links].map((link) => questionsOf(family, link));
    const [ofDefault, ofLoopback, ...values] = await native.sysctlRead(keys, netns);
    const usual = ofDefault ?? ofLoopback;
    for (const [i, link] of links.entries()) {
      if (values[i] !== '0' || typeof usual !== 'string') continue;
      await writeIfThere(native, { [questionsOf(family, link)]: usual }, netns, true);
    }
  }
}
