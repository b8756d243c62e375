/**
 * A directory that lies in the way of nothing is removed, and one that cannot be removed is not forgotten.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EffectError } from '../../effects/effect.ts';
import { removeIfEmpty } from '../../effects/home.ts';
import { scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const home = suite('a home of directories');

home('goes when it is empty, stays while somebody is in it, and need not be there', () => {
  const path = join(scratch(), 'home');
  removeIfEmpty(path);
  mkdirSync(join(path, 'one'), { recursive: true });
  removeIfEmpty(path);
  assert.ok(existsSync(join(path, 'one')));
  rmSync(join(path, 'one'), { recursive: true });
  removeIfEmpty(path);
  assert.not.ok(existsSync(path));
});

home('one that cannot be removed is an error, for the effect to be run again', () => {
  const path = join(scratch(), 'home');
  mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', path]); // rmdir(2): EBUSY
  try {
    removeIfEmpty(path);
    assert.unreachable('it was removed');
  } catch (error) {
    assert.instance(error, EffectError);
    assert.equal(
      [(error as EffectError).fault.code, (error as EffectError).fault.errno],
      ['STATE_UNWRITABLE', 'EBUSY'],
    );
  } finally {
    execFileSync('umount', [path]);
  }
  removeIfEmpty(path);
  assert.not.ok(existsSync(path));
});

home.run();
