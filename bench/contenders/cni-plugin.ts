/**
 * cleat as a CNI plugin, and the same requests without the executable, as contenders.
 *
 * Guarantees: both get a network namespace that exists already, as the CNI peers do; the difference between the two is what the
 * executable costs: its start, its reading and checking, and a connection of its own.
 * Limits: the configuration describes its network; that of the plugin and that of the requests are two networks.
 */
import { fileURLToPath } from 'node:url';
import type { Client } from '../client.ts';
import type { Contender } from './contender.ts';
import type { Floor, PortRun } from '../floor/floor.ts';
import { runProgram, startCost } from '../program.ts';

const PLUGIN = fileURLToPath(new URL('../../../build/Release/cleat-cni', import.meta.url));
/** Both are measured on one daemon, where a host port has one owner. */
const OTHER_PORTS = 10_000;

type Send = (command: 'ADD' | 'DEL', env: Record<string, string>, config: object) => Promise<{ ms: number }>;

export function pluginContender(floor: Floor, socket: string): Contender {
  return contender('cleat as a plugin', floor, 'plugin', '10.81.0.0/16', 0, (command, env, config) =>
    runProgram(PLUGIN, [], JSON.stringify(config), { CNI_COMMAND: command, CLEAT_SOCKET: socket, ...env }),
  );
}

export function postContender(floor: Floor, client: Client): Contender {
  return contender('its requests alone', floor, 'post', '10.82.0.0/16', OTHER_PORTS, (command, env, config) =>
    client.post(`/v1/cni/${command.toLowerCase()}`, JSON.stringify({ env, config })),
  );
}

function contender(
  name: string,
  floor: Floor,
  network: string,
  subnet: string,
  portsFrom: number,
  send: Send,
): Contender {
  const base = {
    cniVersion: '1.0.0',
    name: network,
    type: 'cleat',
    ipam: { type: 'host-local', routes: [{ dst: '0.0.0.0/0' }], subnet },
  };
  const call = (command: 'ADD' | 'DEL', id: number, config: object) => {
    const container = `${network}${id}`;
    return send(
      command,
      { CNI_CONTAINERID: container, CNI_NETNS: floor.netnsPath(container), CNI_IFNAME: 'eth0' },
      config,
    );
  };
  return {
    name,
    peer: false,
    async create(id, run: PortRun) {
      const netns = await floor.netns(`${network}${id}`);
      const portMappings = Array.from({ length: run.count }, (_, i) => ({
        hostPort: portsFrom + run.first + i * run.step,
        containerPort: run.first + i * run.step,
        protocol: 'tcp',
      }));
      const { ms } = await call('ADD', id, { ...base, runtimeConfig: { portMappings } });
      return { ms, parts: { netns: netns.ms } };
    },
    async teardown(id) {
      const { ms } = await call('DEL', id, base);
      const netns = await floor.command(`unnetns ${network}${id}`);
      return { ms, parts: { netns: netns.ms } };
    },
  };
}

/** Measures VERSION, for which no daemon is asked, and a program that does nothing; both in ms. */
export async function ownCost(): Promise<{ version: number; nothing: number }> {
  const samples: number[] = [];
  for (let i = 0; i < 40; i++) samples.push((await runProgram(PLUGIN, [], '{}', { CNI_COMMAND: 'VERSION' })).ms);
  samples.sort((a, b) => a - b);
  return { version: samples[samples.length >> 1] ?? 0, nothing: await startCost() };
}
