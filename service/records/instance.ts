/**
 * The instance of cleat that a daemon is: a name by which several daemons on one machine recognise their own objects.
 *
 * Guarantees: the instance is the same for the same state directory, by whatever path it is given.
 */
import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import type { Instance } from '../../effects/kernel.ts';
import { LINK_GROUP } from '../../effects/ruleset/rule-words.ts';

/** The default state directory. */
export const DEFAULT_STATE_DIR = '/var/lib/cleat';

/**
 * Returns the names of this daemon's objects in the kernel. The default instance has plain names; any other has a hash of its
 * state directory in them.
 */
export function instanceOf(stateDir: string): Instance {
  const path = realpathSync(stateDir);
  const hash = createHash('sha256').update(path).digest('hex').slice(0, 8);
  const main = path === DEFAULT_STATE_DIR;
  // Group numbers can be any 32 bits that nobody else uses. The lowest bit marks links on their way out.
  const group = LINK_GROUP | (Number.parseInt(main ? '0c1ea700' : hash, 16) & 0x3fff_fffe);
  return { name: main ? 'main' : hash, table: main ? 'cleat' : `cleat-${hash}`, group, doomedGroup: group | 1 };
}
