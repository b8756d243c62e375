/**
 * A link that asks for no new neighbours for a while: packets to an address that it does not know yet are dropped at once.
 *
 * For: who asks for more neighbours than one may have keeps everybody else from finding theirs. What was asked for in vain
 * takes no room that anybody else wants (neigh_forced_gc in net/core/neighbour.c); what is being asked for does, for 3 s.
 *
 * Guarantees: neighbours that are known stay as they are, and are still confirmed. Who is held can be told from the kernel
 * alone: no number of questions (mcast_solicit) is 0 by itself.
 * Limits: what others answer unasked is still learned. A switch that somebody else set to 0 is put back to what
 * links are born with, too.
 */
import type { Outside } from '../native/index.ts';
import { writeIfThere } from './switches.ts';

const FAMILIES = [4, 6] as const;

/** How often all neighbours of a link are asked for an address, before it has failed (ip-sysctl.rst). */
const questionsOf = (family: 4 | 6, link: string): string => `net/ipv${family}/neigh/${link}/mcast_solicit`;

export async function holdNeighbours(native: Outside, links: readonly string[], netns?: string): Promise<void> {
  for (const link of links) {
    for (const family of FAMILIES) await writeIfThere(native, { [questionsOf(family, link)]: '0' }, netns, true);
  }
}

/** Links that are not held, or not there, stay as they are. */
export async function releaseNeighbours(native: Outside, links: readonly string[], netns?: string): Promise<void> {
  for (const family of FAMILIES) {
    // `default` has the value that links are born with, but only in the initial namespace; elsewhere lo still has it.
    const keys = ['default', 'lo', ...links].map((link) => questionsOf(family, link));
    const [ofDefault, ofLoopback, ...values] = await native.sysctlRead(keys, netns);
    const usual = ofDefault ?? ofLoopback;
    for (const [i, link] of links.entries()) {
      if (values[i] !== '0' || typeof usual !== 'string') continue;
      await writeIfThere(native, { [questionsOf(family, link)]: usual }, netns, true);
    }
  }
}
