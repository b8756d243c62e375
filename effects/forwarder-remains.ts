/**
 * What a forwarder leaves in its directory when it ends: a socket, a lock file.
 *
 * Guarantees: removed only where nobody answers, and never under one that is just being started (in turn with whoever asks
 * for one). None is fine.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ForwarderPlaces } from './forwarder.ts';
import { ask, inTurn } from './forwarder-client.ts';
import { namesIn, removeIfEmpty } from './home.ts';

const PATIENCE_MS = 1000;

/** Of every outside that there was a forwarder in; answers the names of those directories in which one still runs. */
export async function removeRemains({ directory: home }: ForwarderPlaces): Promise<string[]> {
  const running: string[] = [];
  for (const name of namesIn(home)) {
    const directory = join(home, name);
    await inTurn(directory, async () => {
      if ((await ask(directory, { op: 'who' }, PATIENCE_MS)) === 'absent')
        rmSync(directory, { recursive: true, force: true });
      else running.push(name);
    });
  }
  removeIfEmpty(home);
  return running;
}
