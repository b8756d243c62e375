/**
 * Lets a test write where programs are installed: directories of the machine, with layers of the test's own on top.
 *
 * Guarantees: what is written to them is in memory, in the test's own mount namespace, and gone with it.
 * Limits: for tests started by the test runner. Mounts below such a directory are not seen through it.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { requirePrivateNamespace } from './private.ts';

const LAYERS = '/run/test-layers';

/** Where that is which differs from the machine's. */
export const layerOf = (directory: string): string => `${LAYERS}${directory}/upper`;

export function overlay(...directories: string[]): void {
  requirePrivateNamespace();
  for (const directory of directories) {
    const upper = layerOf(directory);
    const work = `${LAYERS}${directory}/work`;
    for (const made of [upper, work]) mkdirSync(made, { recursive: true });
    const options = `lowerdir=${directory},upperdir=${upper},workdir=${work}`;
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', options, directory]);
  }
}
