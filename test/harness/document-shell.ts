/**
 * A shell in which `cleat` is the command as it was built, with directories of its own, for documents whose commands are run.
 *
 * Limits: one for each test file, which starts the daemon itself, and ends it.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../../..');
const PATIENCE_MS = 60_000;

/** Makes the directory, and returns a function that runs one command. `environment` is added to the shell's. */
export function documentShell(home: string, environment: Record<string, string> = {}) {
  mkdirSync(home, { mode: 0o755 });
  const program = join(home, 'cleat');
  writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${ROOT}/dist/bundle/cleat.cjs "$@"\n`);
  chmodSync(program, 0o755);
  const env = {
    PATH: `${home}:${process.env.PATH}`,
    CLEAT_RUN_DIR: `${home}/run`,
    CLEAT_STATE_DIR: `${home}/state`,
    CLEAT_NETNS_DIR: `${home}/netns`,
    ...environment,
  };
  return (command: string) => spawnSync('bash', ['-c', command], { encoding: 'utf8', timeout: PATIENCE_MS, env });
}
