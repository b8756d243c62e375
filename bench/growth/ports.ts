/**
 * Scenario `growth-ports`: the cost of a container with one port when 1 to 10,000 are published already.
 *
 * Limits: `published` has the figure that is judged, which leaves out what drifts. As climb.ts.
 */
import { floorContender } from '../contenders/contender.ts';
import { cleatContender } from '../daemon.ts';
import { manyPorts, portsByContainer, publishMany } from '../many-ports.ts';
import type { Context, Scenario } from '../scenario.ts';
import { climb, type Grower } from './climb.ts';
import { noDaemon, peerGrower, settled } from './growers.ts';

const POINTS = [1, 10, 100, 300, 1000, 3000, 10_000];
const QUICK_POINTS = [1, 10, 100, 1000];

export const growthPorts: Scenario = {
  name: 'growth-ports',
  alone: true,
  async run(context) {
    const points = context.quick ? QUICK_POINTS : POINTS;
    const title = 'p50 of create + configure with one port, with so many published';
    const growers = [floorGrower(context), ...(await cleatGrower(context))];
    for (const peer of context.peers) growers.push(peerGrower(peer, context.nextId, portsByContainer));
    return [await climb(context, { of: 'ports', title, points, ports: 1 }, growers)];
  },
};

function floorGrower({ floor }: Context): Grower {
  return {
    contender: floorContender(floor),
    async grow(from, to) {
      const { first, step, count } = manyPorts(from, to);
      await floor.command(`fill ${first} ${step} ${count}`);
    },
    memory: noDaemon,
  };
}

async function cleatGrower(context: Context): Promise<Grower[]> {
  const daemon = await context.cleat();
  if (daemon === null) return [];
  const client = daemon.client();
  return [
    {
      contender: cleatContender(client),
      async grow(from, to) {
        await publishMany(client, context.nextId, from, to);
      },
      memory: settled(daemon),
    },
  ];
}
