/** Which keeper of an uplink is an orphan, by what its directory says: whoever is taken for one is killed. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CLAIM, DOOMED, isOrphan } from '../../effects/uplinks/uplink-keeper.ts';

const keepers = suite('keepers');

const keeper = { pid: 100, startTime: 5000 };
const MINE = '100 5000\n';

/** With these directories, and what the keeper's claim in each says; null when it has none yet. */
function orphan(claims: Record<string, string | null>): boolean {
  const parent = mkdtempSync(join(tmpdir(), 'keepers-'));
  for (const [name, claim] of Object.entries(claims)) {
    mkdirSync(join(parent, name));
    if (claim !== null) writeFileSync(join(parent, name, CLAIM), claim);
  }
  return isOrphan(parent, { name: 'c1', keeper });
}

keepers('whose directory is gone, or that of another, is an orphan', () => {
  assert.ok(orphan({}));
  assert.ok(orphan({ c2: MINE }));
  assert.ok(orphan({ c1: '101 5000\n' }));
  assert.ok(orphan({ c1: '100 5001\n' }), 'who had the pid before');
});

keepers('whose directory it is, or that begins, is none', () => {
  assert.not.ok(orphan({ c1: MINE }));
  assert.not.ok(orphan({ c1: null }));
});

keepers('whose directory is being removed is none: who removes it ends it', () => {
  assert.not.ok(orphan({ [`c1${DOOMED}`]: MINE }));
  assert.not.ok(orphan({ [`c1${DOOMED}`]: MINE, c1: '101 6000\n' }));
  assert.ok(orphan({ [`c1${DOOMED}`]: '101 6000\n' }));
});

keepers.run();
