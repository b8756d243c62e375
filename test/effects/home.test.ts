/** An empty directory is removed, and one that cannot be removed is not forgotten. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { removeIfEmpty } from '../../effects/shared-directory.ts';
import { faultOf } from '../harness/effects.ts';
import { scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const home = suite('a home of directories');

home('a home goes when it is empty, stays while it is in use, and may be missing', () => {
  const path = join(scratch(), 'home');
  removeIfEmpty(path);
  mkdirSync(join(path, 'one'), { recursive: true });
  removeIfEmpty(path);
  assert.ok(existsSync(join(path, 'one')));
  rmSync(join(path, 'one'), { recursive: true });
  removeIfEmpty(path);
  assert.not.ok(existsSync(path));
});

home('a home that cannot be removed is an error, so that the effect runs again', async () => {
  const path = join(scratch(), 'home');
  mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', path]); // rmdir(2): EBUSY
  try {
    const { code, errno } = await faultOf(() => removeIfEmpty(path));
    assert.equal([code, errno], ['STATE_UNWRITABLE', 'EBUSY']);
  } finally {
    execFileSync('umount', [path]);
  }
  removeIfEmpty(path);
  assert.not.ok(existsSync(path));
});

home.run();
