/**
 * Removes the directories that forwarders leave when they end (with a socket and a lock file), and ends forwarders that cannot
 * be reached any more.
 *
 * Guarantees: a directory is removed only if nobody answers there, and never while a forwarder is being started in it (inTurn).
 * No directories is no error.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ForwarderPlaces } from './forwarder.ts';
import { inTurn } from './forwarder-client.ts';
import { endUnreachable } from './forwarder-process.ts';
import { namesIn, removeIfEmpty } from '../shared-directory.ts';

/** Visits the directories of all outsides. Returns the names of those in which a forwarder still runs. */
export async function removeRemains({ directory: home }: ForwarderPlaces): Promise<string[]> {
  const running: string[] = [];
  for (const name of namesIn(home)) {
    const directory = join(home, name);
    await inTurn(directory, async () => {
      if (await endUnreachable(directory)) rmSync(directory, { recursive: true, force: true });
      else running.push(name);
    });
  }
  removeIfEmpty(home);
  return running;
}
