/**
 * Tells forwarders that run already what their limits are: they outlive the daemon that has started them, and the next
 * one may have other limits.
 *
 * Guarantees: each that runs is told, whichever outside it is for. Told twice, it is the same.
 * Limits: a forwarder of an earlier version does not understand it, and has no limits to set: its refusal is returned.
 */
import { join } from 'node:path';
import type { ForwarderPlaces } from './forwarder.ts';
import { ask, failed, inTurn } from './forwarder-client.ts';
import { namesIn } from './shared-directory.ts';

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
