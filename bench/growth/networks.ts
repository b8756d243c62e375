/**
 * Scenario `growth-networks`: the cost of one network more with its first container, when 1 to 500 networks stand, each with a
 * container.
 *
 * Guarantees: with the first container comes the network's bridge, for everybody. cleat is told of a network by a request of its
 * own, which counts.
 * Limits: the floor has no rules for a network. The CNI plugins do not remove a bridge. As climb.ts.
 */
import type { Client } from '../client.ts';
import type { Contender } from '../contenders/contender.ts';
import { NO_PORTS, type Floor } from '../floor/floor.ts';
import { findPeers } from '../contenders/peers.ts';
import { RUN } from '../arena.ts';
import type { Scenario } from '../scenario.ts';
import { climb, type Grower } from './climb.ts';
import { peerGrower, settled } from './growers.ts';

const POINTS = [1, 4, 16, 64, 200, 500];
const QUICK_POINTS = [1, 8, 32, 64];

export const growthNetworks: Scenario = {
  name: 'growth-networks',
  alone: true,
  async run(context) {
    const points = context.quick ? QUICK_POINTS : POINTS;
    const title = 'p50 of a network with its first container, with so many networks';
    const daemon = await context.cleat();
    const one = (from: number, to: number) => Array.from({ length: to - from }, () => NO_PORTS);
    const grower = (contender: Contender): Grower => peerGrower(contender, context.nextId, one);
    const growers = [grower(floorWithBridge(context.floor))];
    if (daemon !== null) {
      growers.push({ ...grower(cleatWithNetwork(daemon.client())), memory: settled(daemon) });
    }
    growers.push(...findPeers(context.floor, `${RUN}/networks`, { apart: true }).contenders.map(grower));
    return [await climb(context, { of: 'networks', title, points, ports: 0 }, growers)];
  },
};

function floorWithBridge(floor: Floor): Contender {
  return {
    name: 'floor',
    peer: false,
    async create(id) {
      const bridge = await floor.command(`bridge ${id}`);
      const container = await floor.command(`create ${id} 0 0 1 ${id}`);
      return { ms: bridge.ms + container.ms, parts: container.parts };
    },
    async teardown(id) {
      const container = await floor.command(`teardown ${id}`);
      return { ms: container.ms + (await floor.command(`unbridge ${id}`)).ms, parts: {} };
    },
  };
}

function cleatWithNetwork(client: Client): Contender {
  const names = (id: number) => ({ container: `c${id}`, network: `net${id}` });
  return {
    name: 'cleat',
    peer: false,
    async create(id) {
      const { container, network } = names(id);
      const subnet = `10.${128 + (id >> 8)}.${id & 255}.0/24`;
      const made = await client.makeNetwork(network, `cb${id}`, subnet);
      const created = await client.event({ type: 'create', id: container, networks: { [network]: {} } });
      const configured = await client.event({ type: 'configure', id: container });
      const parts = { network: made.ms, create: created.ms, configure: configured.ms };
      return { ms: made.ms + created.ms + configured.ms, parts };
    },
    async teardown(id) {
      const { container, network } = names(id);
      const { ms } = await client.event({ type: 'teardown', id: container });
      await client.waitGone(container);
      return { ms: ms + (await client.removeNetwork(network)).ms, parts: {} };
    },
  };
}
