/**
 * The peers: netavark, and the CNI plugins run one after another the way libcni runs a chain.
 *
 * Guarantees: each works in the namespace the benchmark runs in, with networks, leases and results in its own folder.
 * Both get a network namespace that exists already; the time to make it is reported apart (parts.netns), never in `ms`.
 * The chain is the one Podman ships for CNI: bridge with host-local, portmap, firewall.
 * Limits: written for netavark 1.4 (/usr/lib/podman) and the reference plugins 1.1 (/usr/lib/cni); both drive iptables.
 */
import { accessSync, constants, mkdirSync } from 'node:fs';
import type { Contender } from './contender.ts';
import type { Floor, PortRun } from '../floor/floor.ts';
import { runProgram } from '../program.ts';

const NETAVARK = '/usr/lib/podman/netavark';
const CNI = '/usr/lib/cni';
const CHAIN = ['bridge', 'portmap', 'firewall'] as const;

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface Peers {
  contenders: Contender[];
  /** The programs that are missing, and which Debian package has each. */
  missing: string[];
}

export interface Wishes {
  /** Each container has a network of its own. */
  apart?: boolean;
  /** The namespace that they work in; without it, this one. */
  outside?: string;
}

export function findPeers(floor: Floor, folder: string, wishes: Wishes = {}): Peers {
  const contenders: Contender[] = [];
  const missing: string[] = [];
  const iptables = executable('/usr/sbin/iptables');
  if (!iptables) missing.push('iptables (Debian package iptables): netavark and the CNI plugins need it');
  if (!executable(NETAVARK)) missing.push(`${NETAVARK} (Debian package netavark)`);
  else if (iptables) contenders.push(netavark(floor, `${folder}/netavark`, wishes));
  if (!CHAIN.every((plugin) => executable(`${CNI}/${plugin}`)) || !executable(`${CNI}/host-local`)) {
    missing.push(`${CNI}/{${CHAIN.join(',')},host-local} (Debian package containernetworking-plugins)`);
  } else if (iptables) contenders.push(cni(floor, `${folder}/cni`, wishes));
  return { contenders, missing };
}

function runWithin(
  outside: string | undefined,
  file: string,
  args: string[],
  input: string,
  env: Record<string, string>,
) {
  if (outside === undefined) return runProgram(file, args, input, env);
  return runProgram('nsenter', [`--net=${outside}`, '--', file, ...args], input, env);
}

function ports(run: PortRun): number[] {
  return Array.from({ length: run.count }, (_, i) => run.first + i * run.step);
}

/**
 * Returns the network of a container: one with a /16 below `shared`, or, if containers have networks apart, one with a /24 below
 * `apart`, numbered by the container.
 */
function networkOf(id: number, name: string, apart: [number, number] | null, shared: [number, number]) {
  if (apart === null) {
    const prefix = shared.join('.');
    const address = `${prefix}.${(id + 2) >> 8}.${(id + 2) & 255}`;
    return { name, bridge: `${name}0`, subnet: `${prefix}.0.0/16`, gateway: `${prefix}.0.1`, address };
  }
  const prefix = `${apart[0]}.${apart[1] + (id >> 8)}.${id & 255}`;
  const own = `${name}-${id}-`;
  return {
    name: own,
    bridge: `${name.slice(0, 3)}${id}`,
    subnet: `${prefix}.0/24`,
    gateway: `${prefix}.1`,
    address: `${prefix}.2`,
  };
}

function netavark(floor: Floor, folder: string, { apart, outside }: Wishes): Contender {
  mkdirSync(folder, { recursive: true });
  const inputs = new Map<number, string>();
  // The default backend looks for firewalld on D-Bus first; there is none here, and its absence is quick.
  const env = { NETAVARK_FW: 'iptables' };
  const input = (id: number, run: PortRun): string => {
    const { name, bridge, subnet, gateway, address } = networkOf(
      id,
      'netavark',
      apart === true ? [172, 16] : null,
      [10, 79],
    );
    return JSON.stringify({
      container_id: String(id).padStart(64, '0'),
      container_name: `na${id}`,
      port_mappings: ports(run).map((port) => ({
        host_ip: '',
        host_port: port,
        container_port: port,
        protocol: 'tcp',
        range: 1,
      })),
      // netavark 1.4 gets the address: Podman chooses it and keeps the lease.
      networks: { [name]: { static_ips: [address], interface_name: 'eth0' } },
      network_info: {
        [name]: {
          name,
          id: name.padEnd(64, 'b'),
          driver: 'bridge',
          network_interface: bridge,
          subnets: [{ subnet, gateway }],
          ipv6_enabled: false,
          internal: false,
          dns_enabled: false,
          ipam_options: { driver: 'host-local' },
        },
      },
    });
  };
  const run = (word: string, name: string, text: string) =>
    runWithin(outside, NETAVARK, ['--config', folder, word, floor.netnsPath(name)], text, env);
  return {
    name: 'netavark',
    peer: true,
    // Podman holds its network lock around it; without that, two at once fail ("Chain already exists").
    serial: true,
    async create(id, portRun) {
      const name = `na${id}`;
      const netns = await floor.netns(name);
      const text = input(id, portRun);
      inputs.set(id, text);
      const { ms } = await run('setup', name, text);
      return { ms, parts: { netns: netns.ms } };
    },
    async teardown(id) {
      const name = `na${id}`;
      const { ms } = await run('teardown', name, inputs.get(id)!);
      inputs.delete(id);
      const netns = await floor.command(`unnetns ${name}`);
      return { ms, parts: { netns: netns.ms } };
    },
  };
}

function cni(floor: Floor, folder: string, { apart, outside }: Wishes): Contender {
  mkdirSync(folder, { recursive: true });
  const configOf = (plugin: (typeof CHAIN)[number], id: number): object => {
    const { name, bridge, subnet, gateway } = networkOf(id, 'cni', apart === true ? [100, 64] : null, [10, 80]);
    const plugins: Record<(typeof CHAIN)[number], object> = {
      bridge: {
        type: 'bridge',
        bridge,
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          dataDir: `${folder}/leases`,
          routes: [{ dst: '0.0.0.0/0' }],
          ranges: [[{ subnet, gateway }]],
        },
      },
      portmap: { type: 'portmap', capabilities: { portMappings: true } },
      firewall: { type: 'firewall', backend: 'iptables' },
    };
    return { cniVersion: '1.0.0', name, ...plugins[plugin] };
  };
  // The result of ADD and its runtimeConfig: libcni caches both and passes them to DEL.
  const cache = new Map<number, { result: object; runtimeConfig: object }>();

  const call = (command: 'ADD' | 'DEL', plugin: (typeof CHAIN)[number], id: number, extra: object) =>
    runWithin(outside, `${CNI}/${plugin}`, [], JSON.stringify({ ...configOf(plugin, id), ...extra }), {
      CNI_COMMAND: command,
      CNI_CONTAINERID: `cni${id}`,
      CNI_NETNS: floor.netnsPath(`cni${id}`),
      CNI_IFNAME: 'eth0',
      CNI_PATH: CNI,
    });

  return {
    name: 'CNI',
    peer: true,
    async create(id, run) {
      const netns = await floor.netns(`cni${id}`);
      const portMappings = ports(run).map((port) => ({ hostPort: port, containerPort: port, protocol: 'tcp' }));
      const runtimeConfig = run.count > 0 ? { portMappings } : {};
      const start = performance.now();
      let result: object | null = null;
      for (const plugin of CHAIN) {
        const extra = { ...(plugin === 'portmap' ? { runtimeConfig } : {}), ...(result ? { prevResult: result } : {}) };
        result = JSON.parse((await call('ADD', plugin, id, extra)).stdout) as object;
      }
      const ms = performance.now() - start;
      cache.set(id, { result: result!, runtimeConfig });
      return { ms, parts: { netns: netns.ms } };
    },
    async teardown(id) {
      const { result, runtimeConfig } = cache.get(id)!;
      cache.delete(id);
      const start = performance.now();
      for (const plugin of [...CHAIN].reverse()) {
        await call('DEL', plugin, id, { ...(plugin === 'portmap' ? { runtimeConfig } : {}), prevResult: result });
      }
      const ms = performance.now() - start;
      const netns = await floor.command(`unnetns cni${id}`);
      return { ms, parts: { netns: netns.ms } };
    },
  };
}
