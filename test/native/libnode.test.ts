/**
 * With a Node that is a shared library (Debian's nodejs) the addon is linked with it, and the executables are not. Read
 * from the makefiles that node-gyp writes.
 *
 * Guarantees: binding.gyp as it is, configured by the node-gyp that the build uses.
 * Limits: Debian's changes to its node-gyp are given to this one as an include.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readGyp } from '../../scripts/gyp.ts';
import { scratch } from '../harness/native.ts';
import { ROOT } from '../harness/sanitized.ts';

const libnode = suite('libnode');

/** As addon.gypi of node-gyp 11.1.0 in Debian 13. */
const DEBIAN = `{'target_defaults': {'target_conditions': [
  ['OS in "linux freebsd openbsd netbsd solaris"', {'libraries': ['-lnode']}],
]}}`;

const FIND = `
import { findNodeDir } from './scripts/node-headers.mjs';
import { findNodeGyp } from './scripts/node-gyp.mjs';
console.log(JSON.stringify([findNodeGyp(), findNodeDir().nodedir]));
`;

/** The libraries that are linked with a target, besides its objects. */
function librariesOf(directory: string, target: string): string[] {
  const makefile = readFileSync(join(directory, 'build', `${target}.target.mk`), 'utf8');
  const [, lines = ''] = /^LIBS :=((?:.*\\\n)*.*)$/m.exec(makefile) ?? [];
  return lines.split(/[\s\\]+/).filter(Boolean);
}

libnode('libnode is linked with the addon alone', () => {
  const directory = scratch();
  copyFileSync(join(ROOT, 'binding.gyp'), join(directory, 'binding.gyp'));
  for (const folder of ['native', 'bench', 'node_modules']) symlinkSync(join(ROOT, folder), join(directory, folder));
  const include = join(directory, 'debian.gypi');
  writeFileSync(include, DEBIAN);
  const argv = ['--input-type=module', '--eval', FIND];
  const found = execFileSync(process.execPath, argv, { cwd: ROOT, encoding: 'utf8' });
  const [nodeGyp, nodedir] = JSON.parse(found) as [string, string];
  const configure = [nodeGyp, 'configure', `--nodedir=${nodedir}`, '--', '-Dnode_shared=true', '-I', include];
  execFileSync(process.execPath, configure, { cwd: directory, stdio: 'pipe' });
  for (const { target_name: target, type } of readGyp().targets) {
    const libraries = librariesOf(directory, target);
    assert.is(libraries.includes('-lnode'), type !== 'executable', `${target}: ${libraries.join(' ')}`);
    if (['cleat', 'floor'].includes(target)) assert.ok(libraries.includes('-lnftnl'), target);
  }
});

libnode.run();
