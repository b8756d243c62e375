/**
 * Which instance of cleat a daemon is: the name by which several on one machine tell what is whose.
 *
 * Guarantees: the same for the same state directory, by whatever path it is given.
 */
import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import type { Instance } from '../effects/kernel.ts';
import { LINK_GROUP } from '../effects/rule-words.ts';

/** The state directory of the daemon that a machine has when nobody says otherwise. */
export const DEFAULT_STATE_DIR = '/var/lib/cleat';

/** Who this daemon is in the kernel. The default one has plain names; any other is told apart by its state directory. */
export function instanceOf(stateDir: string): Instance {
  const path = realpathSync(stateDir);
  const hash = createHash('sha256').update(path).digest('hex').slice(0, 8);
  const main = path === DEFAULT_STATE_DIR;
  // Group numbers: any 32 bits that nobody else uses; the lowest bit marks links on their way out.
  const group = LINK_GROUP | (Number.parseInt(main ? '0c1ea700' : hash, 16) & 0x3fff_fffe);
  return { name: main ? 'main' : hash, table: main ? 'cleat' : `cleat-${hash}`, group, doomedGroup: group | 1 };
}
