/**
 * The memory that a daemon under test really keeps: its heap after a requested garbage collection.
 *
 * Guarantees: the daemon is the shipped one; this file is loaded into its process before it (`--import`) and listens to
 * SIGUSR2. The answer was measured after the request.
 * Limits: a collection blocks the daemon as long as it takes (some 0.1 s).
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { TestDaemon } from './daemon.ts';

const VARIABLE = 'CLEAT_TEST_HEAP';
const PATIENCE_MS = 20_000;

/** Bytes, as process.memoryUsage() has them. */
export type Kept = Pick<NodeJS.MemoryUsage, 'heapUsed' | 'external' | 'arrayBuffers' | 'rss'>;

/** Makes the daemon listen, from its next start on. */
export function weighable(daemon: TestDaemon): void {
  daemon.environment = {
    ...daemon.environment,
    NODE_OPTIONS: `--import=${import.meta.filename}`,
    [VARIABLE]: fileOf(daemon),
  };
}

/** Its memory now. */
export async function kept(daemon: TestDaemon): Promise<Kept> {
  const file = fileOf(daemon);
  rmSync(file, { force: true });
  process.kill(daemon.pid, 'SIGUSR2');
  const limit = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return JSON.parse(readFileSync(file, 'utf8')) as Kept;
    } catch (error) {
      if (performance.now() > limit) throw new Error('the daemon does not say what it keeps', { cause: error });
      await sleep(10);
    }
  }
}

/** Beside its directory: the files in there are compared before and after. */
const fileOf = ({ directory }: TestDaemon): string => `${directory}.heap`;

const answer = process.env[VARIABLE];
if (answer !== undefined) {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  process.on('SIGUSR2', () => {
    // Twice: objects that only finalizers of the first hold are gone with the second.
    collect();
    setImmediate(() => {
      collect();
      writeFileSync(`${answer}.new`, JSON.stringify(process.memoryUsage()));
      renameSync(`${answer}.new`, answer);
    });
  });
}
