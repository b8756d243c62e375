/**
 * Sends the daemon's limits to running forwarders: they outlive the daemon that started them, and the next daemon may have
 * other limits.
 *
 * Guarantees: each running forwarder gets the limits, for whichever outside it works. Sending them twice gives the same result.
 * Limits: a forwarder of an earlier version does not know the request and has no limits to set. Its refusal is returned.
 */
import { join } from 'node:path';
import type { ForwarderPlaces } from './forwarder.ts';
import { ask, failed, inTurn } from './forwarder-client.ts';
import { namesIn } from '../shared-directory.ts';

const PATIENCE_MS = 1000;

export async function tellLimits({ directory: home, limits }: ForwarderPlaces): Promise<Error[]> {
  const refusals: Error[] = [];
  for (const name of namesIn(home)) {
    const directory = join(home, name);
    const answer = await inTurn(directory, () => ask(directory, { op: 'limits', ...limits }, PATIENCE_MS));
    if (typeof answer === 'object' && !answer.ok)
      refusals.push(failed(`the forwarder refused: ${answer.error.message}`));
  }
  return refusals;
}
