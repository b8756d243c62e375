// slow: 40 s, it runs README as a reader does, with a command a line
/**
 *
 * README's blocks, pasted as they are: each line succeeds, and at the end nothing is left.
 *
 * Limits: `npm` does nothing, because everything is built already, and `sudo` runs its command, because the test is root.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { commandLines } from '../harness/native.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const ROOT = resolve(import.meta.dirname, '../../..');
const PROGRAMS = '/run/readme';
const LIMIT_MS = 180_000;
const readme = suite('readme');

readme('its blocks, pasted one after the other, work, and leave nothing', async () => {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/var/lib']);
  mkdirSync(PROGRAMS);
  for (const [name, text] of [
    ['npm', 'exit 0'],
    ['sudo', 'exec "$@"'],
  ] as const) {
    writeFileSync(`${PROGRAMS}/${name}`, `#!/bin/sh\n${text}\n`);
    chmodSync(`${PROGRAMS}/${name}`, 0o755);
  }
  const before = inspectKernel();
  const blocks = [...readFileSync(`${ROOT}/README.md`, 'utf8').matchAll(/^```sh\n([^]*?)^```$/gm)].map(
    ([, text]) => text,
  );
  assert.ok(blocks.length >= 4, String(blocks.length));
  const { status, stdout, stderr } = spawnSync('bash', ['-s'], {
    // Stops at the first line that fails, and says which.
    input: `set -eE -o pipefail; trap 'echo "failed: $BASH_COMMAND" >&2' ERR\n${blocks.join('')}`,
    cwd: ROOT,
    encoding: 'utf8',
    timeout: LIMIT_MS,
    env: { PATH: `${PROGRAMS}:${process.env.PATH}`, HOME: '/root' },
  });
  assert.is(status, 0, `${stderr}\n${stdout}`);
  assert.match(stdout, /^one is up, and nothing is missing/m);
  assert.match(stdout, /^10\.\d+\.\d+\.\d+ +db/m);
  assert.match(stdout, /^clean: /m);
  assert.not(existsSync('/run/cleat'));
  assert.not(existsSync('/var/lib/cleat'));
  const left = [...commandLines()].filter(([, words]) => words.some((word) => /http\.server|cleat\.cjs/.test(word)));
  assert.equal(left, []);
  await assertComesBackTo(before, () => inspectKernel());
});

readme.run();
